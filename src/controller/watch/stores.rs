//! The reflector stores of all watches.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    ResourceExt as _,
    api::PartialObjectMeta,
    runtime::reflector::{ObjectRef, Store},
};

use super::{
    super::object_key::ObjectKey, index::Index, prune::is_incomplete,
    secret_versions::SecretVersions, selector::WatchSelector, tenant_index::TenantIndex,
};
use crate::api::{
    AnyTenant, ClientSecretRotation, Labels, ParsedClusterTenant, ParsedRotation, ParsedTenant,
    TenantKind, TenantRef,
};

/// The metadata of a Secret with our label.
pub(crate) type SecretMetadata = PartialObjectMeta<Secret>;

/// The metadata of a namespace.
pub(crate) type NamespaceMetadata = PartialObjectMeta<Namespace>;

/// The stores, one of each kind per watched namespace. They show when to reconcile, which resources
/// conflict and where a tenant is; a step that can't be repeated reads its inputs live.
#[derive(Clone, Default)]
pub(crate) struct Stores {
    pub(super) rotations: Vec<Store<ParsedRotation>>,
    pub(super) indexes: Vec<Index>,
    pub(super) tenants: Vec<Store<ParsedTenant>>,
    pub(super) tenant_indexes: Vec<TenantIndex>,
    pub(super) secrets: Vec<SecretVersions>,
    /// Where the credentials of ClusterAuth0Tenants are.
    pub(crate) operator_namespace: String,
    /// Where ClusterAuth0Tenants may be used.
    pub(super) cluster_tenants: Option<Store<ParsedClusterTenant>>,
    pub(super) cluster_tenant_index: Option<TenantIndex>,
    /// Where the labels of namespaces matter.
    pub(super) namespaces: Option<Store<NamespaceMetadata>>,
    /// Which resources and tenants this operator reconciles; the stores have the others too.
    pub(crate) selector: WatchSelector,
}

impl Stores {
    pub(crate) fn rotations(&self) -> Vec<Arc<ParsedRotation>> {
        self.rotations.iter().flat_map(Store::state).collect()
    }

    pub(crate) fn rotation(&self, key: &ObjectKey) -> Option<Arc<ParsedRotation>> {
        let reference = key.object_ref();
        self.rotations.iter().find_map(|store| store.get(&reference))
    }

    /// Returns a resource with everything of it that a reconcile needs, unless the store has only a part.
    pub(crate) fn complete_rotation(&self, key: &ObjectKey) -> Option<ClientSecretRotation> {
        let parsed = self.rotation(key)?;
        let resource = parsed.0.as_ref().ok()?;
        (!is_incomplete(&resource.metadata)).then(|| resource.clone())
    }

    /// Returns the resources that name the same client or the same target Secret as `resource`,
    /// itself included.
    pub(crate) fn sharing(&self, resource: &ClientSecretRotation) -> Vec<Arc<ParsedRotation>> {
        let namespace = resource.namespace().unwrap_or_default();
        let target = ObjectKey::new(namespace, &resource.spec.target.name);
        let mut keys = BTreeSet::new();
        for index in &self.indexes {
            keys.extend(index.with_client(&resource.spec.client_id));
            keys.extend(index.with_target(&target));
        }
        keys.iter().filter_map(|key| self.rotation(key)).collect()
    }

    /// Returns whether several resources, in any namespace, name this client.
    pub(crate) fn is_client_shared(&self, client: &str) -> bool {
        self.indexes.iter().map(|index| index.count_with_client(client)).sum::<usize>() > 1
    }

    /// Returns the resources whose target is this Secret.
    pub(crate) fn with_target(&self, target: &ObjectKey) -> Vec<Arc<ParsedRotation>> {
        let keys = self.indexes.iter().flat_map(|index| index.with_target(target));
        keys.filter_map(|key| self.rotation(&key)).collect()
    }

    pub(crate) fn all_tenants(&self) -> Vec<AnyTenant> {
        let namespaced = self.tenants.iter().flat_map(Store::state).map(AnyTenant::Namespaced);
        let cluster = self.cluster_tenants.iter().flat_map(Store::state).map(AnyTenant::Cluster);
        namespaced.chain(cluster).collect()
    }

    /// Returns the tenants that this operator reconciles.
    pub(crate) fn selected_tenants(&self) -> Vec<AnyTenant> {
        let mut tenants = self.all_tenants();
        tenants.retain(|tenant| self.is_selected(tenant));
        tenants
    }

    /// Returns the tenants of both kinds whose credentials are in this Secret.
    pub(crate) fn tenants_with_credentials(&self, secret: &ObjectKey) -> Vec<AnyTenant> {
        let keys = self.tenant_indexes.iter().flat_map(|index| index.with_credentials(secret));
        let namespaced = keys.filter_map(|key| self.tenant_of(TenantKind::Auth0Tenant, &key));
        let mut tenants: Vec<AnyTenant> = namespaced.collect();
        if secret.namespace == self.operator_namespace {
            let secret = ObjectKey::new("", &secret.name);
            let index = self.cluster_tenant_index.iter();
            let keys = index.flat_map(|index| index.with_credentials(&secret));
            tenants.extend(
                keys.filter_map(|key| self.tenant_of(TenantKind::ClusterAuth0Tenant, &key)),
            );
        }
        tenants
    }

    /// Returns the tenants of both kinds that call this origin.
    pub(crate) fn tenants_calling(&self, origin: &str) -> Vec<AnyTenant> {
        let keys = self.tenant_indexes.iter().flat_map(|index| index.calling(origin));
        let namespaced = keys.filter_map(|key| self.tenant_of(TenantKind::Auth0Tenant, &key));
        let keys = self.cluster_tenant_index.iter().flat_map(|index| index.calling(origin));
        let cluster = keys.filter_map(|key| self.tenant_of(TenantKind::ClusterAuth0Tenant, &key));
        namespaced.chain(cluster).collect()
    }

    fn tenant_of(&self, kind: TenantKind, key: &ObjectKey) -> Option<AnyTenant> {
        self.tenant(&key.namespace, &TenantRef { kind, name: key.name.clone() })
    }

    /// Returns the tenant that a resource of `namespace` refers to.
    pub(crate) fn tenant(&self, namespace: &str, reference: &TenantRef) -> Option<AnyTenant> {
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

    /// Returns whether this operator reconciles a tenant.
    pub(crate) fn is_selected(&self, tenant: &AnyTenant) -> bool {
        self.selector.selects(tenant.meta())
    }

    /// Returns a text that changes with a tenant and with what else decides who may use it.
    pub(crate) fn tenant_version(&self, namespace: &str, reference: &TenantRef) -> Option<String> {
        let tenant = self.tenant(namespace, reference)?;
        let mut version = tenant.version()?;
        if !self.is_selected(&tenant) {
            version.push_str(" in another shard");
        }
        match tenant {
            AnyTenant::Namespaced(_) => Some(version),
            AnyTenant::Cluster(_) => Some(format!("{version} {:?}", self.labels(namespace))),
        }
    }

    /// Returns the labels of a namespace.
    pub(crate) fn labels(&self, namespace: &str) -> Option<Labels> {
        let found = self.namespaces.as_ref()?.get(&ObjectRef::new(namespace))?;
        Some(found.metadata.labels.clone().unwrap_or_default())
    }

    /// Returns whether there is no Secret of this name with our label, as far as the watches show. They show
    /// nothing while one of them lacks its initial list.
    pub(crate) fn is_absent_secret(&self, key: &ObjectKey) -> bool {
        self.secrets.iter().all(SecretVersions::is_complete) && self.is_known_secret(key, &[])
    }

    /// Returns whether the version of a Secret with our label is one of these, or whether there are
    /// none and no such Secret.
    pub(crate) fn is_known_secret(&self, key: &ObjectKey, versions: &[String]) -> bool {
        let found = self.secrets.iter().find_map(|secrets| secrets.is_one_of(key, versions));
        found.unwrap_or(versions.is_empty())
    }
}
