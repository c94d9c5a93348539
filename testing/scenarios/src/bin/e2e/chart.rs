//! The chart, installed, upgraded, rolled back and uninstalled by Helm.

use std::{net::SocketAddr, path::PathBuf, process::Stdio};

use anyhow::{Context as _, Result, bail};
use kube::Client;
use local_cluster::ControlPlane;
use serde_json::json;
use testkit::cluster;
use tokio::process::Command;
use xtask::{CHART_DIR, Helm, workspace_root};

use crate::{
    images,
    operator_pods::{NAME, NAMESPACE},
};

/// The operator's Helm release.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    helm: Helm,
    home: PathBuf,
    kubeconfig: PathBuf,
}

impl Release {
    /// Returns a release on a control plane. Helm's own files are in the control plane's directory.
    pub(crate) async fn new(control_plane: &ControlPlane) -> Result<Self> {
        let helm = tokio::task::spawn_blocking(Helm::find_or_build).await??;
        let home = control_plane.data_dir().join("helm");
        Ok(Self { helm, home, kubeconfig: control_plane.kubeconfig_path().to_path_buf() })
    }

    /// Installs the chart with the built image, in a namespace that enforces the Pod Security
    /// standard `restricted`, and waits until the operator is ready. It may call only `endpoint`.
    pub(crate) async fn install(&self, client: &Client, endpoint: SocketAddr) -> Result<()> {
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": NAMESPACE,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        });
        cluster::apply(client, &[namespace]).await?;
        let (repository, tag) =
            images::OPERATOR.rsplit_once(':').context("the image has no tag")?;
        let chart = workspace_root().join(CHART_DIR).display().to_string();
        // The API server's proxy, through which the metrics are read, drops bearer tokens.
        let image =
            format!("--set=image.repository={repository},image.tag={tag},metrics.auth=false");
        let endpoints = format!("--set=allowedEndpoints={{{endpoint}}}");
        self.helm(&["install", NAME, &chart, &image, &endpoints]).await
    }

    /// Changes a value, which replaces all Pods of the operator.
    pub(crate) async fn upgrade(&self) -> Result<()> {
        let chart = workspace_root().join(CHART_DIR).display().to_string();
        self.helm(&["upgrade", NAME, &chart, "--reuse-values", "--set=log.level=debug"]).await
    }

    /// Rolls back to the first revision.
    pub(crate) async fn roll_back(&self) -> Result<()> {
        self.helm(&["rollback", NAME, "1"]).await
    }

    pub(crate) async fn uninstall(&self) -> Result<()> {
        self.helm(&["uninstall", NAME]).await
    }

    /// Runs Helm and waits until the cluster is in the desired state.
    async fn helm(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::from(self.helm.command(&self.home));
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .args(arguments)
            .args(["--namespace", NAMESPACE, "--wait", "--timeout=2m"])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = command.output().await.context("can't run helm")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("helm {} ({}):\n{}", arguments.join(" "), output.status, text.trim_end());
        }
        Ok(())
    }
}
