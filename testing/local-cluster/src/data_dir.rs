//! The directory for data, certificates, and logs of one control plane.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Stdio,
};

use crate::{
    error::{Error, FileContext as _},
    supervised::SupervisedDir,
};

/// Directory that only its owner may enter.
#[derive(Debug)]
pub(crate) enum DataDir {
    /// Removed together with the control plane.
    Temporary(SupervisedDir),
    /// Stays. The lock keeps a second control plane out.
    Persistent { path: PathBuf, _lock: File },
}

impl DataDir {
    /// Creates a directory below the system's temporary directory.
    pub(crate) fn temporary() -> Result<Self, Error> {
        let parent = std::env::temp_dir();
        let dir = tempfile::Builder::new()
            .prefix("local-cluster-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&parent)
            .context("create a directory in", &parent)?;
        let dir = SupervisedDir::new(dir)
            .map_err(|source| Error::Supervisor { of: "the data directory", source })?;
        Ok(Self::Temporary(dir))
    }

    /// Opens the directory `path`, which is created if it is missing.
    pub(crate) fn persistent(path: &Path) -> Result<Self, Error> {
        let path = std::path::absolute(path).context("find", path)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&path).context("create", &path)?;
        let lock = File::create(path.join("lock")).context("create the lock file in", &path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self::Persistent { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::DataDirInUse(path)),
            Err(TryLockError::Error(source)) => Ok(Err(source).context("lock", &path)?),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Temporary(dir) => dir.path(),
            Self::Persistent { path, .. } => path,
        }
    }

    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self, Self::Temporary(_))
    }

    /// Returns the standard error for a server's supervisor. A temporary directory stays as long as
    /// one of these is open.
    pub(crate) fn supervisor_stderr(&self) -> io::Result<Stdio> {
        match self {
            Self::Temporary(dir) => dir.attach(),
            Self::Persistent { path, .. } => {
                let log = path.join("supervisor.log");
                Ok(OpenOptions::new().create(true).append(true).open(log)?.into())
            }
        }
    }

    /// Writes a file that only the directory's owner may read, and returns its path.
    pub(crate) fn write(&self, name: &str, content: &str) -> Result<PathBuf, Error> {
        let path = self.path().join(name);
        write_private(&path, content).context("write", &path)?;
        Ok(path)
    }
}

fn write_private(path: &Path, content: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(content.as_bytes())
}
