//! Standard output: permanent lines, and one status line below them that is overwritten.

use std::{
    fmt,
    io::{IsTerminal as _, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};

/// Interval at which the status is written as a line where it can't be overwritten.
const PLAIN_STATUS_INTERVAL: Duration = Duration::from_secs(10);

const CLEAR_LINE: &str = "\r\x1b[2K";

/// Meaning of a text, which decides its color.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Plain,
    /// Something succeeded.
    Good,
    /// Something that a user did, or that deserves attention.
    Notable,
    /// Something failed.
    Bad,
    Heading,
}

impl Style {
    /// Returns the parameter of the ANSI SGR sequence.
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Good => "32",
            Self::Notable => "33",
            Self::Bad => "1;31",
            Self::Heading => "1",
        }
    }
}

/// Terminal, or the file or pipe in its place. Clones write to the same one.
///
/// Write errors are ignored: a user who closes the pipe has seen enough, and the exit status still
/// reports the result.
#[derive(Clone)]
pub struct Terminal(Arc<Mutex<Output>>);

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal").finish_non_exhaustive()
    }
}

struct Output {
    writer: Box<dyn Write + Send>,
    can_overwrite: bool,
    has_colors: bool,
    status: String,
    plain_status_at: Option<Instant>,
}

impl Terminal {
    /// Returns standard output.
    pub fn stdout() -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let can_overwrite = std::io::stdout().is_terminal() && !is_dumb;
        let has_colors = can_overwrite && !is_set("NO_COLOR");
        Self::new(Box::new(std::io::stdout()), can_overwrite, has_colors)
    }

    /// Returns a terminal that discards everything.
    pub fn silent() -> Self {
        Self::new(Box::new(std::io::sink()), false, false)
    }

    fn new(writer: Box<dyn Write + Send>, can_overwrite: bool, has_colors: bool) -> Self {
        let status = String::new();
        let output = Output { writer, can_overwrite, has_colors, status, plain_status_at: None };
        Self(Arc::new(Mutex::new(output)))
    }

    /// Writes a permanent line.
    pub fn line(&self, text: &str) {
        self.output().line(text);
    }

    /// Writes an empty line and a heading.
    pub fn heading(&self, text: &str) {
        let text = self.paint(Style::Heading, text);
        self.output().line(&format!("\n{text}"));
    }

    /// Replaces the status line, which is below all other lines. A file or pipe gets it as a line
    /// every 10 s.
    pub fn status(&self, text: &str) {
        let mut output = self.output();
        if output.can_overwrite {
            if output.status != text {
                text.clone_into(&mut output.status);
                output.redraw("");
            }
        } else if output.plain_status_at.is_none_or(|at| at.elapsed() >= PLAIN_STATUS_INTERVAL) {
            output.plain_status_at = Some(Instant::now());
            output.write(&format!("{text}\n"));
        }
    }

    /// Removes the status line. The next one is shown immediately.
    pub fn clear_status(&self) {
        let mut output = self.output();
        output.plain_status_at = None;
        if !output.status.is_empty() {
            output.status.clear();
            output.redraw("");
        }
    }

    /// Writes to standard error.
    pub fn error(&self, text: &str) {
        let _output = self.output();
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// Returns `text` in the color of `style`, if the terminal has colors.
    pub fn paint(&self, style: Style, text: &str) -> String {
        if self.output().has_colors && style != Style::Plain {
            format!("\x1b[{}m{text}\x1b[0m", style.code())
        } else {
            text.to_owned()
        }
    }

    fn output(&self) -> MutexGuard<'_, Output> {
        self.0.lock()
    }
}

impl Output {
    fn line(&mut self, text: &str) {
        if self.status.is_empty() {
            self.write(&format!("{text}\n"));
        } else {
            self.redraw(&format!("{text}\n"));
        }
    }

    /// Overwrites the status line with `above`, and writes the status below it.
    fn redraw(&mut self, above: &str) {
        self.write(&format!("{CLEAR_LINE}{above}{}", self.status));
    }

    /// Writes in one call, so that a slow terminal never shows a part.
    fn write(&mut self, text: &str) {
        let _ = self.writer.write_all(text.as_bytes()).and_then(|()| self.writer.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writer that records everything.
    #[derive(Clone, Default)]
    struct Recorder(Arc<Mutex<Vec<u8>>>);

    impl Write for Recorder {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(can_overwrite: bool, write: impl FnOnce(&Terminal)) -> String {
        let recorder = Recorder::default();
        write(&Terminal::new(Box::new(recorder.clone()), can_overwrite, false));
        let bytes = recorder.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn write_example(terminal: &Terminal) {
        terminal.line("a");
        terminal.status("1");
        terminal.status("2");
        terminal.line("b");
        terminal.clear_status();
        terminal.line("c");
    }

    #[test]
    fn status_stays_below_the_lines() {
        let expected = "a\n\r\x1b[2K1\r\x1b[2K2\r\x1b[2Kb\n2\r\x1b[2Kc\n";
        assert_eq!(written(true, write_example), expected);
    }

    #[test]
    fn file_gets_whole_lines_and_rarely_a_status() {
        assert_eq!(written(false, write_example), "a\n1\nb\nc\n");
    }

    #[test]
    fn text_is_painted_only_with_colors() {
        let terminal = |has_colors| Terminal::new(Box::new(std::io::sink()), true, has_colors);
        assert_eq!(terminal(false).paint(Style::Bad, "no"), "no");
        assert_eq!(terminal(true).paint(Style::Good, "yes"), "\x1b[32myes\x1b[0m");
        assert_eq!(terminal(true).paint(Style::Plain, "so"), "so");
    }
}
