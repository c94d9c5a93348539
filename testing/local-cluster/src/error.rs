//! Errors, with messages that say how to fix the cause.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

/// Why a control plane doesn't start, restart, or respond.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The servers' executables are missing and can't be built.
    #[error(transparent)]
    Assets(#[from] AssetsError),

    /// A file or directory of the control plane can't be read or written.
    #[error(transparent)]
    File(#[from] FileError),

    /// A running control plane uses the given data directory.
    #[error(
        "another control plane uses the data directory {}: stop that one, or choose another \
         directory", .0.display()
    )]
    DataDirInUse(PathBuf),

    /// No port can be reserved on loopback.
    #[error("can't reserve a port on 127.0.0.1")]
    Port(#[source] io::Error),

    /// A certificate or key can't be created, for example because a host name isn't ASCII.
    #[error("can't create a certificate")]
    Certificate(#[from] rcgen::Error),

    /// The shell process that supervises a server or the data directory can't be started.
    #[error("can't start the supervisor of {of}: it needs /bin/sh")]
    Supervisor {
        /// The server, or the data directory.
        of: &'static str,
        /// The cause.
        source: io::Error,
    },

    /// A server exited although nothing stopped it.
    #[error("{server} exited unexpectedly ({status}); the last lines of {}:\n{tail}", log.display())]
    Exited {
        /// "etcd" or "kube-apiserver".
        server: &'static str,
        /// The exit status. A signal appears as 128 + n.
        status: ExitStatus,
        /// The log. It is gone already if the data directory was temporary.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },

    /// A server did not become ready within the deadline.
    #[error(
        "{server} was not ready after {after:?} (last check: {reason}); the last lines of {}:\n\
         {tail}", log.display()
    )]
    NotReady {
        /// "etcd" or "kube-apiserver".
        server: &'static str,
        /// The deadline.
        after: Duration,
        /// Why the last readiness check failed.
        reason: String,
        /// The log. It is gone already if the data directory was temporary.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },

    /// A client for the API server can't be created.
    #[error("can't create a client for the API server")]
    Client(#[source] Box<kube::Error>),

    /// The kubeconfig can't be serialized as YAML.
    #[error("can't serialize a kubeconfig")]
    Kubeconfig(#[from] serde_norway::Error),

    /// A background task panicked.
    #[error("a background task of the control plane failed")]
    Task(#[from] tokio::task::JoinError),
}

/// Why an executable is missing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssetsError {
    /// The directory in `KUBEBUILDER_ASSETS` lacks an executable.
    #[error(
        "KUBEBUILDER_ASSETS is {}, which has no executable {binary}: set it to a directory that \
         has one, or unset it to build the servers with Go", dir.display()
    )]
    NotInDir {
        /// The directory.
        dir: PathBuf,
        /// The first missing executable.
        binary: &'static str,
    },

    /// There is no directory for the cache.
    #[error(
        "no cache directory is configured: set AUTH0_ROTATOR_CACHE, XDG_CACHE_HOME or HOME, for \
         example AUTH0_ROTATOR_CACHE=/var/cache/auth0-rotator, or set KUBEBUILDER_ASSETS to a \
         directory that has etcd and kube-apiserver"
    )]
    NoCache,

    /// Go isn't installed.
    #[error(
        "building {binary} needs Go {needed} or newer, but there is no `go` on PATH: install it \
         from https://go.dev/dl/, or set KUBEBUILDER_ASSETS to a directory that has etcd and \
         kube-apiserver"
    )]
    NoGo {
        /// The executable or module that needs Go.
        binary: &'static str,
        /// The oldest version that is accepted.
        needed: &'static str,
    },

    /// The installed Go is too old.
    #[error(
        "building {binary} needs Go {needed} or newer, but {} is {found}: install a newer one \
         from https://go.dev/dl/, or set KUBEBUILDER_ASSETS to a directory that has etcd and \
         kube-apiserver", go.display()
    )]
    OldGo {
        /// The executable or module that needs Go.
        binary: &'static str,
        /// The `go` that was found.
        go: PathBuf,
        /// Its version, or its error message.
        found: String,
        /// The oldest version that is accepted.
        needed: &'static str,
    },

    /// The modules of an executable can't be downloaded.
    #[error(
        "Go can't download the modules of {binary} from {proxy}: check the network, set \
         HTTPS_PROXY if the network needs a proxy, or set GOPROXY to a module mirror that is \
         reachable. Output of Go:\n{tail}"
    )]
    Download {
        /// The executable.
        binary: &'static str,
        /// The value of GOPROXY.
        proxy: String,
        /// The last lines of Go's output.
        tail: String,
    },

    /// The modules don't compile or link.
    #[error(
        "Go can't build {binary} ({status}; 137 is SIGKILL, often because memory ran out: linking \
         needs about 2 GB). Output of Go:\n{tail}"
    )]
    Compile {
        /// The executable.
        binary: &'static str,
        /// Go's exit status.
        status: ExitStatus,
        /// The last lines of Go's output.
        tail: String,
    },

    /// A published module can't be downloaded, or differs from the pinned one.
    #[error(
        "can't get the Go module {module} {version} from {proxy}: {reason}; check the network, or \
         set GOPROXY to a module mirror that is reachable"
    )]
    Module {
        /// The module's path.
        module: &'static str,
        /// The module's version.
        version: &'static str,
        /// The value of GOPROXY.
        proxy: String,
        /// Go's error message, or the checksum that was found.
        reason: String,
    },

    /// A file or directory of the cache can't be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A failed operation on a file or directory.
#[derive(Debug, thiserror::Error)]
#[error("can't {action} {}", path.display())]
pub struct FileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Adds the operation and the path to an [`io::Error`].
pub(crate) trait FileContext<T> {
    /// `action` continues the sentence "can't …", for example "create".
    fn context(self, action: &'static str, path: &Path) -> Result<T, FileError>;
}

impl<T> FileContext<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, FileError> {
        self.map_err(|source| FileError { action, path: path.to_path_buf(), source })
    }
}
