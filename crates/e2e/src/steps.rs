//! The steps, and how long each took.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rig::terminal::{Style, Terminal};
use testbed::timeline::seconds;

/// Tells each step when it is done. Clones count together.
#[derive(Clone)]
pub(crate) struct Steps {
    terminal: Terminal,
    since: Instant,
    done: Arc<Mutex<usize>>,
}

impl Steps {
    pub(crate) fn begin(terminal: &Terminal) -> Self {
        Self { terminal: terminal.clone(), since: Instant::now(), done: Arc::default() }
    }

    /// Does a step, and tells `text` of what came out of it.
    pub(crate) async fn take<T>(
        &self,
        name: &str,
        step: impl Future<Output = Result<T>>,
        text: impl FnOnce(&T) -> String,
    ) -> Result<T> {
        self.terminal.status(&format!("  {name}"));
        let since = Instant::now();
        let result = step.await.with_context(|| name.to_owned())?;
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        *done += 1;
        let title = format!("== step {:>2}  {name:<20}", *done);
        let title = self.terminal.paint(Style::Notable, &title);
        let took = seconds(since.elapsed());
        let (text, took) = (text(&result), took.trim());
        self.terminal.clear_status();
        self.terminal.line(&format!("{title}  {text} ({took})"));
        Ok(result)
    }

    /// How many are done, and since when they are being done.
    pub(crate) fn so_far(&self) -> (usize, Duration) {
        (*self.done.lock().unwrap_or_else(PoisonError::into_inner), self.since.elapsed())
    }
}
