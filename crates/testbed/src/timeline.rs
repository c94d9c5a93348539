//! The timeline: one line for each thing that happens.

use std::time::{Duration, Instant};

use crate::wording::Happening;
use rig::terminal::{Style, Terminal};

/// Tells what happens, with the seconds since its beginning. Clones tell the same story.
#[derive(Clone)]
pub struct Timeline {
    terminal: Terminal,
    beginning: Instant,
}

impl Timeline {
    pub fn begin(terminal: Terminal) -> Self {
        Self { terminal, beginning: Instant::now() }
    }

    pub fn elapsed(&self) -> Duration {
        self.beginning.elapsed()
    }

    pub fn tell(&self, who: &str, happening: &Happening) {
        let Happening { style, what, text } = happening;
        // Padded before it is painted: what paints has no width.
        let what = self.terminal.paint(*style, &format!("{what:<10}"));
        self.terminal.line(&format!("{}  {who:<8}  {what}  {text}", seconds(self.elapsed())));
    }

    /// Something that must not happen.
    pub fn fail(&self, who: &str, what: &str, text: &str) {
        self.tell(who, &Happening::new(Style::Bad, what, text));
    }

    /// Something that somebody other than the operator does.
    pub fn act(&self, who: &str, what: &str, text: &str) {
        self.tell(who, &Happening::new(Style::Notable, what, text));
    }
}

/// `  7.3 s`.
pub fn seconds(elapsed: Duration) -> String {
    format!("{:>5.1} s", elapsed.as_secs_f64())
}
