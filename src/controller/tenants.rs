//! The tenants that resources refer to: one client per tenant resource and generation.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::{Api, Client, ResourceExt as _};
use reqwest::Url;
use rotation::{Class, Span, Trouble, is_true, kind};

use super::{KUBE_DEADLINE, cache::Watched, credentials, target::SecretStore, trouble};
use crate::{
    api::{Auth0Tenant, Auth0TenantSpec, TenantRef},
    auth0::{Auth0Error, Endpoint, Tenant},
};

/// Tenants by the UID and generation of their resource.
pub(super) struct Tenants {
    client: Client,
    secrets: SecretStore,
    allow_http: bool,
    propagation_window: Span,
    kept: Mutex<HashMap<String, Kept>>,
}

/// A tenant, and the generation of the resource that it was made of.
type Kept = (Option<i64>, Arc<Tenant>);

/// A tenant that can be called.
#[derive(Clone)]
pub(super) struct Usable {
    pub(super) tenant: Arc<Tenant>,
    pub(super) domain: String,
    /// The version of its resource.
    pub(super) version: Option<String>,
    /// The generation of its resource.
    generation: Option<i64>,
    /// Reason and message, when its own status says that it can't be used.
    pub(super) not_ready: Option<(String, String)>,
}

impl Tenants {
    pub(super) fn new(
        client: Client,
        secrets: SecretStore,
        allow_http: bool,
        propagation_window: Span,
    ) -> Tenants {
        Tenants { client, secrets, allow_http, propagation_window, kept: Mutex::default() }
    }

    /// The tenant that a resource of `namespace` refers to.
    pub(super) fn find(
        &self,
        namespace: &str,
        reference: &TenantRef,
        watched: &Watched,
    ) -> Result<Usable, Trouble> {
        let found = watched.tenant(namespace, &reference.name).ok_or_else(|| {
            missing(format!(
                "there is no Auth0Tenant {} in this namespace: create it, or correct spec.tenantRef",
                reference.name
            ))
        })?;
        let resource = found.0.as_ref().map_err(|_| {
            missing(format!("the Auth0Tenant {} can't be read by this operator", reference.name))
        })?;
        self.usable(resource)
    }

    /// The tenant of a resource.
    pub(super) fn usable(&self, resource: &Auth0Tenant) -> Result<Usable, Trouble> {
        let uid = resource.uid().unwrap_or_default();
        let generation = resource.metadata.generation;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let tenant = match kept.get(&uid) {
            Some((known, tenant)) if *known == generation => tenant.clone(),
            _ => {
                let tenant = Arc::new(self.build(resource).map_err(|error| Trouble::from(&error))?);
                kept.insert(uid, (generation, tenant.clone()));
                tenant
            }
        };
        Ok(Usable {
            tenant,
            domain: resource.spec.domain.clone(),
            version: resource.resource_version(),
            generation,
            not_ready: not_ready(resource),
        })
    }

    /// The tenant is still as it was when it was found, also for the API server.
    pub(super) async fn check_live(
        &self,
        namespace: &str,
        name: &str,
        usable: &Usable,
    ) -> Result<(), Trouble> {
        let api: Api<Auth0Tenant> = Api::namespaced(self.client.clone(), namespace);
        let what = "reading the tenant";
        let read = tokio::time::timeout(KUBE_DEADLINE, api.get_metadata_opt(name)).await;
        let live = read
            .map_err(|_| trouble::of_timeout(what))?
            .map_err(|error| trouble::of_kube(what, &error))?;
        let generation = live.and_then(|live| live.metadata.generation);
        if generation == usable.generation {
            return Ok(());
        }
        // The watch will tell, and the pass comes again.
        Err(Trouble {
            class: Class::Retry,
            ..trouble::conflict("the tenant has just been changed")
        })
    }

    /// Forgets tenants whose resource is gone.
    pub(super) fn prune(&self, exists: impl Fn(&str) -> bool) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| exists(uid));
    }

    fn build(&self, resource: &Auth0Tenant) -> Result<Tenant, Auth0Error> {
        let spec = &resource.spec;
        let endpoint = Endpoint {
            url: endpoint(spec)?,
            ca_bundle: spec.ca_bundle.clone().filter(|bundle| !bundle.trim().is_empty()),
            allow_http: self.allow_http,
            deadline: call_deadline(self.propagation_window),
        };
        let audience =
            spec.audience.clone().unwrap_or_else(|| format!("https://{}/api/v2/", spec.domain));
        let namespace = resource.namespace().unwrap_or_default();
        let credentials = credentials::source(spec, self.secrets.clone(), namespace)?;
        let pace = (spec.rate_limit.requests_per_second, spec.rate_limit.burst);
        Tenant::new(&endpoint, audience, credentials, pace)
    }
}

/// What the tenant's own status says against using it.
fn not_ready(resource: &Auth0Tenant) -> Option<(String, String)> {
    let status = resource.status.as_ref()?;
    let ready = rotation::find(&status.conditions, kind::READY)?;
    (!is_true(&status.conditions, kind::READY))
        .then(|| (ready.reason.clone(), ready.message.clone()))
}

/// A call, with the wait for its place, must be over well within the propagation window: whoever
/// waits out the window must not meet a call that is still on its way.
fn call_deadline(propagation_window: Span) -> Duration {
    (propagation_window.to_std() * 3 / 5).clamp(Duration::from_millis(100), Duration::from_secs(18))
}

fn endpoint(spec: &Auth0TenantSpec) -> Result<Url, Auth0Error> {
    let text = spec.endpoint.clone().unwrap_or_else(|| format!("https://{}", spec.domain));
    Url::parse(&text).map_err(|_| {
        Auth0Error::Configuration(
            "spec.endpoint is not a URL: write it as https://acme.eu.auth0.com".into(),
        )
    })
}

/// A tenant that isn't there may be on its way: manifests are applied together.
fn missing(message: String) -> Trouble {
    Trouble { class: Class::Retry, tenant: true, ..trouble::invalid("TenantMissing", message) }
}
