//! Helm and kubectl on a control plane of the test's own.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use local_cluster::ControlPlane;
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

    /// A file for a command.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.home.path().join(name);
        fs::write(&path, text).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    /// A file or folder of the checkout.
    pub(crate) fn checkout_path(&self, name: &str) -> String {
        checkout().join(name).into_os_string().into_string().unwrap()
    }

    /// A copy of the chart whose definitions lack a field, as those of an older version would.
    pub(crate) fn older_chart(&self) -> String {
        let copy = self.home.path().join("older");
        let status = Command::new("cp").arg("-r").arg(chart()).arg(&copy).status().unwrap();
        assert!(status.success());
        let path = copy.join("files/crds/clientsecretrotations.yaml");
        let text = fs::read_to_string(&path).unwrap();
        let mut definition: Value = serde_norway::from_str(&text).unwrap();
        let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
        let fields = definition.pointer_mut(schema).and_then(Value::as_object_mut).unwrap();
        assert!(fields.remove("strategy").is_some());
        fs::write(&path, serde_norway::to_string(&definition).unwrap()).unwrap();
        copy.into_os_string().into_string().unwrap()
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
