//! The executables that can be built.

use std::fmt;

use super::module_set::{self, ModuleSet};

/// Executable of the control plane, of a node, or of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Binary {
    /// The key-value store behind the API server.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// Runs the built-in controllers: garbage collection, service accounts, Deployments, and so on.
    KubeControllerManager,
    /// Assigns Pods to nodes.
    KubeScheduler,
    /// The command-line client.
    Kubectl,
    /// The node agent.
    Kubelet,
    /// Installs charts. It is built from a separate `go.mod`.
    Helm,
}

impl Binary {
    /// Every executable that can be built.
    pub const ALL: [Self; 7] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubectl,
        Self::Kubelet,
        Self::Helm,
    ];

    /// The executables that every control plane runs.
    pub const SERVERS: [Self; 2] = [Self::Etcd, Self::KubeApiserver];

    /// The file name, for example `kube-apiserver`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubectl => "kubectl",
            Self::Kubelet => "kubelet",
            Self::Helm => "helm",
        }
    }

    /// The Go package of its `main`, which `go.mod` lists as a tool.
    pub(crate) const fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::KubeApiserver => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::KubeControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::KubeScheduler => "k8s.io/kubernetes/cmd/kube-scheduler",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::Kubelet => "k8s.io/kubernetes/cmd/kubelet",
            Self::Helm => "helm.sh/helm/v4/cmd/helm",
        }
    }

    /// The modules that it is built from.
    pub(crate) fn module_set(self) -> &'static ModuleSet {
        match self {
            Self::Helm => &module_set::HELM,
            _ => &module_set::KUBERNETES,
        }
    }
}

impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_mod_lists_every_binary_as_a_tool() {
        for binary in Binary::ALL {
            let package = binary.package();
            let tools = [format!("\t{package}"), format!("tool {package}")];
            let go_mod = binary.module_set().go_mod;
            let is_listed = go_mod.lines().any(|line| tools.iter().any(|tool| tool == line));
            assert!(is_listed, "go.mod doesn't list {binary}");
        }
    }
}
