//! The command line of etcd.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

pub(crate) const NAME: &str = "etcd";
/// Its data, below the directory of the control plane.
pub(crate) const DATA_DIR: &str = "etcd";
/// Time between SIGTERM and SIGKILL.
pub(crate) const GRACE_PERIOD: Duration = Duration::from_secs(5);
/// The client endpoint: a Unix socket in the working directory. It takes no port that another
/// process could grab, and only users who may enter the data directory reach the data. The path is
/// relative because etcd parses it as host name and port.
pub(crate) const CLIENT_URL: &str = "unix://etcd-client:0";
const PEER_URL: &str = "unix://etcd-peer:0";

/// Returns the command that runs etcd in `dir`.
pub(crate) fn command(executable: &Path, dir: &Path, fsync: bool) -> Command {
    let mut command = Command::new(executable);
    command
        .current_dir(dir)
        .arg("--name=local-cluster")
        .arg(format!("--data-dir={DATA_DIR}"))
        .arg(format!("--listen-client-urls={CLIENT_URL}"))
        .arg(format!("--advertise-client-urls={CLIENT_URL}"))
        .arg(format!("--listen-peer-urls={PEER_URL}"))
        .arg(format!("--initial-advertise-peer-urls={PEER_URL}"))
        .arg(format!("--initial-cluster=local-cluster={PEER_URL}"));
    if !fsync {
        command.arg("--unsafe-no-fsync");
    }
    // etcd reads these variables as flags.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ETCD_") {
            command.env_remove(name);
        }
    }
    command
}

/// Returns the path of the socket that etcd creates when it is ready for clients.
pub(crate) fn socket(dir: &Path) -> PathBuf {
    dir.join(CLIENT_URL.trim_start_matches("unix://"))
}
