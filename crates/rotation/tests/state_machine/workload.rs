//! A workload that is restarted in each rotation.

use chrono::{DateTime, Utc};
use rotation::{Deferral, RestartLevel, RestartNeed, Rollout, RolloutState, Status, TakenValues};

use crate::simulation::Symbol;

#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) exists: bool,
    pub(crate) taken: TakenValues,
    /// The last restart by the operator, unless another party took it back.
    pub(crate) restarted_for: Option<(u64, RestartLevel)>,
    /// When its Pods were created.
    pub(crate) created_at: DateTime<Utc>,
    /// Values that its Pods took when they started.
    pub(crate) values: Vec<Symbol>,
    /// Whether a restarted workload completes its rollout.
    pub(crate) completes: bool,
    /// Why a restart is deferred.
    pub(crate) deferral: Option<Deferral>,
    /// Another party takes each restart back at once.
    pub(crate) is_contested: bool,
}

impl Workload {
    /// Returns a workload whose Pods take the pair.
    pub(crate) fn new(completes: bool) -> Self {
        Self {
            exists: true,
            taken: TakenValues { pair: true, current_only: false },
            restarted_for: None,
            created_at: DateTime::UNIX_EPOCH,
            values: Vec::new(),
            completes,
            deferral: None,
            is_contested: false,
        }
    }

    pub(crate) fn need(&self, status: &Status) -> Option<RestartNeed> {
        status.restart_need(self.taken)
    }

    pub(crate) fn rollout(&self, status: &Status) -> Rollout {
        Rollout { name: "Deployment shop".into(), state: self.state(status) }
    }

    fn state(&self, status: &Status) -> RolloutState {
        if !self.exists {
            return RolloutState::Blocked("it does not exist".into());
        }
        let Some(need) = self.need(status) else { return RolloutState::Complete };
        let is_restarted = self
            .restarted_for
            .is_some_and(|(number, level)| number == need.number && level >= need.level);
        let is_new = self.created_at > need.since;
        if is_new || (is_restarted && self.completes) {
            RolloutState::Complete
        } else if is_restarted {
            RolloutState::InProgress
        } else if let Some(deferral) = self.deferral {
            RolloutState::Deferred(deferral)
        } else {
            RolloutState::NotRestarted { changed_by: Some("argocd-controller".into()) }
        }
    }
}
