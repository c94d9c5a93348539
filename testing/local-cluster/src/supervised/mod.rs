//! Child processes and directories that go away with this process, even if SIGKILL ends it.
//!
//! A process that is killed by SIGKILL can't clean up, and asking the kernel to do so
//! (`PR_SET_PDEATHSIG`) needs unsafe code and works on Linux only. Therefore each child runs under
//! a small shell process, its supervisor, which reads from a pipe that this process holds open.
//! When this process ends for any reason, the kernel closes the pipe, and the supervisor ends the
//! child.
//!
//! - [`SupervisedProcess`] is a program that ends with this process.
//! - [`SupervisedDir`] is a temporary directory that is removed when this process has ended, after
//!   the last program that uses it.
//!
//! ```no_run
//! use std::process::Command;
//!
//! use local_cluster::supervised::{SpawnOptions, SupervisedDir, SupervisedProcess};
//!
//! # fn example() -> std::io::Result<()> {
//! let dir = SupervisedDir::new(tempfile::tempdir()?)?;
//! let mut command = Command::new("auth0-rotator");
//! command.arg("run").env("KUBECONFIG", "/path/to/kubeconfig");
//! let options = SpawnOptions { supervisor_stderr: dir.attach()?, ..SpawnOptions::default() };
//! let mut operator =
//!     SupervisedProcess::spawn(&command, &dir.path().join("operator.log"), options)?;
//! println!("process id {}", operator.pid()); // for SIGSTOP and other signals
//! operator.terminate()?;
//! # Ok(())
//! # }
//! ```

mod dir;
mod process;

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

pub use dir::SupervisedDir;
pub use process::{SpawnOptions, SupervisedProcess};

/// Returns a command that runs `script` with a pipe as its standard input.
fn supervisor(script: &str, name: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    // In its own process group: Ctrl-C in a terminal must reach this process, not its children.
    command.arg("-c").arg(script).arg(name).process_group(0).stdin(Stdio::piped());
    command
}
