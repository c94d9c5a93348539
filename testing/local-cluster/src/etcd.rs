//! The command line of etcd.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub(crate) const NAME: &str = "etcd";
/// Between SIGTERM and SIGKILL.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
/// Where clients reach it: a Unix socket in the working folder, so there is no port to race for and
/// only who may enter the data folder gets to the data. The path must be relative, since etcd
/// takes it as host name and port.
pub(crate) const CLIENT_URL: &str = "unix://etcd-client:0";
const PEER_URL: &str = "unix://etcd-peer:0";

/// The command that runs etcd in `folder`.
pub(crate) fn command(executable: &Path, folder: &Path, fsync: bool) -> Command {
    let mut command = Command::new(executable);
    command
        .current_dir(folder)
        .arg("--name=control-plane")
        .arg("--data-dir=etcd")
        .arg(format!("--listen-client-urls={CLIENT_URL}"))
        .arg(format!("--advertise-client-urls={CLIENT_URL}"))
        .arg(format!("--listen-peer-urls={PEER_URL}"))
        .arg(format!("--initial-advertise-peer-urls={PEER_URL}"))
        .arg(format!("--initial-cluster=control-plane={PEER_URL}"));
    if !fsync {
        command.arg("--unsafe-no-fsync");
    }
    // Settings in the environment would count like flags.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ETCD_") {
            command.env_remove(name);
        }
    }
    command
}

/// The socket that etcd creates when it is ready for clients.
pub(crate) fn socket(folder: &Path) -> PathBuf {
    folder.join(CLIENT_URL.trim_start_matches("unix://"))
}
