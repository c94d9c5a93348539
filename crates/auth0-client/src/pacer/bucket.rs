//! How many calls may leave now, and when the next one.

use std::time::Duration;

use tokio::time::Instant;

/// Calls leave this much later than the rate says, as a share of the time between two, where the
/// reserve is too small to hide that one call may be quicker on its way than the one before.
const MARGIN: f64 = 0.02;

/// A token bucket, kept as the moment at which it is full.
///
/// It holds a few calls less than the burst at a time: Auth0's own bucket is then never quite
/// empty when calls arrive closer together than they left.
#[derive(Debug)]
pub(super) struct Bucket {
    /// How long one call takes to come back.
    interval: Duration,
    configured: u32,
    burst: u32,
    /// How many calls Auth0 has to keep when this is empty.
    reserve: u32,
    full_at: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(per_second: u32, burst: u32, now: Instant) -> Bucket {
        let (per_second, burst) = (per_second.max(1), burst.max(1));
        let exact = Duration::from_nanos(1_000_000_000u64.div_ceil(u64::from(per_second)));
        let reserve = reserve(burst);
        let margin = if reserve < 3 { exact.mul_f64(MARGIN) } else { Duration::ZERO };
        let burst = burst - reserve;
        Bucket { interval: exact + margin, configured: burst, burst, reserve, full_at: now }
    }

    /// How long until a call may leave that has `ahead` others before it.
    pub(super) fn wait(&self, now: Instant, ahead: u32) -> Duration {
        let missing = self.full_at.saturating_duration_since(now);
        let then = missing + self.interval.saturating_mul(ahead.saturating_add(1));
        then.saturating_sub(self.interval.saturating_mul(self.burst))
    }

    /// Takes one call out, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let ready = self.wait(now, 0).is_zero();
        if ready {
            self.full_at = self.full_at.max(now) + self.interval;
        }
        ready
    }

    /// At most `calls` are left `at` that time: what is believed is lowered, never raised.
    pub(super) fn lower_to(&mut self, calls: i64, at: Instant) {
        let burst = i64::from(self.burst);
        let missing = burst.saturating_sub(calls).clamp(0, 2 * burst);
        let missing = u32::try_from(missing).unwrap_or_default();
        self.full_at = self.full_at.max(at + self.interval.saturating_mul(missing));
    }

    /// Auth0 lets through no more than `limit` at once. More than is configured changes nothing.
    pub(super) fn limit_to(&mut self, limit: u32, now: Instant) {
        let limit = limit.max(1);
        let kept = reserve(limit);
        let burst = (limit - kept).min(self.configured);
        // What is in the bucket stays, up to what goes into the new one.
        let missing = self.full_at.saturating_duration_since(now);
        let smaller = self.interval.saturating_mul(self.burst.saturating_sub(burst));
        let larger = self.interval.saturating_mul(burst.saturating_sub(self.burst));
        self.full_at = now + missing.saturating_sub(smaller) + larger;
        self.burst = burst;
        self.reserve = kept;
    }

    /// How many calls Auth0 has to keep when this is empty.
    pub(super) fn reserve(&self) -> u32 {
        self.reserve
    }
}

/// A tenth of the burst, one at least and five at most, but never all of it.
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

    #[test]
    fn the_reserve_is_a_tenth_and_never_all() {
        let reserves = [1, 2, 3, 10, 20, 29, 30, 50, 1000].map(reserve);
        assert_eq!(reserves, [0, 1, 1, 1, 2, 2, 3, 5, 5]);
    }

    #[test]
    fn the_burst_leaves_at_once_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(16, 50, start);
        let at_once = (0..100).filter(|_| bucket.take(start)).count();
        assert_eq!(at_once, 45);
        assert!(bucket.wait(start, 0) > millis(62) && bucket.wait(start, 0) <= millis(63));
        assert!(!bucket.take(start + millis(62)));
        let in_a_minute = (1..=60_000).filter(|at| bucket.take(start + millis(*at))).count();
        assert!((959..=960).contains(&in_a_minute), "{in_a_minute}");
    }

    #[test]
    fn what_is_lowered_is_not_raised() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 30, start);
        bucket.lower_to(1_000, start);
        bucket.lower_to(3, start);
        bucket.lower_to(20, start);
        assert_eq!((0..30).filter(|_| bucket.take(start)).count(), 3);
        bucket.lower_to(-2, start);
        assert_eq!(bucket.wait(start, 0), millis(300));
        bucket.lower_to(i64::MIN, start);
        assert!(bucket.wait(start, 0) <= millis(2_900), "what is owed is bounded");
    }

    #[test]
    fn a_smaller_limit_is_kept_to_until_it_is_larger_again() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 50, start);
        bucket.limit_to(4, start);
        assert_eq!((0..50).filter(|_| bucket.take(start)).count(), 3);
        bucket.limit_to(5_000, start);
        assert_eq!((0..50).filter(|_| bucket.take(start)).count(), 0, "nothing is given for it");
        let later = start + Duration::from_secs(60);
        assert_eq!((0..100).filter(|_| bucket.take(later)).count(), 45);
    }

    proptest! {
        /// Whatever is learnt meanwhile, no stretch of time has more than the burst and the rate.
        #[test]
        fn no_stretch_of_time_has_more_than_burst_and_rate(
            rate in 1u32..40, burst in 1u32..60,
            steps in prop::collection::vec((0u64..400, 0u8..12, -5i64..60), 1..300),
        ) {
            let start = Instant::now();
            let mut bucket = Bucket::new(rate, burst, start);
            let (mut now, mut left) = (0, Vec::new());
            for (gap, what, number) in steps {
                now += gap;
                let at = start + millis(now);
                match what {
                    0 => bucket.lower_to(number, at),
                    1 => bucket.limit_to(number.unsigned_abs() as u32, at),
                    _ => if bucket.take(at) { left.push(now) },
                }
            }
            for (first, from) in left.iter().enumerate() {
                for (last, to) in left.iter().enumerate().skip(first) {
                    let most = f64::from(burst) + (to - from) as f64 * f64::from(rate) / 1000.0;
                    prop_assert!((last - first + 1) as f64 <= most + 1e-6);
                }
            }
        }
    }
}
