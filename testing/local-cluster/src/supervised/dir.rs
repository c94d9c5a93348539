//! Temporary directories that are removed even if SIGKILL ends this process.

use std::{
    fs, io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Stdio},
};

use tempfile::TempDir;

use super::supervisor;

const SCRIPT: &str = include_str!("dir.sh");

/// Temporary directory that is removed when this is dropped or when this process ends, even by
/// SIGKILL. Programs [attached](Self::attach) to it end before it is removed.
///
/// Dropping it waits for those programs, so drop them first.
#[derive(Debug)]
pub struct SupervisedDir {
    path: PathBuf,
    supervisor: Child,
    /// `None` once closed, on which the supervisor removes the directory.
    pipe: Option<ChildStdin>,
    is_kept: bool,
}

impl SupervisedDir {
    /// Takes over `dir`.
    ///
    /// # Errors
    ///
    /// When `/bin/sh` can't be started; `dir` is then removed.
    pub fn new(dir: TempDir) -> io::Result<Self> {
        let mut supervisor = supervisor(SCRIPT, "dir-supervisor")
            .arg(dir.path())
            .current_dir("/")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pipe = supervisor.stdin.take();
        Ok(Self { path: dir.keep(), supervisor, pipe, is_kept: false })
    }

    /// The path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the standard error for the supervisor of a program that uses the directory, for
    /// [`SpawnOptions::supervisor_stderr`](super::SpawnOptions::supervisor_stderr). The directory
    /// stays until that program has ended.
    ///
    /// # Errors
    ///
    /// When this process has no file descriptors left.
    pub fn attach(&self) -> io::Result<Stdio> {
        match &self.pipe {
            Some(pipe) => Ok(pipe.as_fd().try_clone_to_owned()?.into()),
            None => Ok(Stdio::null()),
        }
    }

    /// Keeps the directory, for example because its logs are needed, and returns its path.
    ///
    /// # Errors
    ///
    /// When the supervisor can't be stopped. The directory is then removed.
    pub fn keep(mut self) -> io::Result<PathBuf> {
        self.supervisor.kill()?;
        self.is_kept = true;
        Ok(self.path.clone())
    }
}

impl Drop for SupervisedDir {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.supervisor.wait();
        if !self.is_kept {
            // Usually gone already, unless the supervisor itself was killed.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{
        super::{SpawnOptions, SupervisedProcess},
        *,
    };

    #[test]
    fn removes_the_directory_when_dropped() {
        let dir = SupervisedDir::new(tempfile::tempdir().unwrap()).unwrap();
        let path = dir.path().to_path_buf();
        fs::write(path.join("file"), "").unwrap();
        drop(dir);
        assert!(!path.exists());
    }

    #[test]
    fn keeps_the_directory_when_asked_to() {
        let dir = SupervisedDir::new(tempfile::tempdir().unwrap()).unwrap();
        let path = dir.keep().unwrap();
        assert!(path.is_dir());
        // The supervisor may have created its log.
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn removes_the_directory_after_the_last_attached_program() {
        let mut dir = SupervisedDir::new(tempfile::tempdir().unwrap()).unwrap();
        let options =
            SpawnOptions { supervisor_stderr: dir.attach().unwrap(), ..SpawnOptions::default() };
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exec sleep 600"]);
        let process = SupervisedProcess::spawn(&command, &dir.path().join("log"), options).unwrap();
        // As the kernel does when the owner is killed.
        drop(dir.pipe.take());
        assert!(dir.supervisor.try_wait().unwrap().is_none());
        assert!(dir.path().exists());
        drop(process);
        dir.supervisor.wait().unwrap();
        assert!(!dir.path().exists());
    }
}
