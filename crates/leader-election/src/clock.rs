//! The clock of the election.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// It goes on while a process is stopped and, on Linux, while the machine sleeps: whoever wakes up
/// must know that its time is over. It is never set.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// A moment on that clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BootInstant(pub(super) Duration);

impl BootInstant {
    pub(super) fn now() -> BootInstant {
        let time = clock_gettime(CLOCK);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        BootInstant(Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default()))
    }

    pub(super) fn after(self, span: Duration) -> BootInstant {
        BootInstant(self.0.saturating_add(span))
    }

    /// How long it is from now until this moment; zero when it has come.
    pub(super) fn from(self, now: BootInstant) -> Duration {
        self.0.saturating_sub(now.0)
    }
}
