//! Timeline: one line for each event.

use std::time::{Duration, Instant};

use testkit::terminal::{Style, Terminal};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineEntry {
    pub style: Style,
    /// One or two words.
    pub label: String,
    pub text: String,
}

impl TimelineEntry {
    pub fn new(style: Style, label: impl Into<String>, text: impl Into<String>) -> Self {
        Self { style, label: label.into(), text: text.into() }
    }
}

/// Prints entries with the seconds since its start. Clones have the same start.
#[derive(Clone)]
pub struct Timeline {
    terminal: Terminal,
    started: Instant,
}

impl Timeline {
    pub fn start(terminal: Terminal) -> Self {
        Self { terminal, started: Instant::now() }
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Prints an entry about an application, or another `subject`.
    pub fn record(&self, subject: &str, entry: &TimelineEntry) {
        let TimelineEntry { style, label, text } = entry;
        // Padded before it is painted, because escape sequences have no width.
        let label = self.terminal.paint(*style, &format!("{label:<10}"));
        let elapsed = seconds(self.elapsed());
        self.terminal.line(&format!("{elapsed:>7}  {subject:<8}  {label}  {text}"));
    }

    /// Prints something that must not happen.
    pub fn record_failure(&self, subject: &str, label: &str, text: &str) {
        self.record(subject, &TimelineEntry::new(Style::Bad, label, text));
    }

    /// Prints something that someone other than the operator does.
    pub fn record_action(&self, subject: &str, actor: &str, text: &str) {
        self.record(subject, &TimelineEntry::new(Style::Notable, actor, text));
    }
}

/// Formats a duration as in `7.3 s`.
pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
