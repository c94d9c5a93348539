//! The clock of the simulated Auth0, with which its audit log can be merged with the API server's.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use auth0_simulator::Clock;

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
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = SystemTime::now().max(*latest);
        *latest
    }
}
