//! The clock of the simulated Auth0, with which its audit log can be merged with the API server's.

use std::time::SystemTime;

use auth0_simulator::Clock;
use parking_lot::Mutex;

/// The machine's wall clock, but never going backwards.
#[derive(Debug)]
pub(crate) struct MonotonicWallClock(Mutex<SystemTime>);

impl Default for MonotonicWallClock {
    fn default() -> Self {
        Self(Mutex::new(SystemTime::now()))
    }
}

impl Clock for MonotonicWallClock {
    fn now(&self) -> SystemTime {
        let mut latest = self.0.lock();
        *latest = SystemTime::now().max(*latest);
        *latest
    }
}
