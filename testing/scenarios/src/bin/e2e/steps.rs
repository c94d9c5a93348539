//! Numbered steps with their durations.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use scenarios::timeline::seconds;
use testkit::terminal::{Style, Terminal};

/// Prints each step when it is complete. Clones share the number.
#[derive(Clone)]
pub(crate) struct Steps {
    terminal: Terminal,
    started: Instant,
    completed: Arc<Mutex<usize>>,
}

impl Steps {
    pub(crate) fn start(terminal: &Terminal) -> Self {
        Self { terminal: terminal.clone(), started: Instant::now(), completed: Arc::default() }
    }

    /// Runs a step, and prints what `describe` says about its result.
    pub(crate) async fn run<T>(
        &self,
        name: &str,
        step: impl Future<Output = Result<T>>,
        describe: impl FnOnce(&T) -> String,
    ) -> Result<T> {
        self.terminal.status(&format!("  {name}"));
        let since = Instant::now();
        let result = step.await.with_context(|| name.to_owned())?;
        let mut completed = self.completed.lock();
        *completed += 1;
        let title = format!("== step {:>2}  {name:<20}", *completed);
        let title = self.terminal.paint(Style::Notable, &title);
        let (text, took) = (describe(&result), seconds(since.elapsed()));
        self.terminal.clear_status();
        self.terminal.line(&format!("{title}  {text} ({took})"));
        Ok(result)
    }

    pub(crate) fn completed(&self) -> usize {
        *self.completed.lock()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}
