//! The operator's processes: one that normally runs, and sometimes a second one.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;
use local_cluster::supervised::SupervisedDir;
use parking_lot::{Mutex, MutexGuard};
use testkit::{
    Signal,
    operator::{Operator, OperatorCommand},
};

use crate::clients::{PROPAGATION_WINDOW, seconds};

pub(crate) struct Operators {
    command: OperatorCommand,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    /// `None` while it is killed.
    first: Option<Operator>,
    second: Option<Operator>,
}

impl Operators {
    /// Starts the first process.
    pub(crate) fn start(
        executable: PathBuf,
        kubeconfig: PathBuf,
        log_dir: Arc<SupervisedDir>,
    ) -> Result<Self> {
        let command = OperatorCommand::new(executable, kubeconfig, log_dir)
            .args(["--allow-http-endpoints", "--log-level", "trace"])
            .args(["--propagation-window", &seconds(PROPAGATION_WINDOW)]);
        let operators = Self { command, running: Mutex::default() };
        operators.ensure_first()?;
        Ok(operators)
    }

    pub(crate) fn log_dir(&self) -> &Path {
        self.command.log_dir.path()
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock()
    }

    /// Starts the first process if it doesn't run.
    pub(crate) fn ensure_first(&self) -> Result<()> {
        let mut running = self.lock();
        if running.first.is_none() {
            running.first = Some(self.command.spawn()?);
        }
        Ok(())
    }

    /// Starts a second process.
    pub(crate) fn start_second(&self) -> Result<()> {
        self.lock().second = Some(self.command.spawn()?);
        Ok(())
    }

    /// Kills the first process.
    pub(crate) fn kill_first(&self) {
        let killed = self.lock().first.take();
        drop(killed);
    }

    /// Kills one of two processes. The other one is the first one from then on.
    pub(crate) fn kill_one_of_two(&self, kill_second: bool) {
        let mut running = self.lock();
        let second = running.second.take();
        let killed =
            if kill_second { second } else { std::mem::replace(&mut running.first, second) };
        drop(running);
        drop(killed);
    }

    /// Kills all processes.
    pub(crate) fn kill_all(&self) {
        *self.lock() = Running::default();
    }

    /// Sends SIGSTOP to the first process.
    pub(crate) fn pause_first(&self) -> Result<()> {
        self.lock().first.as_ref().map_or(Ok(()), |first| first.signal(Signal::STOP))
    }

    /// Sends SIGCONT to the first process.
    pub(crate) fn resume_first(&self) -> Result<()> {
        self.lock().first.as_ref().map_or(Ok(()), |first| first.signal(Signal::CONT))
    }

    /// Fails when a process has exited unexpectedly.
    pub(crate) fn check(&self) -> Result<()> {
        let mut running = self.lock();
        let Running { first, second } = &mut *running;
        [first, second].into_iter().flatten().try_for_each(Operator::check)
    }

    /// Kills all processes and starts one that runs undisturbed.
    pub(crate) fn restart(&self) -> Result<()> {
        self.kill_all();
        self.ensure_first()
    }

    /// Terminates the first process and kills the second one.
    pub(crate) async fn terminate(&self) -> Result<()> {
        let Running { first, second } = std::mem::take(&mut *self.lock());
        drop(second);
        if let Some(first) = first {
            first.terminate().await?;
        }
        Ok(())
    }
}
