//! From the published secret to the end of the rotation: confirm, wait for the grace period,
//! retire.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Evaluation, NextStep, probe::Evidence};
use crate::{
    decision::{NumberedValue, Purpose, Step, ValueSource, publish},
    observation::SecretMatch,
    request::Verb,
    schedule::Schedule,
    status::{Cause, Outcome, Phase, Rotation},
    stored_times::TimeField,
};

impl Evaluation<'_> {
    /// Records that the new secret is published as the current one.
    pub(super) fn enter_confirming(&mut self) {
        let now = self.event_time;
        self.clear_rejected_change();
        self.status.last_rotation_time = Some(now);
        if let Some(rotation) = &mut self.status.rotation {
            rotation.phase = Phase::Confirming;
            rotation.activated_at = Some(now);
            // Pods that take only the current value have to restart for it.
            rotation.restart_at = None;
            rotation.restart_attempts = 0;
            rotation.restart_attempted_at = None;
            if self.status.current != Some(rotation.number) {
                self.status.previous = self.status.current.replace(rotation.number);
            }
        }
        self.plan_after_change();
    }

    /// Plans the next due time after a change of the secret. A change by another party, or one that a
    /// restored status does not know, postpones no due time that is still to come: otherwise a status
    /// that is restored again and again would never rotate.
    fn plan_after_change(&mut self) {
        match self.status.rotation.as_ref().map(|rotation| rotation.cause) {
            Some(Cause::Drift | Cause::Recovery) => self.use_up_due_time(),
            _ => self.restart_interval(),
        }
    }

    /// Uses up a due time that has passed, for a change that was made since or instead.
    pub(super) fn use_up_due_time(&mut self) {
        if self.status.next_rotation_time.is_none_or(|due| due <= self.now) {
            self.status.next_rotation_time = self.policy.next_start(self.now, Some(self.now));
        }
    }

    /// Counts the interval of a schedule from the last change.
    pub(super) fn restart_interval(&mut self) {
        if self.policy.schedule.as_ref().is_some_and(Schedule::is_interval) {
            let last = self.status.last_rotation_time;
            self.status.next_rotation_time = self.policy.next_start(self.now, last);
        }
    }

    /// Probes until Auth0 accepts the new secret.
    pub(super) fn advance_confirming(&mut self, rotation: &Rotation) -> NextStep {
        if self.observed.has_finalizer {
            return Step::RemoveFinalizer.into();
        }
        if let Some(next) = self.restart_workloads(rotation) {
            return next;
        }
        match self.evidence(rotation) {
            Err(next) => next,
            Ok(Evidence::Accepted) => {
                let now = self.event_time;
                let retire_at = self.recorded_retire_time(rotation);
                self.update_rotation(|rotation| {
                    rotation.phase = Phase::Grace;
                    rotation.confirmed_at.get_or_insert(now);
                    rotation.retire_at = Some(retire_at);
                });
                Step::StoreStatus.into()
            }
            Ok(Evidence::Rejected) => self.handle_rejected_probe(rotation),
            Ok(Evidence::NotProbed) => {
                let window_end = self.window_end(rotation);
                self.is_unconfirmed = self.observed.rejected_at.is_some_and(|at| at >= window_end);
                self.probe_from(self.next_probe(rotation))
            }
        }
    }

    fn probe_from(&self, time: DateTime<Utc>) -> NextStep {
        if self.now < time {
            return NextStep::wait_until(time);
        }
        Step::ProbeSecret.into()
    }

    /// Handles a rejected probe. Within the propagation window it is expected; later, another party
    /// may have set another secret.
    fn handle_rejected_probe(&mut self, rotation: &Rotation) -> NextStep {
        // A process that was suspended since the probe must not take it for a recent one.
        let rejected_at = self.observed.rejected_at.unwrap_or(self.now);
        if rejected_at < self.window_end(rotation) {
            return self.probe_from(self.probe_after(rotation, rejected_at));
        }
        match self.read_client() {
            Err(next) => next,
            // Auth0 has another value, or the previous one, which another party has set again.
            Ok(SecretMatch::Other | SecretMatch::Fallback) => self.follow_unconfirmed(rotation),
            // Auth0 accepts the value that it has sooner or later. Until then only the previous
            // secret works, so only a compromised one is replaced.
            Ok(secret) if self.may_start() && self.may_replace_unconfirmed(secret) => {
                self.status.end_rotation(Outcome::Superseded, self.event_time);
                self.start(Cause::Request)
            }
            Ok(_) => {
                self.is_unconfirmed = true;
                NextStep::wait_until(self.probe_after(rotation, self.now))
            }
        }
    }

    /// Follows a change of a secret that Auth0 did not accept yet. If the change must wait, a cause
    /// starts a rotation that replaces it.
    pub(super) fn follow_unconfirmed(&mut self, rotation: &Rotation) -> NextStep {
        if let Some(next) = self.follow_or_hold_drift() {
            return next;
        }
        match self.cause() {
            Some(cause) if self.may_start() => {
                self.status.end_rotation(Outcome::Superseded, self.event_time);
                self.start(cause)
            }
            _ => {
                self.is_unconfirmed = true;
                NextStep::wait_until(self.probe_after(rotation, self.now))
            }
        }
    }

    fn may_replace_unconfirmed(&self, secret: SecretMatch) -> bool {
        match self.pending_verb() {
            Some(Verb::Revoke) => true,
            Some(Verb::Rotate) => {
                matches!(secret, SecretMatch::Unreadable | SecretMatch::Unpublishable)
            }
            Some(Verb::Rollback | Verb::Abort) | None => false,
        }
    }

    /// Keeps the previous secret until its grace period is over and Auth0 was seen to accept the new
    /// one once more.
    pub(super) fn advance_grace(&mut self, rotation: &Rotation) -> NextStep {
        if self.observed.has_finalizer {
            return Step::RemoveFinalizer.into();
        }
        if let Some(next) = self.restart_workloads(rotation) {
            return next;
        }
        let Some(target) = self.intact_target() else { return Step::Wait.into() };
        if target.fallback.is_none() {
            self.status.previous = None;
            if let Some(next) = self.wait_for_restart(rotation) {
                return next;
            }
            self.status.end_rotation(Outcome::Completed, self.event_time);
            return Step::StoreStatus.into();
        }
        let recorded = self.recorded_retire_time(rotation);
        self.update_rotation(|rotation| rotation.retire_at = Some(recorded));
        let retire_at = self.retire_time(rotation);
        if self.now < retire_at {
            return NextStep::wait_until(retire_at);
        }
        match self.evidence(rotation) {
            Err(next) => next,
            Ok(Evidence::NotProbed) => Step::ProbeSecret.into(),
            Ok(Evidence::Accepted) => {
                let current = NumberedValue::new(rotation.number, ValueSource::Current);
                publish(Purpose::Retire, current, None).into()
            }
            Ok(Evidence::Rejected) => {
                self.update_rotation(|rotation| rotation.phase = Phase::Confirming);
                self.handle_rejected_probe(rotation)
            }
        }
    }

    /// Returns when the grace period of the present spec ends. A compromised secret has none.
    pub(super) fn retire_time(&self, rotation: &Rotation) -> DateTime<Utc> {
        if rotation.skip_grace {
            self.now
        } else {
            self.activated_at(rotation) + self.grace_period()
        }
    }

    /// Returns the same by the recorded times, for users.
    fn recorded_retire_time(&self, rotation: &Rotation) -> DateTime<Utc> {
        if rotation.skip_grace {
            return rotation.confirmed_at.unwrap_or(self.event_time);
        }
        rotation.activated_at.unwrap_or(self.event_time) + self.grace_period()
    }

    /// Returns the grace period, which is never shorter than the propagation window.
    fn grace_period(&self) -> TimeDelta {
        self.policy.params.grace_period.to_delta().max(self.propagation_window())
    }

    pub(super) fn activated_at(&self, rotation: &Rotation) -> DateTime<Utc> {
        self.started_from(TimeField::ActivatedAt, rotation.activated_at)
    }

    fn next_probe(&self, rotation: &Rotation) -> DateTime<Utc> {
        let activated_at = self.activated_at(rotation);
        match self.observed.rejected_at {
            Some(rejected_at) if rejected_at >= activated_at => {
                self.probe_after(rotation, rejected_at)
            }
            _ => self.now,
        }
    }

    /// Returns when to probe again. Each rejected probe adds an entry to the tenant log, so the
    /// time between probes doubles, from a fifteenth of the propagation window to ten windows.
    fn probe_after(&self, rotation: &Rotation, rejected_at: DateTime<Utc>) -> DateTime<Utc> {
        let elapsed = rejected_at - self.activated_at(rotation).min(rejected_at);
        let window = self.propagation_window();
        let shortest = (window / 15).max(TimeDelta::milliseconds(10));
        rejected_at + elapsed.clamp(shortest, shortest.max(window * 10))
    }
}
