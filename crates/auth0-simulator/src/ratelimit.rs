//! The Management API's rate limit: one token bucket for the tenant.
//!
//! Auth0's documentation ("Rate Limit Policy", "Rate Limit Configurations"): requests per second
//! with a burst; headers `x-ratelimit-limit`, `x-ratelimit-remaining` and `x-ratelimit-reset`
//! (UNIX seconds). Here `limit` is the burst and `reset` the moment at which the bucket is full
//! again.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use crate::clock::unix_seconds_ceil;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Requests per second and burst. Reads `16/50` from text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    per_second: NonZeroU32,
    burst: NonZeroU32,
}

impl RateLimit {
    /// A limit; both numbers must be at least 1.
    pub fn new(per_second: u32, burst: u32) -> Result<Self, String> {
        let wrong = || "a rate limit needs at least 1 request/s and a burst of 1".to_string();
        Ok(Self {
            per_second: NonZeroU32::new(per_second).ok_or_else(wrong)?,
            burst: NonZeroU32::new(burst).ok_or_else(wrong)?,
        })
    }

    /// How long one request's worth takes to come back.
    fn interval(self) -> Duration {
        Duration::from_nanos(NANOS_PER_SECOND / u64::from(self.per_second.get()))
    }
}

impl FromStr for RateLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not a rate limit: write requests per second and burst, as in 16/50"
            )
        };
        let (rate, burst) = text.split_once('/').ok_or_else(wrong)?;
        Self::new(rate.parse().map_err(|_| wrong())?, burst.parse().map_err(|_| wrong())?)
    }
}

/// What the headers of an answer say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
    /// UNIX seconds.
    pub(crate) reset: u64,
    /// Whole seconds until a request is let through again; 0 when this one was.
    pub(crate) retry_after: u64,
}

/// The bucket, kept as the moment at which it is full (as the generic cell rate algorithm does).
pub(crate) struct Limiter {
    limit: Option<RateLimit>,
    full_at: Option<SystemTime>,
}

impl Limiter {
    /// Without a limit nothing is refused and no header is sent.
    pub(crate) fn new(limit: Option<RateLimit>) -> Self {
        Self { limit, full_at: None }
    }

    /// Takes one request out of the bucket, if there is one; `Err` means 429.
    pub(crate) fn take(&mut self, now: SystemTime) -> Option<Result<Budget, Budget>> {
        let limit = self.limit?;
        let interval = limit.interval();
        let full_at = self.full_at.unwrap_or(now).max(now);
        let after = full_at + interval;
        // Full is `burst` requests; each one out puts off the moment of being full.
        let latest = now + interval * limit.burst.get();
        if after > latest {
            let wait = after.duration_since(latest).unwrap_or_default();
            let retry_after = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            return Some(Err(Budget { retry_after, ..budget(limit, full_at, now) }));
        }
        self.full_at = Some(after);
        Some(Ok(budget(limit, after, now)))
    }

    /// The headers of a 429 that a fault orders, whatever is in the bucket.
    pub(crate) fn refuse(&self, now: SystemTime, reset_in: Duration) -> Budget {
        let limit = self.limit.map_or(10, |limit| limit.burst.get());
        let retry_after = reset_in.as_secs() + u64::from(reset_in.subsec_nanos() > 0);
        Budget { limit, remaining: 0, reset: unix_seconds_ceil(now + reset_in), retry_after }
    }
}

fn budget(limit: RateLimit, full_at: SystemTime, now: SystemTime) -> Budget {
    let missing = full_at.duration_since(now).unwrap_or_default();
    let used = missing.as_nanos().div_ceil(limit.interval().as_nanos().max(1));
    let used = u32::try_from(used).unwrap_or(u32::MAX);
    Budget {
        limit: limit.burst.get(),
        remaining: limit.burst.get().saturating_sub(used),
        reset: unix_seconds_ceil(full_at),
        retry_after: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    fn at(milliseconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(milliseconds)
    }

    fn limiter(text: &str) -> Limiter {
        Limiter::new(Some(text.parse().unwrap()))
    }

    #[test]
    fn the_burst_goes_through_and_then_the_rate() {
        let mut limiter = limiter("2/3");
        for remaining in [2, 1, 0] {
            assert_eq!(limiter.take(at(0)).unwrap().unwrap().remaining, remaining);
        }
        let refused = limiter.take(at(0)).unwrap().unwrap_err();
        assert_eq!(refused, Budget { limit: 3, remaining: 0, reset: 2, retry_after: 1 });
        assert!(limiter.take(at(499)).unwrap().is_err());
        assert!(limiter.take(at(500)).unwrap().is_ok());
        assert!(limiter.take(at(500)).unwrap().is_err());
    }

    #[test]
    fn an_idle_bucket_holds_no_more_than_the_burst() {
        let mut limiter = limiter("10/2");
        assert!(limiter.take(at(0)).unwrap().is_ok());
        for _ in 0..2 {
            assert!(limiter.take(at(60_000)).unwrap().is_ok());
        }
        assert!(limiter.take(at(60_000)).unwrap().is_err());
    }

    #[test]
    fn without_a_limit_there_is_nothing_to_say() {
        assert_eq!(Limiter::new(None).take(at(0)), None);
    }

    #[test]
    fn limits_are_read_from_text() {
        assert_eq!("16/50".parse(), RateLimit::new(16, 50));
        for bad in ["", "16", "16/", "a/b", "-1/2"] {
            assert!(bad.parse::<RateLimit>().unwrap_err().contains("16/50"), "{bad}");
        }
        assert!("0/5".parse::<RateLimit>().unwrap_err().contains("at least 1"));
    }

    proptest! {
        #[test]
        fn no_window_lets_more_through_than_burst_and_rate(
            rate in 1u32..20, burst in 1u32..20,
            gaps in prop::collection::vec(0u64..300, 1..100),
        ) {
            let mut limiter = Limiter::new(Some(RateLimit::new(rate, burst).unwrap()));
            let (mut now, mut passed) = (0, 0u64);
            for gap in gaps {
                now += gap;
                if limiter.take(at(now)).unwrap().is_ok() {
                    passed += 1;
                }
                // Integer division makes the interval up to a nanosecond short; one request of
                // slack covers it.
                let most = u64::from(burst) + now * u64::from(rate) / 1_000 + 1;
                prop_assert!(passed <= most, "{} passed after {} ms", passed, now);
            }
        }
    }
}
