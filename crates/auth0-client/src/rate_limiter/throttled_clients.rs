//! Clients that Auth0 throttles at the Authentication API.
//!
//! A custom rate limit policy limits or blocks single applications, and a quota limits the tokens of
//! one. Neither says anything about the tenant, so only the calls of that client wait.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::headers::{DEFAULT_BLOCK, MAX_BLOCK};

/// How many clients of a tenant are remembered, at most. Further ones are retried as if their calls had
/// not been throttled before.
const MAX_CLIENTS: usize = 10_000;

/// Longest delay that grows with every rejection of a client, unless Auth0 names a longer one.
const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// First delay after a rejection for which Auth0 names the time.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// The throttled clients of one tenant.
#[derive(Default)]
pub(super) struct ThrottledClients {
    clients: HashMap<Arc<str>, Throttled>,
}

struct Throttled {
    until: Instant,
    /// Consecutive rejections. 0 if calls wait because the last one used up the limit.
    rejections: u32,
}

impl ThrottledClients {
    /// Records that a call of the client was rejected. Returns when to call again: at the time that
    /// Auth0 named, and later after every further rejection.
    pub(super) fn reject(
        &mut self,
        client: &Arc<str>,
        named: Option<Duration>,
        now: Instant,
    ) -> Instant {
        let before = self.clients.get(client).map_or(0, |client| client.rejections);
        let first = if named.is_some() { FIRST_BACKOFF } else { seconds(DEFAULT_BLOCK) };
        let backoff = (first * 2u32.pow(before.min(16))).min(MAX_BACKOFF);
        let until = now + named.unwrap_or_default().max(backoff).min(seconds(MAX_BLOCK));
        self.insert(client, Throttled { until, rejections: before.saturating_add(1) }, now);
        until
    }

    /// Records that the client may call again at this time only.
    pub(super) fn pause(&mut self, client: &Arc<str>, until: Instant, now: Instant) {
        self.insert(client, Throttled { until, rejections: 0 }, now);
    }

    /// Records that Auth0 answered a call of the client.
    pub(super) fn accept(&mut self, client: &str) {
        self.clients.remove(client);
    }

    /// Returns until when calls of the client wait, if they do.
    pub(super) fn blocked_until(&self, client: &str, now: Instant) -> Option<Instant> {
        self.clients.get(client).map(|client| client.until).filter(|until| *until > now)
    }

    /// Returns true if the last call of the client was rejected. Its next one goes after those of
    /// others.
    pub(super) fn is_suspected(&self, client: &str) -> bool {
        self.clients.get(client).is_some_and(|client| client.rejections > 0)
    }

    fn insert(&mut self, client: &Arc<str>, throttled: Throttled, now: Instant) {
        if self.clients.len() >= MAX_CLIENTS {
            self.clients.retain(|_, other| other.until > now);
        }
        if self.clients.len() < MAX_CLIENTS || self.clients.contains_key(client) {
            self.clients.insert(client.clone(), throttled);
        }
    }
}

fn seconds(delta: chrono::TimeDelta) -> Duration {
    delta.to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_the_named_time_and_longer_after_each_rejection() {
        let (mut clients, now) = (ThrottledClients::default(), Instant::now());
        let shop: Arc<str> = "shop".into();
        let named = Some(Duration::from_secs(5));
        let waits: Vec<_> =
            (0..11).map(|_| (clients.reject(&shop, named, now) - now).as_secs()).collect();
        assert_eq!(waits, [5, 5, 5, 8, 16, 32, 64, 128, 256, 300, 300]);
        let day = Some(Duration::from_secs(86_400));
        assert_eq!((clients.reject(&shop, day, now) - now).as_secs(), 3600, "capped");
        clients.accept("shop");
        assert_eq!((clients.reject(&shop, None, now) - now).as_secs(), 10);
        assert_eq!((clients.reject(&shop, None, now) - now).as_secs(), 20);
    }

    #[test]
    fn remembers_a_bounded_number_of_clients() {
        let (mut clients, now) = (ThrottledClients::default(), Instant::now());
        for number in 0..MAX_CLIENTS + 100 {
            clients.reject(&number.to_string().into(), None, now);
        }
        assert_eq!(clients.clients.len(), MAX_CLIENTS);
        let later = now + Duration::from_secs(3600);
        clients.reject(&"shop".into(), None, later);
        assert_eq!(clients.clients.len(), 1, "those whose time is over are forgotten");
    }
}
