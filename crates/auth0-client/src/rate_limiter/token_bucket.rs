//! Token bucket: decides whether a call may be made now, or when.

use std::time::Duration;

use tokio::time::Instant;

use super::{RateLimit, headers::RateLimitStatus};

/// Fraction by which the interval between two calls is lengthened if the reserve is small. Without
/// it, a call with a lower latency than its predecessor could arrive too early.
const INTERVAL_MARGIN: f64 = 0.02;

/// Token bucket, represented by the time at which it is full.
///
/// It holds a few calls less than the configured burst, so that Auth0's own bucket is never quite
/// empty when calls arrive closer together than they were sent.
#[derive(Debug)]
pub(super) struct TokenBucket {
    /// How long the bucket takes to regain one call.
    interval: Duration,
    /// The configured burst, less the reserve.
    max_burst: u32,
    /// The current burst: `max_burst`, or less if Auth0 reports a lower limit.
    burst: u32,
    /// Number of calls that are left at Auth0 when this bucket is empty.
    reserve: u32,
    full_at: Instant,
}

impl TokenBucket {
    /// Creates a full bucket.
    pub(super) fn new(rate_limit: RateLimit, now: Instant) -> Self {
        let RateLimit { requests_per_second, burst } = rate_limit;
        Self::with_rate(requests_per_second, Duration::from_secs(1), burst, now)
    }

    /// Creates a full bucket with a rate per minute.
    pub(super) fn per_minute(requests: u32, burst: u32, now: Instant) -> Self {
        Self::with_rate(requests, Duration::from_secs(60), burst, now)
    }

    fn with_rate(requests: u32, period: Duration, burst: u32, now: Instant) -> Self {
        // Rounded up, so that a period never has more.
        let nanos = period.as_nanos().div_ceil(u128::from(requests.max(1)));
        let interval = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let burst = burst.max(1);
        let reserve = reserve(burst);
        let margin = if reserve < 3 { interval.mul_f64(INTERVAL_MARGIN) } else { Duration::ZERO };
        let burst = burst - reserve;
        Self { interval: interval + margin, max_burst: burst, burst, reserve, full_at: now }
    }

    /// Creates a full bucket with half of the rate and of the burst.
    pub(super) fn half(rate_limit: RateLimit, now: Instant) -> Self {
        let whole = Self::new(rate_limit, now);
        let burst = (whole.max_burst / 2).max(1);
        Self { interval: whole.interval * 2, max_burst: burst, burst, ..whole }
    }

    /// Continues with the rate and the burst of another bucket. Neither makes a call available that
    /// was not: otherwise every change of a configuration would allow a burst.
    pub(super) fn reconfigure(&mut self, other: Self, now: Instant) {
        let until_full = self.full_at.saturating_duration_since(now);
        let missing = until_full.as_secs_f64() / self.interval.as_secs_f64().max(f64::EPSILON);
        let available = (f64::from(self.burst) - missing).min(f64::from(other.burst));
        let still_missing = f64::from(other.burst) - available;
        // A bucket is never further behind than this, so the product stays small.
        let until_full = other.interval.mul_f64(still_missing.clamp(0.0, 1e6));
        *self = Self { full_at: now + until_full, ..other };
    }

    /// Returns how long a call waits that has `ahead` other calls before it.
    pub(super) fn wait(&self, now: Instant, ahead: u32) -> Duration {
        let until_full = self.full_at.saturating_duration_since(now);
        let used = until_full + self.interval.saturating_mul(ahead.saturating_add(1));
        used.saturating_sub(self.interval.saturating_mul(self.burst))
    }

    /// Takes one call out of the bucket. Returns false if the bucket is empty.
    pub(super) fn try_take(&mut self, now: Instant) -> bool {
        let is_available = self.wait(now, 0).is_zero();
        if is_available {
            self.full_at = self.full_at.max(now) + self.interval;
        }
        is_available
    }

    /// Returns a call that was taken and not made. The bucket never holds more than its burst.
    pub(super) fn give_back(&mut self) {
        self.full_at = self.full_at.checked_sub(self.interval).unwrap_or(self.full_at);
    }

    /// Returns how long the bucket takes to regain one call.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// Lowers the number of available calls to the number that Auth0 reports. Other calls may be in
    /// flight that Auth0 has not counted yet.
    pub(super) fn adjust_to(&mut self, status: RateLimitStatus, in_flight: u32, now: Instant) {
        self.cap_burst(status.limit, now);
        let uncounted = in_flight.saturating_sub(1) + self.reserve;
        self.lower_to(i64::from(status.remaining) - i64::from(uncounted), now);
    }

    /// Lowers the number of calls that are available `at` that time. Never raises it.
    pub(super) fn lower_to(&mut self, calls: i64, at: Instant) {
        let burst = i64::from(self.burst);
        let missing = burst.saturating_sub(calls).clamp(0, 2 * burst);
        let missing = u32::try_from(missing).unwrap_or_default();
        self.full_at = self.full_at.max(at + self.interval.saturating_mul(missing));
    }

    /// Limits the burst to the limit that Auth0 reports. A limit above the configured burst has no effect.
    pub(super) fn cap_burst(&mut self, limit: u32, now: Instant) {
        let limit = limit.max(1);
        let reserve = reserve(limit);
        let burst = (limit - reserve).min(self.max_burst);
        // The bucket keeps the calls that it holds, up to its new size.
        let until_full = self.full_at.saturating_duration_since(now);
        let shrinkage = self.interval.saturating_mul(self.burst.saturating_sub(burst));
        let growth = self.interval.saturating_mul(burst.saturating_sub(self.burst));
        self.full_at = now + until_full.saturating_sub(shrinkage) + growth;
        self.burst = burst;
        self.reserve = reserve;
    }
}

/// Returns a tenth of the burst, between one and five, but never the whole burst.
fn reserve(burst: u32) -> u32 {
    (burst / 10).clamp(1, 5).min(burst.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    fn full_bucket(requests_per_second: u32, burst: u32, now: Instant) -> TokenBucket {
        TokenBucket::new(RateLimit { requests_per_second, burst }, now)
    }

    #[test]
    fn reserves_a_tenth_but_never_all() {
        let reserves = [1, 2, 3, 10, 20, 29, 30, 50, 1000].map(reserve);
        assert_eq!(reserves, [0, 1, 1, 1, 2, 2, 3, 5, 5]);
    }

    #[test]
    fn allows_burst_at_once_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = full_bucket(16, 50, start);
        let at_once = (0..100).filter(|_| bucket.try_take(start)).count();
        assert_eq!(at_once, 45);
        assert!(bucket.wait(start, 0) > millis(62) && bucket.wait(start, 0) <= millis(63));
        assert!(!bucket.try_take(start + millis(62)));
        let in_a_minute = (1..=60_000).filter(|at| bucket.try_take(start + millis(*at))).count();
        assert!((959..=960).contains(&in_a_minute), "{in_a_minute}");
    }

    #[test]
    fn lower_to_never_raises_available_calls() {
        let start = Instant::now();
        let mut bucket = full_bucket(10, 30, start);
        bucket.lower_to(1_000, start);
        bucket.lower_to(3, start);
        bucket.lower_to(20, start);
        assert_eq!((0..30).filter(|_| bucket.try_take(start)).count(), 3);
        bucket.lower_to(-2, start);
        assert_eq!(bucket.wait(start, 0), millis(300));
        bucket.lower_to(i64::MIN, start);
        assert!(bucket.wait(start, 0) <= millis(2_900), "the debt is bounded");
    }

    #[test]
    fn burst_follows_reported_limit_up_to_configured_burst() {
        let start = Instant::now();
        let mut bucket = full_bucket(10, 50, start);
        bucket.cap_burst(4, start);
        assert_eq!((0..50).filter(|_| bucket.try_take(start)).count(), 3);
        bucket.cap_burst(5_000, start);
        let available = (0..50).filter(|_| bucket.try_take(start)).count();
        assert_eq!(available, 0, "a larger limit makes no calls available");
        let later = start + Duration::from_secs(60);
        assert_eq!((0..100).filter(|_| bucket.try_take(later)).count(), 45);
    }

    #[test]
    fn change_of_rate_makes_no_calls_available() {
        let start = Instant::now();
        let mut bucket = full_bucket(10, 20, start);
        while bucket.try_take(start) {}
        for burst in [1000, 1, 1000, 20] {
            bucket.reconfigure(full_bucket(10, burst, start), start);
            assert!(!bucket.try_take(start));
        }
        let second = (1..=1000).filter(|at| bucket.try_take(start + millis(*at))).count();
        assert!((9..=10).contains(&second), "{second}");
    }

    #[test]
    fn half_of_a_bucket_has_half_of_its_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::half(RateLimit { requests_per_second: 16, burst: 50 }, start);
        assert_eq!((0..50).filter(|_| bucket.try_take(start)).count(), 22);
        let in_a_minute = (1..=60_000).filter(|at| bucket.try_take(start + millis(*at))).count();
        assert!((479..=480).contains(&in_a_minute), "{in_a_minute}");
    }

    #[test]
    fn unused_call_is_available_again() {
        let start = Instant::now();
        let mut bucket = TokenBucket::per_minute(100, 5, start);
        assert_eq!((0..9).filter(|_| bucket.try_take(start)).count(), 4);
        bucket.give_back();
        assert_eq!((0..9).filter(|_| bucket.try_take(start)).count(), 1);
        let in_a_minute = (1..=60_000).filter(|at| bucket.try_take(start + millis(*at))).count();
        assert!((97..=100).contains(&in_a_minute), "{in_a_minute}");
        for _ in 0..9 {
            bucket.give_back();
        }
        assert_eq!((0..9).filter(|_| bucket.try_take(start + millis(60_000))).count(), 4);
    }

    proptest! {
        /// Holds for any sequence of reports from Auth0.
        #[test]
        fn no_period_exceeds_burst_plus_rate(
            rate in 1u32..40, burst in 1u32..60,
            steps in prop::collection::vec((0u64..400, 0u8..12, -5i64..60), 1..300),
        ) {
            let start = Instant::now();
            let mut bucket = full_bucket(rate, burst, start);
            let (mut now, mut taken) = (0, Vec::new());
            for (gap, action, number) in steps {
                now += gap;
                let at = start + millis(now);
                match action {
                    0 => bucket.lower_to(number, at),
                    1 => bucket.cap_burst(number.unsigned_abs() as u32, at),
                    _ => if bucket.try_take(at) { taken.push(now) },
                }
            }
            for (first, from) in taken.iter().enumerate() {
                for (last, to) in taken.iter().enumerate().skip(first) {
                    let most = f64::from(burst) + (to - from) as f64 * f64::from(rate) / 1000.0;
                    prop_assert!((last - first + 1) as f64 <= most + 1e-6);
                }
            }
        }
    }
}
