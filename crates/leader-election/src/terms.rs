//! The times of the election, and how they have to fit together.

use std::time::Duration;

/// The times of the election.
///
/// A leader acts for [`renew_deadline`](LeaderElectionConfig::renew_deadline) after it began to renew the Lease.
/// Nobody else takes the Lease for [`duration`](LeaderElectionConfig::duration) after they saw that. The
/// difference is the margin in which nobody acts: for clocks that don't run at the same rate, and
/// for effects that were begun in the last moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderElectionConfig {
    duration: Duration,
    renew_deadline: Duration,
    retry_period: Duration,
}

impl LeaderElectionConfig {
    /// Times that fit together.
    ///
    /// # Errors
    /// When they don't; the flag that is wrong comes first.
    pub fn new(
        duration: Duration,
        renew_deadline: Duration,
        retry_period: Duration,
    ) -> Result<LeaderElectionConfig, String> {
        let (least, most) = (Duration::from_secs(2), Duration::from_secs(600));
        if !(least..=most).contains(&duration) || duration.subsec_nanos() != 0 {
            let flag = "--leader-elect-lease-duration";
            return Err(format!(
                "{flag} {duration:?}: it must be between {least:?} and {most:?}, in whole seconds"
            ));
        }
        let most = duration * 3 / 4;
        if renew_deadline > most {
            let flag = "--leader-elect-renew-deadline";
            return Err(format!(
                "{flag} {renew_deadline:?}: it must be at most {most:?}, three quarters of the lease \
                 duration"
            ));
        }
        let (least, most) = (Duration::from_millis(10), renew_deadline / 4);
        if !(least..=most).contains(&retry_period) {
            let flag = "--leader-elect-retry-period";
            return Err(format!(
                "{flag} {retry_period:?}: it must be between {least:?} and {most:?}, a quarter of the \
                 renew deadline"
            ));
        }
        Ok(LeaderElectionConfig { duration, renew_deadline, retry_period })
    }

    /// How long the Lease of a leader that isn't heard of stays its own.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// How long after it began to renew the Lease a leader may act.
    pub fn renew_deadline(&self) -> Duration {
        self.renew_deadline
    }

    /// How often a replica that isn't the leader looks at the Lease.
    pub fn retry_period(&self) -> Duration {
        self.retry_period
    }

    /// How often a leader renews the Lease, and how long a call for it may take: one that is lost is
    /// made up for before the deadline.
    pub fn renew_interval(&self) -> Duration {
        self.renew_deadline / 4
    }
}
