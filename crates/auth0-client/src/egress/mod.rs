//! Egress policy: which endpoints a client may call.
//!
//! The author of a tenant's URL may have less access to the network than the caller. So by default only
//! public addresses are called, over HTTPS on port 443. An administrator can name the endpoints that
//! may be called instead. A literal address is checked when the client is built, and a name whenever
//! it is resolved for a connection.

mod address;
mod pattern;
mod resolver;

use std::net::IpAddr;

pub use pattern::{EndpointPattern, InvalidPattern};
use reqwest::Url;
pub(crate) use resolver::{AddressNotAllowed, CheckedResolver};
use url::Host;

use crate::error::Error;

/// Which endpoints may be called.
#[derive(Clone, Debug, Default)]
pub struct EgressPolicy {
    allowed: Vec<EndpointPattern>,
    allow_simulators: bool,
}

/// Which addresses the host of an endpoint may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PermittedAddresses {
    /// All: a pattern names the host.
    Any,
    /// Those of the internet.
    Public,
    /// Those of the internet, and the loopback interface for a simulator.
    PublicOrLoopback,
}

impl PermittedAddresses {
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Public => address::is_public(address),
            Self::PublicOrLoopback => address::is_public(address) || address.is_loopback(),
        }
    }
}

impl EgressPolicy {
    /// Creates a policy that allows the endpoints that match one of the patterns, and all public
    /// ones if there is no pattern. With `allow_simulators`, it also allows plain HTTP and endpoints
    /// on the loopback interface.
    pub fn new(allowed: Vec<EndpointPattern>, allow_simulators: bool) -> Self {
        Self { allowed, allow_simulators }
    }

    pub(crate) fn allows_plain_http(&self) -> bool {
        self.allow_simulators
    }

    /// Returns which addresses may be called for this URL.
    ///
    /// # Errors
    /// Fails with [`Error::EndpointNotAllowed`] if the URL may not be called at all.
    pub(crate) fn permitted_addresses(&self, url: &Url) -> Result<PermittedAddresses, Error> {
        if self.allowed.iter().any(|pattern| pattern.matches(url)) {
            return Ok(PermittedAddresses::Any);
        }
        if self.allow_simulators && is_loopback(url) {
            return Ok(PermittedAddresses::PublicOrLoopback);
        }
        if !self.allowed.is_empty() {
            return Err(not_listed(url));
        }
        let is_simulator = self.allow_simulators && url.scheme() == "http";
        if url.port_or_known_default() != Some(443) && !is_simulator {
            return Err(not_public(url));
        }
        let permitted = if self.allow_simulators {
            PermittedAddresses::PublicOrLoopback
        } else {
            PermittedAddresses::Public
        };
        match literal_address(url) {
            Some(address) if !permitted.contains(address) => Err(not_public(url)),
            _ => Ok(permitted),
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match literal_address(url) {
        Some(address) => address.is_loopback(),
        None => url.host_str() == Some("localhost"),
    }
}

/// Returns the address of a URL whose host is one. Names are resolved by [`CheckedResolver`].
fn literal_address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

fn not_listed(url: &Url) -> Error {
    Error::EndpointNotAllowed(format!(
        "the operator does not call {}, because --allowed-endpoints does not include it. Correct \
         spec.domain or spec.endpoint, or ask the operator's administrator to add it",
        authority(url)
    ))
}

fn not_public(url: &Url) -> Error {
    let authority = authority(url);
    Error::EndpointNotAllowed(format!(
        "the operator does not call {authority}: it calls only public addresses over HTTPS on port \
         443. Correct spec.endpoint, or ask the operator's administrator to add {authority} to \
         --allowed-endpoints"
    ))
}

/// Returns host and port, as a pattern names them.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Returns the name without the dot of the root: with it, it is the same host.
fn without_root(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(patterns: &[&str], allow_simulators: bool) -> EgressPolicy {
        let patterns = patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
        EgressPolicy::new(patterns, allow_simulators)
    }

    fn permitted(policy: &EgressPolicy, url: &str) -> Option<PermittedAddresses> {
        policy.permitted_addresses(&Url::parse(url).unwrap()).ok()
    }

    #[test]
    fn allows_only_public_addresses_on_port_443_by_default() {
        let policy = EgressPolicy::default();
        for url in ["https://acme.eu.auth0.com", "https://8.8.8.8", "https://[2600::1]:443"] {
            assert_eq!(permitted(&policy, url), Some(PermittedAddresses::Public), "{url}");
        }
        for url in [
            "https://acme.eu.auth0.com:8443",
            "http://acme.eu.auth0.com",
            "https://127.0.0.1",
            "https://2130706433",
            "https://0x7f.1",
            "https://0",
            "https://[::1]",
            "https://[::ffff:8.8.8.8]",
            "https://10.0.0.7",
            "https://169.254.169.254",
            "https://8.8.8.8:6443",
        ] {
            assert_eq!(permitted(&policy, url), None, "{url}");
        }
    }

    #[test]
    fn patterns_allow_other_addresses_and_ports_and_nothing_else() {
        let policy = policy(&["*.auth0.com", "10.0.0.7:8443", "login.acme.com:*"], false);
        for url in [
            "https://acme.eu.auth0.com",
            "https://10.0.0.7:8443",
            "https://login.acme.com",
            "https://login.acme.com:6443",
        ] {
            assert_eq!(permitted(&policy, url), Some(PermittedAddresses::Any), "{url}");
        }
        for url in [
            "https://acme.eu.auth0.com:8443",
            "https://10.0.0.7",
            "https://8.8.8.8",
            "https://evil.example",
            "https://127.0.0.1",
        ] {
            assert_eq!(permitted(&policy, url), None, "{url}");
        }
    }

    #[test]
    fn simulators_are_plain_http_or_on_the_loopback_interface() {
        let simulators = Some(PermittedAddresses::PublicOrLoopback);
        for url in ["http://127.0.0.1:4096", "https://[::1]:8443", "http://localhost:8080"] {
            assert_eq!(permitted(&policy(&[], true), url), simulators, "{url}");
            assert_eq!(permitted(&policy(&["*.auth0.com"], true), url), simulators, "{url}");
            assert_eq!(permitted(&policy(&[], false), url), None, "{url}");
        }
        let policy = policy(&[], true);
        assert_eq!(permitted(&policy, "http://simulator.example:8080"), simulators);
        for url in ["http://10.0.0.7:8080", "http://0.0.0.0:8080", "https://acme.com:8443"] {
            assert_eq!(permitted(&policy, url), None, "{url}");
        }
    }

    #[test]
    fn messages_name_the_endpoint_and_the_flag() {
        let private = Url::parse("https://10.0.0.7:8443/path").unwrap();
        for policy in [policy(&[], false), policy(&["*.auth0.com"], false)] {
            let message = policy.permitted_addresses(&private).unwrap_err().to_string();
            assert!(message.contains("10.0.0.7:8443"), "{message}");
            assert!(message.contains("--allowed-endpoints"), "{message}");
        }
    }
}
