//! A component of the node as a process: containerd, the kubelet, and so on.

use std::{
    fs::File,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::log_tail::log_tail;

/// Running component. Dropping it kills the process, which otherwise ends with the PID namespace.
#[derive(Debug)]
pub(crate) struct Component {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Component {
    /// Starts `command` and writes its output to a file in `log_dir` that is named after it.
    pub(crate) fn spawn(name: &'static str, mut command: Command, log_dir: &Path) -> Result<Self> {
        let log = log_dir.join(format!("{name}.log"));
        let output =
            File::create(&log).with_context(|| format!("can't write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // In its own process group: SIGTERM is meant for the program that started it.
            .process_group(0)
            .spawn()
            .with_context(|| format!("can't run {name}"))?;
        Ok(Self { name, child, log })
    }

    /// Checks that the process runs.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} exited unexpectedly ({status}); {}", self.name, self.log_tail());
        }
        Ok(())
    }

    /// Returns the last lines of the log, for an error message.
    pub(crate) fn log_tail(&self) -> String {
        format!("the last lines of {}:\n{}", self.log.display(), log_tail(&self.log))
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        // Fails if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
