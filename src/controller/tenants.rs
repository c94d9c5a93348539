//! The tenants that resources refer to: one client per tenant resource and generation.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use kube::{Api, Client, ResourceExt as _};
use reqwest::Url;
use rotation::{Class, Span, Trouble, is_true, kind};
use secrecy::SecretString;

use super::{KUBE_DEADLINE, cache::Watched, target::SecretStore, trouble};
use crate::{
    api::{Auth0Tenant, Auth0TenantSpec, TenantRef},
    auth0::{Auth0Error, ClientSecret, Credentials, CredentialsSource, Endpoint, Tenant},
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
        let credentials = SecretCredentials {
            secrets: self.secrets.clone(),
            namespace: resource.namespace().unwrap_or_default(),
            name: spec.credentials.client_secret.secret_ref.name.clone(),
        };
        let pace = (spec.rate_limit.requests_per_second, spec.rate_limit.burst);
        Tenant::new(&endpoint, audience, Box::new(credentials), pace)
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

/// Credentials in a Secret, with the keys that a target Secret has.
struct SecretCredentials {
    secrets: SecretStore,
    namespace: String,
    name: String,
}

impl CredentialsSource for SecretCredentials {
    fn load(&self) -> BoxFuture<'_, Result<Credentials, Auth0Error>> {
        Box::pin(async {
            let name = &self.name;
            let unreadable = |what: &str| {
                Err(Auth0Error::Credentials(format!("the credentials Secret {name} {what}")))
            };
            let secret = match self.secrets.get(&self.namespace, name).await {
                Ok(Some(secret)) => secret,
                Ok(None) => {
                    return unreadable(
                        "does not exist: create it with the keys client_id and client_secret",
                    );
                }
                Err(trouble) => return unreadable(&format!("can't be read: {}", trouble.message)),
            };
            let Some(client_id) = secret.text("client_id").filter(|text| !text.trim().is_empty())
            else {
                return unreadable(
                    "has no client_id: add the management client's ID under that key",
                );
            };
            let mut values = Vec::new();
            if let Some(list) = secret.text("client_secrets") {
                let Some(listed) = parse_list(&list) else {
                    return unreadable(
                        "has a key client_secrets that is neither a JSON array of strings nor lines \
                         of text",
                    );
                };
                values = listed;
            }
            if values.is_empty() {
                // A line feed at the end is a slip of the shell that people make.
                let text = secret.text("client_secret").unwrap_or_default();
                values.extend(ClientSecret::new(text.trim_end_matches(['\r', '\n']).into()).ok());
            }
            if values.is_empty() {
                return unreadable(
                    "has no secret: add the management client's secret under the key client_secret",
                );
            }
            Ok(Credentials { client_id: client_id.trim().to_owned(), secrets: values })
        })
    }
}

/// The most secrets that are tried: each costs a call, and leaves a log entry when it is refused.
const MOST_SECRETS: usize = 4;

/// A list as a target Secret has it, in either format.
fn parse_list(text: &str) -> Option<Vec<ClientSecret>> {
    let values: Vec<SecretString> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).ok()?
    } else {
        text.lines().filter(|line| !line.trim().is_empty()).map(SecretString::from).collect()
    };
    values.into_iter().take(MOST_SECRETS).map(|value| ClientSecret::new(value).ok()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(text: &str) -> Option<Vec<String>> {
        parse_list(text).map(|all| all.iter().map(|value| value.expose().to_owned()).collect())
    }

    #[test]
    fn a_list_is_json_or_lines() {
        assert_eq!(list(r#"["a","b"]"#), Some(vec!["a".into(), "b".into()]));
        assert_eq!(list("a\nb\n"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(list(""), Some(vec![]));
        assert_eq!(list("[]"), Some(vec![]));
        for junk in ["[1]", "[\"a\"", "[\"\"]", "[null]", "a\0b"] {
            assert_eq!(list(junk), None, "{junk:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_short_list_or_none(text in "\\PC{0,200}") {
            prop_assert!(list(&text).is_none_or(|all| all.len() <= MOST_SECRETS));
        }
    }
}
