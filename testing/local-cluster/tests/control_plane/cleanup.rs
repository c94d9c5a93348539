//! Nothing is left when the owner ends, however it does.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use local_cluster::ControlPlane;

use crate::support::{eventually, is_alive, program, signal};

const DEADLINE: Duration = Duration::from_secs(30);

/// `control-plane start`, ready.
struct Owner {
    process: Child,
    folder: PathBuf,
    servers: Vec<u32>,
}

impl Owner {
    fn start(arguments: &[&str]) -> Self {
        let mut process =
            program().arg("start").args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut folder = None;
        let mut servers = Vec::new();
        for line in BufReader::new(process.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(path) = line.strip_prefix("folder:") {
                folder = Some(PathBuf::from(path.trim()));
            }
            if let Some(pids) = line.strip_prefix("servers:") {
                let pid = |part: &str| part.rsplit(' ').next().unwrap().parse().unwrap();
                servers = pids.split(',').map(pid).collect();
            }
            // The last line: from here on nothing is written to the pipe, which closes now.
            if line.starts_with("Interrupt") {
                break;
            }
        }
        let owner = Self { process, folder: folder.unwrap(), servers };
        assert_eq!(owner.servers.len(), 2);
        assert!(owner.servers.iter().all(|pid| is_alive(*pid)));
        assert!(owner.folder.is_dir());
        owner
    }

    fn signal(&self, name: &str) {
        assert!(signal(name, self.process.id()));
    }

    fn expect_no_servers(&self) {
        for pid in &self.servers {
            eventually(DEADLINE, "the servers are gone", || !is_alive(*pid));
        }
    }

    fn expect_nothing_left(&self) {
        self.expect_no_servers();
        eventually(DEADLINE, "the folder is gone", || !self.folder.exists());
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // It has ended already, unless the test fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_killed_owner_leaves_nothing_behind() {
    let mut owner = Owner::start(&[]);
    owner.signal("KILL");
    owner.process.wait().unwrap();
    owner.expect_nothing_left();
}

#[test]
fn an_interrupted_owner_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    for name in ["INT", "TERM"] {
        let mut owner = Owner::start(&["--kubeconfig", kubeconfig.to_str().unwrap()]);
        assert!(kubeconfig.is_file());
        owner.signal(name);
        assert!(owner.process.wait().unwrap().success());
        owner.expect_nothing_left();
        assert!(!kubeconfig.exists());
    }
}

#[test]
fn a_killed_owner_leaves_the_data_it_was_to_keep() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for _ in 0..2 {
        let mut owner = Owner::start(&["--data-dir", data.to_str().unwrap()]);
        owner.signal("KILL");
        owner.process.wait().unwrap();
        owner.expect_no_servers();
        assert!(data.join("etcd").is_dir());
    }
}

/// An API server that doesn't react to SIGTERM, and an owner that is gone.
#[test]
fn a_server_that_hangs_is_killed() {
    let mut owner = Owner::start(&[]);
    for pid in &owner.servers {
        assert!(signal("STOP", *pid));
    }
    owner.signal("KILL");
    owner.process.wait().unwrap();
    owner.expect_nothing_left();
}

#[tokio::test]
async fn drop_and_stop_leave_nothing_behind() {
    let dropped = ControlPlane::start().await.unwrap();
    let expect_gone = |folder: &Path, servers: [u32; 2]| {
        assert!(!folder.exists());
        assert!(servers.into_iter().all(|pid| !is_alive(pid)));
    };
    let facts = |control_plane: &ControlPlane| {
        let servers = [control_plane.etcd_pid().unwrap(), control_plane.apiserver_pid().unwrap()];
        (control_plane.data_dir().to_path_buf(), servers)
    };
    let (folder, servers) = facts(&dropped);
    drop(dropped);
    expect_gone(&folder, servers);

    let stopped = ControlPlane::start().await.unwrap();
    let (folder, servers) = facts(&stopped);
    stopped.stop().await.unwrap();
    expect_gone(&folder, servers);
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_path_buf();
    let start = ControlPlane::options().data_dir(&data).start();
    // Long enough to get to etcd, not long enough for the API server.
    let _ = tokio::time::timeout(Duration::from_millis(500), start).await.unwrap_err();
    // Whatever was under way ends, so that the folder can be had again.
    let again = async {
        loop {
            let Ok(control_plane) = ControlPlane::options().data_dir(&data).start().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            break control_plane;
        }
    };
    tokio::time::timeout(DEADLINE, again).await.unwrap();
}
