//! Linux namespaces in which everything runs that has to do with Pods.
//!
//! The program runs itself again inside. Problems there don't affect the machine: mounts, network
//! interfaces and processes end with the namespaces. A shell process outside, which outlives this
//! one if it is killed, removes the cgroups and the directory.

use std::{
    env, fs, io,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};

use super::ADDRESS;
use crate::SERVICE_ADDRESS;

const UNSHARE_SCRIPT: &str = include_str!("unshare.sh");
const INIT_SCRIPT: &str = include_str!("init.sh");

const DIR_VARIABLE: &str = "LOCAL_CLUSTER_ISOLATION_DIR";
const CGROUP_VARIABLE: &str = "LOCAL_CLUSTER_ISOLATION_CGROUP";

/// The Linux namespaces that this process runs in, with their directory and cgroup.
#[derive(Clone, Debug)]
pub struct Isolation {
    dir: PathBuf,
    cgroup: String,
}

impl Isolation {
    /// Returns the isolation of this process, or `None` if [`run_isolated`] didn't start it.
    #[must_use]
    pub fn current() -> Option<Self> {
        let dir = PathBuf::from(env::var_os(DIR_VARIABLE)?);
        let cgroup = env::var(CGROUP_VARIABLE).ok()?;
        // A process that has left the namespaces could still have the variables.
        let is_inside = std::os::unix::process::parent_id() == 1 && dir.is_dir();
        is_inside.then_some(Self { dir, cgroup })
    }

    /// A directory that is removed when everything inside has ended.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The name of the cgroup of all Pods, in each hierarchy.
    #[must_use]
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }
}

/// Runs this program again in an [`Isolation`], with the same arguments, and returns its exit code.
/// SIGINT, SIGTERM and SIGHUP are forwarded as SIGTERM.
///
/// # Errors
///
/// When it can't be started, for example because this process isn't root.
pub async fn run_isolated() -> Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        bail!("namespaces and cgroups need root: run it as root, for example with sudo -E");
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut child = spawn().context("can't start /bin/sh")?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let group = group.context("a process has no id")?;
    // However this process ends, the kernel closes the pipe, and everything inside ends.
    let pipe = child.stdin.take();
    let mut ended = tokio::task::spawn_blocking(move || child.wait());
    let status = loop {
        tokio::select! {
            status = &mut ended => break status??,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        // Fails if everything has ended already.
        let _ = kill_process_group(group, Signal::TERM);
    };
    drop(pipe);
    Ok(exit_code(status))
}

/// Returns the exit code of a process, or 128 + n after the signal n.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    match code.map(u8::try_from) {
        Some(Ok(code)) => ExitCode::from(code),
        Some(Err(_)) | None => ExitCode::FAILURE,
    }
}

fn spawn() -> io::Result<Child> {
    let dir = tempfile::Builder::new().prefix("auth0-rotator-node-").tempdir()?;
    // The canonical path, because /proc/mounts shows that one. It is short, because the paths of
    // sockets have a limit.
    let path = fs::canonicalize(dir.path())?;
    let name = path.file_name().unwrap_or_default().to_os_string();
    for subdir in ["tmp", "logs"] {
        fs::create_dir(path.join(subdir))?;
    }
    let init = path.join("init.sh");
    fs::write(&init, INIT_SCRIPT)?;
    let child = Command::new("/bin/sh")
        .args(["-c", UNSHARE_SCRIPT, "node-isolation"])
        .arg(&path)
        .arg(&name)
        .arg(&init)
        .arg(&path)
        .arg(&name)
        .args([ADDRESS.to_string(), SERVICE_ADDRESS.to_string()])
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(DIR_VARIABLE, &path)
        .env(CGROUP_VARIABLE, &name)
        // Temporary files are removed with the directory, too.
        .env("TMPDIR", path.join("tmp"))
        .stdin(Stdio::piped())
        // In its own process group: Ctrl-C in a terminal must reach this process only.
        .process_group(0)
        .spawn()?;
    // The shell process removes it.
    let _ = dir.keep();
    Ok(child)
}
