//! What every pass shares.

use std::sync::Arc;

use kube::Client;
use rotation::K8sDuration;
use tokio::sync::watch;

use super::{
    cache::Watched, events::Announcer, memory::Memory, places::Places, pokes::Pokes,
    precedence::Precedence, target::SecretStore, tenants::Tenants,
};
use crate::metrics::Metrics;
use leader_election::{Leadership, WriteFence};

/// How the operator is to work.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespaces to work in; all when empty.
    pub namespaces: Vec<String>,
    /// How long Auth0 may take to accept a new secret and to refuse the old one.
    pub propagation_window: K8sDuration,
    /// Tenants may have plain HTTP endpoints, for a simulator.
    pub allow_http: bool,
    /// How many resources are worked on at a time.
    pub concurrency: u16,
    /// Where the credentials of the cluster's tenants are; the namespace of the client when absent.
    pub operator_namespace: Option<String>,
    /// Tenants of the cluster may be used; only without `namespaces` when absent.
    pub cluster_tenants: Option<bool>,
}

impl Settings {
    /// Whether tenants of the cluster may be used.
    pub fn uses_cluster_tenants(&self) -> bool {
        self.cluster_tenants.unwrap_or(self.namespaces.is_empty())
    }
}

/// What every pass shares.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) settings: Settings,
    pub(super) secrets: SecretStore,
    pub(super) tenants: Tenants,
    pub(super) memory: Arc<Memory>,
    pub(super) precedence: Precedence,
    pub(super) announcer: Announcer,
    pub(super) metrics: Arc<Metrics>,
    pub(super) watched: Watched,
    pub(super) pokes: Pokes,
    pub(super) places: Arc<Places>,
    /// Whether this process may act: asked just before each effect.
    pub(super) leadership: Leadership,
    /// True once the process has been asked to stop: nothing new is begun.
    pub(super) stopping: watch::Receiver<bool>,
}

impl Context {
    /// By this right everything is changed but one, see [`WriteFence::UnpublishedResponse`].
    pub(super) fn right(&self) -> WriteFence<'_> {
        WriteFence::Leader(&self.leadership)
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }
}
