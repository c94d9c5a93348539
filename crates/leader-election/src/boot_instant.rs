//! A monotonic clock that keeps running during suspend: the clock of the election.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Monotonic clock that keeps running while the process is stopped and, on Linux, while the machine
/// is suspended: a leader that resumes must notice that its time is over.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// Time since the machine booted. In contrast to [`std::time::Instant`], it includes suspend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootInstant(pub(crate) Duration);

impl BootInstant {
    /// Returns the present time.
    #[must_use]
    pub fn now() -> Self {
        let time = clock_gettime(CLOCK);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        Self(Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default()))
    }

    /// Returns the time `duration` later.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// Returns the time since the machine booted.
    #[must_use]
    pub fn since_boot(self) -> Duration {
        self.0
    }

    /// Returns the time elapsed from `earlier` until `self`, or zero if `earlier` is later.
    #[must_use]
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
