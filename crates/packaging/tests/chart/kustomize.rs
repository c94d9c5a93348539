//! The overlays build what the chart renders.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use local_cluster::{Assets, Binary, Progress};
use packaging::{Helm, checkout};
use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::{chart, identity, objects};

#[test]
fn the_overlay_for_a_cluster_is_the_chart() {
    assert_same("cluster-wide", "auth0-rotator", &[]);
}

#[test]
fn the_overlay_for_one_namespace_is_the_chart() {
    assert_same("one-namespace", "shop", &["scope=namespaced"]);
}

#[test]
fn the_overlay_with_monitoring_is_the_chart() {
    let switches = ["serviceMonitor", "prometheusRule", "dashboard"]
        .map(|name| format!("monitoring.{name}.enabled=true"));
    assert_same("with-monitoring", "auth0-rotator", &switches.each_ref().map(String::as_str));
}

#[test]
fn an_overlay_of_ones_own_names_another_namespace_and_image() {
    let folder = TempDir::new().unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(checkout().join("deploy")).arg(folder.path());
    assert!(copy.status().unwrap().success());
    let own = folder.path().join("own");
    fs::create_dir(&own).unwrap();
    let text = "apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: pay
resources: [../deploy/overlays/one-namespace]
images: [{name: auth0-rotator, newName: registry.example/auth0-rotator}]
";
    fs::write(own.join("kustomization.yaml"), text).unwrap();
    let built = build(&own);
    assert!(built.contains("image: registry.example/auth0-rotator:0.1.0"), "{built}");
    assert!(built.contains("namespace: pay"), "{built}");
    assert!(!built.contains("namespace: shop") && !built.contains("namespace: auth0-rotator"));
}

/// The overlay has the chart's objects, and the namespace that Helm would make.
fn assert_same(overlay: &str, namespace: &str, sets: &[&str]) {
    let sets = [&["crds.keep=false"], sets].concat();
    let rendered = Helm::find().unwrap().template(&chart(), namespace, &sets).unwrap();
    let rendered = by_identity(&rendered);
    let mut built = by_identity(&build(&checkout().join("deploy/overlays").join(overlay)));
    let own = built.remove("Namespace - auth0-rotator");
    assert_eq!(own.is_some(), overlay != "one-namespace");
    assert_eq!(built.keys().collect::<Vec<_>>(), rendered.keys().collect::<Vec<_>>());
    for (name, object) in built {
        assert!(object == rendered[&name], "{name}: {object:#}\nis not\n{:#}", rendered[&name]);
    }
}

fn build(overlay: &Path) -> String {
    let progress = Progress::default();
    let kubectl = Assets::locate().unwrap().ensure(Binary::Kubectl, &progress).unwrap();
    let output = Command::new(kubectl).arg("kustomize").arg(overlay).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The objects without what only Helm has a use for.
fn by_identity(text: &str) -> BTreeMap<String, Value> {
    let mut objects = objects(text);
    for object in &mut objects {
        for path in ["/metadata/labels", "/spec/template/metadata/labels"] {
            if let Some(labels) = object.pointer_mut(path).and_then(Value::as_object_mut) {
                labels.remove("helm.sh/chart");
                labels.remove("app.kubernetes.io/managed-by");
            }
        }
    }
    objects.into_iter().map(|object| (identity(&object), object)).collect()
}
