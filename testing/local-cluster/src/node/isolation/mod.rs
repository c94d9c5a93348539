//! Namespaces in which everything runs that has to do with pods.
//!
//! The program starts itself anew inside. What goes wrong there stays there: mounts, interfaces and
//! processes end with the namespaces, and control groups and the folder are removed by a process
//! outside, which outlives this one when it is killed.

use std::os::unix::process::CommandExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::{env, fs, io};

use crate::SERVICE_ADDRESS;
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};

use crate::node::ADDRESS;

const OUTER: &str = include_str!("unshare.sh");
const INIT: &str = include_str!("init.sh");

const FOLDER: &str = "NODE_ENCLOSURE_FOLDER";
const GROUP: &str = "NODE_ENCLOSURE_GROUP";

/// What there is inside.
#[derive(Clone, Debug)]
pub struct Enclosure {
    folder: PathBuf,
    group: String,
}

impl Enclosure {
    /// The enclosure that this process is in, if it is in one.
    #[must_use]
    pub fn current() -> Option<Self> {
        let folder = PathBuf::from(env::var_os(FOLDER)?);
        let group = env::var(GROUP).ok()?;
        // The variables alone could have been inherited by something that left.
        let is_inside = std::os::unix::process::parent_id() == 1 && folder.is_dir();
        is_inside.then_some(Self { folder, group })
    }

    /// A folder that goes when everything has ended.
    #[must_use]
    pub fn folder(&self) -> &PathBuf {
        &self.folder
    }

    /// The control group of all pods, in each hierarchy.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }
}

/// Runs this program anew, with the same arguments, in an [`Enclosure`], and returns how it ended
/// there. SIGINT, SIGTERM and SIGHUP are passed on as SIGTERM.
///
/// # Errors
///
/// When it can't be started, for example because this isn't root.
pub async fn enclose() -> Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        bail!("namespaces and control groups need root: run it as root, for example with sudo -E");
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut outer = spawn().context("can't start /bin/sh")?;
    let group = i32::try_from(outer.id()).ok().and_then(Pid::from_raw);
    let group = group.context("a process has no id")?;
    // Its end closes the pipe, whatever ends this process.
    let lifeline = outer.stdin.take();
    let ended = tokio::task::spawn_blocking(move || outer.wait());
    let pass_on = async {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            // It fails when everything has ended already.
            let _ = kill_process_group(group, Signal::TERM);
        }
    };
    let status = tokio::select! {
        ended = ended => ended??,
        () = pass_on => unreachable!("it goes on until the end"),
    };
    drop(lifeline);
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    Ok(code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn spawn() -> io::Result<Child> {
    let folder = tempfile::Builder::new().prefix("auth0-rotator-node-").tempdir()?;
    // Known to /proc/mounts by one name only, and short: it has sockets.
    let path = fs::canonicalize(folder.path())?;
    let name = path.file_name().unwrap_or_default().to_os_string();
    for inside in ["tmp", "logs"] {
        fs::create_dir(path.join(inside))?;
    }
    let init = path.join("init.sh");
    fs::write(&init, INIT)?;
    let outer = Command::new("/bin/sh")
        .args(["-c", OUTER, "node-enclosure"])
        .arg(&path)
        .arg(&name)
        .arg(&init)
        .arg(&path)
        .arg(&name)
        .args([ADDRESS.to_string(), SERVICE_ADDRESS.to_string()])
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(FOLDER, &path)
        .env(GROUP, &name)
        // What has to be somewhere for a while goes with the folder, too.
        .env("TMPDIR", path.join("tmp"))
        .stdin(Stdio::piped())
        // A group of its own: SIGINT from the terminal must reach this process only.
        .process_group(0)
        .spawn()?;
    // From here on it is removed by that process.
    let _ = folder.keep();
    Ok(outer)
}
