//! Assertions of a report.

use crate::terminal::{Style, Terminal};

/// Result of an [`Assertion`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionResult {
    Passed,
    Failed,
    /// The scenario was aborted before the assertion could be checked.
    Skipped,
}

impl From<bool> for AssertionResult {
    fn from(passed: bool) -> Self {
        if passed { Self::Passed } else { Self::Failed }
    }
}

/// A statement about a scenario, and whether it was true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    pub result: AssertionResult,
    pub statement: &'static str,
    /// The numbers that the result is based on.
    pub detail: String,
}

impl Assertion {
    /// Returns two lines: the result with the statement, and the detail.
    #[must_use]
    pub fn format(&self, terminal: &Terminal) -> String {
        let (style, word) = match self.result {
            AssertionResult::Passed => (Style::Good, "passed "),
            AssertionResult::Failed => (Style::Bad, "FAILED "),
            AssertionResult::Skipped => (Style::Notable, "skipped"),
        };
        let word = terminal.paint(style, word);
        format!("{word}  {}\n         {}", self.statement, self.detail)
    }
}
