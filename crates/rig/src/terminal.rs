//! Standard output: lines that stay, and one line below them that is written over.

use std::fmt;
use std::io::{IsTerminal as _, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often the status becomes a line of its own where it can't be written over.
const PLAIN_STATUS_EVERY: Duration = Duration::from_secs(10);

const CLEAR_LINE: &str = "\r\x1b[2K";

/// What a piece of text is, from which its colour follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// Something went as it should.
    Good,
    /// Something a person did, or that needs a look.
    Notable,
    /// Something that must not be.
    Bad,
    /// What is above others.
    Heading,
}

impl Style {
    /// The parameters of an ANSI SGR sequence.
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

/// The terminal, or the file or pipe that stands for it. Clones write to the same one.
///
/// What can't be written is let go: whoever closed the pipe has seen enough, and the exit status
/// still tells the result.
#[derive(Clone)]
pub struct Terminal(Arc<Mutex<Output>>);

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal").finish_non_exhaustive()
    }
}

struct Output {
    to: Box<dyn Write + Send>,
    can_overwrite: bool,
    colours: bool,
    status: String,
    plain_status_at: Option<Instant>,
}

impl Terminal {
    /// Standard output.
    #[must_use]
    pub fn stdout() -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let can_overwrite = std::io::stdout().is_terminal() && !is_dumb;
        let colours = can_overwrite && !is_set("NO_COLOR");
        Self::new(Box::new(std::io::stdout()), can_overwrite, colours)
    }

    /// Writes nothing.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(Box::new(std::io::sink()), false, false)
    }

    fn new(to: Box<dyn Write + Send>, can_overwrite: bool, colours: bool) -> Self {
        let status = String::new();
        let output = Output { to, can_overwrite, colours, status, plain_status_at: None };
        Self(Arc::new(Mutex::new(output)))
    }

    /// Writes a line that stays.
    pub fn line(&self, text: &str) {
        self.output().line(text);
    }

    /// Writes an empty line and a heading.
    pub fn heading(&self, text: &str) {
        let text = self.paint(Style::Heading, text);
        self.output().line(&format!("\n{text}"));
    }

    /// Replaces the status, which is below all lines. Where it can't be written over it is a line
    /// now and then.
    pub fn status(&self, text: &str) {
        let mut output = self.output();
        if output.can_overwrite {
            if output.status != text {
                text.clone_into(&mut output.status);
                output.redraw("");
            }
        } else if output.plain_status_at.is_none_or(|at| at.elapsed() >= PLAIN_STATUS_EVERY) {
            output.plain_status_at = Some(Instant::now());
            output.write(&format!("{text}\n"));
        }
    }

    /// Takes the status away. The next one is shown at once.
    pub fn clear_status(&self) {
        let mut output = self.output();
        output.plain_status_at = None;
        if !output.status.is_empty() {
            output.status.clear();
            output.redraw("");
        }
    }

    /// Writes to standard error.
    pub fn complain(&self, text: &str) {
        let _output = self.output();
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// `text` in the colour of `style`, if there are colours.
    #[must_use]
    pub fn paint(&self, style: Style, text: &str) -> String {
        if self.output().colours && style != Style::Plain {
            format!("\x1b[{}m{text}\x1b[0m", style.code())
        } else {
            text.to_owned()
        }
    }

    fn output(&self) -> MutexGuard<'_, Output> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Writes `above` where the status is, and the status below it.
    fn redraw(&mut self, above: &str) {
        self.write(&format!("{CLEAR_LINE}{above}{}", self.status));
    }

    /// In one piece, so that a slow terminal never shows half of it.
    fn write(&mut self, text: &str) {
        let _ = self.to.write_all(text.as_bytes()).and_then(|()| self.to.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was written.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(can_overwrite: bool, write: impl FnOnce(&Terminal)) -> String {
        let paper = Paper::default();
        write(&Terminal::new(Box::new(paper.clone()), can_overwrite, false));
        let bytes = paper.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn tell(terminal: &Terminal) {
        terminal.line("a");
        terminal.status("1");
        terminal.status("2");
        terminal.line("b");
        terminal.clear_status();
        terminal.line("c");
    }

    #[test]
    fn the_status_stays_below_the_lines() {
        let expected = "a\n\r\x1b[2K1\r\x1b[2K2\r\x1b[2Kb\n2\r\x1b[2Kc\n";
        assert_eq!(written(true, tell), expected);
    }

    #[test]
    fn a_file_gets_whole_lines_and_a_status_now_and_then() {
        assert_eq!(written(false, tell), "a\n1\nb\nc\n");
    }

    #[test]
    fn colours_are_left_out_where_there_are_none() {
        let with = |colours| Terminal::new(Box::new(std::io::sink()), true, colours);
        assert_eq!(with(false).paint(Style::Bad, "no"), "no");
        assert_eq!(with(true).paint(Style::Good, "yes"), "\x1b[32myes\x1b[0m");
        assert_eq!(with(true).paint(Style::Plain, "so"), "so");
    }
}
