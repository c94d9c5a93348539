//! How long this process may act, as the code that writes sees it.

use std::{sync::Arc, time::Instant};

use parking_lot::Mutex;

use crate::{boot_instant::BootInstant, election::LossReason};

/// Shared view of whether this process is the leader.
///
/// It expires by the clock alone, so it is correct even if the task that renews the Lease hangs.
#[derive(Clone, Debug)]
pub struct Leadership(Validity);

#[derive(Clone, Debug)]
enum Validity {
    /// Leader election is disabled.
    Unlimited,
    /// Ends at this time. `None` while this process is not the leader.
    Until(Arc<Mutex<Option<BootInstant>>>),
}

/// Condition of a write to Auth0 or the API server. Each write checks its fence immediately before
/// it is sent.
#[derive(Clone, Copy, Debug)]
pub enum WriteFence<'a> {
    /// This process must be the leader.
    Leader(&'a Leadership),
    /// Requires nothing: publishes a secret that Auth0 returned to this process and that no other
    /// process can read from the response.
    ///
    /// It doesn't harm the new leader, because the write is a compare-and-swap on the version that
    /// was read. If it precedes the new leader's own write, the new leader finds the published
    /// secret and continues from there. If it fails, this process decides again on live reads, and
    /// does not repeat it once the new leader has published what it read back.
    UnpublishedResponse,
}

/// State of this process in the election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaderState {
    /// Another replica is the leader, or none is.
    Standby {
        /// Problem that prevents this process from taking part in the election.
        problem: Option<String>,
    },
    /// This process is the leader.
    Leader,
    /// This process lost leadership, and never leads again.
    Lost(LossReason),
}

impl Leadership {
    /// Returns leadership that never ends, for a process that runs without leader election.
    pub fn unlimited() -> Self {
        Self(Validity::Unlimited)
    }

    /// Returns leadership of a process that takes part in an election. It is not the leader yet.
    pub(crate) fn elected() -> Self {
        Self(Validity::Until(Arc::default()))
    }

    /// Sets when leadership ends; `None` ends it now.
    pub(crate) fn set_end(&self, end: Option<BootInstant>) {
        if let Validity::Until(current) = &self.0 {
            *current.lock() = end;
        }
    }

    /// Returns true if this process may act now.
    pub fn is_leader(&self) -> bool {
        match &self.0 {
            Validity::Unlimited => true,
            Validity::Until(end) => end.lock().is_some_and(|end| BootInstant::now() < end),
        }
    }

    /// Returns the latest time at which an effect may start: `not_after` or the end of leadership,
    /// whichever is earlier. Returns `None` if this process is not the leader.
    pub fn latest_start(&self, not_after: Instant) -> Option<Instant> {
        let end = match &self.0 {
            Validity::Unlimited => return Some(not_after),
            Validity::Until(end) => (*end.lock())?,
        };
        let remaining = end.saturating_duration_since(BootInstant::now());
        if remaining.is_zero() {
            return None;
        }
        Some(not_after.min(Instant::now() + remaining))
    }
}

impl WriteFence<'_> {
    /// Returns true if the write may be sent now.
    pub fn allows_write(self) -> bool {
        match self {
            Self::Leader(leadership) => leadership.is_leader(),
            Self::UnpublishedResponse => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn leadership_expires_by_the_clock_alone() {
        let leadership = Leadership::elected();
        assert!(!leadership.is_leader());
        assert_eq!(leadership.latest_start(Instant::now()), None);
        let now = BootInstant::now();
        leadership.set_end(Some(now.saturating_add(Duration::from_secs(60))));
        assert!(leadership.is_leader() && WriteFence::Leader(&leadership).allows_write());
        // As if the elector had hung since it set the end.
        leadership.set_end(Some(now));
        assert!(!leadership.is_leader() && !WriteFence::Leader(&leadership).allows_write());
        assert!(WriteFence::UnpublishedResponse.allows_write());
    }

    #[test]
    fn effects_start_before_leadership_ends() {
        let leadership = Leadership::elected();
        leadership.set_end(Some(BootInstant::now().saturating_add(Duration::from_secs(60))));
        let (now, hour) = (Instant::now(), Duration::from_secs(3600));
        let latest = leadership.latest_start(now + hour).unwrap();
        assert!(latest <= Instant::now() + Duration::from_secs(60));
        assert_eq!(leadership.latest_start(now), Some(now));
        assert_eq!(Leadership::unlimited().latest_start(now + hour), Some(now + hour));
    }
}
