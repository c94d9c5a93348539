//! CRDs of the checkout, and how `kubectl` shows them.

use std::fs;

use auth0_rotator::api::crds_yaml;
use testkit::{fixture::shared_control_plane, manifests::checkout_path};

#[test]
fn crds_directory_has_the_crds_that_the_binary_prints() {
    let directory = checkout_path("crds");
    let mut files: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let printed = crds_yaml().unwrap();
    let names: Vec<_> = printed.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(files, names);
    for (name, yaml) in printed {
        let stored = fs::read_to_string(directory.join(&name)).unwrap();
        assert!(stored == yaml, "crds/{name} is out of date: run make crds");
    }
}

#[tokio::test]
async fn kubectl_explains_and_lists_the_resources() {
    let explained = kubectl(&["explain", "csrot.spec.gracePeriod"]).await;
    assert!(explained.contains("stays in the Secret as a fallback"), "{explained}");
    let explained = kubectl(&["explain", "clientsecretrotation.spec", "--recursive"]).await;
    for field in ["clientId", "tenantRef", "schedule", "strategy", "staging", "target", "suspend"] {
        assert!(explained.contains(field), "{field}: {explained}");
    }
    let listed = kubectl(&["api-resources", "--categories=auth0", "-o", "name"]).await;
    assert!(listed.contains("clientsecretrotations.auth0-rotator.dev"), "{listed}");
    assert!(listed.contains("auth0tenants.auth0-rotator.dev"), "{listed}");
}

/// Runs `kubectl` and returns its output.
async fn kubectl(arguments: &[&str]) -> String {
    let mut command = shared_control_plane().await.kubectl().unwrap();
    let output = command.args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
