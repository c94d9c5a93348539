//! Runs Helm.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use local_cluster::{Assets, Binary, Progress};

/// Helm executable, isolated from the user's Helm settings.
#[derive(Clone, Debug)]
pub struct Helm {
    path: PathBuf,
}

impl Helm {
    /// Finds Helm in the cache, or builds it, which takes minutes.
    ///
    /// # Errors
    ///
    /// When the build fails.
    pub fn find_or_build() -> Result<Self> {
        let path = Assets::locate()?.ensure(Binary::Helm, &Progress::default())?;
        Ok(Self { path })
    }

    /// Returns a command that keeps Helm's cache, configuration and data in `home`.
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

    /// Renders a chart without a cluster. Each element of `sets` is an argument of `--set`.
    ///
    /// # Errors
    ///
    /// When Helm rejects the chart or the values; the error contains its message.
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
        String::from_utf8(output.stdout).context("the output of helm template is not UTF-8")
    }
}
