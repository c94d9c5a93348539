//! Durations of the election, and the bounds that keep two replicas from acting at once.

use std::time::Duration;

/// Shortest lease duration.
const MIN_LEASE_DURATION: Duration = Duration::from_secs(2);
/// Longest lease duration.
const MAX_LEASE_DURATION: Duration = Duration::from_secs(600);
/// Shortest retry period.
const MIN_RETRY_PERIOD: Duration = Duration::from_millis(10);

/// Durations of the election, named as in client-go.
///
/// A leader acts until [`renew_deadline`](Self::renew_deadline) after it sent its last successful
/// renewal. Other replicas wait for [`lease_duration`](Self::lease_duration) after they observed
/// that renewal before they take the Lease. In the time between, no replica acts. This margin
/// covers clocks that run at different rates, and effects that start just before the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderElectionConfig {
    lease_duration: Duration,
    renew_deadline: Duration,
    retry_period: Duration,
}

/// A duration that is out of bounds. The message names the flag that sets it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The lease duration is out of bounds, or not in whole seconds, which is the unit of a Lease.
    #[error(
        "--leader-elect-lease-duration {0:?}: must be whole seconds between {MIN_LEASE_DURATION:?} \
         and {MAX_LEASE_DURATION:?}, for example 12s"
    )]
    LeaseDuration(Duration),
    /// The renew deadline leaves too little of the lease duration as a margin.
    #[error(
        "--leader-elect-renew-deadline {given:?}: must be at most {max:?}, three quarters of the \
         lease duration"
    )]
    RenewDeadline {
        /// The rejected value.
        given: Duration,
        /// The largest accepted value.
        max: Duration,
    },
    /// The retry period leaves too few attempts before the renew deadline.
    #[error(
        "--leader-elect-retry-period {given:?}: must be between {MIN_RETRY_PERIOD:?} and {max:?}, \
         a quarter of the renew deadline"
    )]
    RetryPeriod {
        /// The rejected value.
        given: Duration,
        /// The largest accepted value.
        max: Duration,
    },
}

impl LeaderElectionConfig {
    /// Validates the durations.
    ///
    /// # Errors
    ///
    /// When a duration is out of bounds.
    pub fn new(
        lease_duration: Duration,
        renew_deadline: Duration,
        retry_period: Duration,
    ) -> Result<Self, ConfigError> {
        let has_whole_seconds = lease_duration.subsec_nanos() == 0;
        if !(MIN_LEASE_DURATION..=MAX_LEASE_DURATION).contains(&lease_duration)
            || !has_whole_seconds
        {
            return Err(ConfigError::LeaseDuration(lease_duration));
        }
        let max = lease_duration * 3 / 4;
        if renew_deadline > max {
            return Err(ConfigError::RenewDeadline { given: renew_deadline, max });
        }
        let max = renew_deadline / 4;
        if !(MIN_RETRY_PERIOD..=max).contains(&retry_period) {
            return Err(ConfigError::RetryPeriod { given: retry_period, max });
        }
        Ok(Self { lease_duration, renew_deadline, retry_period })
    }

    /// Returns how long other replicas respect a Lease that is not renewed.
    pub fn lease_duration(&self) -> Duration {
        self.lease_duration
    }

    /// Returns how long a leader may act after it sent its last successful renewal.
    pub fn renew_deadline(&self) -> Duration {
        self.renew_deadline
    }

    /// Returns how often a standby reads the Lease, and how long a leader waits after a failed
    /// request.
    pub fn retry_period(&self) -> Duration {
        self.retry_period
    }

    /// Returns how often a leader renews the Lease, and the timeout of each request. It is short
    /// enough that a leader can make up for a lost request before its deadline.
    pub fn renew_interval(&self) -> Duration {
        self.renew_deadline / 4
    }
}
