//! Drift: another party changes the secret at Auth0.
//!
//! A change is followed at once. When another one comes soon afterward, and again, the operator waits
//! before it follows: for minutes at first, then for up to an hour. Otherwise a party that never stops,
//! or an Auth0 that returns another secret each time, would cause a write at each check. A request or
//! a due time does not wait.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Evaluation, NextStep};
use crate::{
    decision::{NumberedValue, Purpose, Step, ValueSource},
    observation::{ClientObservation, SecretMatch},
    status::{Cause, DriftHoldOff, Outcome, Phase, Rotation, Strategy},
    stored_times::TimeField,
};

/// Hold-off after the first recurrence. Each further one makes it four times as long.
const FIRST_HOLD_OFF: TimeDelta = TimeDelta::minutes(2);

/// Longest hold-off.
pub(super) const MAX_HOLD_OFF: TimeDelta = TimeDelta::minutes(60);

/// The number of recurrences from which the hold-off is the longest one.
const MAX_RECURRENCES: u32 = 4;

/// How long after a hold-off a change still counts as a recurrence, at least.
const MIN_QUIET_PERIOD: TimeDelta = TimeDelta::minutes(5);

impl Evaluation<'_> {
    /// Reads the client when a list of the tenant's clients raises a suspicion, and follows a
    /// change.
    pub(super) fn check_drift(&mut self) -> Option<NextStep> {
        let phase = self.status.rotation.as_ref().map(|rotation| rotation.phase);
        let is_outcome_known =
            matches!(phase, None | Some(Phase::Staging | Phase::Confirming | Phase::Grace));
        let is_pending = self.has_pending_drift();
        // A client that must not be rotated is read again until it can be.
        let is_forbidden = self.forbidden_client().is_some();
        let is_suspected = self.observed.drift_suspected || is_pending || is_forbidden;
        if !is_suspected || !is_outcome_known || self.intact_target().is_none() {
            return None;
        }
        if is_pending && self.is_held_off() && !is_forbidden {
            return None;
        }
        match &self.observed.client {
            ClientObservation::NotRead => Some(Step::ReadClient.into()),
            ClientObservation::Found(SecretMatch::Other) => self.follow_or_hold_drift(),
            ClientObservation::Found(SecretMatch::Unpublishable) => {
                self.hold_unpublishable();
                None
            }
            // The client was deleted or must not be rotated anymore.
            ClientObservation::Rejected(rejection)
                if phase.is_none() && !self.observed.has_finalizer =>
            {
                Some(self.stall(rejection.clone()))
            }
            ClientObservation::Found(_) => {
                self.clear_pending_drift();
                None
            }
            ClientObservation::Rejected(_) => None,
        }
    }

    /// Follows a change, or records that it has to wait and returns `None`.
    pub(super) fn follow_or_hold_drift(&mut self) -> Option<NextStep> {
        if !self.is_held_off() {
            return Some(self.follow_drift());
        }
        if let Some(hold_off) = &mut self.status.drift_hold_off {
            hold_off.pending = true;
        }
        None
    }

    /// Records a change that cannot be followed. Only a rotation, or another change, ends it.
    fn hold_unpublishable(&mut self) {
        self.is_unpublishable = true;
        let new = DriftHoldOff { recurrences: 0, until: self.now, pending: true };
        self.status.drift_hold_off.get_or_insert(new).pending = true;
    }

    fn is_held_off(&self) -> bool {
        self.hold_off_end().is_some_and(|until| self.now < until)
    }

    /// Returns when the hold-off ends or ended, if there was one.
    pub(super) fn hold_off_end(&self) -> Option<DateTime<Utc>> {
        let hold_off = self.status.drift_hold_off?;
        Some(self.ending_at(TimeField::DriftHoldOffUntil, hold_off.until))
    }

    pub(super) fn has_pending_drift(&self) -> bool {
        self.status.drift_hold_off.is_some_and(|hold_off| hold_off.pending)
    }

    /// Records that the published secret is the one that Auth0 has, or soon will be.
    pub(super) fn clear_pending_drift(&mut self) {
        if let Some(hold_off) = &mut self.status.drift_hold_off {
            hold_off.pending = false;
        }
    }

    /// Records that a change is followed, which determines when the next one may be.
    fn restart_hold_off(&mut self) {
        let recurrences = match self.status.drift_hold_off.zip(self.hold_off_end()) {
            Some((DriftHoldOff { recurrences, .. }, until))
                if self.now <= until + hold_off(recurrences).max(MIN_QUIET_PERIOD) =>
            {
                recurrences.saturating_add(1).min(MAX_RECURRENCES)
            }
            _ => 0,
        };
        let until = self.now + hold_off(recurrences);
        self.status.drift_hold_off = Some(DriftHoldOff { recurrences, until, pending: false });
    }

    /// Records an out-of-band change as a rotation that another party activated.
    pub(super) fn follow_drift(&mut self) -> NextStep {
        self.restart_hold_off();
        let number = self.unused_number();
        self.status.end_rotation(Outcome::Superseded, self.event_time);
        let mut rotation = Rotation::new(number, Cause::Drift, Strategy::Rotate, self.event_time);
        rotation.phase = Phase::Activating;
        rotation.activating_at = Some(self.event_time);
        rotation.message = Some(
            "another party changed the secret at Auth0; the operator published it with the \
             previous one as its fallback"
                .into(),
        );
        self.status.rotation = Some(rotation);
        Step::StoreStatus.into()
    }

    /// Publishes a value that another party set.
    pub(super) fn publish_drift(&mut self, rotation: &Rotation, secret: SecretMatch) -> NextStep {
        match secret {
            SecretMatch::Other => self.publish_read_back(rotation),
            SecretMatch::Fallback => {
                let value = NumberedValue::new(rotation.number, ValueSource::Fallback);
                self.publish_new(Purpose::ReadBack, value)
            }
            // The change was reverted, or is no longer readable.
            SecretMatch::Current | SecretMatch::Unreadable | SecretMatch::Unpublishable => {
                self.status.end_rotation(Outcome::Superseded, self.event_time);
                Step::StoreStatus.into()
            }
        }
    }
}

/// Returns how long no further change is followed.
fn hold_off(recurrences: u32) -> TimeDelta {
    match recurrences {
        0 => TimeDelta::zero(),
        1..MAX_RECURRENCES => FIRST_HOLD_OFF * 4i32.pow(recurrences - 1),
        MAX_RECURRENCES.. => MAX_HOLD_OFF,
    }
}
