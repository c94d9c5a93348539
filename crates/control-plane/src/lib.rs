//! A real etcd and kube-apiserver on loopback, for tests and for the demo.
//!
//! [`ControlPlane::start`] builds the servers from Go modules when they aren't there yet (see
//! [`Assets`]), starts them on a data folder of their own and returns once the API server answers:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use control_plane::ControlPlane;
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
mod builder;
mod certificates;
mod download;
mod error;
mod etcd;
mod fixture;
mod folder;
mod guardian;
mod kubeconfig;
mod log;
mod modules;
mod options;
mod port;
mod progress;
mod ready;
mod shared;
mod toolchain;

pub use apiserver::SERVICE_ADDRESS;
pub use assets::{Assets, Binary, cache_dir};
pub use download::Module;
pub use error::{AssetsError, Error, FileError};
pub use fixture::ControlPlane;
pub use modules::{etcd_version, helm_version, kubernetes_version};
pub use options::Options;
pub use progress::{BuildEvent, Progress};
pub use shared::shared;
