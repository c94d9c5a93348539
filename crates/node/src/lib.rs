//! Real pods for tests: containerd and one kubelet, with a controller manager and a scheduler, in
//! namespaces of their own.
//!
//! A program that wants pods runs itself anew by [`enclose`], and inside starts a control plane
//! with the options that [`control_plane()`] gives, and a [`Node`]:
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<std::process::ExitCode> {
//! use control_plane::Progress;
//! use node::{Enclosure, Node};
//!
//! let Some(enclosure) = Enclosure::current() else { return node::enclose().await };
//! let control_plane = node::control_plane(&enclosure).start().await?;
//! let node = Node::start(&enclosure, &control_plane, &Progress::default()).await?;
//! # Ok(std::process::ExitCode::SUCCESS)
//! # }
//! ```
//!
//! Inside there is no way to any network: the machine's interfaces aren't there, and no image is
//! pulled. The node has the address [`ADDRESS`], at which pods reach what listens on it, and the
//! address of the service `kubernetes`, at which the API server listens. So there is no kube-proxy,
//! and other services have no use. Nor is there DNS.
//!
//! It takes Linux, root, and containerd, runc, network plugins and buildah from the distribution.

mod config;
mod enclosure;
mod images;
mod node;
mod process;

pub use config::SANDBOX_IMAGE;
pub use enclosure::{Enclosure, enclose};
pub use images::{Builder, Contents, program};
pub use node::{ADDRESS, BINARIES, Node, control_plane};
