//! What doesn't start says why.

use std::time::Duration;

use local_cluster::{ControlPlane, Error};

use crate::support::program;

#[tokio::test]
async fn an_api_server_that_does_not_start_shows_its_log() {
    let start = ControlPlane::options().apiserver_arg("--no-such-flag").start();
    let error = start.await.unwrap_err();
    assert!(matches!(error, Error::Ended { server: "kube-apiserver", .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("exit status: 1"), "{message}");
    assert!(message.contains("unknown flag: --no-such-flag"), "{message}");
}

#[tokio::test]
async fn a_port_that_is_taken_shows_in_the_log() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let start = ControlPlane::options().apiserver_arg(format!("--secure-port={port}")).start();
    let message = start.await.unwrap_err().to_string();
    assert!(message.contains("address already in use"), "{message}");
}

/// An API server that runs but isn't where it is expected.
#[tokio::test]
async fn an_api_server_that_does_not_answer_shows_its_log() {
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
fn a_folder_that_lacks_a_server_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    for assets in [folder.path(), &missing] {
        let output = program().arg("start").env("KUBEBUILDER_ASSETS", assets).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let message = String::from_utf8(output.stderr).unwrap();
        let expected = format!("KUBEBUILDER_ASSETS is {}, but", assets.display());
        assert!(message.contains(&expected), "{message}");
        assert!(message.contains("no executable etcd"), "{message}");
    }
}
