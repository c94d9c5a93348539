//! One tenant's share of the rate limiter of its host.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Api, RateLimit, circuit_breaker::CircuitBreaker, throttled_clients::ThrottledClients,
    token_bucket::TokenBucket,
};

/// The limits of one tenant, besides those of its host.
///
/// Several tenants may name the same host, and only one of them may be entitled to. Problems that a
/// tenant causes before Auth0 has accepted its credentials, such as connections that fail because of
/// its certificates, therefore count against this tenant alone.
pub(super) struct Share {
    rate_limit: RateLimit,
    /// Its rate is that of the host, regardless of other tenants.
    takes_precedence: bool,
    /// Auth0 has accepted credentials of this tenant since its configuration changed.
    pub(super) is_proven: bool,
    /// Calls to the Management API are blocked before this time.
    blocked_until: Option<Instant>,
    /// The clients that the Authentication API throttles.
    pub(super) clients: ThrottledClients,
    /// Used until the tenant is proven.
    pub(super) circuit_breaker: CircuitBreaker,
    management: TokenBucket,
    authentication: TokenBucket,
}

impl Share {
    pub(super) fn new(rate_limit: RateLimit, takes_precedence: bool, now: Instant) -> Self {
        Self {
            rate_limit,
            takes_precedence,
            is_proven: false,
            blocked_until: None,
            clients: ThrottledClients::default(),
            circuit_breaker: CircuitBreaker::default(),
            management: TokenBucket::new(rate_limit, now),
            authentication: TokenBucket::new(doubled(rate_limit), now),
        }
    }

    pub(super) fn reconfigure(&mut self, rate_limit: RateLimit, precedence: bool, now: Instant) {
        self.rate_limit = rate_limit;
        self.takes_precedence = precedence;
        self.management.reconfigure(TokenBucket::new(rate_limit, now), now);
        self.authentication.reconfigure(TokenBucket::new(doubled(rate_limit), now), now);
    }

    /// Returns how long the tenant's next call waits that has `ahead` others before it.
    pub(super) fn wait(&self, api: Api, now: Instant, ahead: u32) -> Duration {
        match api {
            Api::ClientReads | Api::Management => self.management.wait(now, ahead),
            Api::Authentication => self.authentication.wait(now, ahead),
        }
    }

    /// Returns until when the tenant's calls are blocked.
    pub(super) fn blocked_until(&self, api: Api) -> Option<Instant> {
        match api {
            Api::ClientReads | Api::Management => self.blocked_until,
            Api::Authentication => None,
        }
    }

    /// Blocks the tenant's calls to the Management API until the given time. Afterwards they resume at
    /// its rate.
    pub(super) fn block(&mut self, until: Instant) {
        self.blocked_until = self.blocked_until.max(Some(until));
        self.management.lower_to(1, until);
    }

    pub(super) fn take(&mut self, api: Api, now: Instant) {
        self.bucket(api).try_take(now);
    }

    pub(super) fn give_back(&mut self, api: Api) {
        self.bucket(api).give_back();
    }

    fn bucket(&mut self, api: Api) -> &mut TokenBucket {
        match api {
            Api::ClientReads | Api::Management => &mut self.management,
            Api::Authentication => &mut self.authentication,
        }
    }
}

/// Returns the rate limit of a host with these tenants: the highest that those of the highest standing
/// configure. Each tenant is limited to its own besides.
pub(super) fn rate_limit_of_host<'s>(
    shares: impl Iterator<Item = &'s Share> + Clone,
) -> Option<RateLimit> {
    // Tenants that take precedence do so before they are proven, too.
    let rank = |share: &Share| if share.takes_precedence { 2 } else { u8::from(share.is_proven) };
    let highest = shares.clone().map(rank).max()?;
    let limits = shares.filter(|share| rank(share) == highest).map(|share| share.rate_limit);
    limits.reduce(|one, other| RateLimit {
        requests_per_second: one.requests_per_second.max(other.requests_per_second),
        burst: one.burst.max(other.burst),
    })
}

/// Returns the rate limit of the Authentication API.
pub(super) fn doubled(rate_limit: RateLimit) -> RateLimit {
    let requests_per_second = rate_limit.requests_per_second.saturating_mul(2);
    RateLimit { requests_per_second, ..rate_limit }
}
