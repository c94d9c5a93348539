//! The data folder and what removes it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};

use crate::error::{Error, FileContext as _};
use crate::supervised::spawn_folder_guardian;

/// A folder that only this user may enter.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    end: End,
}

#[derive(Debug)]
enum End {
    /// The guardian removes it when the pipe is closed. `None` only while it is being dropped.
    Removed { guardian: Child, pipe: Option<ChildStdin> },
    /// It stays. The lock keeps a second fixture out.
    Kept { _lock: File },
}

impl DataFolder {
    /// A new folder below the system's temporary folder, which goes when the fixture does.
    pub(crate) fn temporary() -> Result<Self, Error> {
        let parent = std::env::temp_dir();
        let folder = tempfile::Builder::new()
            .prefix("control-plane-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&parent)
            .context("create a folder in", &parent)?;
        let (guardian, pipe) = spawn_folder_guardian(folder.path())
            .map_err(|source| Error::Guardian { of: "data folder", source })?;
        let end = End::Removed { guardian, pipe: Some(pipe) };
        Ok(Self { path: folder.keep(), end })
    }

    /// The folder `path`, which is created when missing and stays.
    pub(crate) fn kept(path: &Path) -> Result<Self, Error> {
        let path = std::path::absolute(path).context("find", path)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&path).context("create", &path)?;
        let lock = File::create(path.join("lock")).context("create the lock file in", &path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, end: End::Kept { _lock: lock } }),
            Err(TryLockError::WouldBlock) => Err(Error::DataFolderInUse(path)),
            Err(TryLockError::Error(source)) => Ok(Err(source).context("lock", &path)?),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the data goes with the fixture.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self.end, End::Removed { .. })
    }

    /// Where the guardian of a server writes its errors to. As long as one of these is open, the
    /// folder stays.
    pub(crate) fn errors(&self) -> io::Result<Stdio> {
        use std::os::fd::AsFd as _;
        match &self.end {
            End::Removed { pipe: Some(pipe), .. } => Ok(pipe.as_fd().try_clone_to_owned()?.into()),
            End::Removed { pipe: None, .. } => Ok(Stdio::null()),
            End::Kept { .. } => {
                let log = self.path.join("guardian.log");
                Ok(OpenOptions::new().create(true).append(true).open(log)?.into())
            }
        }
    }

    /// Writes a file that only this user may read.
    pub(crate) fn write(&self, name: &str, content: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        write_private(&path, content).context("write", &path)?;
        Ok(path)
    }
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        if let End::Removed { guardian, pipe } = &mut self.end {
            drop(pipe.take());
            let _ = guardian.wait();
            // Only if someone has killed the guardian is there anything left to remove.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Writes a file that only this user may read.
pub(crate) fn write_private(path: &Path, content: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(content.as_bytes())
}
