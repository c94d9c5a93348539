//! Resolution of the endpoint's name at connect time.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{PermittedAddresses, without_root};

/// Resolver that returns only permitted addresses of the endpoint's host.
///
/// It checks each resolution whose result is connected to, so a name cannot change in between. It
/// does not restrict other names: redirects are not followed, so those are HTTP proxies that the
/// environment of the process names.
pub(crate) struct CheckedResolver {
    host: String,
    permitted: PermittedAddresses,
}

/// The host resolves only to addresses that may not be called.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the operator does not call {host}: it calls only public addresses, and the host has none. \
     Correct spec.domain or spec.endpoint, or ask the operator's administrator to add {host} to \
     --allowed-endpoints"
)]
pub(crate) struct AddressNotAllowed {
    host: String,
}

impl CheckedResolver {
    pub(crate) fn new(host: &str, permitted: PermittedAddresses) -> Self {
        Self { host: without_root(host).to_owned(), permitted }
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let is_endpoint = without_root(name.as_str()).eq_ignore_ascii_case(&self.host);
        let permitted = if is_endpoint { self.permitted } else { PermittedAddresses::Any };
        let host = self.host.clone();
        Box::pin(async move {
            // The transport sets the port.
            let mut addresses: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let is_resolved = !addresses.is_empty();
            addresses.retain(|address| permitted.contains(address.ip()));
            if is_resolved && addresses.is_empty() {
                return Err(AddressNotAllowed { host }.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn resolve(host: &str, permitted: PermittedAddresses) -> Result<usize, bool> {
        let resolver = CheckedResolver::new(host, permitted);
        let resolved = resolver.resolve("localhost".parse().unwrap()).await;
        resolved.map(Iterator::count).map_err(|error| error.is::<AddressNotAllowed>())
    }

    #[tokio::test]
    async fn loopback_addresses_of_the_endpoint_are_rejected() {
        assert_eq!(resolve("localhost", PermittedAddresses::Public).await, Err(true));
        assert_eq!(resolve("LOCALHOST", PermittedAddresses::Public).await, Err(true));
        assert_eq!(resolve("localhost.", PermittedAddresses::Public).await, Err(true));
    }

    #[tokio::test]
    async fn permitted_addresses_and_those_of_proxies_are_returned() {
        assert!(resolve("localhost", PermittedAddresses::PublicOrLoopback).await.unwrap() > 0);
        assert!(resolve("localhost", PermittedAddresses::Any).await.unwrap() > 0);
        assert!(resolve("acme.auth0.com", PermittedAddresses::Public).await.unwrap() > 0);
    }
}
