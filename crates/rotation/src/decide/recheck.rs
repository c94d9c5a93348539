//! Checks whether users have solved a problem of consumers that a condition reports. They may do so
//! in objects that the operator does not watch.

use chrono::{DateTime, Utc};

use super::Evaluation;
use crate::{
    condition::{ConditionStatus, condition_types, find_condition, is_condition_true},
    decision::Step,
    observation::{Target, UnreachedPods},
};

/// Time between two checks of consumers, in propagation windows: two minutes.
const CONSUMERS_IN_WINDOWS: i32 = 4;

/// Time between two reads of the client, in propagation windows: five minutes.
const CLIENT_IN_WINDOWS: i32 = 10;

impl Evaluation<'_> {
    /// Returns the step of a check that is due.
    pub(super) fn recheck(&self) -> Option<Step> {
        if self.observed.is_deleting || !matches!(self.observed.target, Target::Owned(_)) {
            return None;
        }
        if self.is_unreached() {
            let is_due = is_over(self.consumers_recheck(), self.now);
            if self.policy.params.restarts && self.observed.rollouts.is_none() && is_due {
                return Some(Step::ReadRollouts);
            }
            // Whether other Pods are unreached was overwritten by the problem with workloads.
            let is_solved = self.has_unreached_workloads()
                && self.observed.rollouts.is_some()
                && self.unreached_workloads().is_none();
            let is_checked = self.observed.unreached_pods != UnreachedPods::NotChecked;
            if !is_checked && (is_due || is_solved) {
                return Some(Step::FindUnreachedPods);
            }
        }
        let is_read = self.observed.signs_with_secret.is_some();
        if self.rechecks_client() && !is_read && is_over(self.client_recheck(), self.now) {
            return Some(Step::CheckClient);
        }
        None
    }

    /// Returns when the next check is due.
    pub(super) fn recheck_wake(&self) -> Option<DateTime<Utc>> {
        let window = self.propagation_window();
        // The checks of this evaluation were just made.
        let consumers = self.is_unreached().then(|| {
            let recheck = self.consumers_recheck().filter(|recheck| *recheck > self.now);
            recheck.unwrap_or(self.now + window * CONSUMERS_IN_WINDOWS)
        });
        let client = self.rechecks_client().then(|| {
            let recheck = self.client_recheck().filter(|recheck| *recheck > self.now);
            recheck.unwrap_or(self.now + window * CLIENT_IN_WINDOWS)
        });
        consumers.into_iter().chain(client).min()
    }

    fn consumers_recheck(&self) -> Option<DateTime<Utc>> {
        self.after(self.observed.consumers_checked_at, CONSUMERS_IN_WINDOWS)
    }

    fn client_recheck(&self) -> Option<DateTime<Utc>> {
        self.after(self.observed.client_checked_at, CLIENT_IN_WINDOWS)
    }

    fn after(&self, checked_at: Option<DateTime<Utc>>, windows: i32) -> Option<DateTime<Utc>> {
        let checked_at = checked_at.filter(|at| *at <= self.now)?;
        Some(checked_at + self.propagation_window() * windows)
    }

    fn is_unreached(&self) -> bool {
        let reached = find_condition(&self.status.conditions, condition_types::CONSUMERS_REACHED);
        reached.is_some_and(|condition| condition.status == ConditionStatus::False)
    }

    /// Returns whether the client is read from time to time, because it signs with its secret. A
    /// rotation in progress reads it anyway.
    fn rechecks_client(&self) -> bool {
        let conditions = &self.status.conditions;
        self.status.rotation.is_none()
            && self.policy.forbidden.is_none()
            && is_condition_true(conditions, condition_types::SIGNS_WITH_SECRET)
    }
}

fn is_over(time: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    time.is_none_or(|time| time <= now)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn check_that_was_never_made_is_due() {
        let now = DateTime::UNIX_EPOCH;
        assert!(is_over(None, now) && is_over(Some(now), now));
        assert!(!is_over(Some(now + TimeDelta::seconds(1)), now));
    }
}
