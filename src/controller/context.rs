//! Settings and the services that all reconcilers share.

use std::sync::Arc;

use auth0_client::EndpointPattern;
use kube::Client;
use leader_election::{Leadership, WriteFence};
use rotation::K8sDuration;
use tokio::sync::watch;

use super::{
    events::EventRecorder,
    queue::Trigger,
    target_secret::{AllowedMetadata, SecretStore},
    watch::{Stores, WatchSelector},
};
use crate::metrics::Metrics;

/// How the operator works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespaces to watch; all when empty.
    pub namespaces: Vec<String>,
    /// The namespaces in which Secrets are watched; all watched namespaces when empty.
    pub secret_namespaces: Vec<String>,
    /// Whether workloads may be restarted.
    pub restarts: bool,
    /// Whether Pods may be listed.
    pub pod_detection: bool,
    /// How long Auth0 may take to accept a new secret and to reject the old one.
    pub propagation_window: K8sDuration,
    /// Whether tenants may have endpoints with plain HTTP or on the loopback interface, for a
    /// simulator.
    pub allow_http: bool,
    /// The labels and annotations that resources may set on their target Secrets.
    pub allowed_metadata: AllowedMetadata,
    /// The endpoints that may be called; all public ones when empty.
    pub allowed_endpoints: Vec<EndpointPattern>,
    /// How many resources are reconciled at a time.
    pub concurrency: u16,
    /// Where the credentials of ClusterAuth0Tenants are; the client's namespace when absent.
    pub operator_namespace: Option<String>,
    /// Whether ClusterAuth0Tenants may be used; only without `namespaces` when absent.
    pub cluster_tenants: Option<bool>,
    /// Which resources and tenants are reconciled; all by default.
    pub watch_selector: WatchSelector,
}

impl Settings {
    /// Returns whether ClusterAuth0Tenants may be used.
    pub fn uses_cluster_tenants(&self) -> bool {
        self.cluster_tenants.unwrap_or(self.namespaces.is_empty())
    }
}

/// The services that all reconcilers share.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    pub(crate) secrets: SecretStore,
    pub(crate) stores: Stores,
    pub(crate) trigger: Trigger,
    pub(crate) events: EventRecorder,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) leadership: Leadership,
    /// True once the process is shutting down.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Context {
    /// Returns the fence that every write checks, except the publication of a response of
    /// `rotate-secret`: see [`WriteFence::UnpublishedResponse`].
    pub(crate) fn fence(&self) -> WriteFence<'_> {
        WriteFence::Leader(&self.leadership)
    }

    /// Returns whether the process is shutting down: it starts nothing new.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }
}
