//! Assertions of a report.

use crate::terminal::{Style, Terminal};

/// Longest line of a detail, in bytes.
const LINE_LENGTH: usize = 100;

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
    /// Returns the result with the statement, and below it the detail.
    pub fn format(&self, terminal: &Terminal) -> String {
        let (style, word) = match self.result {
            AssertionResult::Passed => (Style::Good, "passed "),
            AssertionResult::Failed => (Style::Bad, "FAILED "),
            AssertionResult::Skipped => (Style::Notable, "skipped"),
        };
        let word = terminal.paint(style, word);
        let mut text = format!("{word}  {}", self.statement);
        for line in wrap(&self.detail) {
            text.push_str(&format!("\n         {line}"));
        }
        text
    }
}

/// Breaks a text at spaces into lines of at most [`LINE_LENGTH`] bytes, if its words permit it.
fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= LINE_LENGTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_details_are_wrapped() {
        assert_eq!(wrap("3 of 3 Secrets"), ["3 of 3 Secrets"]);
        let lines = wrap(&"Events.json, ".repeat(10));
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line.len() <= LINE_LENGTH));
    }
}
