//! Standard output: lines that stay, and one line below them that is written over.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often the status becomes a line of its own where it can't be written over.
const PLAIN_STATUS_EVERY: Duration = Duration::from_secs(10);

const CLEAR_LINE: &str = "\r\x1b[2K";

/// What a piece of text is, from which its colour follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    /// Something went as it should.
    Good,
    /// Something a person did, or that needs a look.
    Notable,
    /// Something that must not be.
    Bad,
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
pub(crate) struct Terminal(Arc<Mutex<Output>>);

struct Output {
    can_overwrite: bool,
    colours: bool,
    status: String,
    plain_status_at: Option<Instant>,
}

impl Terminal {
    pub(crate) fn stdout() -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let can_overwrite = std::io::stdout().is_terminal() && !is_dumb;
        Self::new(can_overwrite, can_overwrite && !is_set("NO_COLOR"))
    }

    fn new(can_overwrite: bool, colours: bool) -> Self {
        let output =
            Output { can_overwrite, colours, status: String::new(), plain_status_at: None };
        Self(Arc::new(Mutex::new(output)))
    }

    /// Writes a line that stays.
    pub(crate) fn line(&self, text: &str) {
        self.output().line(text);
    }

    /// Writes an empty line and a heading.
    pub(crate) fn heading(&self, text: &str) {
        let text = self.paint(Style::Heading, text);
        self.output().line(&format!("\n{text}"));
    }

    /// Replaces the status, which is below all lines. Where it can't be written over it is a line
    /// now and then.
    pub(crate) fn status(&self, text: &str) {
        let mut output = self.output();
        if output.can_overwrite {
            if output.status != text {
                text.clone_into(&mut output.status);
                output.redraw("");
            }
        } else if output.plain_status_at.is_none_or(|at| at.elapsed() >= PLAIN_STATUS_EVERY) {
            output.plain_status_at = Some(Instant::now());
            write(&format!("{text}\n"));
        }
    }

    /// Takes the status away. The next one is shown at once.
    pub(crate) fn clear_status(&self) {
        let mut output = self.output();
        output.plain_status_at = None;
        if !output.status.is_empty() {
            output.status.clear();
            output.redraw("");
        }
    }

    /// Writes to standard error.
    pub(crate) fn complain(&self, text: &str) {
        let _output = self.output();
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// `text` in the colour of `style`, if there are colours.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
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
            write(&format!("{text}\n"));
        } else {
            self.redraw(&format!("{text}\n"));
        }
    }

    /// Writes `above` where the status is, and the status below it.
    fn redraw(&self, above: &str) {
        write(&format!("{CLEAR_LINE}{above}{}", self.status));
    }
}

/// In one piece, so that a slow terminal never shows half of it.
fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_left_out_where_there_are_none() {
        assert_eq!(Terminal::new(true, false).paint(Style::Bad, "no"), "no");
        assert_eq!(Terminal::new(true, true).paint(Style::Good, "yes"), "\x1b[32myes\x1b[0m");
        assert_eq!(Terminal::new(true, true).paint(Style::Plain, "so"), "so");
    }
}
