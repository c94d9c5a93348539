//! Helm and kubectl on a control plane of the test's own.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use local_cluster::ControlPlane;
use serde::Deserialize as _;
use serde_json::Value;
use tempfile::TempDir;
use xtask::{CHART_DIR, Helm, workspace_root};

/// Path of the chart.
pub(crate) fn chart() -> PathBuf {
    workspace_root().join(CHART_DIR)
}

/// Parses all objects of a YAML stream.
pub(crate) fn parse_objects(text: &str) -> Vec<Value> {
    serde_norway::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|object| !object.is_null())
        .collect()
}

/// Kind, namespace and name of an object.
pub(crate) fn object_key(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let metadata = &object["metadata"];
    [text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"])].join(" ")
}

/// A control plane, and the Helm and kubectl that work on it.
pub(crate) struct Cluster {
    pub(crate) control_plane: ControlPlane,
    helm: Helm,
    home: TempDir,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let control_plane = ControlPlane::start().await.unwrap();
        let helm = tokio::task::spawn_blocking(Helm::find_or_build).await.unwrap().unwrap();
        Self { control_plane, helm, home: TempDir::with_prefix("auth0-rotator-helm-").unwrap() }
    }

    fn run_helm(&self, arguments: &[&str]) -> Output {
        let mut command = self.helm.command(self.home.path());
        command.env("KUBECONFIG", self.control_plane.kubeconfig_path());
        command.args(arguments).output().unwrap()
    }

    /// Runs Helm, which must succeed. Returns its standard output.
    pub(crate) fn helm(&self, arguments: &[&str]) -> String {
        stdout_of_success(arguments, &self.run_helm(arguments))
    }

    /// Runs Helm, which must fail. Returns its standard error.
    pub(crate) fn helm_error(&self, arguments: &[&str]) -> String {
        let output = self.run_helm(arguments);
        assert!(!output.status.success(), "helm {arguments:?} succeeded");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Runs kubectl, which must succeed. Returns its standard output.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.kubectl_command().args(arguments).output().unwrap();
        stdout_of_success(arguments, &output)
    }

    pub(crate) fn kubectl_command(&self) -> Command {
        self.control_plane.kubectl().unwrap()
    }

    /// Writes a temporary file. Returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.home.path().join(name);
        fs::write(&path, text).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    /// Path of a file or folder in the repository.
    pub(crate) fn repository_path(&self, name: &str) -> String {
        workspace_root().join(name).into_os_string().into_string().unwrap()
    }

    /// Copies the chart and removes a field from its CRDs, as an older version would lack it.
    /// Returns the path of the copy.
    pub(crate) fn older_chart(&self) -> String {
        let copy = self.home.path().join("older");
        let status = Command::new("cp").arg("-r").arg(chart()).arg(&copy).status().unwrap();
        assert!(status.success());
        let path = copy.join("files/crds/clientsecretrotations.yaml");
        let text = fs::read_to_string(&path).unwrap();
        let mut crd: Value = serde_norway::from_str(&text).unwrap();
        let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
        let fields = crd.pointer_mut(schema).and_then(Value::as_object_mut).unwrap();
        assert!(fields.remove("strategy").is_some());
        fs::write(&path, serde_norway::to_string(&crd).unwrap()).unwrap();
        copy.into_os_string().into_string().unwrap()
    }

    /// Lists all objects of a resource type, as namespace/name.
    pub(crate) fn list(&self, resource: &str) -> Vec<String> {
        let columns = "custom-columns=A:.metadata.namespace,B:.metadata.name";
        let output = self.kubectl(&["get", resource, "-A", "--no-headers", "-o", columns]);
        let join_columns = |line: &str| line.split_whitespace().collect::<Vec<_>>().join("/");
        output.lines().map(join_columns).collect()
    }
}

fn stdout_of_success(arguments: &[&str], output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout.clone()).unwrap()
}
