//! The time that everything in the simulator is told.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the simulator reads the time.
///
/// The state machine never reads a clock: each of its functions takes `now`. Only the server asks
/// a `Clock`, so a test that passes a [`ManualClock`] decides when propagation ends and tokens
/// expire. Delays that a fault orders are real time all the same.
pub trait Clock: Send + Sync + 'static {
    /// The present moment. Must not go backwards.
    fn now(&self) -> SystemTime;
}

/// The machine's time, which goes on evenly even when the wall clock is set.
#[derive(Debug)]
pub struct RealClock {
    wall: SystemTime,
    started: Instant,
}

impl RealClock {
    /// A clock that reads the wall clock now and counts from there.
    pub fn new() -> Self {
        Self { wall: SystemTime::now(), started: Instant::now() }
    }
}

impl Default for RealClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for RealClock {
    fn now(&self) -> SystemTime {
        self.wall + self.started.elapsed()
    }
}

/// A clock that stands still until a test moves it. Clones share the time.
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: Arc<Mutex<SystemTime>>,
}

impl ManualClock {
    /// Starts at the given moment.
    pub fn new(start: SystemTime) -> Self {
        Self { now: Arc::new(Mutex::new(start)) }
    }

    /// Moves the time forward.
    pub fn advance(&self, by: Duration) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new(UNIX_EPOCH + Duration::from_secs(1_700_000_000))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whole UNIX seconds, rounded up, as `x-ratelimit-reset` has them.
pub(crate) fn unix_seconds_ceil(moment: SystemTime) -> u64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() + u64::from(since.subsec_nanos() > 0)
}

/// RFC 3339 in UTC with microseconds, as the audit log and the admin interface print times.
pub(crate) fn rfc3339(moment: SystemTime) -> String {
    chrono::DateTime::<chrono::Utc>::from(moment)
        .to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told_and_for_all_clones() {
        let clock = ManualClock::default();
        let other = clock.clone();
        let before = other.now();
        clock.advance(Duration::from_secs(3));
        assert_eq!(other.now(), before + Duration::from_secs(3));
    }

    #[test]
    fn unix_seconds_round_up() {
        let at = UNIX_EPOCH + Duration::from_millis(1_001);
        assert_eq!(unix_seconds_ceil(at), 2);
        assert_eq!(unix_seconds_ceil(UNIX_EPOCH + Duration::from_secs(2)), 2);
        assert_eq!(rfc3339(at), "1970-01-01T00:00:01.001000Z");
    }
}
