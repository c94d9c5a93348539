//! Requests by users, in every phase of a rotation.
//!
//! | | no rotation | `Started`, `Staging` | `Activating` | `Confirming`, `Grace` |
//! | --- | --- | --- | --- | --- |
//! | `rotate` | starts a rotation | waits for the end of this one | waits | waits |
//! | `revoke` | starts a rotation without staging and grace period | removes both from this one | removes both from this one | removes the grace period from this one, then starts another |
//! | `rollback` | rejected: there is no previous secret | rejected | waits for the outcome | starts a rotation whose next secret is the previous one |
//! | `abort` | rejected: there is nothing to withdraw | withdraws the next secret | rejected: too late | rejected: too late |
//!
//! A rejected request counts as handled, so that it cannot take effect later. While the resource is
//! suspended, requests that would start a rotation wait.

use super::{Evaluation, NextStep, withdraw::is_untouched};
use crate::{
    decision::Step,
    request::Verb,
    status::{Cause, Outcome, Phase, Rotation, Strategy},
};

impl Evaluation<'_> {
    /// Returns the verb of a valid request that was not handled yet.
    pub(super) fn pending_verb(&self) -> Option<Verb> {
        let request = self.observed.request.as_ref()?;
        if self.status.last_handled_request.as_ref() == Some(&request.text) {
            return None;
        }
        request.verb.as_ref().ok().copied()
    }

    /// Returns whether a pending request asks for a new secret, regardless of the present one.
    pub(super) fn requests_new_secret(&self) -> bool {
        matches!(self.pending_verb(), Some(Verb::Rotate | Verb::Revoke))
    }

    /// Records the request as handled.
    pub(super) fn accept_request(&mut self) {
        self.status.last_handled_request =
            self.observed.request.as_ref().map(|request| request.text.clone());
        self.status.request_rejection = None;
    }

    /// Records the request as handled and rejected.
    pub(super) fn reject_request(&mut self, message: &str) {
        self.accept_request();
        self.status.request_rejection = Some(message.to_owned());
    }

    /// Applies a pending request to the rotation in progress, or rejects it. Returns `None` when
    /// the request has no effect now.
    pub(super) fn handle_request(&mut self) -> Option<NextStep> {
        let rotation = self.status.rotation.clone();
        match self.pending_verb()? {
            Verb::Rotate => None,
            Verb::Revoke => self.revoke(&rotation?),
            Verb::Rollback => self.roll_back(rotation.as_ref()),
            Verb::Abort => self.abort(rotation.as_ref()),
        }
    }

    fn revoke(&mut self, rotation: &Rotation) -> Option<NextStep> {
        match rotation.phase {
            Phase::Started | Phase::Staging | Phase::Activating => {
                self.update_rotation(|rotation| {
                    rotation.skip_staging = true;
                    rotation.skip_grace = true;
                });
                self.accept_request();
                Some(Step::StoreStatus.into())
            }
            // The compromised secret is the new one of this rotation. It ends as soon as Auth0
            // accepts the secret; then the request, which stays pending, starts the next rotation.
            Phase::Confirming | Phase::Grace if rotation.skip_grace => None,
            Phase::Confirming | Phase::Grace => {
                self.update_rotation(|rotation| rotation.skip_grace = true);
                Some(Step::StoreStatus.into())
            }
            Phase::Withdrawing => None,
        }
    }

    fn roll_back(&mut self, rotation: Option<&Rotation>) -> Option<NextStep> {
        match rotation.map(|rotation| rotation.phase) {
            Some(Phase::Activating | Phase::Withdrawing) => return None,
            Some(Phase::Confirming | Phase::Grace) if self.has_previous_value() => {}
            // Another party keeps damaging the target Secret, which the operator restores first.
            Some(Phase::Confirming | Phase::Grace) if self.intact_target().is_none() => {
                return None;
            }
            _ => {
                self.reject_request(
                    "there is no previous secret to roll back to; it is kept only for the grace \
                     period",
                );
                return Some(Step::StoreStatus.into());
            }
        }
        if !self.may_start() {
            return None;
        }
        self.status.end_rotation(Outcome::Superseded, self.event_time);
        let number = self.unused_number();
        let mut rotation = Rotation::new(number, Cause::Request, Strategy::Staged, self.event_time);
        rotation.rollback = true;
        // Consumers already have the value.
        rotation.skip_staging = true;
        rotation.message = Some("rolled back to the previous secret".into());
        self.status.rotation = Some(rotation);
        self.accept_request();
        Some(Step::StoreStatus.into())
    }

    fn has_previous_value(&self) -> bool {
        let Some(target) = self.intact_target() else { return false };
        target.fallback.is_some() && target.fallback < target.current
    }

    fn abort(&mut self, rotation: Option<&Rotation>) -> Option<NextStep> {
        let Some(rotation) = rotation else {
            self.reject_request("there is no rotation in progress to abort");
            return Some(Step::StoreStatus.into());
        };
        if rotation.phase == Phase::Withdrawing {
            return None;
        }
        if !is_untouched(rotation) {
            self.reject_request(
                "it is too late to abort because the operator has started to change the secret at \
                 Auth0; request rollback while the previous secret is published",
            );
            return Some(Step::StoreStatus.into());
        }
        self.accept_request();
        // In phase Started too: the pair may be published without being recorded.
        self.update_rotation(|rotation| {
            rotation.phase = Phase::Withdrawing;
            rotation.withdrawn_as = Some(Outcome::Aborted);
        });
        Some(Step::StoreStatus.into())
    }
}
