//! The chart, installed, upgraded, rolled back and uninstalled by Helm.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use kube::Client;
use local_cluster::ControlPlane;
use rig::cluster;
use serde_json::json;
use tokio::process::Command;
use xtask::{CHART_DIR, Helm, workspace_root};

use crate::images;
use crate::operator::{NAME, NAMESPACE};

/// The operator's release.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    helm: Helm,
    home: PathBuf,
    kubeconfig: PathBuf,
}

impl Release {
    /// Helm for a control plane. Its own files go with that one's.
    pub(crate) async fn new(control_plane: &ControlPlane) -> Result<Self> {
        let helm = tokio::task::spawn_blocking(Helm::find_or_build).await??;
        let home = control_plane.data_dir().join("helm");
        Ok(Self { helm, home, kubeconfig: control_plane.kubeconfig_path().to_path_buf() })
    }

    /// Installs the chart with the image that was built, in a namespace that takes only what Pod
    /// Security calls restricted, and waits until it is ready.
    pub(crate) async fn install(&self, client: &Client) -> Result<()> {
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": NAMESPACE,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        });
        cluster::apply(client, &[namespace]).await?;
        let (repository, tag) = images::OPERATOR.rsplit_once(':').context("it has a tag")?;
        let image = format!("--set=image.repository={repository},image.tag={tag}");
        self.helm(&["install", NAME], true, &[&image]).await
    }

    /// Upgrades it to other values, for which each of its pods is replaced.
    pub(crate) async fn upgrade(&self) -> Result<()> {
        self.helm(&["upgrade", NAME], true, &["--reuse-values", "--set=log.level=debug"]).await
    }

    /// Goes back to what was installed first.
    pub(crate) async fn roll_back(&self) -> Result<()> {
        self.helm(&["rollback", NAME, "1"], false, &[]).await
    }

    pub(crate) async fn uninstall(&self) -> Result<()> {
        self.helm(&["uninstall", NAME], false, &[]).await
    }

    /// Runs Helm to its end, which is when everything is as it has to be.
    async fn helm(&self, verb: &[&str], takes_chart: bool, flags: &[&str]) -> Result<()> {
        let mut command = Command::from(self.helm.command(&self.home));
        command.env("KUBECONFIG", &self.kubeconfig).args(verb);
        if takes_chart {
            command.arg(workspace_root().join(CHART_DIR));
        }
        command.args(["--namespace", NAMESPACE, "--wait", "--timeout=2m"]).args(flags);
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
        let output = output.context("can't run helm")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("helm {} ({}):\n{}", verb.join(" "), output.status, text.trim_end());
        }
        Ok(())
    }
}
