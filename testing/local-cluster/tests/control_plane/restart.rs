//! The API server can be stopped, killed, and started again.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use local_cluster::ControlPlane;

use crate::support::{create_config_map, create_namespace, eventually, is_alive, signal};

#[tokio::test]
async fn restarted_api_server_has_its_data() {
    let control_plane = ControlPlane::start().await.unwrap();
    // The same client all the time, because port and certificates stay the same.
    let client = Client::try_from(control_plane.client_config()).unwrap();
    create_namespace(&client, "kept").await;
    create_config_map(&client, "kept", "one").await.unwrap();
    let maps = Api::<ConfigMap>::namespaced(client.clone(), "kept");

    let first = control_plane.apiserver_pid().unwrap();
    control_plane.restart_apiserver().await.unwrap();
    let second = control_plane.apiserver_pid().unwrap();
    assert_ne!(first, second);
    assert!(!is_alive(first));
    maps.get("one").await.unwrap();

    control_plane.stop_apiserver().await.unwrap();
    assert_eq!(control_plane.apiserver_pid(), None);
    assert!(control_plane.check().is_ok());
    let error = maps.get("one").await.unwrap_err();
    assert!(!matches!(error, kube::Error::Api(_)), "{error}");
    control_plane.start_apiserver().await.unwrap();
    // It already runs, so nothing changes.
    let third = control_plane.apiserver_pid().unwrap();
    control_plane.start_apiserver().await.unwrap();
    assert_eq!(control_plane.apiserver_pid(), Some(third));
    maps.get("one").await.unwrap();

    control_plane.kill_apiserver().await.unwrap();
    assert!(!is_alive(third));
    control_plane.start_apiserver().await.unwrap();
    maps.get("one").await.unwrap();
    control_plane.stop().await.unwrap();
}

#[tokio::test]
async fn check_reports_a_killed_server() {
    let control_plane = ControlPlane::start().await.unwrap();
    control_plane.check().unwrap();
    assert!(signal("KILL", control_plane.apiserver_pid().unwrap()));
    eventually(Duration::from_secs(10), "the exit is noticed", || control_plane.check().is_err());
    let error = control_plane.check().unwrap_err().to_string();
    assert!(error.contains("kube-apiserver exited unexpectedly (exit status: 137)"), "{error}");
    assert_eq!(control_plane.apiserver_pid(), None);
    control_plane.start_apiserver().await.unwrap();
    control_plane.check().unwrap();
}

#[tokio::test]
async fn persistent_data_dir_is_locked_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let first = ControlPlane::options().data_dir(&data).start().await.unwrap();
    let client = Client::try_from(first.client_config()).unwrap();
    create_namespace(&client, "kept").await;
    let second = ControlPlane::options().data_dir(&data).start().await.unwrap_err();
    assert!(
        second.to_string().contains("another control plane uses the data directory"),
        "{second}"
    );
    first.stop().await.unwrap();

    let again = ControlPlane::options().data_dir(&data).etcd_fsync(true).start().await.unwrap();
    let client = Client::try_from(again.client_config()).unwrap();
    Api::<k8s_openapi::api::core::v1::Namespace>::all(client).get("kept").await.unwrap();
    drop(again);
    assert!(data.join("etcd").is_dir());
}
