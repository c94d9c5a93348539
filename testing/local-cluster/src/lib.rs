//! A real etcd and kube-apiserver on loopback, for tests and for the demo.
//!
//! [`ControlPlane::start`] builds the servers from Go modules when they aren't there yet (see
//! [`Assets`]), starts them on a data folder of their own and returns once the API server answers:
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
//! No kubelet, scheduler or controller manager runs. So nothing starts pods, a deleted namespace
//! stays `Terminating`, the dependents of a deleted owner stay, namespaces get no service account
//! `default`, and the cluster roles `admin`, `edit` and `view`, which are aggregated from others,
//! are empty: bind roles of your own, or `system:aggregate-to-view` and the like. The crate `node`
//! starts them where real pods are wanted.
//!
//! The servers end with the process that started them, even if that is killed by SIGKILL, and
//! their data folder goes with them. Everything listens on loopback or on a Unix socket in the
//! data folder, which only its owner may enter.

mod apiserver;
mod assets;
mod certificates;
mod control_plane;
mod data_dir;
mod error;
mod etcd;
mod kubeconfig;
mod log_tail;
#[cfg(feature = "node")]
pub mod node;
mod options;
mod readiness;
mod reserved_port;
mod shared;
mod supervised;

pub use apiserver::SERVICE_ADDRESS;
pub use assets::{Assets, Binary, BuildEvent, Module, Progress, cache_dir};
pub use assets::{etcd_version, helm_version, kubernetes_version};
pub use control_plane::ControlPlane;
pub use error::{AssetsError, Error, FileError};
pub use options::Options;
pub use shared::shared;
