//! What is promised, and what became of it.

use rig::terminal::{Style, Terminal};

/// How it stands with a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Held,
    Broken,
    /// The demo did not come that far.
    Untested,
}

impl From<bool> for Verdict {
    fn from(held: bool) -> Self {
        if held { Self::Held } else { Self::Broken }
    }
}

/// Something that is promised, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    pub verdict: Verdict,
    pub promise: &'static str,
    pub evidence: String,
}

impl Promise {
    /// As it is printed: the verdict and the promise, and below it the evidence.
    pub fn told(&self, terminal: &Terminal) -> String {
        let (style, word) = match self.verdict {
            Verdict::Held => (Style::Good, "held  "),
            Verdict::Broken => (Style::Bad, "BROKEN"),
            Verdict::Untested => (Style::Notable, "open  "),
        };
        let word = terminal.paint(style, word);
        format!("{word}  {}\n        {}", self.promise, self.evidence)
    }
}
