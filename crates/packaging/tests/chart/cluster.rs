//! Helm and kubectl on a control plane of the test's own.

use std::path::PathBuf;
use std::process::{Command, Output};

use control_plane::ControlPlane;
use packaging::{CHART, Helm, checkout};
use serde::Deserialize as _;
use serde_json::Value;
use tempfile::TempDir;

/// The chart in the checkout.
pub(crate) fn chart() -> PathBuf {
    checkout().join(CHART)
}

/// All objects of a YAML text.
pub(crate) fn objects(text: &str) -> Vec<Value> {
    serde_norway::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|object| !object.is_null())
        .collect()
}

/// What names an object: its kind, namespace and name.
pub(crate) fn identity(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let metadata = &object["metadata"];
    [text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"])].join(" ")
}

/// A control plane, and what is run on it.
pub(crate) struct Cluster {
    pub(crate) control_plane: ControlPlane,
    helm: Helm,
    home: TempDir,
}

impl Cluster {
    pub(crate) async fn start() -> Cluster {
        let control_plane = ControlPlane::start().await.unwrap();
        let helm = tokio::task::spawn_blocking(Helm::find).await.unwrap().unwrap();
        Cluster { control_plane, helm, home: TempDir::with_prefix("auth0-rotator-helm-").unwrap() }
    }

    pub(crate) fn helm(&self, arguments: &[&str]) -> Output {
        let mut command = self.helm.command(self.home.path());
        command.env("KUBECONFIG", self.control_plane.kubeconfig_path());
        command.args(arguments).output().unwrap()
    }

    /// What Helm says; it has to succeed.
    pub(crate) fn helms(&self, arguments: &[&str]) -> String {
        succeeded(arguments, &self.helm(arguments))
    }

    /// What Helm says against it; it has to fail.
    pub(crate) fn helm_refuses(&self, arguments: &[&str]) -> String {
        let output = self.helm(arguments);
        assert!(!output.status.success(), "helm {arguments:?} succeeded");
        String::from_utf8(output.stderr).unwrap()
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Output {
        self.kubectl_command().args(arguments).output().unwrap()
    }

    pub(crate) fn kubectls(&self, arguments: &[&str]) -> String {
        succeeded(arguments, &self.kubectl(arguments))
    }

    pub(crate) fn kubectl_command(&self) -> Command {
        self.control_plane.kubectl().unwrap()
    }

    /// The names of all objects of a kind, with their namespaces.
    pub(crate) fn all(&self, kind: &str) -> Vec<String> {
        let columns = "custom-columns=A:.metadata.namespace,B:.metadata.name";
        let listed = self.kubectls(&["get", kind, "-A", "--no-headers", "-o", columns]);
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join("/");
        listed.lines().map(words).collect()
    }
}

fn succeeded(arguments: &[&str], output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout.clone()).unwrap()
}
