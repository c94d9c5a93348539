//! Drift: another party changes the secret at Auth0.

use super::{Evaluation, NextStep};
use crate::{
    decision::{NumberedValue, Purpose, Step, ValueSource},
    observation::{ClientObservation, SecretMatch},
    status::{Cause, Outcome, Phase, Rotation, Strategy},
};

impl Evaluation<'_> {
    /// Reads the client when a list of the tenant's clients raises a suspicion, and follows a
    /// change.
    pub(super) fn check_drift(&mut self) -> Option<NextStep> {
        let phase = self.status.rotation.as_ref().map(|rotation| rotation.phase);
        let is_outcome_known =
            matches!(phase, None | Some(Phase::Staging | Phase::Confirming | Phase::Grace));
        if !self.observed.drift_suspected || !is_outcome_known || self.intact_target().is_none() {
            return None;
        }
        match &self.observed.client {
            ClientObservation::NotRead => Some(Step::ReadClient.into()),
            ClientObservation::Found(SecretMatch::Other) => Some(self.follow_drift()),
            // The client was deleted or must not be rotated anymore.
            ClientObservation::Rejected(rejection) if phase.is_none() => {
                Some(self.stall(rejection.clone()))
            }
            ClientObservation::Found(_) | ClientObservation::Rejected(_) => None,
        }
    }

    /// Records an out-of-band change as a rotation that another party activated.
    pub(super) fn follow_drift(&mut self) -> NextStep {
        let number = self.unused_number();
        self.status.end_rotation(Outcome::Superseded, self.now);
        let mut rotation = Rotation::new(number, Cause::Drift, Strategy::Rotate, self.now);
        rotation.phase = Phase::Activating;
        rotation.activating_at = Some(self.now);
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
            SecretMatch::Current | SecretMatch::Unreadable => {
                self.status.end_rotation(Outcome::Superseded, self.now);
                Step::StoreStatus.into()
            }
        }
    }
}
