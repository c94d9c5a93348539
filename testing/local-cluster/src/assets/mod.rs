//! Where the executables come from: a folder that the user names, or a cache that Go fills.

mod build;
mod go_module;
mod module_set;
mod progress;
mod toolchain;

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

pub use self::go_module::Module;
use self::module_set::Modules;
pub use self::module_set::{etcd_version, helm_version, kubernetes_version};
pub use self::progress::{BuildEvent, Progress};
use crate::error::AssetsError;

/// An executable of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Binary {
    /// The store behind the API server.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// Garbage collection, default service accounts, Deployments and the like.
    KubeControllerManager,
    /// Assigns pods to nodes.
    KubeScheduler,
    /// The command line client.
    Kubectl,
    /// The agent of a node.
    Kubelet,
    /// Installs charts. It is built from modules of its own.
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

    /// What every fixture runs.
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

    /// What it is built from.
    pub(crate) fn modules(self) -> &'static Modules {
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

/// A folder of executables, or a cache of such folders.
#[derive(Clone, Debug)]
pub struct Assets {
    /// The folder of the servers.
    folder: PathBuf,
    /// Where what is missing is built: a folder for each set of modules. `None` when nothing is to
    /// be built.
    cache: Option<PathBuf>,
}

impl Assets {
    /// Finds `binaries`, building those that are missing.
    ///
    /// When `KUBEBUILDER_ASSETS` is set, they have to be in the folder it names. Otherwise they are
    /// built once from the pinned Go modules, into `control-plane/` in the first of
    /// `AUTH0_ROTATOR_CACHE`, `XDG_CACHE_HOME/auth0-rotator` and `~/.cache/auth0-rotator`; a second
    /// process that needs them meanwhile waits. Blocks, for minutes the first time.
    ///
    /// # Errors
    ///
    /// [`AssetsError::NotInFolder`] when `KUBEBUILDER_ASSETS` lacks one; else what keeps Go from
    /// building them.
    pub fn provide(binaries: &[Binary], progress: &Progress) -> Result<Self, AssetsError> {
        let assets = Self::locate()?;
        for binary in binaries {
            assets.ensure(*binary, progress)?;
        }
        Ok(assets)
    }

    /// The folder that [`provide`](Self::provide) would use, whatever is in it.
    ///
    /// # Errors
    ///
    /// [`AssetsError::NoCache`] when neither `KUBEBUILDER_ASSETS` nor a place for a cache is known.
    pub fn locate() -> Result<Self, AssetsError> {
        if let Some(folder) = variable("KUBEBUILDER_ASSETS") {
            return Ok(Self { folder, cache: None });
        }
        let cache = cache_dir()?.join("control-plane");
        let folder = cache.join(module_set::KUBERNETES.cache_key());
        Ok(Self { folder, cache: Some(cache) })
    }

    /// The folder `folder`, to which nothing is added, as if `KUBEBUILDER_ASSETS` named it.
    #[must_use]
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), cache: None }
    }

    /// The folder that has the executables of Kubernetes and etcd.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.folder
    }

    /// The path of `binary`, which is built first when it is missing. Blocks while it is.
    ///
    /// # Errors
    ///
    /// As [`provide`](Self::provide).
    pub fn ensure(&self, binary: Binary, progress: &Progress) -> Result<PathBuf, AssetsError> {
        let folder = match &self.cache {
            Some(cache) => cache.join(binary.modules().cache_key()),
            None => self.folder.clone(),
        };
        let path = folder.join(binary.name());
        if is_executable(&path) {
            return Ok(path);
        }
        if self.cache.is_none() {
            return Err(AssetsError::NotInFolder { folder, binary: binary.name() });
        }
        build::build(&folder, binary, progress)?;
        Ok(path)
    }
}

/// The folder for what is kept from one run to the next: the first of `AUTH0_ROTATOR_CACHE`,
/// `XDG_CACHE_HOME/auth0-rotator` and `~/.cache/auth0-rotator`.
///
/// # Errors
///
/// [`AssetsError::NoCache`] when none of the variables is set.
pub fn cache_dir() -> Result<PathBuf, AssetsError> {
    variable("AUTH0_ROTATOR_CACHE")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("auth0-rotator")))
        .or_else(|| Some(variable("HOME")?.join(".cache/auth0-rotator")))
        .ok_or(AssetsError::NoCache)
}

/// Whether `path` is a file that someone may execute.
pub(crate) fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// The path in the environment variable `name`, absolute, for the servers run elsewhere.
fn variable(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
    std::path::absolute(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_binary_is_a_tool_of_go_mod() {
        for binary in Binary::ALL {
            let package = binary.package();
            let tools = [format!("\t{package}"), format!("tool {package}")];
            let go_mod = binary.modules().go_mod;
            let is_listed = go_mod.lines().any(|line| tools.iter().any(|tool| tool == line));
            assert!(is_listed, "go.mod doesn't list {binary}");
        }
    }

    #[test]
    fn a_folder_without_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("etcd"), "not executable").unwrap();
        let assets = Assets::in_folder(folder.path());
        let error = assets.ensure(Binary::Etcd, &Progress::silent()).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("KUBEBUILDER_ASSETS"), "{message}");
        assert!(message.contains("no executable etcd"), "{message}");
    }
}
