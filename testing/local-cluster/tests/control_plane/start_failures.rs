//! The error of a failed start says why.

use std::time::Duration;

use local_cluster::{ControlPlane, Error};

use crate::support::program;

#[tokio::test]
async fn error_has_the_log_of_an_api_server_that_exits() {
    let start = ControlPlane::options().apiserver_arg("--no-such-flag").start();
    let error = start.await.unwrap_err();
    assert!(matches!(error, Error::Exited { server: "kube-apiserver", .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("exit status: 1"), "{message}");
    assert!(message.contains("unknown flag: --no-such-flag"), "{message}");
}

#[tokio::test]
async fn error_names_a_port_that_is_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let start = ControlPlane::options().apiserver_arg(format!("--secure-port={port}")).start();
    let message = start.await.unwrap_err().to_string();
    assert!(message.contains("address already in use"), "{message}");
}

/// The API server runs, but listens on another port.
#[tokio::test]
async fn error_has_the_log_of_an_api_server_that_does_not_become_ready() {
    let options = ControlPlane::options().start_deadline(Duration::from_secs(3));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let start = options.apiserver_arg(format!("--secure-port={free}")).start();
    let error = start.await.unwrap_err();
    assert!(matches!(error, Error::NotReady { server: "kube-apiserver", .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("was not ready after 3s"), "{message}");
    assert!(message.contains("refused"), "{message}");
    assert!(message.lines().count() > 2, "{message}");
}

#[test]
fn error_names_assets_dir_that_lacks_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    for assets in [dir.path(), &missing] {
        let output = program().arg("start").env("KUBEBUILDER_ASSETS", assets).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let message = String::from_utf8(output.stderr).unwrap();
        let expected = format!("KUBEBUILDER_ASSETS is {}, which", assets.display());
        assert!(message.contains(&expected), "{message}");
        assert!(message.contains("no executable etcd"), "{message}");
    }
}
