//! What people ask for, in every phase.
//!
//! | | no rotation | `Started`, `Staging` | `Activating` | `Confirming`, `Grace` |
//! | --- | --- | --- | --- | --- |
//! | `rotate` | starts a rotation | waits for the end of this one | waits | waits |
//! | `revoke` | starts one without staging and grace | makes this one such | takes its grace away | takes its grace away, then starts one |
//! | `rollback` | refused: there is no previous secret | refused | waits for the outcome | starts one whose next secret is the previous one |
//! | `abort` | refused: there is nothing to withdraw | withdraws the next secret | refused: too late | refused: too late |
//!
//! A request that is refused is handled: it must not come true by itself later. While the resource
//! is suspended, what would start a rotation waits.

use super::{Next, Pass};
use crate::{
    decision::Step,
    observation::{ClientObservation, SecretMatch},
    request::Verb,
    status::{Cause, Outcome, Phase, Rotation, Strategy},
};

impl Pass<'_> {
    /// The verb of a request that hasn't been acted upon.
    pub(super) fn pending(&self) -> Option<Verb> {
        let request = self.seen.request.as_ref()?;
        let handled = self.status.last_handled_request.as_deref() == Some(request.text.as_str());
        request.verb.as_ref().ok().copied().filter(|_| !handled)
    }

    /// A request that starts a rotation, whatever state the secret is in.
    pub(super) fn wants_another(&self) -> bool {
        matches!(self.pending(), Some(Verb::Rotate | Verb::Revoke))
    }

    /// The request is recorded, with the reason if it isn't carried out.
    pub(super) fn handled(&mut self, refusal: Option<&str>) {
        self.status.last_handled_request =
            self.seen.request.as_ref().map(|request| request.text.clone());
        self.status.request_rejection = refusal.map(str::to_owned);
    }

    /// What a pending request does to the rotation in progress, or to the lack of one. `None` when
    /// things go on as they are.
    pub(super) fn heed_request(&mut self) -> Option<Next> {
        let rotation = self.status.rotation.clone();
        let phase = rotation.as_ref().map(|rotation| rotation.phase);
        match self.pending()? {
            Verb::Rotate => None,
            Verb::Revoke => self.revoke(phase),
            Verb::Rollback => self.roll_back(phase),
            Verb::Abort => self.abort(rotation.as_ref()),
        }
    }

    fn revoke(&mut self, phase: Option<Phase>) -> Option<Next> {
        match phase? {
            Phase::Started | Phase::Staging | Phase::Activating => {
                self.rotation_mut(|rotation| {
                    (rotation.skip_staging, rotation.skip_grace) = (true, true);
                });
                self.handled(None);
                Some(Step::StoreStatus.into())
            }
            // The compromised secret is the one that this rotation brought: it is ended as fast as
            // Auth0 allows, and the request starts the next one.
            Phase::Confirming | Phase::Grace => {
                let hurried =
                    self.status.rotation.as_ref().is_some_and(|rotation| rotation.skip_grace);
                self.rotation_mut(|rotation| rotation.skip_grace = true);
                (!hurried).then(|| Step::StoreStatus.into())
            }
            Phase::Withdrawing => None,
        }
    }

    fn roll_back(&mut self, phase: Option<Phase>) -> Option<Next> {
        let has_previous =
            self.held().is_some_and(|held| held.fallback < held.current && held.fallback.is_some());
        match phase {
            Some(Phase::Activating | Phase::Withdrawing) => None,
            Some(Phase::Confirming | Phase::Grace) if has_previous => {
                if !self.may_start() {
                    return None;
                }
                self.status.end_rotation(Outcome::Superseded, self.now);
                let number = self.fresh_number();
                let mut rotation =
                    Rotation::start(number, Cause::Request, Strategy::Staged, self.now);
                // Consumers have the value already: nothing is gained by waiting.
                (rotation.rollback, rotation.skip_staging) = (true, true);
                rotation.message = Some("rolled back to the previous secret".into());
                self.status.rotation = Some(rotation);
                self.handled(None);
                Some(Step::StoreStatus.into())
            }
            _ => self.refuse_request(
                "there is no previous secret to roll back to: it is kept for the grace period only",
            ),
        }
    }

    fn abort(&mut self, rotation: Option<&Rotation>) -> Option<Next> {
        let Some(rotation) = rotation else {
            return self.refuse_request("there is no rotation in progress to abort");
        };
        // What was attempted once may have changed something at Auth0.
        let untouched = rotation.attempts == 0;
        match rotation.phase {
            Phase::Started if untouched => {
                self.handled(None);
                // A pair that was published for it, and not recorded yet, is withdrawn.
                self.rotation_mut(|rotation| {
                    rotation.phase = Phase::Withdrawing;
                    rotation.withdrawn_as = Some(Outcome::Aborted);
                });
                Some(Step::StoreStatus.into())
            }
            Phase::Staging if untouched => {
                self.handled(None);
                self.rotation_mut(|rotation| {
                    rotation.phase = Phase::Withdrawing;
                    rotation.withdrawn_as = Some(Outcome::Aborted);
                });
                Some(Step::StoreStatus.into())
            }
            Phase::Withdrawing => None,
            _ => self.refuse_request(
                "it is too late to abort: the secret is being changed at Auth0, or has been; use \
                 rollback while the previous secret is there",
            ),
        }
    }

    fn refuse_request(&mut self, why: &str) -> Option<Next> {
        self.handled(Some(why));
        Some(Step::StoreStatus.into())
    }

    /// A list of the tenant's clients raised a suspicion: look, and follow what someone else did.
    pub(super) fn look_for_drift(&mut self) -> Option<Next> {
        let phase = self.status.rotation.as_ref().map(|rotation| rotation.phase);
        let settled =
            matches!(phase, None | Some(Phase::Staging | Phase::Confirming | Phase::Grace));
        if !self.seen.drift_suspected || !settled || self.held().is_none() {
            return None;
        }
        match &self.seen.client {
            ClientObservation::NotRead => Some(Step::ReadClient.into()),
            ClientObservation::Found(SecretMatch::Other) => Some(self.follow_drift()),
            // The client is gone, or isn't one to rotate any more.
            ClientObservation::Rejected(_) if phase.is_none() => self.read().err(),
            ClientObservation::Found(_) | ClientObservation::Rejected(_) => None,
        }
    }
}
