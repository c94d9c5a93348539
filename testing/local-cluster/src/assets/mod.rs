//! The executables: from a directory that the user sets, or from a cache that Go fills.

mod binary;
mod build;
mod go_module;
mod go_toolchain;
mod module_set;
mod progress;

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

pub use binary::Binary;
pub use go_module::GoModule;
pub use module_set::{etcd_version, helm_version, kubernetes_version};
pub use progress::{BuildEvent, Progress};

use crate::error::AssetsError;

/// Below the cache directory, the parent of one directory per [`module_set::ModuleSet`].
const CACHE_SUBDIR: &str = "control-plane";

/// Directory of executables, or a cache with one such directory per set of modules.
#[derive(Clone, Debug)]
pub struct Assets {
    /// The directory of the servers.
    dir: PathBuf,
    /// The parent of the directories to which missing executables are built. `None` when nothing
    /// may be built.
    cache: Option<PathBuf>,
}

impl Assets {
    /// Finds `binaries` and builds those that are missing.
    ///
    /// If `KUBEBUILDER_ASSETS` is set, they must be in that directory. Otherwise they are built once
    /// from the pinned Go modules, in `control-plane/` below the [cache directory](cache_dir). A
    /// second process that needs them at the same time waits. This blocks, for minutes the first
    /// time.
    ///
    /// # Errors
    ///
    /// [`AssetsError::NotInDir`] when `KUBEBUILDER_ASSETS` lacks one; otherwise the reason why Go
    /// can't build it.
    pub fn provide(binaries: &[Binary], progress: &Progress) -> Result<Self, AssetsError> {
        let assets = Self::locate()?;
        for binary in binaries {
            assets.ensure(*binary, progress)?;
        }
        Ok(assets)
    }

    /// Returns the assets that [`provide`](Self::provide) would use, without checking or building
    /// anything.
    ///
    /// # Errors
    ///
    /// [`AssetsError::NoCache`] when neither `KUBEBUILDER_ASSETS` nor a cache directory is set.
    pub fn locate() -> Result<Self, AssetsError> {
        if let Some(dir) = path_variable("KUBEBUILDER_ASSETS") {
            return Ok(Self { dir, cache: None });
        }
        let cache = cache_dir()?.join(CACHE_SUBDIR);
        let dir = cache.join(module_set::KUBERNETES.cache_key());
        Ok(Self { dir, cache: Some(cache) })
    }

    /// Returns the assets in `dir`, to which nothing is added, as if `KUBEBUILDER_ASSETS` were set
    /// to it.
    #[must_use]
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), cache: None }
    }

    /// The directory of the executables of Kubernetes and etcd.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the path of `binary`. If it is missing, this builds it, which blocks.
    ///
    /// # Errors
    ///
    /// The errors of [`provide`](Self::provide).
    pub fn ensure(&self, binary: Binary, progress: &Progress) -> Result<PathBuf, AssetsError> {
        let dir = match &self.cache {
            Some(cache) => cache.join(binary.module_set().cache_key()),
            None => self.dir.clone(),
        };
        let path = dir.join(binary.name());
        if is_executable(&path) {
            return Ok(path);
        }
        if self.cache.is_none() {
            return Err(AssetsError::NotInDir { dir, binary: binary.name() });
        }
        build::build(&dir, binary, progress)?;
        Ok(path)
    }
}

/// Returns the directory for files that are kept from one run to the next: the first of
/// `AUTH0_ROTATOR_CACHE`, `XDG_CACHE_HOME/auth0-rotator` and `~/.cache/auth0-rotator`.
///
/// # Errors
///
/// [`AssetsError::NoCache`] when none of the variables is set.
pub fn cache_dir() -> Result<PathBuf, AssetsError> {
    if let Some(cache) = path_variable("AUTH0_ROTATOR_CACHE") {
        return Ok(cache);
    }
    if let Some(cache) = path_variable("XDG_CACHE_HOME") {
        return Ok(cache.join("auth0-rotator"));
    }
    match path_variable("HOME") {
        Some(home) => Ok(home.join(".cache/auth0-rotator")),
        None => Err(AssetsError::NoCache),
    }
}

/// Returns whether `path` is a file with an execute permission.
fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Returns the path in the environment variable `name`. It is made absolute because the servers run
/// in another working directory.
fn path_variable(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
    std::path::absolute(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_directory_that_lacks_an_executable() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("etcd"), "not executable").unwrap();
        let assets = Assets::in_dir(dir.path());
        let error = assets.ensure(Binary::Etcd, &Progress::silent()).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("KUBEBUILDER_ASSETS"), "{message}");
        assert!(message.contains("no executable etcd"), "{message}");
    }
}
