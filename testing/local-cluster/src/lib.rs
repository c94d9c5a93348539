//! A real etcd and kube-apiserver on loopback, for tests and for the demo.
//!
//! [`ControlPlane::start`] builds the servers from Go modules if they are missing (see [`Assets`]),
//! starts them with a data directory of their own, and returns when the API server is ready:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use local_cluster::ControlPlane;
//!
//! let control_plane = ControlPlane::start().await?;
//! let client = kube::Client::try_from(control_plane.client_config())?;
//! println!("{}", client.apiserver_version().await?.git_version);
//! control_plane.stop().await?;
//! # Ok(())
//! # }
//! ```
//!
//! There is no kubelet, scheduler or controller manager. Therefore:
//!
//! - Pods don't start.
//! - A deleted namespace stays `Terminating`, and the dependents of a deleted owner stay.
//! - Namespaces get no service account `default`.
//! - The cluster roles `admin`, `edit` and `view`, which are aggregated from others, are empty. Bind
//!   your own roles, or `system:aggregate-to-view` and the like.
//!
//! The module `node`, behind the feature of the same name, starts those components for tests that
//! need real Pods.
//!
//! The servers end with the process that started them, even if SIGKILL ends it, and their data
//! directory is removed: see [`supervised`]. Everything listens on loopback or on a Unix socket in
//! the data directory, which only its owner may enter.

mod control_plane;
mod options;
mod shared;

mod apiserver;
mod assets;
mod certificates;
mod data_dir;
mod etcd;
mod kubeconfig;
mod readiness;
mod reserved_port;
pub mod supervised;

#[cfg(feature = "node")]
pub mod node;

mod error;
mod log_tail;

pub use apiserver::SERVICE_ADDRESS;
pub use assets::{
    Assets, Binary, BuildEvent, GoModule, Progress, cache_dir, etcd_version, helm_version,
    kubernetes_version,
};
pub use control_plane::ControlPlane;
pub use error::{AssetsError, Error, FileError};
pub use options::Options;
pub use shared::shared;
