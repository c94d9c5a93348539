//! What Auth0 says of its rate limit, and how fast we go.

use std::{
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use reqwest::header::HeaderMap;

use super::error::Auth0Error;

/// How far into the future a limit is believed to last. Auth0's windows are seconds to minutes.
const FURTHEST: TimeDelta = TimeDelta::hours(1);

/// How long to keep away when Auth0 refuses a call without saying for how long.
const UNSAID: TimeDelta = TimeDelta::seconds(10);

/// The pace of calls to one tenant: our own, and what Auth0's headers ask for.
pub(super) struct Limits {
    pace: DefaultDirectRateLimiter,
    /// No call is made before this time.
    closed_until: Mutex<Option<DateTime<Utc>>>,
}

impl Limits {
    pub(super) fn new(per_second: u32, burst: u32) -> Limits {
        let positive = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(positive(per_second)).allow_burst(positive(burst));
        Limits { pace: RateLimiter::direct(quota), closed_until: Mutex::new(None) }
    }

    /// Waits for a place. Fails at once while the tenant's limit is used up, and when the place
    /// would come later than `patience`.
    pub(super) async fn admit(
        &self,
        now: DateTime<Utc>,
        patience: Duration,
    ) -> Result<(), Auth0Error> {
        let closed = *self.closed_until.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = closed.filter(|until| *until > now) {
            return Err(Auth0Error::Throttled { until });
        }
        tokio::time::timeout(patience, self.pace.until_ready())
            .await
            .map_err(|_| Auth0Error::Throttled { until: now + TimeDelta::seconds(1) })
    }

    /// Takes note of an answer's headers.
    pub(super) fn note(&self, headers: &HeaderMap, refused: bool, now: DateTime<Utc>) {
        let until = if refused {
            Some(retry_time(headers, now).unwrap_or(now + UNSAID))
        } else if number(headers, "x-ratelimit-remaining") == Some(0) {
            reset_time(headers, now)
        } else {
            return;
        };
        let mut closed = self.closed_until.lock().unwrap_or_else(PoisonError::into_inner);
        *closed = (*closed).max(until);
    }

    /// Until when no call is made.
    pub(super) fn closed_until(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.closed_until.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(now)
    }
}

fn retry_time(headers: &HeaderMap, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let after = number(headers, "retry-after")
        .map(|seconds| now + TimeDelta::seconds(seconds.clamp(1, FURTHEST.num_seconds())));
    after.max(reset_time(headers, now))
}

/// `x-ratelimit-reset` is in UNIX seconds; one in the past, or far off, is not believed.
fn reset_time(headers: &HeaderMap, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    number(headers, "x-ratelimit-reset")
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        .filter(|reset| *reset > now)
        .map(|reset| reset.min(now + FURTHEST))
}

fn number(headers: &HeaderMap, name: &str) -> Option<i64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(NOW, 0).unwrap()
    }

    fn headers(pairs: &[(&'static str, String)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn closed_after(pairs: &[(&'static str, String)], refused: bool) -> i64 {
        let limits = Limits::new(10, 10);
        limits.note(&headers(pairs), refused, now());
        (limits.closed_until(now()) - now()).num_seconds()
    }

    #[test]
    fn nothing_left_closes_until_the_reset() {
        let reset = ("x-ratelimit-reset", (NOW + 7).to_string());
        assert_eq!(closed_after(&[("x-ratelimit-remaining", "0".into()), reset.clone()], false), 7);
        assert_eq!(closed_after(&[("x-ratelimit-remaining", "1".into()), reset.clone()], false), 0);
        assert_eq!(closed_after(&[reset], true), 7);
    }

    #[test]
    fn a_refusal_closes_even_when_it_does_not_say_for_how_long() {
        assert_eq!(closed_after(&[], true), 10);
        assert_eq!(closed_after(&[("retry-after", "3".into())], true), 3);
        assert_eq!(closed_after(&[("x-ratelimit-reset", "soon".into())], true), 10);
        assert_eq!(closed_after(&[("x-ratelimit-reset", (NOW - 5).to_string())], true), 10);
    }

    #[test]
    fn what_is_far_off_is_not_believed() {
        assert_eq!(closed_after(&[("retry-after", i64::MAX.to_string())], true), 3600);
        assert_eq!(closed_after(&[("x-ratelimit-reset", (NOW + 86_400).to_string())], true), 3600);
    }

    #[tokio::test]
    async fn a_closed_tenant_is_refused_at_once() {
        let limits = Limits::new(10, 10);
        limits.note(&headers(&[("retry-after", "5".into())]), true, now());
        let until = now() + TimeDelta::seconds(5);
        let refused = limits.admit(now(), Duration::ZERO).await;
        assert_eq!(refused, Err(Auth0Error::Throttled { until }));
        assert_eq!(limits.admit(until, Duration::from_secs(1)).await, Ok(()));
    }

    proptest! {
        #[test]
        fn any_headers_close_for_an_hour_at_most(
            remaining in "[ -~]{0,20}", reset in "[ -~]{0,24}", after in "[ -~]{0,24}", refused: bool,
        ) {
            let limits = Limits::new(1, 1);
            let pairs = [("x-ratelimit-remaining", remaining), ("x-ratelimit-reset", reset), ("retry-after", after)];
            limits.note(&headers(&pairs), refused, now());
            prop_assert!(limits.closed_until(now()) <= now() + FURTHEST);
        }
    }
}
