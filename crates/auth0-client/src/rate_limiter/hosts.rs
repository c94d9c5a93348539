//! The rate limiters of all hosts of a process.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use reqwest::Url;
use tokio::time::Instant;

use super::{RateLimit, RateLimiter, state::State};

/// How many hosts are remembered that no tenant names any more, at most.
const MAX_UNUSED_HOSTS: usize = 1024;

/// The rate limiters of all hosts. Tenants that name the same host share its rate limiter, which
/// survives changes of their configuration.
#[derive(Default)]
pub struct RateLimiters {
    hosts: Mutex<HashMap<String, Arc<Mutex<State>>>>,
}

/// The configured limits of a tenant.
#[derive(Clone, Copy, Debug)]
pub struct TenantLimits<'a> {
    /// Identity of the tenant, which keeps it when its configuration changes.
    pub tenant: &'a str,
    /// The caller of the tenant's own calls, such as token requests.
    pub caller: &'a str,
    /// How much of the limit of the Management API may be used.
    pub rate_limit: RateLimit,
    /// Whether the tenant's rate is that of the host, regardless of other tenants.
    pub takes_precedence: bool,
}

impl RateLimiters {
    /// Returns the rate limiter of a host for a tenant, which leaves the host that it named before.
    pub fn limiter(&self, url: &Url, limits: TenantLimits<'_>) -> RateLimiter {
        let TenantLimits { tenant, caller, rate_limit, takes_precedence } = limits;
        let (key, now) = (host_key(url), Instant::now());
        let mut hosts = self.hosts.lock();
        for (name, host) in &*hosts {
            let mut state = host.lock();
            if *name != key && state.has_tenant(tenant) {
                state.remove(|other| other == tenant, now);
            }
        }
        let unused = hosts.values().filter(|host| !host.lock().has_tenants()).count();
        if unused > MAX_UNUSED_HOSTS {
            hosts.retain(|_, host| host.lock().has_tenants());
        }
        let new_host = || Arc::new(Mutex::new(State::new(rate_limit, now)));
        let host = hosts.entry(key).or_insert_with(new_host).clone();
        let (tenant, caller): (Arc<str>, Arc<str>) = (tenant.into(), caller.into());
        host.lock().configure(&tenant, rate_limit, takes_precedence, now);
        RateLimiter { host, tenant, tenant_caller: caller.clone(), caller }
    }

    /// Drops the tenants for which `exists` is false, and hosts without tenants, unless their calls
    /// are blocked.
    pub fn retain(&self, exists: impl Fn(&str) -> bool) {
        let now = Instant::now();
        self.hosts.lock().retain(|_, host| {
            let mut state = host.lock();
            state.remove(|tenant| !exists(tenant), now);
            !state.is_unused(now)
        });
    }
}

/// Returns host and port of a URL. A trailing dot names the same host.
fn host_key(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    format!("{host}:{}", url.port_or_known_default().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_has_one_key() {
        let key = |text: &str| host_key(&Url::parse(text).unwrap());
        let expected = key("https://acme.eu.auth0.com");
        for text in [
            "https://acme.eu.auth0.com:443/",
            "https://ACME.eu.auth0.com./proxy",
            "https://acme.eu.auth0.com//",
        ] {
            assert_eq!(key(text), expected);
        }
        assert_ne!(key("https://acme.us.auth0.com"), expected);
        assert_ne!(key("https://acme.eu.auth0.com:8443"), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_without_tenants_are_dropped() {
        let limiters = RateLimiters::default();
        let rate_limit = RateLimit { requests_per_second: 10, burst: 10 };
        let limits =
            |tenant| TenantLimits { tenant, caller: "shop", rate_limit, takes_precedence: false };
        for number in 0..2000 {
            // The tenant's endpoint changes all the time.
            let url = Url::parse(&format!("https://host-{number}.example")).unwrap();
            drop(limiters.limiter(&url, limits("one")));
        }
        assert!(limiters.hosts.lock().len() <= MAX_UNUSED_HOSTS + 2);
        limiters.retain(|tenant| tenant == "one");
        assert_eq!(limiters.hosts.lock().len(), 1);
        limiters.retain(|_| false);
        assert!(limiters.hosts.lock().is_empty());
    }
}
