//! What the watches know.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Resource as _,
    api::PartialObjectMeta,
    core::DeserializeGuard,
    runtime::reflector::{ObjectRef, Store},
};

use crate::api::{Auth0Tenant, ClientSecretRotation};

/// A resource as the watch knows it; one that can't be parsed stops no other.
pub(super) type Guarded = DeserializeGuard<ClientSecretRotation>;

/// A tenant as the watch knows it.
pub(super) type GuardedTenant = DeserializeGuard<Auth0Tenant>;

/// The metadata of a Secret with our label.
pub(super) type SecretMetadata = PartialObjectMeta<Secret>;

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
