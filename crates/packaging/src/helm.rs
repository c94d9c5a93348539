//! Helm, as the crate `local-cluster` builds it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use local_cluster::{Assets, Binary, Progress};

/// An executable of Helm that minds no settings of whoever runs this.
#[derive(Clone, Debug)]
pub struct Helm {
    path: PathBuf,
}

impl Helm {
    /// Finds it, or builds it, which takes minutes.
    ///
    /// # Errors
    ///
    /// When it can't be built.
    pub fn find() -> Result<Self> {
        let path = Assets::locate()?.ensure(Binary::Helm, &Progress::default())?;
        Ok(Self { path })
    }

    /// A command that has its caches and settings in `home`.
    #[must_use]
    pub fn command(&self, home: &Path) -> Command {
        let mut command = Command::new(&self.path);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HELM_") {
                command.env_remove(name);
            }
        }
        command
            .env("HELM_CACHE_HOME", home.join("cache"))
            .env("HELM_CONFIG_HOME", home.join("config"))
            .env("HELM_DATA_HOME", home.join("data"))
            .env_remove("KUBECONFIG");
        command
    }

    /// The manifests of a chart, without a cluster.
    ///
    /// # Errors
    ///
    /// What Helm has against the chart or its values.
    pub fn template(&self, chart: &Path, namespace: &str, sets: &[&str]) -> Result<String> {
        let mut command = self.command(&std::env::temp_dir().join("auth0-rotator-helm"));
        command.args(["template", "auth0-rotator"]).arg(chart);
        command.args(["--namespace", namespace, "--skip-tests"]);
        for set in sets {
            command.args(["--set", set]);
        }
        let output = command.output().context("can't run helm")?;
        if !output.status.success() {
            bail!("helm template: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        String::from_utf8(output.stdout).context("helm template writes what isn't UTF-8")
    }
}
