//! Withdrawal: the next value is removed from the target Secret without activation.

use super::{Evaluation, NextStep, activate::promote};
use crate::{
    decision::{NumberedValue, Purpose, Step, ValueSource, publish},
    error::Failure,
    observation::SecretMatch,
    status::{Cause, Outcome, Phase, Rotation},
};

impl Evaluation<'_> {
    /// Withdraws the next value of the rotation in progress, with the reason for its history entry.
    pub(super) fn withdraw(&mut self, outcome: Outcome, message: &str) {
        self.update_rotation(|rotation| {
            rotation.phase = Phase::Withdrawing;
            rotation.withdrawn_as = Some(outcome);
            rotation.message = Some(message.to_owned());
        });
    }

    /// Withdraws a value that Auth0 rejects as a client secret.
    pub(super) fn withdraw_rejected_value(&mut self, failure: &Failure) {
        self.withdraw(Outcome::Rejected, &failure.message);
    }

    /// Withdraws a rotation that has changed nothing yet if the client must not be changed anymore.
    pub(super) fn withdraw_forbidden(&mut self) -> Option<NextStep> {
        let rejection = self.policy.forbidden.as_ref()?;
        let rotation = self.status.rotation.as_ref()?;
        if !is_untouched(rotation) {
            return None;
        }
        self.withdraw(Outcome::Rejected, &rejection.message);
        Some(Step::StoreStatus.into())
    }

    /// Removes the next value from the target Secret. The value of a rollback becomes the fallback
    /// again.
    pub(super) fn advance_withdrawing(&mut self, rotation: &Rotation) -> NextStep {
        let Some(target) = self.intact_target() else { return Step::Wait.into() };
        let current = target.current.unwrap_or(0);
        if target.fallback != Some(rotation.number) {
            return self.end_lost(rotation, current, target.fallback.is_none());
        }
        if rotation.withdrawn_as == Some(Outcome::Rejected) && rotation.attempts > 1 {
            match self.has_been_set(rotation) {
                Err(next) => return next,
                Ok(true) => return self.resume_promotion(rotation, current),
                Ok(false) => {}
            }
        }
        let fallback = match self.status.previous {
            Some(previous) if rotation.rollback && previous < current => {
                Some(NumberedValue::new(previous, ValueSource::Fallback))
            }
            _ => None,
        };
        let current = NumberedValue::new(current, ValueSource::Current);
        publish(Purpose::Withdraw, current, fallback).into()
    }

    /// Returns whether Auth0 has the next value: an attempt before the rejected one may have been
    /// applied although its response was lost.
    fn has_been_set(&mut self, rotation: &Rotation) -> Result<bool, NextStep> {
        match self.read_settled_client(rotation)? {
            SecretMatch::Fallback => Ok(true),
            SecretMatch::Current | SecretMatch::Other | SecretMatch::Unpublishable => Ok(false),
            SecretMatch::Unreadable => {
                let is_accepted = self.probe_fallback()?;
                is_accepted.ok_or_else(|| self.wait_for_withdrawal_proof())
            }
        }
    }

    /// Ends the rotation when its next value is not in the target Secret: it was withdrawn, or another
    /// party removed it. After a lost response, Auth0 may have it.
    fn end_lost(&mut self, rotation: &Rotation, current: u64, is_alone: bool) -> NextStep {
        let outcome = rotation.withdrawn_as.unwrap_or(Outcome::Aborted);
        if outcome == Outcome::Rejected && rotation.attempts > 1 {
            match self.read_settled_client(rotation) {
                Err(next) => return next,
                Ok(SecretMatch::Other) => {
                    self.resume_withdrawn();
                    return self.publish_read_back(rotation);
                }
                Ok(_) => {}
            }
        }
        self.end_withdrawn(rotation, outcome, is_alone.then_some(current));
        Step::StoreStatus.into()
    }

    /// Ends a rotation that is withdrawn. `current` is the current value in the target Secret, if it is
    /// the only one.
    pub(super) fn end_withdrawn(
        &mut self,
        rotation: &Rotation,
        outcome: Outcome,
        current: Option<u64>,
    ) {
        self.status.end_rotation(outcome, self.event_time);
        // After a lost response, Auth0 may have an unknown value.
        if rotation.attempts > 1
            && let Some(current) = current
        {
            self.start_published(
                current,
                Cause::Recovery,
                "the previous rotation was withdrawn; the operator checks whether Auth0 accepts \
                 the published secret",
            );
        }
    }

    /// Promotes a value that Auth0 rejected because it already has it.
    fn resume_promotion(&mut self, rotation: &Rotation, current: u64) -> NextStep {
        self.update_rotation(|rotation| {
            rotation.phase = Phase::Activating;
            rotation.withdrawn_as = None;
            rotation.message = None;
        });
        promote(rotation.number, Some(current))
    }
}

/// Returns whether the rotation has certainly changed nothing at Auth0.
pub(super) fn is_untouched(rotation: &Rotation) -> bool {
    matches!(rotation.phase, Phase::Started | Phase::Staging) && rotation.attempts == 0
}
