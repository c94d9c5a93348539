//! Watches of the operator's objects, their stores, and the queues that they feed.
//!
//! Every kind is watched once per namespace, or once for all. An event becomes the name of a resource
//! to reconcile, and the reconcile reads the objects itself.

mod health;
mod selector;
mod stores;
mod secret_versions;
mod prune;
mod namespace;
mod secrets;
mod cluster;
mod storage_revision;
mod enqueue;
mod index;
mod tenant_index;

pub(crate) use cluster::{ClusterFeed, ClusterWatch};
pub(crate) use enqueue::{PAGE_SIZE, WATCH_TIMEOUT, next_claimants};
pub(crate) use health::WatchHealth;
pub(crate) use namespace::{NamespaceFeed, NamespaceWatch};
pub(crate) use secrets::SlowReset;
pub use selector::{InvalidSelector, WatchSelector};
pub(crate) use storage_revision::{detect_restores, record_version, restores};
pub(crate) use stores::{SecretMetadata, Stores};
use tokio::sync::watch as channel;

use super::queue::Trigger;

/// How many names may wait to enter a reconcile queue, which holds each name once.
const QUEUE_CAPACITY: usize = 1024;

/// Context that all watches share.
pub(crate) struct WatchContext {
    pub(crate) stores: Stores,
    pub(crate) trigger: Trigger,
    /// Whether this replica leads. Before, events enqueue nothing.
    pub(crate) is_leading: channel::Receiver<bool>,
    pub(crate) health: WatchHealth,
}
