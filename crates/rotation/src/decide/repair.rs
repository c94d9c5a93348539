//! Repair of a target Secret that is missing, was edited, or is older than the status.

use super::{Evaluation, NextStep};
use crate::{
    decision::{NumberedValue, Purpose, Step, ValueSource, publish},
    error::Rejection,
    observation::{SecretMatch, Target},
    reason::Reason,
    status::{Cause, Outcome, Phase},
};

impl Evaluation<'_> {
    /// Restores the target Secret from Auth0. Returns `None` when the rotation in progress writes
    /// it anyway.
    pub(super) fn repair(&mut self) -> Option<NextStep> {
        let phase = self.status.rotation.as_ref().map(|rotation| rotation.phase);
        if phase == Some(Phase::Activating) {
            return None;
        }
        if phase.is_none() && self.wants_initial_rotation() {
            return Some(self.start(Cause::Initial));
        }
        let secret = match self.status.rotation.clone() {
            // A request in flight may still change the secret.
            Some(rotation) if rotation.attempts > 0 && may_be_in_flight(rotation.phase) => {
                self.read_settled_client(&rotation)
            }
            _ => self.read_client(),
        };
        match secret {
            Err(next) => Some(next),
            Ok(SecretMatch::Unreadable) => self.repair_without_read_back(phase),
            Ok(SecretMatch::Unpublishable) => self.replace_unpublishable(phase),
            Ok(SecretMatch::Current) => Some(self.restore(ValueSource::Current)),
            Ok(SecretMatch::Fallback) => Some(self.restore(ValueSource::Fallback)),
            Ok(SecretMatch::Other) => {
                self.clear_pending_drift();
                Some(self.restore(ValueSource::Auth0))
            }
        }
    }

    pub(super) fn restore(&mut self, value: ValueSource) -> NextStep {
        let in_target = match &self.observed.target {
            Target::Owned(target) => target.current,
            Target::Absent | Target::Unknown | Target::Rejected(_) => None,
        };
        let number = match &self.status.rotation {
            Some(rotation) if matches!(rotation.phase, Phase::Confirming | Phase::Grace) => {
                rotation.number
            }
            _ => self.status.current.or(in_target).unwrap_or(1),
        };
        let is_first = self.status.current.is_none() && in_target.is_none();
        let purpose = if is_first { Purpose::Import } else { Purpose::Repair };
        // A staged next value is no longer reliable, so it is staged again.
        self.update_rotation(|rotation| {
            if matches!(rotation.phase, Phase::Staging | Phase::Withdrawing)
                && rotation.withdrawn_as.is_none()
            {
                rotation.phase = Phase::Started;
                rotation.staged_at = None;
            }
        });
        publish(purpose, NumberedValue::new(number, value), None).into()
    }

    /// Keeps the value that the target Secret still has if Auth0 accepts it. The Management API
    /// does not return the client's secret.
    fn repair_without_read_back(&mut self, phase: Option<Phase>) -> Option<NextStep> {
        let has_current =
            matches!(&self.observed.target, Target::Owned(target) if target.has_current);
        if has_current {
            match self.probe_current() {
                Err(next) => return Some(next),
                Ok(Some(true)) => return Some(self.restore(ValueSource::Current)),
                Ok(None | Some(false)) => {}
            }
        }
        if phase == Some(Phase::Started) {
            return None;
        }
        if self.requests_new_secret() && self.may_start() {
            if !self.observed.initialized {
                // Without a target Secret, this mark alone shows later that the request was handled.
                return Some(Step::AddFinalizer.into());
            }
            self.status.end_rotation(Outcome::Superseded, self.event_time);
            return Some(self.start(Cause::Request));
        }
        self.is_unpublished = true;
        Some(self.stall(self.nothing_to_publish(has_current)))
    }

    /// Waits until a user replaces a secret that cannot be published.
    fn replace_unpublishable(&mut self, phase: Option<Phase>) -> Option<NextStep> {
        if phase == Some(Phase::Started) {
            return None;
        }
        if self.requests_new_secret() && self.may_start() {
            self.status.end_rotation(Outcome::Superseded, self.event_time);
            return Some(self.start(Cause::Request));
        }
        self.is_unpublishable = true;
        Some(self.stall(unpublishable()))
    }

    /// Returns why the operator has no value to publish.
    fn nothing_to_publish(&self, has_current: bool) -> Rejection {
        let is_from_elsewhere =
            matches!(&self.observed.target, Target::Owned(target) if target.is_from_elsewhere);
        if is_from_elsewhere {
            return Rejection::new(
                Reason::OriginChanged,
                "the target Secret's values came from another Auth0 endpoint than the tenant's, and \
                 Auth0 does not return the client's secret; restore spec.tenantRef and the tenant's \
                 endpoint, grant the tenant's management client the scope read:client_keys, or \
                 replace the secret with the annotation auth0-rotator.dev/request: rotate/<any text>",
            );
        }
        let problem = if self.status.current.is_none() && !has_current {
            "there is no secret to publish, because Auth0 does not return the client's secret"
        } else {
            "the target Secret was deleted or edited, and Auth0 does not return the client's secret"
        };
        Rejection::new(
            Reason::SecretUnreadable,
            format!(
                "{problem}; grant the tenant's management client the scope read:client_keys, or \
                 replace the secret with the annotation auth0-rotator.dev/request: rotate/<any \
                 text>"
            ),
        )
    }
}

/// Returns whether a request of a rotation in this phase may still change the secret at Auth0.
fn may_be_in_flight(phase: Phase) -> bool {
    matches!(phase, Phase::Started | Phase::Staging | Phase::Withdrawing)
}

/// Returns why a secret at Auth0 is not published.
pub(super) fn unpublishable() -> Rejection {
    Rejection::new(
        Reason::SecretUnpublishable,
        "the client's secret at Auth0 cannot be published, because it has control characters, is \
         longer than 4096 bytes, or is no text, so applications can't log in with what is published. \
         Replace it with the annotation auth0-rotator.dev/request: rotate/<any text>",
    )
}
