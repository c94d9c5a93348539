//! Egress policy: where a tenant's credentials may be sent.
//!
//! A user who may create an `Auth0Tenant` need not be allowed to read the Secrets of its namespace,
//! and must not obtain one by having it sent somewhere. So the Secret decides where it may go:
//!
//! - to the tenant's own domain under `auth0.com`, without further consent;
//! - to another host, such as a custom domain, a proxy or another tenant, if the Secret names it: its
//!   key `domain` is the tenant's domain, or its annotation `auth0-rotator.dev/endpoint` is the
//!   endpoint with its path;
//! - to this machine and to plain HTTP endpoints where `--allow-http-endpoints` allows them: for
//!   simulators.
//!
//! A key `domain` that only the operator wrote is no consent of a user: the author of a resource
//! chooses it, by `spec.target.template`. It counts if the operator wrote all that is sent, for this
//! endpoint.
//!
//! An assertion names the tenant that it is for, and another tenant's host never gets it. Which hosts
//! the operator calls at all is decided before that, by [`auth0_client::EgressPolicy`].
//!
//! A Secret that has a `domain` goes to the tenant of that domain only. That, and the owner that a
//! target Secret names, keep Secrets of other applications from being used as credentials.

use auth0_client::Error;
use reqwest::Url;
use url::Host;

use crate::{
    api::{ENDPOINT_ANNOTATION, TenantAccess},
    controller::target_secret::Snapshot,
};

/// Auth0's own domain, which tenants' canonical domains are below.
const AUTH0_DOMAIN: &str = "auth0.com";

/// Where a tenant's calls go.
#[derive(Clone, Debug)]
pub(super) struct TenantEndpoint {
    pub(super) url: Url,
    domain: String,
    is_explicit: bool,
    allows_simulators: bool,
}

impl TenantEndpoint {
    /// Returns the endpoint of a tenant.
    ///
    /// # Errors
    /// A message for the tenant's author.
    pub(super) fn of(access: &TenantAccess) -> Result<Self, String> {
        let text = access.endpoint.clone().unwrap_or_else(|| format!("https://{}", access.domain));
        let url = Url::parse(&text).map_err(|_| {
            "spec.endpoint is not a URL: write it as https://acme.eu.auth0.com".to_owned()
        })?;
        let domain = access.domain.to_ascii_lowercase();
        let is_explicit = access.endpoint.is_some();
        Ok(Self { url, domain, is_explicit, allows_simulators: false })
    }

    /// Sets whether credentials may be sent to simulators without further consent.
    pub(super) fn allowing_simulators(self, allows_simulators: bool) -> Self {
        Self { allows_simulators, ..self }
    }

    /// Checks that the parts of a tenant's spec are for the same Auth0 tenant, as far as their hosts
    /// show it.
    ///
    /// # Errors
    /// When a token or an assertion for one tenant would be requested from another.
    pub(super) fn check_tenant(&self, access: &TenantAccess) -> Result<(), Error> {
        if self.is_allowed_simulator() {
            return Ok(());
        }
        let audience = access.audience.as_deref().and_then(|text| Url::parse(text).ok());
        let audience_host = audience.as_ref().and_then(Url::host_str).unwrap_or_default();
        let audience_host = without_root(audience_host);
        if is_auth0(&self.domain) && is_auth0(audience_host) && audience_host != self.domain {
            return Err(Error::InvalidConfiguration(format!(
                "spec.audience is for the tenant {audience_host}, and spec.domain is another one. \
                 Remove spec.audience, or set spec.domain to the tenant's custom domain"
            )));
        }
        let host = self.url.host_str().unwrap_or_default();
        let is_of_other_tenant = is_auth0(without_root(host)) && host != self.domain;
        if access.credentials.private_key_jwt.is_some() && is_of_other_tenant {
            return Err(Error::EndpointNotAllowed(format!(
                "the operator does not send assertions for {} to {host}, which is another tenant's \
                 host. Set spec.domain to the tenant's domain, and remove spec.endpoint",
                self.domain
            )));
        }
        Ok(())
    }

    /// Returns why a credentials Secret may not be sent to this endpoint, as the rest of a sentence
    /// about the Secret; `None` if it may. `sent` are the keys whose content would be sent.
    pub(super) fn rejects(&self, secret: &Snapshot, sent: &[&str]) -> Option<String> {
        let domain = secret.text("domain");
        let domain = domain.as_deref().map(|domain| domain.trim().to_ascii_lowercase());
        if let Some(domain) = domain.as_ref().filter(|domain| !domain.is_empty())
            && *domain != self.domain
        {
            return Some(format!(
                "is for another tenant: its key domain is not {}. Correct it, or spec.domain",
                self.domain
            ));
        }
        let names_domain = domain.is_some() && self.is_domain_itself();
        let consents_by_domain = names_domain && self.is_consent(secret, sent);
        if self.is_auth0()
            || self.is_allowed_simulator()
            || consents_by_domain
            || self.is_named_by_annotation(secret)
        {
            return None;
        }
        let host = self.url.host_str().unwrap_or_default();
        Some(if self.is_explicit || names_domain {
            format!(
                "does not allow to be sent to {host}. A user who may write the Secret can annotate \
                 it with {ENDPOINT_ANNOTATION}: {}",
                destination(&self.url)
            )
        } else {
            format!(
                "does not name the custom domain {host}. A user who may write the Secret can add the \
                 key domain with that value"
            )
        })
    }

    /// Returns the origin of the endpoint, such as `https://acme.eu.auth0.com`, with its path if it
    /// has one.
    pub(super) fn origin(&self) -> String {
        destination(&self.url)
    }

    /// Returns whether a key `domain` that is this endpoint's host consents to sending the keys
    /// `sent`.
    fn is_consent(&self, secret: &Snapshot, sent: &[&str]) -> bool {
        if !secret.is_ours_alone("domain") {
            return true;
        }
        let is_ours =
            |key: &&str| secret.encoded(key).is_none() || secret.owned().data.contains(*key);
        let is_for_this_endpoint = match secret.recorded_origin() {
            Some(origin) => origin == self.origin(),
            None => secret.is_of_older_version(),
        };
        sent.iter().all(is_ours) && is_for_this_endpoint
    }

    /// Whether this is the tenant itself, at a host that only Auth0 can have.
    fn is_auth0(&self) -> bool {
        is_auth0(&self.domain) && self.is_domain_itself()
    }

    fn is_domain_itself(&self) -> bool {
        self.url.host_str() == Some(self.domain.as_str())
            && self.is_https_on_default_port()
            && self.url.path() == "/"
    }

    fn is_https_on_default_port(&self) -> bool {
        self.url.scheme() == "https" && self.url.port_or_known_default() == Some(443)
    }

    fn is_allowed_simulator(&self) -> bool {
        self.allows_simulators && self.is_simulator()
    }

    /// Plain HTTP passes the checks of the endpoint only where a flag of the operator allows it.
    fn is_simulator(&self) -> bool {
        let is_loopback = match self.url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        is_loopback || self.url.scheme() == "http"
    }

    fn is_named_by_annotation(&self, secret: &Snapshot) -> bool {
        let annotation = secret.annotation(ENDPOINT_ANNOTATION).unwrap_or_default();
        let mut endpoints = annotation.split_whitespace().filter_map(|text| Url::parse(text).ok());
        endpoints.any(|endpoint| destination(&endpoint) == destination(&self.url))
    }
}

/// Returns whether the host is under Auth0's own domain.
fn is_auth0(host: &str) -> bool {
    host.strip_suffix(AUTH0_DOMAIN).is_some_and(|prefix| prefix.ends_with('.'))
}

/// Returns the name without the dot of the root: with it, it is the same host.
fn without_root(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// Returns what a Secret has to name: the origin, and the path if there is one, because a host can
/// serve others below another path.
fn destination(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde_json::json;

    use super::*;
    use crate::api::{FIELD_MANAGER, ORIGIN_ANNOTATION};

    const SENT: [&str; 2] = ["client_id", "client_secret"];

    fn endpoint(domain: &str, url: Option<&str>) -> TenantEndpoint {
        let access = json!({
            "domain": domain, "endpoint": url,
            "credentials": { "clientSecret": { "secretRef": { "name": "auth0-management" } } },
        });
        TenantEndpoint::of(&serde_json::from_value(access).unwrap()).unwrap()
    }

    fn secret(domain: Option<&str>, annotation: Option<&str>) -> Snapshot {
        let data = domain.map(|domain| json!({ "domain": STANDARD.encode(domain) }));
        let annotations = annotation.map(|urls| json!({ ENDPOINT_ANNOTATION: urls }));
        let secret = json!({ "metadata": { "annotations": annotations }, "data": data });
        Snapshot::parse(&secret.to_string()).unwrap()
    }

    #[test]
    fn auth0_needs_no_consent() {
        for domain in ["acme.auth0.com", "acme.eu.auth0.com"] {
            assert_eq!(
                endpoint(domain, None).rejects(&secret(None, None), &SENT),
                None,
                "{domain}"
            );
        }
    }

    #[test]
    fn hosts_that_resemble_auth0_need_consent() {
        for (domain, url) in [
            ("auth0.com.evil.example", None),
            ("notauth0.com", None),
            ("evil.example", None),
            ("acme.auth0.com", Some("https://evil.example")),
            ("acme.auth0.com", Some("https://acme.auth0.com.evil.example")),
            ("acme.auth0.com", Some("https://acme.auth0.com:8443")),
            ("acme.auth0.com", Some("https://acme.auth0.com/evil")),
            ("acme.auth0.com", Some("https://acme.auth0.com.")),
            ("acme.auth0.com", Some("https://mallory.auth0.com")),
            ("acme.auth0.com", Some("https://acme.auth0.com.mallory.auth0.com")),
            ("login.acme.com", Some("https://mallory.eu.auth0.com")),
            ("acme.auth0.com", Some("https://evil.example/acme.auth0.com")),
            ("acme.auth0.com", Some("https://10.0.0.7")),
            ("acme.auth0.com", Some("https://127.0.0.1.evil.example")),
        ] {
            let rejected = endpoint(domain, url).rejects(&secret(None, None), &SENT);
            assert!(rejected.is_some(), "{domain} {url:?}");
        }
    }

    #[test]
    fn secret_with_a_custom_domain_goes_only_there() {
        let secret = secret(Some("login.acme.com"), None);
        assert_eq!(endpoint("login.acme.com", None).rejects(&secret, &SENT), None);
        for (domain, url) in [
            ("evil.example", None),
            ("acme.auth0.com", None),
            ("login.acme.com", Some("https://evil.example")),
        ] {
            assert!(endpoint(domain, url).rejects(&secret, &SENT).is_some(), "{domain}");
        }
    }

    /// Returns a Secret with the `domain` `login.acme.com`, where the operator owns these keys and
    /// recorded this origin.
    fn published(owned: &[&str], origin: &str) -> Snapshot {
        let keys = ["domain", "client_id", "client_secret"];
        let data: serde_json::Map<String, serde_json::Value> = keys
            .map(|key| (key.to_owned(), json!(STANDARD.encode("login.acme.com"))))
            .into_iter()
            .collect();
        let fields: serde_json::Map<String, serde_json::Value> =
            owned.iter().map(|key| (format!("f:{key}"), json!({}))).collect();
        let annotation = json!({ format!("f:{ORIGIN_ANNOTATION}"): {} });
        let entry = json!({
            "manager": FIELD_MANAGER, "operation": "Apply",
            "fieldsV1": { "f:data": fields, "f:metadata": { "f:annotations": annotation } },
        });
        let annotations = json!({ ORIGIN_ANNOTATION: origin });
        let metadata = json!({ "annotations": annotations, "managedFields": [entry] });
        Snapshot::parse(&json!({ "metadata": metadata, "data": data }).to_string()).unwrap()
    }

    #[test]
    fn domain_of_a_template_is_no_consent() {
        let endpoint = endpoint("login.acme.com", None);
        let all = ["domain", "client_id", "client_secret"];
        let elsewhere = published(&all, "https://acme.eu.auth0.com");
        let message = endpoint.rejects(&elsewhere, &SENT).unwrap();
        assert!(message.contains("auth0-rotator.dev/endpoint"), "{message}");
        let foreign_secret = published(&["domain", "client_id"], "https://login.acme.com");
        assert!(endpoint.rejects(&foreign_secret, &SENT).is_some());
        // The operator's own credentials, once it has rotated them.
        let own = published(&all, "https://login.acme.com");
        assert_eq!(endpoint.rejects(&own, &SENT), None);
        let domain_of_a_user = published(&["client_secret"], "https://acme.eu.auth0.com");
        assert_eq!(endpoint.rejects(&domain_of_a_user, &SENT), None);
    }

    #[test]
    fn secret_goes_to_the_endpoint_that_its_annotation_names() {
        let secret = secret(None, Some("https://one.example https://proxy.acme.com/auth0/"));
        let proxy = |url| endpoint("acme.auth0.com", Some(url));
        for named in ["https://proxy.acme.com/auth0", "https://proxy.acme.com/x/../auth0/"] {
            assert_eq!(proxy(named).rejects(&secret, &SENT), None, "{named}");
        }
        for other in [
            "https://proxy.acme.com:8443/auth0",
            "https://proxy.acme.com",
            "https://proxy.acme.com/mallory",
            "https://proxy.acme.com/auth0-mallory",
            "https://proxy.acme.com/auth0/..",
            "https://one.example/auth0",
            "https://evil.example",
        ] {
            let why = proxy(other).rejects(&secret, &SENT).unwrap();
            assert!(why.contains("auth0-rotator.dev/endpoint: https://"), "{why}");
        }
    }

    #[test]
    fn assertion_is_not_for_another_tenant() {
        let check = |domain: &str, url: Option<&str>, audience: Option<&str>| {
            let access: TenantAccess = serde_json::from_value(json!({
                "domain": domain, "endpoint": url, "audience": audience,
                "credentials": { "privateKeyJwt": {
                    "clientId": "manager", "keyRef": { "name": "auth0-signing-key" } } },
            }))
            .unwrap();
            TenantEndpoint::of(&access).unwrap().check_tenant(&access)
        };
        let audience = Some("https://acme.eu.auth0.com/api/v2/");
        for (domain, url) in [
            ("acme.eu.auth0.com", None),
            ("acme.eu.auth0.com", Some("https://acme.eu.auth0.com")),
            ("acme.eu.auth0.com", Some("https://proxy.acme.com")),
            ("login.acme.com", None),
        ] {
            assert_eq!(check(domain, url, audience), Ok(()), "{domain} {url:?}");
        }
        for (domain, url) in [
            ("acme.eu.auth0.com", "https://mallory.eu.auth0.com"),
            ("acme.eu.auth0.com", "https://mallory.eu.auth0.com."),
            ("login.acme.com", "https://mallory.eu.auth0.com"),
        ] {
            let error = check(domain, Some(url), audience).unwrap_err();
            assert!(matches!(error, Error::EndpointNotAllowed(_)), "{error:?}");
        }
    }

    #[test]
    fn audience_of_another_tenant_is_rejected() {
        let access: TenantAccess = serde_json::from_value(json!({
            "domain": "mallory.eu.auth0.com", "audience": "https://acme.eu.auth0.com/api/v2/",
            "credentials": { "clientSecret": { "secretRef": { "name": "auth0-management" } } },
        }))
        .unwrap();
        let error = TenantEndpoint::of(&access).unwrap().check_tenant(&access).unwrap_err();
        assert!(error.to_string().contains("acme.eu.auth0.com"), "{error}");
    }

    #[test]
    fn simulator_on_this_machine_needs_no_consent() {
        for url in ["https://127.0.0.1:8443", "https://[::1]:1", "http://10.0.0.7:80"] {
            let endpoint = endpoint("acme.test", Some(url));
            assert!(endpoint.rejects(&secret(None, None), &SENT).is_some(), "{url}");
            let rejected = endpoint.allowing_simulators(true).rejects(&secret(None, None), &SENT);
            assert_eq!(rejected, None, "{url}");
        }
    }
}
