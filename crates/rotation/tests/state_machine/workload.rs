//! A workload that is restarted in each rotation.

use chrono::{DateTime, Utc};
use rotation::{Rollout, RolloutState};

#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) exists: bool,
    /// Restart time in the Pod template.
    pub(crate) restarted_at: Option<DateTime<Utc>>,
    /// Whether a restarted workload completes its rollout.
    pub(crate) completes: bool,
}

impl Workload {
    pub(crate) fn rollout(&self, restart_at: DateTime<Utc>) -> Rollout {
        let state = if !self.exists {
            RolloutState::Blocked("it does not exist".into())
        } else if self.restarted_at < Some(restart_at) {
            RolloutState::NotRestarted
        } else if self.completes {
            RolloutState::Complete
        } else {
            RolloutState::InProgress
        };
        Rollout { name: "Deployment shop".into(), state }
    }
}
