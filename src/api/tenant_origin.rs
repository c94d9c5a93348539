//! Origins that a tenant's spec names: scheme, host and port of the servers behind its texts.
//!
//! A spec proves nothing: anyone may name any host. The proof is the origin that issued a token
//! to the tenant.

use reqwest::Url;

use super::{CredentialsSpec, TenantAccess};

impl TenantAccess {
    /// Returns the origin that requests are sent to, or `None` if the endpoint is not a URL.
    pub(crate) fn endpoint_origin(&self) -> Option<String> {
        match &self.endpoint {
            Some(endpoint) => origin_of(endpoint),
            None => origin_of(&format!("https://{}", self.domain)),
        }
    }

    /// Returns the origins that the spec names, by its domain, its audience or its endpoint.
    pub(crate) fn named_origins(&self) -> Vec<String> {
        let domain = origin_of(&format!("https://{}", self.domain));
        let audience = self.audience.as_deref().and_then(origin_of);
        let mut origins: Vec<String> =
            [domain, audience, self.endpoint_origin()].into_iter().flatten().collect();
        origins.sort_unstable();
        origins.dedup();
        origins
    }
}

impl CredentialsSpec {
    /// Returns the name of the Secret that holds the credentials.
    pub(crate) fn secret_name(&self) -> Option<&str> {
        match (&self.client_secret, &self.private_key_jwt) {
            (Some(secret), _) => Some(&secret.secret_ref.name),
            (None, Some(key)) => Some(&key.key_ref.name),
            (None, None) => None,
        }
    }
}

/// Returns the origin of a URL in one spelling: hosts in lower case and without the final dot, no
/// default port.
fn origin_of(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let host = url.host_str()?.trim_end_matches('.').to_ascii_lowercase();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}://{host}{port}", url.scheme()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn access(spec: Value) -> TenantAccess {
        let mut access = json!({
            "credentials": { "clientSecret": { "secretRef": { "name": "auth0-management" } } },
        });
        access.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(access).unwrap()
    }

    #[test]
    fn tenant_names_the_origins_of_its_domain_its_audience_and_its_endpoint() {
        let access = access(json!({
            "domain": "login.acme.com", "audience": "https://acme.eu.auth0.com/api/v2/",
            "endpoint": "https://proxy.acme.com:8443/auth0",
        }));
        assert_eq!(
            access.named_origins(),
            ["https://acme.eu.auth0.com", "https://login.acme.com", "https://proxy.acme.com:8443"]
        );
        assert_eq!(access.endpoint_origin().as_deref(), Some("https://proxy.acme.com:8443"));
    }

    #[test]
    fn spellings_of_one_origin_are_equal() {
        for endpoint in [
            "https://ACME.eu.auth0.com",
            "https://acme.eu.auth0.com:443/",
            "https://acme.eu.auth0.com./api",
        ] {
            let access = access(json!({ "domain": "acme.eu.auth0.com", "endpoint": endpoint }));
            assert_eq!(access.named_origins(), ["https://acme.eu.auth0.com"], "{endpoint}");
        }
        for endpoint in ["http://acme.eu.auth0.com", "https://acme.eu.auth0.com:8443"] {
            let access = access(json!({ "domain": "acme.eu.auth0.com", "endpoint": endpoint }));
            assert_eq!(access.named_origins().len(), 2, "{endpoint}");
        }
    }

    #[test]
    fn malformed_endpoint_has_no_origin() {
        let access = access(json!({ "domain": "acme.eu.auth0.com", "endpoint": "acme" }));
        assert_eq!(access.endpoint_origin(), None);
        assert_eq!(access.named_origins(), ["https://acme.eu.auth0.com"]);
    }
}
