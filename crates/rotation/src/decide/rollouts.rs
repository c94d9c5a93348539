//! Workloads that must be restarted to see what is published.

use chrono::TimeDelta;

use super::{Evaluation, NextStep};
use crate::{
    decision::Step,
    error::Rejection,
    observation::{Rollout, RolloutState},
    reason::Reason,
    status::Rotation,
    stored_times::TimeField,
};

/// How often to read rollouts without a change notification. Workloads are watched, but a watch can
/// end unnoticed.
const POLL_INTERVAL: TimeDelta = TimeDelta::seconds(60);

impl Evaluation<'_> {
    /// Restarts the workloads once per rotation. A workload that has the recorded restart time, or
    /// a later one, was restarted. Returns `None` when there is nothing to do.
    pub(super) fn restart_workloads(&mut self, rotation: &Rotation) -> Option<NextStep> {
        if !self.policy.params.restarts {
            return None;
        }
        if rotation.restart_at.is_none() {
            let now = self.event_time;
            self.update_rotation(|rotation| rotation.restart_at = Some(now));
            return Some(Step::RestartWorkloads.into());
        }
        let Some(rollouts) = &self.observed.rollouts else {
            return Some(Step::ReadRollouts.into());
        };
        // A recorded restart may not have reached every workload. `wait_for_rollouts` reports those
        // that cannot be restarted.
        if rollouts.iter().any(|rollout| rollout.state == RolloutState::NotRestarted) {
            return Some(Step::RestartWorkloads.into());
        }
        None
    }

    /// Delays activation until all rollouts are complete. Stalls if one is blocked or takes too
    /// long.
    pub(super) fn wait_for_rollouts(&mut self, rotation: &Rotation) -> Option<NextStep> {
        if !self.policy.params.restarts {
            return None;
        }
        let rollouts = self.observed.rollouts.as_deref().unwrap_or_default();
        let incomplete: Vec<&Rollout> =
            rollouts.iter().filter(|rollout| rollout.state != RolloutState::Complete).collect();
        if incomplete.is_empty() {
            return None;
        }
        let restart_at = self.started_from(TimeField::RestartAt, rotation.restart_at);
        let timeout = restart_at + self.policy.params.rollout_timeout.to_delta();
        let is_blocked =
            incomplete.iter().any(|rollout| matches!(rollout.state, RolloutState::Blocked(_)));
        if is_blocked || self.now >= timeout {
            self.stalled =
                Some(Rejection::new(Reason::RolloutInProgress, describe_delay(&incomplete)));
            return Some(NextStep::wait_until(self.now + POLL_INTERVAL));
        }
        Some(NextStep::wait_until(timeout.min(self.now + POLL_INTERVAL)))
    }
}

fn describe_delay(incomplete: &[&Rollout]) -> String {
    let workloads: Vec<String> = incomplete
        .iter()
        .map(|rollout| match &rollout.state {
            RolloutState::Blocked(error) => format!("{} ({error})", rollout.name),
            RolloutState::NotRestarted => format!("{} (not restarted)", rollout.name),
            RolloutState::InProgress | RolloutState::Complete => {
                format!("{} (rollout in progress)", rollout.name)
            }
        })
        .collect();
    format!(
        "the next secret is not activated because these workloads are not ready for it: {}; fix \
         them or remove them from spec.consumers.restart",
        workloads.join(", ")
    )
}
