//! One clock for the simulated Auth0 and everything else, so that their records can be put in order.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use auth0_simulator::Clock;

/// The machine's wall clock, held when it goes backwards.
#[derive(Debug)]
pub(crate) struct WallClock(Mutex<SystemTime>);

impl Default for WallClock {
    fn default() -> Self {
        Self(Mutex::new(SystemTime::now()))
    }
}

impl Clock for WallClock {
    fn now(&self) -> SystemTime {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = SystemTime::now().max(*latest);
        *latest
    }
}
