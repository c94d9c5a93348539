//! Deletion of the resource.

use super::{Evaluation, NextStep};
use crate::{
    decision::Step,
    observation::{ClientObservation, SecretMatch, Target},
    status::{Phase, Rotation, Strategy},
    stored_times::TimeField,
};

/// How many propagation windows an unknown outcome delays the deletion. Auth0 may never respond
/// again.
const MAX_WINDOWS: i32 = 10;

impl Evaluation<'_> {
    /// Removes the finalizer. Only the unknown outcome of a `rotate-secret` delays the deletion.
    pub(super) fn finalize(&mut self) -> NextStep {
        if !self.observed.has_finalizer {
            return Step::Wait.into();
        }
        match self.status.rotation.clone() {
            Some(rotation) if self.must_resolve(&rotation) => {
                self.resolve_before_deletion(&rotation)
            }
            _ => Step::RemoveFinalizer.into(),
        }
    }

    fn must_resolve(&self, rotation: &Rotation) -> bool {
        let is_outcome_unknown = rotation.phase == Phase::Activating
            && rotation.strategy == Strategy::Rotate
            && self.intact_target().is_none_or(|target| target.current < Some(rotation.number));
        let may_write = !matches!(self.observed.target, Target::Rejected(_));
        let since = self.started_from(TimeField::ActivatingAt, rotation.activating_at);
        let deadline = since + self.propagation_window() * MAX_WINDOWS;
        is_outcome_unknown && may_write && self.now < deadline
    }

    fn resolve_before_deletion(&mut self, rotation: &Rotation) -> NextStep {
        if self.observed.has_unpublished_response {
            return self.publish_response();
        }
        let window_end = self.attempt_window_end(rotation);
        match &self.observed.client {
            ClientObservation::NotRead => Step::ReadClient.into(),
            // Without the target Secret, nothing shows whether this is the new secret.
            ClientObservation::Found(SecretMatch::Other)
                if self.intact_target().is_none() && self.now < window_end =>
            {
                NextStep::wait_until(window_end)
            }
            ClientObservation::Found(SecretMatch::Other)
                if self.intact_target().is_none() && self.was_client_read_before(window_end) =>
            {
                Step::ReadClient.into()
            }
            ClientObservation::Found(SecretMatch::Other) => self.publish_read_back(rotation),
            // A resource that is created in its place must see the outcome with its first probe.
            ClientObservation::Found(SecretMatch::Unreadable) if self.now < window_end => {
                NextStep::wait_until(window_end)
            }
            ClientObservation::Found(SecretMatch::Current) if self.now < window_end => {
                NextStep::wait_until(window_end)
            }
            ClientObservation::Found(SecretMatch::Current)
                if self.was_client_read_before(window_end) =>
            {
                Step::ReadClient.into()
            }
            ClientObservation::Found(_) | ClientObservation::Rejected(_) => {
                Step::RemoveFinalizer.into()
            }
        }
    }
}
