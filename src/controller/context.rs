//! What every pass shares.

use std::sync::Arc;

use kube::{
    Client, Resource as _,
    runtime::reflector::{ObjectRef, Store},
};
use rotation::Span;
use tokio::sync::Semaphore;

use super::{
    claims::Guarded,
    events::Announcer,
    memory::Memory,
    precedence::Precedence,
    target::SecretStore,
    tenants::Tenants,
    watch::{GuardedTenant, SecretMetadata},
};
use crate::metrics::Metrics;

/// How the operator is to work.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespaces to work in; all when empty.
    pub namespaces: Vec<String>,
    /// How long Auth0 may take to accept a new secret and to refuse the old one.
    pub propagation_window: Span,
    /// Tenants may have plain HTTP endpoints, for a simulator.
    pub allow_http: bool,
    /// How many resources are worked on at a time.
    pub concurrency: u16,
}

/// What every pass shares.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) settings: Settings,
    pub(super) secrets: SecretStore,
    pub(super) tenants: Tenants,
    pub(super) memory: Arc<Memory>,
    pub(super) announcer: Announcer,
    pub(super) metrics: Arc<Metrics>,
    pub(super) watched: Watched,
    /// A place for each resource that may be worked on at a time, over all namespaces.
    pub(super) places: Semaphore,
    pub(super) precedence: Precedence,
}

/// The caches of the watches, one of each per namespace. They tell when to look, who claims what
/// and where a tenant is; what a step depends on is read live.
#[derive(Clone, Default)]
pub(super) struct Watched {
    pub(super) resources: Vec<Store<Guarded>>,
    pub(super) tenants: Vec<Store<GuardedTenant>>,
    pub(super) secrets: Vec<Store<SecretMetadata>>,
}

impl Watched {
    pub(super) fn resources(&self) -> Vec<Arc<Guarded>> {
        self.resources.iter().flat_map(Store::state).collect()
    }

    pub(super) fn tenants(&self) -> Vec<Arc<GuardedTenant>> {
        self.tenants.iter().flat_map(Store::state).collect()
    }

    pub(super) fn tenant(&self, namespace: &str, name: &str) -> Option<Arc<GuardedTenant>> {
        let key = ObjectRef::new(name).within(namespace);
        self.tenants.iter().find_map(|store| store.get(&key))
    }

    pub(super) fn tenant_version(&self, namespace: &str, name: &str) -> Option<String> {
        self.tenant(namespace, name)?.meta().resource_version.clone()
    }

    /// The version of a Secret as far as the watch knows.
    pub(super) fn secret_version(&self, namespace: &str, name: &str) -> Option<String> {
        let key = ObjectRef::new(name).within(namespace);
        let found = self.secrets.iter().find_map(|store| store.get(&key))?;
        found.metadata.resource_version.clone()
    }
}
