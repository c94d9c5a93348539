//! Where the executables come from: a folder that the user names, or a cache that Go fills.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::builder;
use crate::error::AssetsError;
use crate::modules;
use crate::progress::Progress;

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
}

impl Binary {
    /// Every executable that can be built.
    pub const ALL: [Self; 6] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubectl,
        Self::Kubelet,
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
        }
    }
}

impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A folder of executables.
#[derive(Clone, Debug)]
pub struct Assets {
    folder: PathBuf,
    /// Whether what is missing may be built.
    built: bool,
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
            return Ok(Self { folder, built: false });
        }
        let cache = variable("AUTH0_ROTATOR_CACHE")
            .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("auth0-rotator")))
            .or_else(|| Some(variable("HOME")?.join(".cache/auth0-rotator")))
            .ok_or(AssetsError::NoCache)?;
        let folder = cache.join("control-plane").join(modules::cache_key());
        Ok(Self { folder, built: true })
    }

    /// The folder `folder`, to which nothing is added, as if `KUBEBUILDER_ASSETS` named it.
    #[must_use]
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), built: false }
    }

    /// The folder that has the executables.
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
        let path = self.folder.join(binary.name());
        if is_executable(&path) {
            return Ok(path);
        }
        if !self.built {
            let folder = self.folder.clone();
            return Err(AssetsError::NotInFolder { folder, binary: binary.name() });
        }
        builder::build(&self.folder, binary, progress)?;
        Ok(path)
    }
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
            let line = format!("\t{}", binary.package());
            assert!(modules::GO_MOD.lines().any(|l| l == line), "go.mod doesn't list {binary}");
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
