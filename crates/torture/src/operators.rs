//! The operator's processes: one that has to run, and a second one now and then.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};
use rig::operator::{self, Operator};

use crate::fleet::{WINDOW, seconds};

/// The operator's processes.
pub(crate) struct Operators {
    start: operator::Start,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    /// `None` while it is killed.
    first: Option<Operator>,
    second: Option<Operator>,
    /// A process of its own has a log of its own.
    started: u64,
}

impl Operators {
    /// Starts the first one.
    pub(crate) fn start(executable: PathBuf, kubeconfig: PathBuf, folder: &Path) -> Result<Self> {
        let mut arguments = operator::arguments(&seconds(WINDOW));
        arguments.extend(["--log-level", "trace"].map(str::to_owned));
        let log = String::new();
        let start =
            operator::Start { executable, arguments, kubeconfig, folder: folder.into(), log };
        let operators = Self { start, running: Mutex::default() };
        operators.first()?;
        Ok(operators)
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, running: &mut Running) -> Result<Operator> {
        running.started += 1;
        let log = format!("operator-{}.log", running.started);
        Operator::start(operator::Start { log, ..self.start.clone() })
    }

    /// Starts the first one, if it doesn't run.
    pub(crate) fn first(&self) -> Result<()> {
        let mut running = self.lock();
        if running.first.is_none() {
            running.first = Some(self.spawn(&mut running)?);
        }
        Ok(())
    }

    /// Starts a second one.
    pub(crate) fn second(&self) -> Result<()> {
        let mut running = self.lock();
        running.second = Some(self.spawn(&mut running)?);
        Ok(())
    }

    /// Kills the first one.
    pub(crate) fn kill(&self) {
        let killed = self.lock().first.take();
        drop(killed);
    }

    /// Kills one of two; the other one is the first one from then on.
    pub(crate) fn kill_one_of_two(&self, second: bool) {
        let mut running = self.lock();
        let other = running.second.take();
        let killed = if second { other } else { std::mem::replace(&mut running.first, other) };
        drop(running);
        drop(killed);
    }

    /// Stops the first one.
    pub(crate) fn pause(&self) -> Result<()> {
        self.lock().first.as_ref().map_or(Ok(()), Operator::pause)
    }

    /// Lets the first one go on.
    pub(crate) fn go_on(&self) -> Result<()> {
        self.lock().first.as_ref().map_or(Ok(()), Operator::go_on)
    }

    /// Fails when a process has ended by itself.
    pub(crate) fn check(&self) -> Result<()> {
        let mut running = self.lock();
        let Running { first, second, .. } = &mut *running;
        for operator in [first, second].into_iter().flatten() {
            if let Some(obituary) = operator.ended()? {
                bail!(obituary);
            }
        }
        Ok(())
    }

    /// Kills what runs, and starts one that runs undisturbed.
    pub(crate) fn renew(&self) -> Result<()> {
        let mut running = self.lock();
        running.first = None;
        running.second = None;
        running.first = Some(self.spawn(&mut running)?);
        Ok(())
    }

    /// Kills all.
    pub(crate) fn kill_all(&self) {
        let mut running = self.lock();
        (running.first, running.second) = (None, None);
    }

    /// Asks the first one to end, and waits for that.
    pub(crate) fn end(&self) -> Result<()> {
        let mut running = self.lock();
        running.second = None;
        running.first.as_mut().map_or(Ok(()), Operator::terminate)
    }
}
