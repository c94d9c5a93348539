//! What can go wrong, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a fixture doesn't start, restart or answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The servers' executables are missing and can't be built.
    #[error(transparent)]
    Assets(#[from] AssetsError),

    /// A file or folder of the fixture can't be read or written.
    #[error(transparent)]
    File(#[from] FileError),

    /// The given data folder belongs to a fixture that runs.
    #[error(
        "the data folder {} is in use by another control plane: stop that one, or choose another \
         folder", .0.display()
    )]
    DataFolderInUse(PathBuf),

    /// No port could be reserved on loopback.
    #[error("can't reserve a port on 127.0.0.1")]
    Port(#[source] io::Error),

    /// A certificate or key can't be made, for example because a host name isn't ASCII.
    #[error("can't make a certificate")]
    Certificate(#[from] rcgen::Error),

    /// The process that looks after a server, or its answer, is missing.
    #[error("can't start the guardian of {of}: it needs /bin/sh")]
    Guardian {
        /// The server, or the data folder.
        of: &'static str,
        /// Why it failed.
        source: io::Error,
    },

    /// A server ended by itself.
    #[error("{server} ended by itself ({status}); the last lines of {}:\n{tail}", log.display())]
    Ended {
        /// "etcd" or "kube-apiserver".
        server: &'static str,
        /// How it ended. A signal appears as the exit status 128 + n.
        status: std::process::ExitStatus,
        /// Its log, which is gone already if the data folder was temporary.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },

    /// A server did not become ready in time.
    #[error(
        "{server} was not ready after {after:?} (last answer: {answer}); the last lines of {}:\n\
         {tail}", log.display()
    )]
    NotReady {
        /// "etcd" or "kube-apiserver".
        server: &'static str,
        /// How long it was waited for.
        after: Duration,
        /// What it said last.
        answer: String,
        /// Its log, which is gone already if the data folder was temporary.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },

    /// A client for the API server can't be made.
    #[error("can't make a client for the API server")]
    Client(#[source] Box<kube::Error>),

    /// The kubeconfig can't be written as YAML.
    #[error("can't write a kubeconfig")]
    Kubeconfig(#[from] serde_norway::Error),

    /// A background task panicked.
    #[error("a background task of the control plane failed")]
    Task(#[from] tokio::task::JoinError),
}

/// Why an executable of the control plane is missing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssetsError {
    /// The folder that `KUBEBUILDER_ASSETS` names doesn't have what is needed.
    #[error(
        "KUBEBUILDER_ASSETS is {}, but there is no executable {binary} in it: point it at a \
         folder that has one, or unset it to have the servers built by Go", folder.display()
    )]
    NotInFolder {
        /// The folder.
        folder: PathBuf,
        /// The executable that is missing first.
        binary: &'static str,
    },

    /// There is no place for what is built.
    #[error(
        "no cache folder: set AUTH0_ROTATOR_CACHE to one, or XDG_CACHE_HOME or HOME, or set \
         KUBEBUILDER_ASSETS to a folder that has etcd and kube-apiserver"
    )]
    NoCache,

    /// There is no Go.
    #[error(
        "building {binary} needs Go {needed} or newer, and there is no `go` on PATH: install it \
         from https://go.dev/dl/, or set KUBEBUILDER_ASSETS to a folder that has etcd and \
         kube-apiserver"
    )]
    NoGo {
        /// What was to be built.
        binary: &'static str,
        /// The oldest version that will do.
        needed: &'static str,
    },

    /// The Go that is there can't build the servers.
    #[error(
        "building {binary} needs Go {needed} or newer, and {} is {found}: install a newer one from \
         https://go.dev/dl/, or set KUBEBUILDER_ASSETS to a folder that has etcd and \
         kube-apiserver", go.display()
    )]
    OldGo {
        /// What was to be built.
        binary: &'static str,
        /// The `go` that was found.
        go: PathBuf,
        /// Its version, or what it said instead.
        found: String,
        /// The oldest version that will do.
        needed: &'static str,
    },

    /// The modules can't be fetched.
    #[error(
        "Go can't fetch the modules of {binary} from {proxy}: check the network, set HTTPS_PROXY \
         if there is a proxy to go through, or set GOPROXY to a module mirror that can be \
         reached. Go said:\n{tail}"
    )]
    Download {
        /// What was to be built.
        binary: &'static str,
        /// The value of GOPROXY.
        proxy: String,
        /// The last lines that Go wrote.
        tail: String,
    },

    /// The modules are there but don't compile.
    #[error(
        "Go can't build {binary} ({status}; 137 is SIGKILL, often for lack of memory: linking \
         needs about 2 GB). Go said:\n{tail}"
    )]
    Compile {
        /// What was to be built.
        binary: &'static str,
        /// How Go ended.
        status: std::process::ExitStatus,
        /// The last lines that Go wrote.
        tail: String,
    },

    /// A module can't be fetched, or isn't the one that was pinned.
    #[error(
        "the Go module {module} {version} can't be had from {proxy}: {why}; check the network, or \
         set GOPROXY to a module mirror that can be reached"
    )]
    Module {
        /// Its path.
        module: &'static str,
        /// Its version.
        version: &'static str,
        /// The value of GOPROXY.
        proxy: String,
        /// What Go said.
        why: String,
    },

    /// A file or folder of the cache can't be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What could not be done with a file or folder.
#[derive(Debug, thiserror::Error)]
#[error("can't {doing} {}", path.display())]
pub struct FileError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Adds to an [`io::Error`] what was tried, and with which file.
pub(crate) trait FileContext<T> {
    fn context(self, doing: &'static str, path: &Path) -> Result<T, FileError>;
}

impl<T> FileContext<T> for io::Result<T> {
    fn context(self, doing: &'static str, path: &Path) -> Result<T, FileError> {
        self.map_err(|source| FileError { doing, path: path.to_path_buf(), source })
    }
}
