//! Egress policy: where a tenant's credentials may be sent.
//!
//! A user who may create an `Auth0Tenant` need not be allowed to read the Secrets of its namespace,
//! and must not obtain one by having it sent somewhere. So the Secret decides where it may go:
//!
//! - to Auth0 itself, under `auth0.com`, without further consent;
//! - to another host, such as a custom domain or a proxy, if the Secret names it: its key `domain` is
//!   the tenant's domain, or its annotation `auth0-rotator.dev/endpoint` is the endpoint;
//! - to this machine, and to plain HTTP endpoints where `--allow-http-endpoints` allows them: for
//!   simulators.
//!
//! A Secret that has a `domain` goes to the tenant of that domain only. That, and the owner that a
//! target Secret names, keep Secrets of other applications from being used as credentials.

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
        Ok(Self { url, domain, is_explicit: access.endpoint.is_some() })
    }

    /// Returns why a credentials Secret may not be sent to this endpoint, as the rest of a sentence
    /// about the Secret; `None` if it may.
    pub(super) fn rejects(&self, secret: &Snapshot) -> Option<String> {
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
        let consents_by_domain = domain.is_some() && self.is_domain_itself();
        if self.is_auth0()
            || self.is_simulator()
            || consents_by_domain
            || self.is_named_by_annotation(secret)
        {
            return None;
        }
        let host = self.url.host_str().unwrap_or_default();
        Some(if self.is_explicit {
            format!(
                "does not allow to be sent to {host}. A user who may write the Secret can annotate \
                 it with {ENDPOINT_ANNOTATION}: {}",
                origin(&self.url)
            )
        } else {
            format!(
                "does not name the custom domain {host}. A user who may write the Secret can add the \
                 key domain with that value"
            )
        })
    }

    fn is_auth0(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        let is_below = host.strip_suffix(AUTH0_DOMAIN).is_some_and(|prefix| prefix.ends_with('.'));
        is_below && self.is_https_on_default_port()
    }

    fn is_domain_itself(&self) -> bool {
        self.url.host_str() == Some(self.domain.as_str()) && self.is_https_on_default_port()
    }

    fn is_https_on_default_port(&self) -> bool {
        self.url.scheme() == "https" && self.url.port_or_known_default() == Some(443)
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
        endpoints.any(|endpoint| origin(&endpoint) == origin(&self.url))
    }
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde_json::json;

    use super::*;

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
            assert_eq!(endpoint(domain, None).rejects(&secret(None, None)), None, "{domain}");
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
            ("acme.auth0.com", Some("https://evil.example/acme.auth0.com")),
            ("acme.auth0.com", Some("https://10.0.0.7")),
            ("acme.auth0.com", Some("https://127.0.0.1.evil.example")),
        ] {
            let rejected = endpoint(domain, url).rejects(&secret(None, None));
            assert!(rejected.is_some(), "{domain} {url:?}");
        }
    }

    #[test]
    fn secret_with_a_custom_domain_goes_only_there() {
        let secret = secret(Some("login.acme.com"), None);
        assert_eq!(endpoint("login.acme.com", None).rejects(&secret), None);
        for (domain, url) in [
            ("evil.example", None),
            ("acme.auth0.com", None),
            ("login.acme.com", Some("https://evil.example")),
        ] {
            assert!(endpoint(domain, url).rejects(&secret).is_some(), "{domain}");
        }
    }

    #[test]
    fn secret_goes_to_the_endpoint_that_its_annotation_names() {
        let secret = secret(None, Some("https://one.example https://proxy.acme.com/"));
        let proxy = |url| endpoint("acme.auth0.com", Some(url));
        assert_eq!(proxy("https://proxy.acme.com/auth0").rejects(&secret), None);
        for other in ["https://proxy.acme.com:8443", "https://evil.example"] {
            assert!(proxy(other).rejects(&secret).unwrap().contains("auth0-rotator.dev/endpoint"));
        }
    }

    #[test]
    fn simulator_on_this_machine_needs_no_consent() {
        for url in ["https://127.0.0.1:8443", "https://[::1]:1", "http://10.0.0.7:80"] {
            let rejected = endpoint("acme.test", Some(url)).rejects(&secret(None, None));
            assert_eq!(rejected, None, "{url}");
        }
    }
}
