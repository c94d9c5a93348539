//! Workloads that must be restarted to see what is published.
//!
//! A restart is needed if a Pod may have started before the values were published that it needs. That
//! depends on the values that it takes when it starts: the pair has the next value before activation,
//! but a Pod that takes only the current one gets it after the promotion.

use std::fmt::Write as _;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Evaluation, NextStep};
use crate::{
    condition::{condition_types, find_condition},
    decision::Step,
    error::Rejection,
    observation::{Deferral, Rollout, RolloutState, TakenValues},
    policy::PolicyParams,
    reason::Reason,
    status::{Phase, Rotation, Status, Strategy},
    stored_times::TimeField,
};

/// How often to read rollouts without a change notification. Workloads are watched, but a watch can
/// end unnoticed.
const POLL_INTERVAL: TimeDelta = TimeDelta::seconds(60);

/// How often to check whether old Pods of a workload still run. Pods are not watched.
const OLD_PODS_INTERVAL: TimeDelta = TimeDelta::seconds(10);

/// How often to check whether a deferred restart is still needed.
const DEFERRED_INTERVAL: TimeDelta = TimeDelta::seconds(2);

/// How long the restart before activation waits for other resources of the same workload.
const OTHERS_TIMEOUT: TimeDelta = TimeDelta::seconds(20);

/// Maximum number of doublings of the hold-off between two restarts.
const MAX_DOUBLINGS: u32 = 6;

/// How far a rotation was when a workload was restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RestartLevel {
    /// The pair of current and next value was published.
    Staged,
    /// The new value was published as the current one.
    Promoted,
}

/// Progress of a rotation for which a workload must have been restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartNeed {
    /// Number of the rotation.
    pub number: u64,
    /// How far the rotation must have been.
    pub level: RestartLevel,
    /// Pods that were created later need no restart.
    pub since: DateTime<Utc>,
}

impl Status {
    /// Returns what Pods that take these values must have been restarted for, if anything. Without a
    /// rotation in progress, that is the last one.
    pub fn restart_need(&self, taken: TakenValues) -> Option<RestartNeed> {
        let Some(rotation) = &self.rotation else {
            let number = self.current.filter(|_| !self.history.is_empty())?;
            let level = match taken.current_only {
                true => RestartLevel::Promoted,
                false => RestartLevel::Staged,
            };
            return Some(RestartNeed { number, level, since: self.last_rotation_time? });
        };
        let number = rotation.number;
        match (rotation.phase, rotation.staged_at, rotation.activated_at) {
            (Phase::Staging, Some(since), _) if taken.pair => {
                Some(RestartNeed { number, level: RestartLevel::Staged, since })
            }
            (Phase::Confirming | Phase::Grace, Some(since), _)
                if !taken.current_only && rotation.strategy == Strategy::Staged =>
            {
                Some(RestartNeed { number, level: RestartLevel::Staged, since })
            }
            (Phase::Confirming | Phase::Grace, _, Some(since)) => {
                Some(RestartNeed { number, level: RestartLevel::Promoted, since })
            }
            _ => None,
        }
    }
}

/// Returns whether a workload in this state must be restarted, apart from the hold-off.
pub fn must_restart(
    rotation: &Rotation,
    state: &RolloutState,
    now: DateTime<Utc>,
    params: &PolicyParams,
) -> bool {
    let published_at = match rotation.phase {
        Phase::Staging => rotation.staged_at,
        _ => rotation.activated_at,
    };
    let waits_for = |limit: TimeDelta| published_at.is_some_and(|at| now < at + limit);
    match state {
        RolloutState::NotRestarted { .. } | RolloutState::Rejected(_) => true,
        RolloutState::Deferred(Deferral::OtherRestart) => {
            !waits_for(params.rollout_timeout.to_delta() / 2)
        }
        RolloutState::Deferred(Deferral::OthersPending) => {
            // After activation, every second counts.
            rotation.phase != Phase::Staging
                || !waits_for(OTHERS_TIMEOUT.min(params.staging_period.to_delta()))
        }
        RolloutState::InProgress
        | RolloutState::OldPods
        | RolloutState::Complete
        | RolloutState::Blocked(_) => false,
    }
}

impl Evaluation<'_> {
    /// Restarts the workloads whose Pods do not have the values that they need now. Restarts them
    /// again, after a hold-off, if another party takes the restart back. Returns `None` when there is
    /// nothing to do now.
    pub(super) fn restart_workloads(&mut self, rotation: &Rotation) -> Option<NextStep> {
        if !self.policy.params.restarts {
            return None;
        }
        let Some(rollouts) = &self.observed.rollouts else {
            return Some(Step::ReadRollouts.into());
        };
        let (now, params) = (self.now, &self.policy.params);
        if !rollouts.iter().any(|rollout| must_restart(rotation, &rollout.state, now, params)) {
            return None;
        }
        // A recorded restart that this process did not make may not have been made.
        let is_recorded = rotation.restart_attempts > 0;
        if !is_recorded || self.observed.restart_attempted {
            if self.next_restart(rotation).is_some_and(|end| now < end) {
                return None;
            }
            let at = self.event_time;
            self.update_rotation(|rotation| {
                rotation.restart_at.get_or_insert(at);
                rotation.restart_attempts = rotation.restart_attempts.saturating_add(1);
                rotation.restart_attempted_at = Some(at);
            });
        }
        Some(Step::RestartWorkloads.into())
    }

    /// Returns until when the workloads are not restarted again. It doubles from one propagation
    /// window.
    fn next_restart(&self, rotation: &Rotation) -> Option<DateTime<Utc>> {
        let recorded = rotation.restart_attempted_at?;
        let attempted_at = self.started_from(TimeField::RestartAttemptedAt, Some(recorded));
        let doublings = rotation.restart_attempts.saturating_sub(1).min(MAX_DOUBLINGS);
        Some(attempted_at + self.propagation_window() * (1 << doublings))
    }

    /// Delays activation until all rollouts are complete. Stalls if one is blocked or takes too
    /// long, unless the spec says to proceed then.
    pub(super) fn wait_for_rollouts(&mut self, rotation: &Rotation) -> Option<NextStep> {
        if !self.policy.params.restarts {
            return None;
        }
        let incomplete = self.incomplete_rollouts();
        if incomplete.is_empty() {
            return None;
        }
        let timeout = self.rollout_timeout(rotation);
        let proceeds = self.policy.params.proceeds_after_rollout_timeout;
        if self.now >= timeout && proceeds {
            return None;
        }
        let is_blocked = incomplete.iter().any(|rollout| is_blocked(&rollout.state));
        if self.now >= timeout || (is_blocked && !proceeds) {
            let message = format!(
                "the next secret is not activated because these workloads are not ready for it: \
                 {}; fix them or remove them from spec.consumers.restart",
                describe(&incomplete)
            );
            self.stalled = Some(Rejection::new(Reason::RolloutInProgress, message));
            return Some(NextStep::wait_until(self.now + POLL_INTERVAL));
        }
        Some(NextStep::wait_until(timeout.min(self.now + POLL_INTERVAL)))
    }

    /// Delays the end of a rotation until its workloads are restarted, because nothing restarts them
    /// later. The rollout timeout bounds that.
    pub(super) fn wait_for_restart(&self, rotation: &Rotation) -> Option<NextStep> {
        let is_pending = |rollout: &&Rollout| {
            use RolloutState::{Deferred, NotRestarted, Rejected};
            matches!(rollout.state, NotRestarted { .. } | Deferred(_) | Rejected(_))
        };
        if !self.incomplete_rollouts().iter().any(is_pending) {
            return None;
        }
        let started_at = match rotation.restart_at {
            Some(at) => self.started_from(TimeField::RestartAt, Some(at)),
            None => self.activated_at(rotation),
        };
        let timeout = started_at + self.policy.params.rollout_timeout.to_delta();
        (self.now < timeout).then(|| NextStep::wait_until(timeout))
    }

    fn rollout_timeout(&self, rotation: &Rotation) -> DateTime<Utc> {
        let started_at = match rotation.restart_at {
            Some(at) => self.started_from(TimeField::RestartAt, Some(at)),
            None => self.started_from(TimeField::StagedAt, rotation.staged_at),
        };
        started_at + self.policy.params.rollout_timeout.to_delta()
    }

    fn incomplete_rollouts(&self) -> Vec<&Rollout> {
        let rollouts = self.observed.rollouts.as_deref().unwrap_or_default();
        rollouts.iter().filter(|rollout| rollout.state != RolloutState::Complete).collect()
    }

    /// Returns when the workloads have to be checked again.
    pub(super) fn rollouts_wake(&self) -> Option<DateTime<Utc>> {
        let rotation = self.status.rotation.as_ref()?;
        let incomplete = self.incomplete_rollouts();
        if incomplete.is_empty() {
            return None;
        }
        let mut wakes = vec![self.now + POLL_INTERVAL, self.rollout_timeout(rotation)];
        for rollout in incomplete {
            match &rollout.state {
                RolloutState::Deferred(_) => wakes.push(self.now + DEFERRED_INTERVAL),
                RolloutState::OldPods => wakes.push(self.now + OLD_PODS_INTERVAL),
                RolloutState::NotRestarted { .. } | RolloutState::Rejected(_) => {
                    wakes.extend(self.next_restart(rotation));
                }
                _ => {}
            }
        }
        wakes.into_iter().filter(|wake| *wake > self.now).min()
    }

    /// Returns why restarts do not reach all Pods, if that is known.
    pub(super) fn unreached_workloads(&self) -> Option<Rejection> {
        let incomplete = self.incomplete_rollouts();
        let blocked: Vec<&Rollout> =
            incomplete.iter().filter(|rollout| is_blocked(&rollout.state)).copied().collect();
        if !blocked.is_empty() {
            let message = format!(
                "the operator cannot restart these workloads: {}; correct spec.consumers.restart \
                 or allow the operator to patch them",
                describe(&blocked)
            );
            return Some(Rejection::new(Reason::RestartBlocked, message));
        }
        let rotation = self.status.rotation.as_ref();
        if let Some(rotation) = rotation
            && self.observed.restart_attempted
            && let reverted = reverted_rollouts(&incomplete)
            && !reverted.is_empty()
        {
            return Some(self.restart_reverted(rotation, &reverted));
        }
        let is_late = match rotation {
            Some(rotation) => self.now >= self.rollout_timeout(rotation),
            None => true,
        };
        if incomplete.is_empty() || !is_late {
            return None;
        }
        let message = format!(
            "these workloads run Pods that started before the present secrets were published: {}; \
             fix their rollouts, or delete these Pods",
            describe(&incomplete)
        );
        Some(Rejection::new(Reason::RolloutInProgress, message))
    }

    fn restart_reverted(&self, rotation: &Rotation, reverted: &[&Rollout]) -> Rejection {
        let mut message = format!(
            "another party takes back the operator's restarts, so Pods of these workloads keep the \
             old secrets: {}",
            describe(reverted)
        );
        if let Some(end) = self.next_restart(rotation).filter(|end| *end > self.now) {
            let _ = write!(
                message,
                "; the operator restarts them again at {}",
                end.format("%Y-%m-%dT%H:%M:%SZ")
            );
        }
        message += ". Let that party ignore the annotation auth0-rotator.dev/restarted-for of the \
                    Pod template, or restart the Pods yourself";
        Rejection::new(Reason::RestartReverted, message)
    }

    /// Returns whether `ConsumersReached` is false because of workloads to restart.
    pub(super) fn has_unreached_workloads(&self) -> bool {
        let reached = find_condition(&self.status.conditions, condition_types::CONSUMERS_REACHED);
        let reasons = [Reason::RestartBlocked, Reason::RestartReverted, Reason::RolloutInProgress];
        reached.is_some_and(|condition| {
            reasons.iter().any(|reason| condition.reason == reason.as_str())
        })
    }
}

fn is_blocked(state: &RolloutState) -> bool {
    matches!(state, RolloutState::Blocked(_) | RolloutState::Rejected(_))
}

fn reverted_rollouts<'r>(incomplete: &[&'r Rollout]) -> Vec<&'r Rollout> {
    let is_reverted =
        |rollout: &&Rollout| matches!(rollout.state, RolloutState::NotRestarted { .. });
    incomplete.iter().copied().filter(is_reverted).collect()
}

/// Returns the workloads with their states.
fn describe(rollouts: &[&Rollout]) -> String {
    let workloads: Vec<String> = rollouts
        .iter()
        .map(|rollout| {
            let state = match &rollout.state {
                RolloutState::Blocked(error) | RolloutState::Rejected(error) => error.clone(),
                RolloutState::NotRestarted { changed_by: Some(manager) } => {
                    format!("not restarted; the field manager {manager} changes its Pod template")
                }
                RolloutState::NotRestarted { changed_by: None } => "not restarted".to_owned(),
                RolloutState::Deferred(_) => "waits for another restart".to_owned(),
                RolloutState::OldPods => "old Pods still run".to_owned(),
                RolloutState::InProgress | RolloutState::Complete => {
                    "rollout in progress".to_owned()
                }
            };
            format!("{} ({state})", rollout.name)
        })
        .collect();
    workloads.join(", ")
}
