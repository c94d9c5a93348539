//! Starting a rotation when none is in progress.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Evaluation, NextStep};
use crate::{
    decision::Step,
    observation::SecretMatch,
    request::Verb,
    status::{Cause, Rotation},
};

/// How often to check a due time while the wall clocks disagree.
const CLOCK_RECHECK_INTERVAL: TimeDelta = TimeDelta::seconds(60);

impl Evaluation<'_> {
    pub(super) fn start_if_caused(&mut self) -> NextStep {
        if self.observed.has_finalizer {
            return Step::RemoveFinalizer.into();
        }
        if let Some(rejection) = self.policy.rejection.clone()
            && !self.may_start()
        {
            return self.stall(rejection);
        }
        if self.policy.params.suspend {
            return NextStep { step: Step::Wait, wake: None };
        }
        if let Some(cause) = self.cause() {
            return self.check_client_and_start(cause);
        }
        NextStep { step: Step::Wait, wake: self.next_due_check() }
    }

    pub(super) fn cause(&self) -> Option<Cause> {
        if self.requests_new_secret() {
            return Some(Cause::Request);
        }
        let is_due = self.status.next_rotation_time.is_some_and(|due| self.is_due(due));
        is_due.then_some(Cause::Schedule)
    }

    /// Returns when to check again whether a rotation is due.
    fn next_due_check(&self) -> Option<DateTime<Utc>> {
        let due = self.status.next_rotation_time?;
        Some(match self.clock.until_due(due) {
            Some(left) => self.now + left,
            // While the wall clocks disagree, it is not known whether it is.
            None => due.max(self.now + CLOCK_RECHECK_INTERVAL),
        })
    }

    /// Reads the client before the cause is used up, so that a client that must not be rotated, or
    /// that another party has just rotated, does not use it up.
    fn check_client_and_start(&mut self, cause: Cause) -> NextStep {
        let secret = match self.read_client() {
            Err(next) => return next,
            Ok(secret) => secret,
        };
        // A change that must wait is no reason to let the cause wait: the rotation replaces it.
        if secret == SecretMatch::Other
            && self.intact_target().is_some()
            && let Some(next) = self.follow_or_hold_drift()
        {
            return next;
        }
        let is_urgent = cause == Cause::Request && self.pending_verb() == Some(Verb::Revoke);
        if !is_urgent && let Some(next) = self.require_answered_probes() {
            return next;
        }
        self.start(cause)
    }

    /// Records the rotation, which uses up the cause.
    pub(super) fn start(&mut self, cause: Cause) -> NextStep {
        // Number 1 is the secret that the client has before its first rotation.
        let number = self.unused_number().max(2);
        let mut rotation =
            Rotation::new(number, cause, self.policy.params.strategy, self.event_time);
        match cause {
            Cause::Request => {
                let is_compromised = self.pending_verb() == Some(Verb::Revoke);
                rotation.skip_staging = is_compromised;
                rotation.skip_grace = is_compromised;
                self.accept_request();
            }
            Cause::Schedule => {
                self.status.next_rotation_time = self.policy.next_start(self.now, Some(self.now));
            }
            Cause::Initial | Cause::Drift | Cause::Recovery => {}
        }
        self.status.rotation = Some(rotation);
        Step::StoreStatus.into()
    }

    /// Returns whether the spec has `initial: Rotate` and nothing shows that the resource is not
    /// new.
    pub(super) fn wants_initial_rotation(&self) -> bool {
        self.policy.params.rotate_initially
            && self.policy.rejection.is_none()
            && self.may_start()
            && !self.observed.initialized
            && self.status.current.is_none()
            && self.status.history.is_empty()
    }

    /// Returns whether the policy allows a rotation to start. A mistake in the spec does not delay the
    /// replacement of a secret that is compromised or that applications cannot use.
    pub(super) fn may_start(&self) -> bool {
        let is_urgent = matches!(self.pending_verb(), Some(Verb::Revoke | Verb::Rollback));
        let rejection = if is_urgent { &self.policy.prohibition } else { &self.policy.rejection };
        !self.policy.params.suspend && rejection.is_none()
    }
}
