//! The two kinds of tenants behind one interface.

use std::{fmt::Debug, sync::Arc, time::Duration};

use kube::{Api, Client, Resource, ResourceExt as _, api::ObjectMeta};
use rotation::{Condition, condition_types, find_condition};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    AllowRule, Auth0Tenant, Auth0TenantStatus, ClusterAuth0Tenant, ParsedClusterTenant,
    ParsedTenant, TenantAccess, TenantKind, TenantRef,
};

/// A resource that describes an Auth0 tenant.
pub(crate) trait TenantResource:
    Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    const KIND: TenantKind;

    fn access(&self) -> &TenantAccess;

    /// Returns which namespaces may use which clients; `None` for its own namespace and all clients.
    fn allow_rules(&self) -> Option<&[AllowRule]>;

    fn status(&self) -> Option<&Auth0TenantStatus>;

    fn set_status(&mut self, status: Auth0TenantStatus);

    /// Returns the API for this kind; `namespace` is that of a resource that refers to a tenant.
    fn api(client: Client, namespace: &str) -> Api<Self>;
}

impl TenantResource for Auth0Tenant {
    const KIND: TenantKind = TenantKind::Auth0Tenant;

    fn access(&self) -> &TenantAccess {
        &self.spec.access
    }

    fn allow_rules(&self) -> Option<&[AllowRule]> {
        None
    }

    fn status(&self) -> Option<&Auth0TenantStatus> {
        self.status.as_ref()
    }

    fn set_status(&mut self, status: Auth0TenantStatus) {
        self.status = Some(status);
    }

    fn api(client: Client, namespace: &str) -> Api<Self> {
        Api::namespaced(client, namespace)
    }
}

impl TenantResource for ClusterAuth0Tenant {
    const KIND: TenantKind = TenantKind::ClusterAuth0Tenant;

    fn access(&self) -> &TenantAccess {
        &self.spec.access
    }

    fn allow_rules(&self) -> Option<&[AllowRule]> {
        Some(&self.spec.allow)
    }

    fn status(&self) -> Option<&Auth0TenantStatus> {
        self.status.as_ref()
    }

    fn set_status(&mut self, status: Auth0TenantStatus) {
        self.status = Some(status);
    }

    fn api(client: Client, _: &str) -> Api<Self> {
        Api::all(client)
    }
}

/// Kind, namespace and name of a tenant; a ClusterAuth0Tenant has an empty namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TenantId {
    pub(crate) kind: TenantKind,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl TenantId {
    /// Returns the ID of a tenant resource.
    pub(crate) fn of<T: TenantResource>(tenant: &impl Resource) -> Self {
        Self {
            kind: T::KIND,
            namespace: tenant.namespace().unwrap_or_default(),
            name: tenant.name_any(),
        }
    }

    /// Returns the ID of the tenant that a resource of `namespace` refers to.
    pub(crate) fn referenced(namespace: &str, reference: &TenantRef) -> Self {
        let namespace = match reference.kind {
            TenantKind::Auth0Tenant => namespace.to_owned(),
            TenantKind::ClusterAuth0Tenant => String::new(),
        };
        Self { kind: reference.kind, namespace, name: reference.name.clone() }
    }

    /// Returns kind, namespace and name as metric labels.
    pub(crate) fn labels(&self) -> [String; 3] {
        [format!("{:?}", self.kind), self.namespace.clone(), self.name.clone()]
    }

    /// Returns a text that no other tenant has.
    pub(crate) fn key(&self) -> String {
        // No namespace has an empty name.
        format!("{}/{}", self.namespace, self.name)
    }
}

/// A tenant of either kind as its watch delivered it.
#[derive(Clone)]
pub(crate) enum AnyTenant {
    Namespaced(Arc<ParsedTenant>),
    Cluster(Arc<ParsedClusterTenant>),
}

impl AnyTenant {
    pub(crate) fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Namespaced(tenant) => tenant.meta(),
            Self::Cluster(tenant) => tenant.meta(),
        }
    }

    pub(crate) fn uid(&self) -> Option<String> {
        match self {
            Self::Namespaced(tenant) => tenant.uid(),
            Self::Cluster(tenant) => tenant.uid(),
        }
    }

    pub(crate) fn generation(&self) -> Option<i64> {
        match self {
            Self::Namespaced(tenant) => tenant.0.as_ref().ok()?.metadata.generation,
            Self::Cluster(tenant) => tenant.0.as_ref().ok()?.metadata.generation,
        }
    }

    pub(crate) fn id(&self) -> TenantId {
        match self {
            Self::Namespaced(tenant) => TenantId::of::<Auth0Tenant>(&**tenant),
            Self::Cluster(tenant) => TenantId::of::<ClusterAuth0Tenant>(&**tenant),
        }
    }

    pub(crate) fn access(&self) -> Option<&TenantAccess> {
        match self {
            Self::Namespaced(tenant) => tenant.0.as_ref().ok().map(TenantResource::access),
            Self::Cluster(tenant) => tenant.0.as_ref().ok().map(TenantResource::access),
        }
    }

    /// Returns the shortest interval of drift checks that the tenant allows.
    pub(crate) fn min_drift_interval(&self) -> Option<Duration> {
        Some(self.access()?.drift_check.min_interval.to_std())
    }

    pub(crate) fn status(&self) -> Option<&Auth0TenantStatus> {
        match self {
            Self::Namespaced(tenant) => tenant.0.as_ref().ok()?.status.as_ref(),
            Self::Cluster(tenant) => tenant.0.as_ref().ok()?.status.as_ref(),
        }
    }

    /// Returns a text that changes when resources of the tenant have to be reconciled: with its
    /// spec, with whether it is ready, and with the domain that it was ready under. Other changes of its status do not matter to them.
    pub(crate) fn version(&self) -> Option<String> {
        let (resource_version, generation) = match self {
            Self::Namespaced(tenant) => match &tenant.0 {
                Ok(tenant) => (None, tenant.metadata.generation),
                Err(_) => (tenant.resource_version(), None),
            },
            Self::Cluster(tenant) => match &tenant.0 {
                Ok(tenant) => (None, tenant.metadata.generation),
                Err(_) => (tenant.resource_version(), None),
            },
        };
        if resource_version.is_some() {
            return resource_version;
        }
        let not_ready = not_ready(self.status()).map(|ready| (&ready.reason, &ready.message));
        let domain = self.status().and_then(|status| status.domain.as_ref());
        Some(format!("{} {generation:?} {domain:?} {not_ready:?}", self.uid()?))
    }
}

/// Returns the `Ready` condition of a tenant's status, unless it is absent or true.
pub(crate) fn not_ready(status: Option<&Auth0TenantStatus>) -> Option<&Condition> {
    let ready = find_condition(&status?.conditions, condition_types::READY)?;
    (ready.status != rotation::ConditionStatus::True).then_some(ready)
}

/// Returns the domain that target Secrets contain while the tenant is not ready under the domain in
/// its spec, if it was ready under another one.
pub(crate) fn kept_domain(spec_domain: &str, status: Option<&Auth0TenantStatus>) -> Option<String> {
    let domain = status?.domain.as_deref().filter(|domain| *domain != spec_domain)?;
    Some(domain.to_owned())
}

/// Returns a message about a tenant that is not ready, with the domain that applications keep.
pub(crate) fn with_kept_domain(message: String, kept_domain: Option<&str>) -> String {
    match kept_domain {
        Some(domain) => format!(
            "{message}. Applications keep the domain {domain} until the tenant is ready under the \
             new one"
        ),
        None => message,
    }
}

/// Returns kind and name, for messages.
pub(crate) fn describe_tenant(reference: &TenantRef) -> String {
    match reference.kind {
        TenantKind::Auth0Tenant => format!("Auth0Tenant {}", reference.name),
        TenantKind::ClusterAuth0Tenant => format!("ClusterAuth0Tenant {}", reference.name),
    }
}
