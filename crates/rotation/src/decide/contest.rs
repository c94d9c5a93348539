//! Contest: another party keeps changing the target Secret.
//!
//! The operator restores the Secret after a hold-off that grows. Until then, rotations, retirement and
//! requests continue as far as they can: the values that they publish overwrite the change.

use chrono::{DateTime, Utc};

use super::{Evaluation, NextStep};
use crate::{
    condition::condition_types,
    decision::{Step, ValueSource},
    observation::TargetHoldOff,
    reason::Reason,
    status::{Outcome, Phase, Rotation},
};

impl<'a> Evaluation<'a> {
    /// Returns whether the target Secret must not be restored yet.
    pub(super) fn is_restore_held_off(&self) -> bool {
        self.target_hold_off().is_some_and(|hold_off| self.now < hold_off.until)
    }

    pub(super) fn target_hold_off(&self) -> Option<&'a TargetHoldOff> {
        self.observed.target_hold_off.as_ref()
    }

    /// Continues while the target Secret is damaged and not restored yet.
    pub(super) fn advance_contested(&mut self) -> NextStep {
        if let Some(next) = self.withdraw_forbidden() {
            return next;
        }
        if let Some(next) = self.handle_request() {
            return next;
        }
        let Some(rotation) = self.status.rotation.clone() else {
            return self.start_if_caused();
        };
        match rotation.phase {
            Phase::Confirming | Phase::Grace if self.observed.has_finalizer => {
                Step::RemoveFinalizer.into()
            }
            Phase::Started if rotation.attempts == 0 => self.advance_started(&rotation),
            // The outcome of a change at Auth0 does not wait.
            Phase::Activating => self.advance_activating(&rotation),
            // A compromised secret does not wait until consumers have read the next one.
            Phase::Staging if rotation.skip_staging => self.advance_staging_contested(&rotation),
            // The previous value is removed with the next restore, if it is there at all.
            Phase::Grace if self.is_retirement_due() => {
                self.status.previous = None;
                self.status.end_rotation(Outcome::Completed, self.event_time);
                Step::StoreStatus.into()
            }
            Phase::Confirming if self.is_published_under(rotation.number) => {
                self.advance_confirming(&rotation)
            }
            _ => self.wait_for_restore(),
        }
    }

    fn advance_staging_contested(&mut self, rotation: &Rotation) -> NextStep {
        if self.known_value(rotation.number).is_some() {
            return self.advance_staging(rotation);
        }
        if rotation.attempts > 0 {
            return self.wait_for_restore();
        }
        self.update_rotation(|rotation| rotation.phase = Phase::Started);
        Step::StoreStatus.into()
    }

    /// Returns whether the first value is the one with this number.
    fn is_published_under(&self, number: u64) -> bool {
        self.known_value(number).is_some_and(|known| known.value == ValueSource::Current)
    }

    fn wait_for_restore(&self) -> NextStep {
        NextStep { step: Step::Wait, wake: self.target_hold_off().map(|hold_off| hold_off.until) }
    }

    /// Returns when to reconcile again because of the contest: to restore the target Secret, or to
    /// report that the contest is over.
    pub(super) fn contest_wake(&self) -> Option<DateTime<Utc>> {
        let of_target = self.target_hold_off().map(|hold_off| {
            let is_restored = self.intact_target().is_some_and(|target| target.in_sync);
            if is_restored { hold_off.ends } else { hold_off.until }
        });
        let of_resource = self.observed.contested.as_ref().map(|contested| contested.ends);
        of_target.into_iter().chain(of_resource).filter(|wake| *wake > self.now).min()
    }

    /// Sets the condition that reports a contest.
    pub(super) fn set_in_sync(&mut self) {
        let type_ = condition_types::IN_SYNC;
        if let Some(hold_off) = self.target_hold_off() {
            let message = contest_message(hold_off);
            self.set(type_, false, Reason::TargetContested, &message);
        } else if let Some(contested) = &self.observed.contested {
            let rejection = &contested.rejection;
            self.set(type_, false, rejection.reason, &rejection.message);
        } else if self.is_set(type_) {
            self.set(type_, true, Reason::InSync, "");
        }
    }
}

/// Returns the message of a contest, which is the same at each restore.
pub(super) fn contest_message(hold_off: &TargetHoldOff) -> String {
    let consequence = if hold_off.affects_values {
        "so applications may be unable to log in; the operator publishes new values at once and \
         restores the rest after a hold-off of up to 5 minutes"
    } else {
        "so the operator restores it only after a hold-off of up to 5 minutes, and rotations and \
         requests go on"
    };
    format!(
        "{}, {consequence}. Stop that, or exempt the target Secret from it",
        hold_off.changed_by
    )
}
