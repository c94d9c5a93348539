//! The manifests that people apply, with the tools that they use.

use std::{fs, process::Command};

use auth0_rotator::api::crds_yaml;
use testkit::fixture::shared_control_plane;

#[test]
fn the_folder_crds_has_what_the_binary_prints() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let printed = crds_yaml().unwrap();
    let names: Vec<_> = printed.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(files, names);
    for (name, text) in printed {
        let stored = fs::read_to_string(format!("{folder}/{name}")).unwrap();
        assert!(stored == text, "crds/{name} is out of date: run make crds");
    }
}

#[test]
fn wrong_use_is_told_with_status_2() {
    for arguments in [
        vec!["run", "--namespace", "Shop"],
        vec!["run", "--concurrency", "0"],
        vec!["run", "--metrics-addr", "here"],
        vec!["run", "--propagation-window", "-5s"],
        vec!["run", "--leader-elect-renew-deadline", "12s"],
        vec!["run", "--leader-elect-resource-name", "My Lease"],
        vec!["wait-ready"],
        vec!["wait-ready", "here"],
        vec!["walk"],
        vec![],
    ] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_auth0-rotator")).args(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn a_cluster_that_is_not_there_is_told_with_status_1() {
    let output = Command::new(env!("CARGO_BIN_EXE_auth0-rotator"))
        .args(["run", "--metrics-addr", "127.0.0.1:0", "--health-addr", "127.0.0.1:0"])
        .env("KUBECONFIG", "/nowhere")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("set KUBECONFIG"), "{said}");
}

#[test]
fn a_port_that_is_taken_is_told_with_status_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::TempDir::new().unwrap();
    let kubeconfig = folder.path().join("config");
    let config = "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
                  clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n\
                  users: [{name: c, user: {}}]\ncontexts: [{name: c, context: {cluster: c, user: c}}]\n";
    fs::write(&kubeconfig, config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_auth0-rotator"))
        .args(["run", "--metrics-addr", &address, "--health-addr", "127.0.0.1:0"])
        .env("KUBECONFIG", kubeconfig)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--metrics-addr") && said.contains(&address), "{said}");
}

#[tokio::test]
async fn kubectl_explains_and_lists_the_resources() {
    let control_plane = shared_control_plane().await;
    let kubectl = |arguments: &[&str]| {
        let output = control_plane.kubectl().unwrap().args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    };
    let explained = kubectl(&["explain", "csrot.spec.gracePeriod"]);
    assert!(explained.contains("stays in the Secret as a fallback"), "{explained}");
    // Every field of the spec says what it is for.
    let explained = kubectl(&["explain", "clientsecretrotation.spec", "--recursive"]);
    for field in ["clientId", "tenantRef", "schedule", "strategy", "staging", "target", "suspend"] {
        assert!(explained.contains(field), "{field}: {explained}");
    }
    let listed = kubectl(&["api-resources", "--categories=auth0", "-o", "name"]);
    assert!(listed.contains("clientsecretrotations.auth0-rotator.dev"), "{listed}");
    assert!(listed.contains("auth0tenants.auth0-rotator.dev"), "{listed}");
}
