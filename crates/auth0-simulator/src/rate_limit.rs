//! Rate limit of the Management API: one token bucket per tenant, or one for reads of clients and one
//! for everything else.
//!
//! Auth0's documentation ("Rate Limit Policy", "Rate Limit Configurations") describes requests
//! per second with a burst, and the headers `x-ratelimit-limit`, `x-ratelimit-remaining` and
//! `x-ratelimit-reset` (UNIX seconds). Here `limit` is the burst and `reset` is the time at which
//! the bucket is full again.

use std::{
    num::NonZeroU32,
    str::FromStr,
    time::{Duration, SystemTime},
};

use crate::clock::unix_seconds_ceil;

/// `x-ratelimit-limit` of an injected 429 when no rate limit is configured.
const DEFAULT_INJECTED_LIMIT: u32 = 10;

/// Requests per second or minute, and burst. Parses from text such as `16/50`, per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    requests: NonZeroU32,
    period: Duration,
    burst: NonZeroU32,
}

impl RateLimit {
    /// Creates a limit. Both numbers must be at least 1.
    ///
    /// # Errors
    ///
    /// A message that says which values are accepted.
    pub fn new(per_second: u32, burst: u32) -> Result<Self, String> {
        let zero = || {
            format!(
                "invalid rate limit {per_second}/{burst}: requests per second and burst must be \
                 at least 1, for example 16/50"
            )
        };
        Ok(Self {
            requests: NonZeroU32::new(per_second).ok_or_else(zero)?,
            period: Duration::from_secs(1),
            burst: NonZeroU32::new(burst).ok_or_else(zero)?,
        })
    }

    /// Creates a limit per minute. Both numbers must be at least 1.
    ///
    /// # Errors
    ///
    /// A message that says which values are accepted.
    pub fn per_minute(requests: u32, burst: u32) -> Result<Self, String> {
        Ok(Self { period: Duration::from_secs(60), ..Self::new(requests, burst)? })
    }

    /// Returns the time in which the bucket regains one request.
    fn interval(self) -> Duration {
        self.period / self.requests.get()
    }
}

impl FromStr for RateLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || {
            format!(
                "invalid rate limit {text:?}: expected requests per second and burst, \
                 for example 16/50"
            )
        };
        let (rate, burst) = text.split_once('/').ok_or_else(invalid)?;
        Self::new(rate.parse().map_err(|_| invalid())?, burst.parse().map_err(|_| invalid())?)
    }
}

/// Values of the rate limit headers in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateLimitHeaders {
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
    /// UNIX seconds.
    pub(crate) reset: u64,
    /// Whole seconds until the next request is admitted; 0 if this one was admitted.
    pub(crate) retry_after: u64,
}

/// Decision about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// No rate limit is configured, so the response has no headers.
    Unlimited,
    Admitted(RateLimitHeaders),
    /// The bucket is empty: 429.
    Rejected(RateLimitHeaders),
}

/// Token bucket, stored as the time at which it is full (generic cell rate algorithm).
pub(crate) struct RateLimiter {
    limit: Option<RateLimit>,
    full_at: Option<SystemTime>,
}

impl RateLimiter {
    /// Creates a full bucket. Without a limit, every request is admitted and no header is sent.
    pub(crate) fn new(limit: Option<RateLimit>) -> Self {
        Self { limit, full_at: None }
    }

    /// Takes one request from the bucket, if one is left.
    pub(crate) fn acquire(&mut self, now: SystemTime) -> Admission {
        let Some(limit) = self.limit else {
            return Admission::Unlimited;
        };
        let interval = limit.interval();
        let full_at = self.full_at.unwrap_or(now).max(now);
        let full_at_after = full_at + interval;
        // A full bucket holds `burst` requests, and each one taken delays `full_at` by one
        // interval. So `full_at` is never more than `burst` intervals ahead.
        let latest = now + interval * limit.burst.get();
        if full_at_after > latest {
            let wait = full_at_after.duration_since(latest).unwrap_or_default();
            let retry_after = seconds_ceil(wait);
            return Admission::Rejected(RateLimitHeaders {
                retry_after,
                ..headers(limit, full_at, now)
            });
        }
        self.full_at = Some(full_at_after);
        Admission::Admitted(headers(limit, full_at_after, now))
    }

    /// Returns the headers of an injected 429, which doesn't depend on the bucket's level.
    pub(crate) fn injected_headers(&self, now: SystemTime, reset_in: Duration) -> RateLimitHeaders {
        let limit = self.limit.map_or(DEFAULT_INJECTED_LIMIT, |limit| limit.burst.get());
        RateLimitHeaders {
            limit,
            remaining: 0,
            reset: unix_seconds_ceil(now + reset_in),
            retry_after: seconds_ceil(reset_in),
        }
    }
}

fn headers(limit: RateLimit, full_at: SystemTime, now: SystemTime) -> RateLimitHeaders {
    let until_full = full_at.duration_since(now).unwrap_or_default();
    let used = until_full.as_nanos().div_ceil(limit.interval().as_nanos().max(1));
    let used = u32::try_from(used).unwrap_or(u32::MAX);
    RateLimitHeaders {
        limit: limit.burst.get(),
        remaining: limit.burst.get().saturating_sub(used),
        reset: unix_seconds_ceil(full_at),
        retry_after: 0,
    }
}

fn seconds_ceil(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    fn at(milliseconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(milliseconds)
    }

    fn limiter(text: &str) -> RateLimiter {
        RateLimiter::new(Some(text.parse().unwrap()))
    }

    fn is_admitted(admission: Admission) -> bool {
        matches!(admission, Admission::Admitted(_))
    }

    fn is_rejected(admission: Admission) -> bool {
        matches!(admission, Admission::Rejected(_))
    }

    #[test]
    fn admits_the_burst_and_then_the_rate() {
        let mut limiter = limiter("2/3");
        for remaining in [2, 1, 0] {
            let Admission::Admitted(headers) = limiter.acquire(at(0)) else {
                panic!("{remaining} requests must be left")
            };
            assert_eq!(headers.remaining, remaining);
        }
        let expected = RateLimitHeaders { limit: 3, remaining: 0, reset: 2, retry_after: 1 };
        assert_eq!(limiter.acquire(at(0)), Admission::Rejected(expected));
        assert!(is_rejected(limiter.acquire(at(499))));
        assert!(is_admitted(limiter.acquire(at(500))));
        assert!(is_rejected(limiter.acquire(at(500))));
    }

    #[test]
    fn idle_bucket_holds_no_more_than_the_burst() {
        let mut limiter = limiter("10/2");
        assert!(is_admitted(limiter.acquire(at(0))));
        for _ in 0..2 {
            assert!(is_admitted(limiter.acquire(at(60_000))));
        }
        assert!(is_rejected(limiter.acquire(at(60_000))));
    }

    #[test]
    fn returns_no_headers_without_a_limit() {
        assert_eq!(RateLimiter::new(None).acquire(at(0)), Admission::Unlimited);
    }

    #[test]
    fn parses_limits_from_text() {
        assert_eq!("16/50".parse(), RateLimit::new(16, 50));
        for bad in ["", "16", "16/", "a/b", "-1/2"] {
            assert!(bad.parse::<RateLimit>().unwrap_err().contains("16/50"), "{bad}");
        }
        assert!("0/5".parse::<RateLimit>().unwrap_err().contains("at least 1"));
    }

    proptest! {
        #[test]
        fn never_admits_more_than_burst_and_rate_allow(
            rate in 1u32..20, burst in 1u32..20,
            gaps in prop::collection::vec(0u64..300, 1..100),
        ) {
            let mut limiter = RateLimiter::new(Some(RateLimit::new(rate, burst).unwrap()));
            let (mut now, mut admitted) = (0, 0u64);
            for gap in gaps {
                now += gap;
                if is_admitted(limiter.acquire(at(now))) {
                    admitted += 1;
                }
                // Integer division can make the interval one nanosecond too short; one request
                // of slack covers it.
                let allowed = u64::from(burst) + now * u64::from(rate) / 1_000 + 1;
                prop_assert!(admitted <= allowed, "{} admitted after {} ms", admitted, now);
            }
        }
    }
}
