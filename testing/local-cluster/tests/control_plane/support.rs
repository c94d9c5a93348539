//! Helpers that several tests share.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{Api, Client, api::PostParams};

/// Waits until `condition` holds; the test fails after `deadline`.
pub(crate) fn eventually(deadline: Duration, what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Returns whether the process runs. A zombie doesn't.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    !stat.is_ok_and(|stat| stat.contains(") Z ")) && signal("0", pid)
}

/// Sends a signal and returns whether the process existed.
pub(crate) fn signal(signal: &str, pid: u32) -> bool {
    let mut kill = Command::new("/bin/sh");
    kill.args(["-c", "kill -s \"$1\" \"$2\"", "sh", signal]).arg(pid.to_string());
    kill.stderr(Stdio::null()).status().unwrap().success()
}

/// Returns a command that runs the `local-cluster` executable.
pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_local-cluster"))
}

pub(crate) async fn create_namespace(client: &Client, name: &str) {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.to_owned());
    let api = Api::<Namespace>::all(client.clone());
    api.create(&PostParams::default(), &namespace).await.unwrap();
}

pub(crate) async fn create_config_map(
    client: &Client,
    namespace: &str,
    name: &str,
) -> kube::Result<ConfigMap> {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map.data = Some(BTreeMap::from([("key".to_owned(), "value".to_owned())]));
    Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &map).await
}

/// Writes an executable shell script.
pub(crate) fn write_script(path: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, format!("#!/bin/sh\n{script}")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
