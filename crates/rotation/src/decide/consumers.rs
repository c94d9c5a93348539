//! Consumers that have to be restarted to see what is published.

use chrono::TimeDelta;

use super::{Next, Pass};
use crate::{
    decision::Step,
    observation::{Rollout, RolloutState},
    reason::Reason,
    status::Rotation,
    trouble::Rejection,
};

/// How often restarts are looked at though nothing tells that they have come further: consumers are
/// watched, and a watch can end.
const LOOK_AGAIN: TimeDelta = TimeDelta::seconds(60);

impl Pass<'_> {
    /// Restarts the consumers, once per rotation. The time in the record is what makes it once: a
    /// consumer that has it, or a later one, has been restarted. `None` when there is nothing to do.
    pub(super) fn restart_consumers(&mut self, rotation: &Rotation) -> Option<Next> {
        if !self.policy.terms.restarts {
            return None;
        }
        if rotation.restart_at.is_none() {
            let now = self.now;
            self.rotation_mut(|rotation| rotation.restart_at = Some(now));
            return Some(Step::RestartWorkloads.into());
        }
        // What was ordered may not have been carried out; who can't be restarted is waited for below.
        let rollouts = match &self.seen.rollouts {
            None => return Some(Step::ReadRollouts.into()),
            Some(rollouts) => rollouts,
        };
        let open = rollouts.iter().any(|rollout| rollout.state == RolloutState::NotRestarted);
        open.then(|| Step::RestartWorkloads.into())
    }

    /// Activation waits for the restarts. Past the timeout it is said who holds it up.
    pub(super) fn wait_for_rollouts(&mut self, rotation: &Rotation) -> Option<Next> {
        if !self.policy.terms.restarts {
            return None;
        }
        let rollouts = self.seen.rollouts.as_deref().unwrap_or_default();
        let open: Vec<&Rollout> =
            rollouts.iter().filter(|rollout| rollout.state != RolloutState::Complete).collect();
        if open.is_empty() {
            return None;
        }
        let restart_at = rotation.restart_at.unwrap_or(self.now);
        let timeout = restart_at + self.policy.terms.rollout_timeout.to_delta();
        let impossible =
            open.iter().any(|rollout| matches!(rollout.state, RolloutState::Blocked(_)));
        if impossible || self.now >= timeout {
            self.stalled = Some(Rejection::new(Reason::RolloutInProgress, told(&open)));
            return Some(Next::rest_until(self.now + LOOK_AGAIN));
        }
        Some(Next::rest_until(timeout.min(self.now + LOOK_AGAIN)))
    }
}

fn told(open: &[&Rollout]) -> String {
    let each: Vec<String> = open
        .iter()
        .map(|rollout| match &rollout.state {
            RolloutState::Blocked(why) => format!("{} ({why})", rollout.name),
            RolloutState::NotRestarted => format!("{} (not restarted)", rollout.name),
            RolloutState::InProgress | RolloutState::Complete => {
                format!("{} (its rollout isn't finished)", rollout.name)
            }
        })
        .collect();
    format!(
        "the next secret is not activated, because consumers are not ready for it: {}; mend them or \
         take them out of spec.consumers.restart",
        each.join(", ")
    )
}
