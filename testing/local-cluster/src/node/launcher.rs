//! The configuration files and command lines of the node's components.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use super::{
    ADDRESS, NAME, component::Component, config, host_files::find_program, isolation::Isolation,
};
use crate::{Assets, Binary, ControlPlane};

/// Starts the node's components.
pub(crate) struct Launcher<'a> {
    pub(crate) isolation: &'a Isolation,
    pub(crate) control_plane: &'a ControlPlane,
}

/// User as which a component authenticates to the API server.
struct User<'a> {
    name: &'a str,
    groups: &'a [&'a str],
}

impl Launcher<'_> {
    /// Writes the configuration files of containerd, the network plugins, and the kubelet.
    pub(crate) fn write_configuration(&self) -> Result<()> {
        let (dir, cgroup) = (self.isolation.dir(), self.isolation.cgroup());
        let kubelet = config::kubelet(dir, cgroup, self.control_plane.ca_certificate_path());
        self.write("containerd.toml", &config::containerd(dir, &config::plugin_dir()?))?;
        self.write("cni/10-pods.conflist", &config::network(dir).to_string())?;
        self.write("kubelet.json", &kubelet.to_string())?;
        self.write("resolv.conf", "# There is no DNS server.\n")
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.isolation.dir().join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))
    }

    pub(crate) fn containerd(&self) -> Result<Component> {
        let mut command = Command::new(find_program("containerd")?);
        command.arg("--config").arg(self.isolation.dir().join("containerd.toml"));
        self.spawn("containerd", command)
    }

    pub(crate) fn controller_manager(&self, assets: &Assets) -> Result<Component> {
        let user = User { name: "system:kube-controller-manager", groups: &[] };
        let mut command = self.command(assets, Binary::KubeControllerManager, &user)?;
        command
            .args(["--leader-elect=false", "--bind-address=127.0.0.1"])
            .arg("--use-service-account-credentials")
            .arg("--root-ca-file")
            .arg(self.control_plane.ca_certificate_path())
            .arg("--service-account-private-key-file")
            .arg(self.control_plane.service_account_key_path());
        self.spawn("kube-controller-manager", command)
    }

    pub(crate) fn scheduler(&self, assets: &Assets) -> Result<Component> {
        let user = User { name: "system:kube-scheduler", groups: &[] };
        let mut command = self.command(assets, Binary::KubeScheduler, &user)?;
        command.args(["--leader-elect=false", "--bind-address=127.0.0.1"]);
        self.spawn("kube-scheduler", command)
    }

    pub(crate) fn kubelet(&self, assets: &Assets) -> Result<Component> {
        let dir = self.isolation.dir();
        let user = User { name: &format!("system:node:{NAME}"), groups: &["system:nodes"] };
        let mut command = self.command(assets, Binary::Kubelet, &user)?;
        command
            .arg("--config")
            .arg(dir.join("kubelet.json"))
            .arg("--root-dir")
            .arg(dir.join("kubelet"))
            .arg("--cert-dir")
            .arg(dir.join("kubelet-certificates"))
            .arg(format!("--hostname-override={NAME}"))
            .arg(format!("--node-ip={ADDRESS}"));
        self.spawn("kubelet", command)
    }

    /// Returns the command of a Kubernetes component that authenticates as `user`.
    fn command(&self, assets: &Assets, binary: Binary, user: &User<'_>) -> Result<Command> {
        let mut command = Command::new(assets.dir().join(binary.name()));
        let kubeconfig = self.control_plane.kubeconfig_for(user.name, user.groups)?;
        command.current_dir(self.isolation.dir()).arg("--kubeconfig").arg(kubeconfig);
        Ok(command)
    }

    fn spawn(&self, name: &'static str, command: Command) -> Result<Component> {
        Component::spawn(name, command, &self.isolation.dir().join("logs"))
    }
}
