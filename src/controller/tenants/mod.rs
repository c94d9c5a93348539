//! The tenants that resources refer to: one client per tenant resource and generation.

mod credentials;
pub(super) mod credentials_watch;
mod destination;
mod kinds;
pub(super) mod permission;
pub(super) mod status;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt as _};
use rotation::{ErrorClass, Failure, K8sDuration, Reason};

use crate::controller::{KUBE_DEADLINE, cache::Watched, target::SecretStore, trouble};
use crate::{
    api::{ClientSecretRotation, ClusterAuth0Tenant, TenantKind, TenantRef},
    metrics::{Metrics, TenantMeter},
};
use auth0_client::{Auth0Error, Endpoint, RateLimitStatus, TenantClient};
use credentials::Seen;
use kinds::{describe, not_ready};

#[cfg(any(test, feature = "fuzzing"))]
pub(super) use credentials::parse_list;
pub(super) use destination::Destination;
pub(super) use kinds::{AnyTenant, NamespaceMetadata, TenantResource, tenant_key};
pub(super) use permission::{Labels, Permission};

/// Tenants by the UID and generation of their resource.
pub(in crate::controller) struct Tenants {
    client: Client,
    secrets: SecretStore,
    metrics: Arc<Metrics>,
    terms: Terms,
    kept: Mutex<HashMap<String, Kept>>,
}

/// What the operator was started with, as far as tenants are concerned.
pub(in crate::controller) struct Terms {
    pub(in crate::controller) allow_http: bool,
    pub(in crate::controller) propagation_window: K8sDuration,
    /// Where the credentials of cluster-wide tenants are.
    pub(in crate::controller) operator_namespace: String,
    /// Cluster-wide tenants may be used.
    pub(in crate::controller) cluster_tenants: bool,
}

/// A tenant as it was made.
#[derive(Clone)]
struct Kept {
    /// The generation of the resource that it was made of.
    generation: Option<i64>,
    tenant: Arc<TenantClient>,
    meter: Arc<TenantMeter>,
    /// What was seen of its credentials.
    seen: Seen,
}

/// A tenant that can be called.
#[derive(Clone)]
pub(in crate::controller) struct Usable {
    pub(in crate::controller) tenant: Arc<TenantClient>,
    /// Counts what is asked of it.
    pub(in crate::controller) meter: Arc<TenantMeter>,
    pub(in crate::controller) domain: String,
    /// Namespace and name of the Secret with its credentials.
    pub(in crate::controller) credentials: (String, String),
    /// What was last seen of that Secret.
    pub(in crate::controller) seen: Seen,
    /// What a resource that refers to it has to be looked at anew for when it changes.
    pub(in crate::controller) version: Option<String>,
    /// Reason and message, when its own status says that it can't be used.
    pub(in crate::controller) not_ready: Option<(Reason, String)>,
    /// What a resource may do with it.
    pub(in crate::controller) permission: Permission,
    /// The UID of its resource.
    pub(in crate::controller) uid: String,
    /// The generation of its resource.
    generation: Option<i64>,
    /// The labels of the resource's namespace that the permission is due to.
    labels: Option<Labels>,
}

impl Tenants {
    pub(in crate::controller) fn new(
        client: Client,
        secrets: SecretStore,
        metrics: Arc<Metrics>,
        terms: Terms,
    ) -> Tenants {
        Tenants { client, secrets, metrics, terms, kept: Mutex::default() }
    }

    /// The tenant that a resource refers to, and what the resource may do with it.
    pub(in crate::controller) fn find(
        &self,
        resource: &ClientSecretRotation,
        watched: &Watched,
    ) -> Result<Usable, Failure> {
        let namespace = resource.namespace().unwrap_or_default();
        let reference = &resource.spec.tenant_ref;
        let what = describe(reference);
        if reference.kind == TenantKind::ClusterAuth0Tenant && !self.terms.cluster_tenants {
            return Err(missing(format!(
                "the {what} can't be used: this operator works for some namespaces only; refer to an \
                 Auth0Tenant of this namespace, or start it with --cluster-tenants"
            )));
        }
        let unreadable = || missing(format!("the {what} can't be read by this operator"));
        let usable = match watched.tenant(&namespace, reference) {
            None => {
                return Err(missing(match reference.kind {
                    TenantKind::Auth0Tenant => format!(
                        "there is no {what} in this namespace: create it, or correct spec.tenantRef"
                    ),
                    TenantKind::ClusterAuth0Tenant => {
                        format!("there is no {what}: create it, or correct spec.tenantRef")
                    }
                }));
            }
            Some(AnyTenant::Namespaced(tenant)) => {
                self.usable(tenant.0.as_ref().map_err(|_| unreadable())?)?
            }
            Some(AnyTenant::Cluster(tenant)) => {
                let tenant = tenant.0.as_ref().map_err(|_| unreadable())?;
                let labels = watched.labels(&namespace);
                let asked = (namespace.as_str(), labels.as_ref());
                let client_id = &resource.spec.client_id;
                let permission =
                    permission::permission(&reference.name, &tenant.spec.allow, asked, client_id);
                Usable { permission, labels, ..self.usable(tenant)? }
            }
        };
        let version = watched.tenant_version(&namespace, reference);
        Ok(Usable { version, ..usable })
    }

    /// The tenant of a resource. What may be done with it is for the caller to find out.
    pub(in crate::controller) fn usable<T: TenantResource>(
        &self,
        resource: &T,
    ) -> Result<Usable, Failure> {
        let destination = Destination::of(resource.access())
            .map_err(|what| Failure::from(&Auth0Error::Configuration(what)))?;
        let uid = resource.uid().unwrap_or_default();
        let generation = resource.meta().generation;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { tenant, meter, seen, .. } = match kept.get(&uid) {
            Some(known) if known.generation == generation => known.clone(),
            _ => {
                let built = self.build(resource, &destination);
                let built = built.map_err(|error| Failure::from(&error))?;
                kept.insert(uid.clone(), built.clone());
                built
            }
        };
        Ok(Usable {
            tenant,
            meter,
            domain: resource.access().domain.clone(),
            credentials: self.credentials_of(resource),
            seen,
            version: None,
            not_ready: not_ready(resource),
            permission: Permission::Granted,
            uid,
            generation,
            labels: None,
        })
    }

    /// The tenant, and what may be done with it, is still as it was when it was found, also for the
    /// API server.
    pub(in crate::controller) async fn check_live(
        &self,
        namespace: &str,
        reference: &TenantRef,
        usable: &Usable,
    ) -> Result<(), Failure> {
        let generation = match reference.kind {
            TenantKind::Auth0Tenant => {
                let api = crate::api::Auth0Tenant::api(self.client.clone(), namespace);
                self.generation(&api, &reference.name).await?
            }
            TenantKind::ClusterAuth0Tenant => {
                let api = ClusterAuth0Tenant::api(self.client.clone(), namespace);
                self.generation(&api, &reference.name).await?
            }
        };
        // The watch will tell, and the pass comes again.
        let changed = |what| Failure { class: ErrorClass::Retry, ..trouble::conflict(what) };
        if generation != usable.generation {
            return Err(changed("the tenant has just been changed"));
        }
        if reference.kind == TenantKind::ClusterAuth0Tenant {
            let labels = self.labels(namespace).await?;
            if labels != usable.labels.clone().unwrap_or_default() {
                return Err(changed("the labels of the namespace have just been changed"));
            }
        }
        Ok(())
    }

    async fn generation<T: TenantResource>(
        &self,
        api: &Api<T>,
        name: &str,
    ) -> Result<Option<i64>, Failure> {
        let what = "reading the tenant";
        let read = tokio::time::timeout(KUBE_DEADLINE, api.get_metadata_opt(name)).await;
        let live = read
            .map_err(|_| trouble::of_timeout(what))?
            .map_err(|error| trouble::of_kube(what, &error))?;
        Ok(live.and_then(|live| live.metadata.generation))
    }

    async fn labels(&self, namespace: &str) -> Result<Labels, Failure> {
        let what = "reading the labels of the namespace";
        let api: Api<Namespace> = Api::all(self.client.clone());
        let read = tokio::time::timeout(KUBE_DEADLINE, api.get_metadata(namespace)).await;
        let live = read
            .map_err(|_| trouble::of_timeout(what))?
            .map_err(|error| trouble::of_kube(what, &error))?;
        Ok(live.metadata.labels.unwrap_or_default())
    }

    /// What Auth0 said last of the rate limit of the tenant with that UID.
    pub(in crate::controller) fn budget(&self, uid: &str) -> Option<RateLimitStatus> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(uid)?.tenant.budget()
    }

    /// Forgets tenants whose resource is gone.
    pub(in crate::controller) fn prune(&self, exists: impl Fn(&str) -> bool) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| exists(uid));
    }

    /// Credentials are where their tenant is; those of a cluster-wide one, where the operator is.
    fn credentials_of<T: TenantResource>(&self, resource: &T) -> (String, String) {
        let namespace = match T::KIND {
            TenantKind::Auth0Tenant => resource.namespace().unwrap_or_default(),
            TenantKind::ClusterAuth0Tenant => self.terms.operator_namespace.clone(),
        };
        let name = credentials::secret_name(&resource.access().credentials);
        (namespace, name.unwrap_or_default().to_owned())
    }

    fn build<T: TenantResource>(
        &self,
        resource: &T,
        destination: &Destination,
    ) -> Result<Kept, Auth0Error> {
        let access = resource.access();
        permission::check(resource.rules().unwrap_or_default())
            .map_err(Auth0Error::Configuration)?;
        let endpoint = Endpoint {
            url: destination.url.clone(),
            ca_bundle: access.ca_bundle.clone().filter(|bundle| !bundle.trim().is_empty()),
            allow_http: self.terms.allow_http,
            deadline: call_deadline(self.terms.propagation_window),
        };
        let audience =
            access.audience.clone().unwrap_or_else(|| format!("https://{}/api/v2/", access.domain));
        let (namespace, _) = self.credentials_of(resource);
        let (secrets, destination) = (self.secrets.clone(), destination.clone());
        let seen = Seen::default();
        let place = credentials::Place { secrets, namespace, destination, seen: seen.clone() };
        let credentials = credentials::source(access, place)?;
        let pace = (access.rate_limit.requests_per_second, access.rate_limit.burst);
        let meter = Arc::new(self.metrics.tenant(kinds::name::<T>(resource)));
        let tenant = TenantClient::new(&endpoint, audience, credentials, pace, meter.clone())?;
        let generation = resource.meta().generation;
        Ok(Kept { generation, tenant: Arc::new(tenant), meter, seen })
    }
}

/// A call, with the wait for its place, must be over well within the propagation window: whoever
/// waits out the window must not meet a call that is still on its way.
fn call_deadline(propagation_window: K8sDuration) -> Duration {
    (propagation_window.to_std() * 3 / 5).clamp(Duration::from_millis(100), Duration::from_secs(18))
}

/// A tenant that isn't there may be on its way: manifests are applied together.
fn missing(message: String) -> Failure {
    Failure {
        class: ErrorClass::Retry,
        concerns_tenant: true,
        ..trouble::invalid(Reason::TenantMissing, message)
    }
}
