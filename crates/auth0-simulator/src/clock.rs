//! Clocks: the source of time for the simulator.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

/// Source of the current time.
///
/// The tenant's state machine never reads a clock: each of its functions takes `now`. Only the
/// server reads a `Clock`, so a test that passes a [`ManualClock`] controls when propagation ends
/// and when tokens expire. Delays injected by faults always elapse in real time.
pub trait Clock: Send + Sync + 'static {
    /// Returns the current time. Must not go backwards.
    fn now(&self) -> SystemTime;
}

/// Monotonic clock that starts at the wall-clock time and ignores later changes to it.
#[derive(Debug)]
pub struct RealClock {
    wall: SystemTime,
    started: Instant,
}

impl RealClock {
    /// Creates a clock that starts at the current wall-clock time.
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

/// Clock that only advances when a test advances it. Clones share the time.
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: Arc<Mutex<SystemTime>>,
}

impl ManualClock {
    /// Creates a clock that starts at the given time.
    pub fn new(start: SystemTime) -> Self {
        Self { now: Arc::new(Mutex::new(start)) }
    }

    /// Moves the time forward by `by`.
    pub fn advance(&self, by: Duration) {
        *self.now.lock() += by;
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new(UNIX_EPOCH + Duration::from_secs(1_700_000_000))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        *self.now.lock()
    }
}

/// Returns whole UNIX seconds, rounded up, as in `x-ratelimit-reset`.
pub(crate) fn unix_seconds_ceil(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since_epoch.as_secs() + u64::from(since_epoch.subsec_nanos() > 0)
}

/// Formats a time as RFC 3339 in UTC with microseconds, for the audit log and admin interface.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    chrono::DateTime::<chrono::Utc>::from(time).to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_clock_advances_only_on_request_and_for_all_clones() {
        let clock = ManualClock::default();
        let other = clock.clone();
        let before = other.now();
        clock.advance(Duration::from_secs(3));
        assert_eq!(other.now(), before + Duration::from_secs(3));
    }

    #[test]
    fn rounds_unix_seconds_up() {
        let at = UNIX_EPOCH + Duration::from_millis(1_001);
        assert_eq!(unix_seconds_ceil(at), 2);
        assert_eq!(unix_seconds_ceil(UNIX_EPOCH + Duration::from_secs(2)), 2);
        assert_eq!(rfc3339(at), "1970-01-01T00:00:01.001000Z");
    }
}
