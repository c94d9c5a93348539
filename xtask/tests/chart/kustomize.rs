//! The Kustomize overlays build the objects that the chart renders.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use local_cluster::{Assets, Binary, Progress};
use serde_json::Value;
use tempfile::TempDir;
use xtask::{Helm, workspace_root};

use crate::cluster::{chart, object_key, parse_objects};

#[test]
fn cluster_wide_overlay_matches_chart() {
    assert_overlay_matches_chart("cluster-wide", "auth0-rotator", &[]);
}

#[test]
fn one_namespace_overlay_matches_chart() {
    assert_overlay_matches_chart(
        "one-namespace",
        "shop",
        &["scope=namespaced", "admissionPolicy.enabled=false"],
    );
}

#[test]
fn monitoring_overlay_matches_chart() {
    let sets = ["serviceMonitor", "prometheusRule", "dashboard"]
        .map(|name| format!("monitoring.{name}.enabled=true"));
    let sets = sets.each_ref().map(String::as_str);
    assert_overlay_matches_chart("with-monitoring", "auth0-rotator", &sets);
}

#[test]
fn openshift_overlay_pins_no_user() {
    assert_overlay_matches_chart("openshift", "auth0-rotator", &["runAsUser=null"]);
}

#[test]
fn custom_overlay_replaces_namespace_and_image() {
    let folder = TempDir::new().unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(workspace_root().join("deploy")).arg(folder.path());
    assert!(copy.status().unwrap().success());
    let overlay = folder.path().join("own");
    fs::create_dir(&overlay).unwrap();
    let text = "apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: pay
resources: [../deploy/overlays/one-namespace]
images: [{name: auth0-rotator, newName: registry.example/auth0-rotator}]
";
    fs::write(overlay.join("kustomization.yaml"), text).unwrap();
    let built = build(&overlay);
    assert!(built.contains("image: registry.example/auth0-rotator:0.1.0"), "{built}");
    assert!(built.contains("namespace: pay"), "{built}");
    assert!(!built.contains("namespace: shop") && !built.contains("namespace: auth0-rotator"));
}

/// Asserts that an overlay builds the chart's objects, and the namespace that Helm would create.
fn assert_overlay_matches_chart(overlay: &str, namespace: &str, sets: &[&str]) {
    let sets = [&["crds.keep=false"], sets].concat();
    let helm = Helm::find_or_build().unwrap();
    let rendered = helm.template(&chart(), namespace, &sets).unwrap();
    let rendered = by_key(&rendered);
    let mut built = by_key(&build(&workspace_root().join("deploy/overlays").join(overlay)));
    let namespace_object = built.remove("Namespace - auth0-rotator");
    assert_eq!(namespace_object.is_some(), overlay != "one-namespace");
    assert_eq!(built.keys().collect::<Vec<_>>(), rendered.keys().collect::<Vec<_>>());
    for (key, object) in built {
        assert!(object == rendered[&key], "{key}: {object:#}\nis not\n{:#}", rendered[&key]);
    }
}

fn build(overlay: &Path) -> String {
    let progress = Progress::default();
    let kubectl = Assets::locate().unwrap().ensure(Binary::Kubectl, &progress).unwrap();
    let output = Command::new(kubectl).arg("kustomize").arg(overlay).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Objects by key, without the labels that only Helm uses.
fn by_key(text: &str) -> BTreeMap<String, Value> {
    let mut objects = parse_objects(text);
    for object in &mut objects {
        for path in ["/metadata/labels", "/spec/template/metadata/labels"] {
            if let Some(labels) = object.pointer_mut(path).and_then(Value::as_object_mut) {
                labels.remove("helm.sh/chart");
                labels.remove("app.kubernetes.io/managed-by");
            }
        }
    }
    objects.into_iter().map(|object| (object_key(&object), object)).collect()
}
