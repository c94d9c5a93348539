//! What the watches know.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::core::v1::Secret;
use kube::{
    ResourceExt as _,
    api::PartialObjectMeta,
    core::DeserializeGuard,
    runtime::reflector::{ObjectRef, Store},
};

use super::{
    index::Index,
    places::Key,
    tenants::{AnyTenant, Labels, NamespaceMetadata},
};
use crate::api::{Auth0Tenant, ClientSecretRotation, ClusterAuth0Tenant, TenantKind, TenantRef};

/// A resource as the watch knows it; one that can't be parsed stops no other.
pub(super) type Guarded = DeserializeGuard<ClientSecretRotation>;

/// A tenant as the watch knows it.
pub(super) type GuardedTenant = DeserializeGuard<Auth0Tenant>;

/// A tenant of the cluster as the watch knows it.
pub(super) type GuardedClusterTenant = DeserializeGuard<ClusterAuth0Tenant>;

/// The metadata of a Secret with our label.
pub(super) type SecretMetadata = PartialObjectMeta<Secret>;

/// The caches of the watches, one of each per namespace. They tell when to look, who claims what
/// and where a tenant is; what a step depends on is read live.
#[derive(Clone, Default)]
pub(super) struct Watched {
    pub(super) resources: Vec<Store<Guarded>>,
    /// Of the resources.
    pub(super) indexes: Vec<Index>,
    pub(super) tenants: Vec<Store<GuardedTenant>>,
    pub(super) secrets: Vec<Store<SecretMetadata>>,
    /// Tenants of the cluster, where they may be used.
    pub(super) cluster_tenants: Option<Store<GuardedClusterTenant>>,
    /// Namespaces, where their labels matter.
    pub(super) namespaces: Option<Store<NamespaceMetadata>>,
}

impl Watched {
    pub(super) fn resources(&self) -> Vec<Arc<Guarded>> {
        self.resources.iter().flat_map(Store::state).collect()
    }

    /// The resources that name the client, or the target Secret, of another one or its own.
    pub(super) fn sharing(&self, with: &ClientSecretRotation) -> Vec<Arc<Guarded>> {
        let namespace = with.namespace().unwrap_or_default();
        let target = Key { namespace, name: with.spec.target.name.clone() };
        let mut keys: BTreeSet<_> =
            self.indexes.iter().flat_map(|index| index.of_client(&with.spec.client_id)).collect();
        keys.extend(self.indexes.iter().flat_map(|index| index.of_target(&target)));
        keys.iter().filter_map(|key| self.resource(key)).collect()
    }

    /// The resources whose target is this Secret.
    pub(super) fn aiming_at(&self, target: &Key) -> Vec<Arc<Guarded>> {
        let keys = self.indexes.iter().flat_map(|index| index.of_target(target));
        keys.filter_map(|key| self.resource(&key)).collect()
    }

    pub(super) fn resource(&self, key: &Key) -> Option<Arc<Guarded>> {
        let reference = ObjectRef::new(&key.name).within(&key.namespace);
        self.resources.iter().find_map(|store| store.get(&reference))
    }

    pub(super) fn all_tenants(&self) -> Vec<AnyTenant> {
        let cluster = self.cluster_tenants.iter().flat_map(Store::state);
        let namespaced = self.tenants.iter().flat_map(Store::state);
        namespaced.map(AnyTenant::Namespaced).chain(cluster.map(AnyTenant::Cluster)).collect()
    }

    /// The UIDs of all tenants.
    pub(super) fn tenant_uids(&self) -> Vec<String> {
        self.all_tenants().iter().filter_map(AnyTenant::uid).collect()
    }

    /// The tenant that a resource of `namespace` refers to.
    pub(super) fn tenant(&self, namespace: &str, reference: &TenantRef) -> Option<AnyTenant> {
        match reference.kind {
            TenantKind::Auth0Tenant => {
                let key = ObjectRef::new(&reference.name).within(namespace);
                self.tenants.iter().find_map(|store| store.get(&key)).map(AnyTenant::Namespaced)
            }
            TenantKind::ClusterAuth0Tenant => {
                let store = self.cluster_tenants.as_ref()?;
                store.get(&ObjectRef::new(&reference.name)).map(AnyTenant::Cluster)
            }
        }
    }

    /// The version of a tenant, and of what else says who may use it.
    pub(super) fn tenant_version(&self, namespace: &str, reference: &TenantRef) -> Option<String> {
        let tenant = self.tenant(namespace, reference)?;
        let version = tenant.version()?;
        match tenant {
            AnyTenant::Namespaced(_) => Some(version),
            AnyTenant::Cluster(_) => Some(format!("{version} {:?}", self.labels(namespace))),
        }
    }

    /// The labels of a namespace.
    pub(super) fn labels(&self, namespace: &str) -> Option<Labels> {
        let found = self.namespaces.as_ref()?.get(&ObjectRef::new(namespace))?;
        Some(found.metadata.labels.clone().unwrap_or_default())
    }

    /// The version of a Secret as far as the watch knows.
    pub(super) fn secret_version(&self, namespace: &str, name: &str) -> Option<String> {
        let key = ObjectRef::new(name).within(namespace);
        let found = self.secrets.iter().find_map(|store| store.get(&key))?;
        found.metadata.resource_version.clone()
    }
}
