//! Patterns of endpoints.

use std::str::FromStr;

use reqwest::Url;
use url::Host;

use super::without_root;

/// Pattern of the endpoints that may be called: a host, or `*.` and a domain for all hosts below it,
/// with an optional port.
///
/// Without a port, the pattern matches the default port of the URL's scheme. The port `*` matches
/// every port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPattern {
    host: HostPattern,
    port: PortPattern,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    Exact(Host),
    /// All hosts below a domain, but not the domain itself.
    Below(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PortPattern {
    Default,
    Any,
    Number(u16),
}

/// The text is not a pattern of endpoints.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "an endpoint is a host with an optional port, without https://; * is allowed only as the first \
     label or as the port: for example *.auth0.com, login.acme.com, 10.0.0.7:8443, [fd00::7]:8443 \
     or auth0.acme.internal:*"
)]
pub struct InvalidPattern;

impl EndpointPattern {
    pub(super) fn matches(&self, url: &Url) -> bool {
        let is_host = match (&self.host, url.host()) {
            (HostPattern::Exact(Host::Domain(name)), Some(Host::Domain(host))) => {
                name == without_root(host)
            }
            (HostPattern::Exact(address), Some(host)) => *address == host.to_owned(),
            (HostPattern::Below(domain), Some(Host::Domain(host))) => without_root(host)
                .strip_suffix(domain.as_str())
                .is_some_and(|prefix| prefix.len() > 1 && prefix.ends_with('.')),
            _ => false,
        };
        let is_port = match self.port {
            // URLs don't contain the default port of their scheme.
            PortPattern::Default => url.port().is_none(),
            PortPattern::Any => true,
            PortPattern::Number(port) => url.port_or_known_default() == Some(port),
        };
        is_host && is_port
    }
}

impl FromStr for EndpointPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let Parts { host, port } = split(text).ok_or(InvalidPattern)?;
        let port = match port {
            None => PortPattern::Default,
            Some("*") => PortPattern::Any,
            Some(number) => match number.parse() {
                Ok(0) | Err(_) => return Err(InvalidPattern),
                Ok(number) => PortPattern::Number(number),
            },
        };
        let (name, is_wildcard) = match host.strip_prefix("*.") {
            Some(domain) => (domain, true),
            None => (host, false),
        };
        if name.contains('*') {
            return Err(InvalidPattern);
        }
        let host = match (Host::parse(name).map_err(|_| InvalidPattern)?, is_wildcard) {
            (Host::Domain(name), true) => HostPattern::Below(without_root(&name).to_owned()),
            (Host::Domain(name), false) => {
                HostPattern::Exact(Host::Domain(without_root(&name).to_owned()))
            }
            (address, false) => HostPattern::Exact(address),
            (_, true) => return Err(InvalidPattern),
        };
        Ok(Self { host, port })
    }
}

/// Host and port of a pattern, not yet parsed.
struct Parts<'a> {
    host: &'a str,
    port: Option<&'a str>,
}

fn split(text: &str) -> Option<Parts<'_>> {
    let end_of_host = if text.starts_with('[') { text.find(']')? + 1 } else { 0 };
    let port_at = text[end_of_host..].find(':').map(|at| end_of_host + at);
    match port_at {
        None => Some(Parts { host: text, port: None }),
        Some(at) => Some(Parts { host: &text[..at], port: Some(&text[at + 1..]) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, url: &str) -> bool {
        pattern.parse::<EndpointPattern>().unwrap().matches(&Url::parse(url).unwrap())
    }

    #[test]
    fn pattern_matches_host_and_port() {
        for (pattern, url) in [
            ("login.acme.com", "https://login.acme.com/path"),
            ("Login.Acme.com", "https://login.acme.com"),
            ("login.acme.com", "https://login.acme.com."),
            ("login.acme.com", "http://login.acme.com"),
            ("login.acme.com:443", "https://login.acme.com"),
            ("login.acme.com:8443", "https://login.acme.com:8443"),
            ("login.acme.com:*", "https://login.acme.com"),
            ("login.acme.com:*", "https://login.acme.com:1"),
            ("*.auth0.com", "https://acme.auth0.com"),
            ("*.auth0.com", "https://acme.eu.auth0.com"),
            ("10.0.0.7:8443", "https://10.0.0.7:8443"),
            ("10.0.0.7", "https://167772167"),
            ("[fd00::7]", "https://[fd00:0::7]"),
            ("[fd00::7]:8443", "https://[fd00::7]:8443"),
            ("[fd00::7]:*", "https://[fd00::7]:1"),
        ] {
            assert!(matches(pattern, url), "{pattern} {url}");
        }
    }

    #[test]
    fn pattern_does_not_match_other_hosts_and_ports() {
        for (pattern, url) in [
            ("login.acme.com", "https://login.acme.com:8443"),
            ("login.acme.com", "http://login.acme.com:443"),
            ("login.acme.com:80", "https://login.acme.com"),
            ("login.acme.com", "https://x.login.acme.com"),
            ("login.acme.com", "https://login.acme.com.evil.example"),
            ("*.auth0.com", "https://auth0.com"),
            ("*.auth0.com", "https://.auth0.com"),
            ("*.auth0.com", "https://notauth0.com"),
            ("*.auth0.com", "https://acme.auth0.com.evil.example"),
            ("*.auth0.com", "https://evil.example/acme.auth0.com"),
            ("10.0.0.7", "https://10.0.0.70"),
            ("10.0.0.7", "https://[::ffff:10.0.0.7]"),
            ("10.0.0.7", "https://10.0.0.7.evil.example"),
        ] {
            assert!(!matches(pattern, url), "{pattern} {url}");
        }
    }

    #[test]
    fn rejects_texts_that_are_no_pattern() {
        for text in [
            "",
            "*",
            "*:443",
            "*.",
            "*.*.com",
            "acme.*",
            "a*.auth0.com",
            "*.10.0.0.7",
            "https://acme.com",
            "acme.com/path",
            "user@acme.com",
            "acme.com:",
            "acme.com:0",
            "acme.com:65536",
            "acme.com:https",
            "fd00::7",
            "[fd00::7",
            "[fd00::7]8443",
            "acme com",
            ":443",
        ] {
            assert_eq!(text.parse::<EndpointPattern>(), Err(InvalidPattern), "{text:?}");
        }
    }
}
