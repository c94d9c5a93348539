//! Where a tenant's credentials may be sent.
//!
//! Whoever may create an `Auth0Tenant` need not be allowed to read the Secrets of its namespace, and
//! must not come by one by having it sent somewhere. So it is the Secret that says where it may go:
//!
//! - to Auth0 itself, under `auth0.com`, without more ado;
//! - to another host, such as a custom domain or a proxy, if the Secret names it: its key `domain`
//!   is the tenant's domain, or its annotation `auth0-rotator.dev/endpoint` the endpoint;
//! - to this machine, and to plain HTTP endpoints where `--allow-http-endpoints` allows them at all:
//!   for simulators.
//!
//! A Secret that has a `domain` goes to the tenant of that domain alone. That, and a Secret's owner,
//! keep the Secrets of other applications from being used as credentials.

use reqwest::Url;
use url::Host;

use crate::api::{ENDPOINT_ANNOTATION, TenantAccess};
use crate::controller::target::Snapshot;

/// Auth0's own domain, to which tenants' canonical domains belong.
const AUTH0: &str = "auth0.com";

/// Where a tenant's calls go.
#[derive(Clone, Debug)]
pub(in crate::controller) struct Destination {
    pub(in crate::controller) url: Url,
    domain: String,
    explicit: bool,
}

impl Destination {
    /// The endpoint of a tenant; an error says what to change.
    pub(in crate::controller) fn of(access: &TenantAccess) -> Result<Destination, String> {
        let text = access.endpoint.clone().unwrap_or_else(|| format!("https://{}", access.domain));
        let url = Url::parse(&text).map_err(|_| {
            "spec.endpoint is not a URL: write it as https://acme.eu.auth0.com".to_owned()
        })?;
        let domain = access.domain.to_ascii_lowercase();
        Ok(Destination { url, domain, explicit: access.endpoint.is_some() })
    }

    /// Why a credentials Secret may not be sent there, if so.
    pub(in crate::controller) fn refuses(&self, secret: &Snapshot) -> Option<String> {
        let named = secret.text("domain");
        let named = named.as_deref().map(|domain| domain.trim().to_ascii_lowercase());
        if let Some(named) = named.as_ref().filter(|named| !named.is_empty())
            && *named != self.domain
        {
            return Some(format!(
                "is for another tenant: its key domain is not {}; correct it, or spec.domain",
                self.domain
            ));
        }
        let by_domain = named.is_some() && self.is_of_domain();
        if self.is_auth0() || self.is_for_simulators() || by_domain || self.is_consented(secret) {
            return None;
        }
        let host = self.url.host_str().unwrap_or_default();
        Some(if self.explicit {
            format!(
                "doesn't allow to be sent to {host}: whoever may write the Secret can annotate it \
                 with {ENDPOINT_ANNOTATION}: {}",
                origin(&self.url)
            )
        } else {
            format!(
                "doesn't say that it is for the custom domain {host}: whoever may write the Secret \
                 can give it the key domain with that value"
            )
        })
    }

    fn is_auth0(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        let below = host.strip_suffix(AUTH0).is_some_and(|below| below.ends_with('.'));
        self.url.scheme() == "https" && below && self.url.port_or_known_default() == Some(443)
    }

    fn is_of_domain(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        self.url.scheme() == "https"
            && host == self.domain
            && self.url.port_or_known_default() == Some(443)
    }

    /// Plain HTTP gets past the checks of the endpoint only where the operator was told so.
    fn is_for_simulators(&self) -> bool {
        let is_loopback = match self.url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        is_loopback || self.url.scheme() == "http"
    }

    fn is_consented(&self, secret: &Snapshot) -> bool {
        let named = secret.annotation(ENDPOINT_ANNOTATION).unwrap_or_default();
        let mut named = named.split_whitespace().filter_map(|text| Url::parse(text).ok());
        named.any(|named| origin(&named) == origin(&self.url))
    }

    /// The hosts by which Auth0 may know this tenant: two tenants that share one are the same.
    pub(in crate::controller) fn hosts(&self, access: &TenantAccess) -> Vec<String> {
        let audience = access.audience.as_deref().and_then(|text| Url::parse(text).ok());
        let audience = audience.and_then(|url| url.host_str().map(str::to_owned));
        let endpoint = self.url.host_str().map(str::to_owned);
        let mut hosts: Vec<_> =
            [Some(self.domain.clone()), audience, endpoint.filter(|_| !self.is_for_simulators())]
                .into_iter()
                .flatten()
                .map(|host| host.trim_end_matches('.').to_ascii_lowercase())
                .collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
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

    fn destination(domain: &str, endpoint: Option<&str>) -> Destination {
        let access = json!({
            "domain": domain, "endpoint": endpoint,
            "credentials": { "clientSecret": { "secretRef": { "name": "auth0-management" } } },
        });
        Destination::of(&serde_json::from_value(access).unwrap()).unwrap()
    }

    fn secret(domain: Option<&str>, endpoints: Option<&str>) -> Snapshot {
        let data = domain.map(|domain| json!({ "domain": STANDARD.encode(domain) }));
        let annotations = endpoints.map(|named| json!({ ENDPOINT_ANNOTATION: named }));
        let secret = json!({ "metadata": { "annotations": annotations }, "data": data });
        Snapshot::parse(&secret.to_string()).unwrap()
    }

    #[test]
    fn auth0_is_sent_to_without_more_ado() {
        for domain in ["acme.auth0.com", "acme.eu.auth0.com"] {
            assert_eq!(destination(domain, None).refuses(&secret(None, None)), None, "{domain}");
        }
    }

    #[test]
    fn what_only_looks_like_auth0_is_not() {
        for (domain, endpoint) in [
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
            let refused = destination(domain, endpoint).refuses(&secret(None, None));
            assert!(refused.is_some(), "{domain} {endpoint:?}");
        }
    }

    #[test]
    fn a_secret_that_names_a_custom_domain_goes_there_and_nowhere_else() {
        let secret = secret(Some("login.acme.com"), None);
        assert_eq!(destination("login.acme.com", None).refuses(&secret), None);
        for (domain, endpoint) in [
            ("evil.example", None),
            ("acme.auth0.com", None),
            ("login.acme.com", Some("https://evil.example")),
        ] {
            assert!(destination(domain, endpoint).refuses(&secret).is_some(), "{domain}");
        }
    }

    #[test]
    fn a_secret_that_names_an_endpoint_goes_there() {
        let secret = secret(None, Some("https://one.example https://proxy.acme.com/"));
        let proxy = |url| destination("acme.auth0.com", Some(url));
        assert_eq!(proxy("https://proxy.acme.com/auth0").refuses(&secret), None);
        for other in ["https://proxy.acme.com:8443", "https://evil.example"] {
            assert!(proxy(other).refuses(&secret).unwrap().contains("auth0-rotator.dev/endpoint"));
        }
    }

    #[test]
    fn a_simulator_on_this_machine_needs_no_word() {
        for endpoint in ["https://127.0.0.1:8443", "https://[::1]:1", "http://10.0.0.7:80"] {
            let refused = destination("acme.test", Some(endpoint)).refuses(&secret(None, None));
            assert_eq!(refused, None, "{endpoint}");
        }
    }

    #[test]
    fn a_tenant_is_known_by_its_domain_its_audience_and_its_endpoint() {
        let access: TenantAccess = serde_json::from_value(json!({
            "domain": "login.acme.com", "audience": "https://acme.eu.auth0.com/api/v2/",
            "endpoint": "https://proxy.acme.com",
            "credentials": { "clientSecret": { "secretRef": { "name": "auth0-management" } } },
        }))
        .unwrap();
        let hosts = Destination::of(&access).unwrap().hosts(&access);
        assert_eq!(hosts, ["acme.eu.auth0.com", "login.acme.com", "proxy.acme.com"]);
    }
}
