//! Nothing is left when the owner ends, even by SIGKILL.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use local_cluster::ControlPlane;

use crate::support::{eventually, is_alive, program, signal};

const DEADLINE: Duration = Duration::from_secs(30);

/// Process of `local-cluster start` whose servers are ready.
struct Owner {
    process: Child,
    data_dir: PathBuf,
    servers: Vec<u32>,
}

impl Owner {
    fn start(arguments: &[&str]) -> Self {
        let mut process =
            program().arg("start").args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut data_dir = None;
        let mut servers = Vec::new();
        for line in BufReader::new(process.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(path) = line.strip_prefix("data:") {
                data_dir = Some(PathBuf::from(path.trim()));
            }
            if let Some(pids) = line.strip_prefix("servers:") {
                let pid = |part: &str| part.rsplit(' ').next().unwrap().parse().unwrap();
                servers = pids.split(',').map(pid).collect();
            }
            // The last line. The pipe closes here, so nothing may be written to it after this.
            if line.starts_with("Press Ctrl-C") {
                break;
            }
        }
        let owner = Self { process, data_dir: data_dir.unwrap(), servers };
        assert_eq!(owner.servers.len(), 2);
        assert!(owner.servers.iter().all(|pid| is_alive(*pid)));
        assert!(owner.data_dir.is_dir());
        owner
    }

    fn signal(&self, name: &str) {
        assert!(signal(name, self.process.id()));
    }

    fn expect_no_servers(&self) {
        for pid in &self.servers {
            eventually(DEADLINE, "the servers have ended", || !is_alive(*pid));
        }
    }

    fn expect_nothing_left(&self) {
        self.expect_no_servers();
        eventually(DEADLINE, "the data directory is removed", || !self.data_dir.exists());
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // It has ended already unless the test fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn killed_owner_leaves_nothing_behind() {
    let mut owner = Owner::start(&[]);
    owner.signal("KILL");
    owner.process.wait().unwrap();
    owner.expect_nothing_left();
}

#[test]
fn interrupted_owner_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = dir.path().join("kubeconfig");
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
fn killed_owner_leaves_persistent_data() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for _ in 0..2 {
        let mut owner = Owner::start(&["--data-dir", data.to_str().unwrap()]);
        owner.signal("KILL");
        owner.process.wait().unwrap();
        owner.expect_no_servers();
        assert!(data.join("etcd").is_dir());
    }
}

/// The servers don't react to SIGTERM, and their owner is gone.
#[test]
fn kills_servers_that_hang() {
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
    let expect_gone = |data_dir: &Path, servers: [u32; 2]| {
        assert!(!data_dir.exists());
        assert!(servers.into_iter().all(|pid| !is_alive(pid)));
    };
    let facts = |control_plane: &ControlPlane| {
        let servers = [control_plane.etcd_pid().unwrap(), control_plane.apiserver_pid().unwrap()];
        (control_plane.data_dir().to_path_buf(), servers)
    };
    let (data_dir, servers) = facts(&dropped);
    drop(dropped);
    expect_gone(&data_dir, servers);

    let stopped = ControlPlane::start().await.unwrap();
    let (data_dir, servers) = facts(&stopped);
    stopped.stop().await.unwrap();
    expect_gone(&data_dir, servers);
}

#[tokio::test]
async fn canceled_start_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_path_buf();
    let start = ControlPlane::options().data_dir(&data).start();
    // Long enough to start etcd, too short for the API server.
    let _ = tokio::time::timeout(Duration::from_millis(500), start).await.unwrap_err();
    // The canceled start releases the directory, so that another one can use it.
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
