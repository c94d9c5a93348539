//! The two kinds of tenants, to be dealt with as one.

use std::{fmt::Debug, sync::Arc};

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Resource, ResourceExt as _, api::PartialObjectMeta, core::DeserializeGuard,
};
use rotation::{Reason, condition_types, is_condition_true};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    api::{
        AllowRule, Auth0Tenant, Auth0TenantStatus, ClusterAuth0Tenant, TenantAccess, TenantKind,
        TenantRef,
    },
    metrics::TenantName,
};

/// A namespace's labels, as they are watched.
pub(in crate::controller) type NamespaceMetadata = PartialObjectMeta<Namespace>;

/// A resource that says where an Auth0 tenant is.
pub(in crate::controller) trait TenantResource:
    Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// Which of the kinds it is.
    const KIND: TenantKind;

    fn access(&self) -> &TenantAccess;

    /// Who may use which clients; `None`: its own namespace, all of them.
    fn rules(&self) -> Option<&[AllowRule]>;

    fn status(&self) -> Option<&Auth0TenantStatus>;

    fn set_status(&mut self, status: Auth0TenantStatus);

    /// Where resources of this kind are; `namespace` is that of a resource that refers to one.
    fn api(client: Client, namespace: &str) -> Api<Self>;
}

impl TenantResource for Auth0Tenant {
    const KIND: TenantKind = TenantKind::Auth0Tenant;

    fn access(&self) -> &TenantAccess {
        &self.spec.access
    }

    fn rules(&self) -> Option<&[AllowRule]> {
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

    fn rules(&self) -> Option<&[AllowRule]> {
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

/// A tenant as a watch knows it.
#[derive(Clone)]
pub(in crate::controller) enum AnyTenant {
    Namespaced(Arc<DeserializeGuard<Auth0Tenant>>),
    Cluster(Arc<DeserializeGuard<ClusterAuth0Tenant>>),
}

impl AnyTenant {
    pub(in crate::controller) fn uid(&self) -> Option<String> {
        match self {
            AnyTenant::Namespaced(tenant) => tenant.uid(),
            AnyTenant::Cluster(tenant) => tenant.uid(),
        }
    }

    /// Its name in metrics.
    pub(in crate::controller) fn name(&self) -> TenantName {
        match self {
            AnyTenant::Namespaced(tenant) => name::<Auth0Tenant>(&**tenant),
            AnyTenant::Cluster(tenant) => name::<ClusterAuth0Tenant>(&**tenant),
        }
    }

    pub(in crate::controller) fn status(&self) -> Option<&Auth0TenantStatus> {
        match self {
            AnyTenant::Namespaced(tenant) => tenant.0.as_ref().ok()?.status.as_ref(),
            AnyTenant::Cluster(tenant) => tenant.0.as_ref().ok()?.status.as_ref(),
        }
    }

    /// Whether it has a status of that kind.
    pub(in crate::controller) fn status_is(&self, is: impl Fn(&Auth0TenantStatus) -> bool) -> bool {
        self.status().is_some_and(is)
    }

    /// What resources have to be looked at anew for when it changes: what is asked of the tenant,
    /// and whether it can be used. What else its status tells is no reason.
    pub(in crate::controller) fn version(&self) -> Option<String> {
        match self {
            AnyTenant::Namespaced(tenant) => version(tenant),
            AnyTenant::Cluster(tenant) => version(tenant),
        }
    }
}

fn version<T: TenantResource>(tenant: &DeserializeGuard<T>) -> Option<String> {
    let Ok(tenant) = &tenant.0 else { return tenant.resource_version() };
    let (uid, generation) = (tenant.uid()?, tenant.meta().generation);
    Some(format!("{uid} {generation:?} {:?}", not_ready(tenant)))
}

/// The name of a tenant in metrics.
pub(super) fn name<T: TenantResource>(tenant: &impl Resource) -> TenantName {
    let kind = match T::KIND {
        TenantKind::Auth0Tenant => "Auth0Tenant",
        TenantKind::ClusterAuth0Tenant => "ClusterAuth0Tenant",
    };
    [kind.to_owned(), tenant.namespace().unwrap_or_default(), tenant.name_any()]
}

/// Reason and message, when the tenant's own status says that it can't be used.
pub(super) fn not_ready<T: TenantResource>(tenant: &T) -> Option<(Reason, String)> {
    let status = tenant.status()?;
    let ready = rotation::find_condition(&status.conditions, condition_types::READY)?;
    (!is_condition_true(&status.conditions, condition_types::READY)).then(|| {
        (Reason::parse(&ready.reason).unwrap_or(Reason::TenantNotReady), ready.message.clone())
    })
}

/// Which tenant a resource of a namespace refers to, as a key: no two tenants have the same.
pub(in crate::controller) fn tenant_key(namespace: &str, reference: &TenantRef) -> String {
    match reference.kind {
        TenantKind::Auth0Tenant => format!("{namespace}/{}", reference.name),
        // No namespace has an empty name.
        TenantKind::ClusterAuth0Tenant => format!("/{}", reference.name),
    }
}

/// Kind and name, for people.
pub(in crate::controller) fn describe(reference: &TenantRef) -> String {
    match reference.kind {
        TenantKind::Auth0Tenant => format!("Auth0Tenant {}", reference.name),
        TenantKind::ClusterAuth0Tenant => format!("ClusterAuth0Tenant {}", reference.name),
    }
}
