//! Clients that must not be rotated, or for which Auth0 rejects a change.
//!
//! The client is read before a rotation starts, and again right before its first change at Auth0: in
//! between, a user can switch it to keys or make it public. The condition `ClientRotatable` reports the
//! result. Every cause waits until the client is suitable again.

use super::{Evaluation, NextStep};
use crate::{
    condition::{ConditionStatus, condition_types, find_condition},
    decision::Step,
    error::{Failure, Rejection},
    observation::{ClientCheck, ClientDoubt, ClientObservation},
    reason::Reason,
    status::{Outcome, Rotation, Strategy},
};

impl Evaluation<'_> {
    /// Returns why the client must not be rotated, as a reconcile has seen or the status records.
    pub(super) fn forbidden_client(&self) -> Option<Rejection> {
        match self.client_check() {
            ClientCheck::Rejected(rejection) if rejection.reason.forbids_client() => {
                Some(rejection)
            }
            ClientCheck::Passed => None,
            ClientCheck::Rejected(_) | ClientCheck::NotMade => self.recorded_forbidden_client(),
        }
    }

    /// Returns what a read of the client in this reconcile showed, with its secret or without.
    fn client_check(&self) -> ClientCheck {
        match &self.observed.client {
            ClientObservation::Found(_) => ClientCheck::Passed,
            ClientObservation::Rejected(rejection) => ClientCheck::Rejected(rejection.clone()),
            ClientObservation::NotRead => self.observed.client_check.clone(),
        }
    }

    fn recorded_forbidden_client(&self) -> Option<Rejection> {
        let type_ = condition_types::CLIENT_ROTATABLE;
        let condition = find_condition(&self.status.conditions, type_)?;
        let reason = Reason::parse(&condition.reason)?;
        let is_forbidden = condition.status == ConditionStatus::False && reason.forbids_client();
        is_forbidden.then(|| Rejection::new(reason, condition.message.as_str()))
    }

    /// Reads the client before the first change of a staged rotation. Withdraws the next secret if the
    /// client must not be rotated anymore.
    pub(super) fn check_client_before_activation(
        &mut self,
        rotation: &Rotation,
    ) -> Option<NextStep> {
        if rotation.attempts > 0 {
            return None;
        }
        match self.client_check() {
            ClientCheck::Passed => None,
            ClientCheck::NotMade => Some(Step::CheckClient.into()),
            // Nothing was published before the next secret, so there is nothing to return to.
            ClientCheck::Rejected(rejection) if self.is_current(rotation.number) => {
                Some(self.stall(rejection))
            }
            ClientCheck::Rejected(rejection) => {
                self.withdraw(Outcome::Rejected, &rejection.message);
                Some(Step::StoreStatus.into())
            }
        }
    }

    /// Ends a rotation whose `rotate-secret` Auth0 rejected.
    pub(super) fn end_rejected_rotation(&mut self, failure: &Failure) {
        let Some(rotation) = self.status.rotation.clone() else { return };
        self.update_rotation(|rotation| rotation.message = Some(failure.message.clone()));
        let target = self.intact_target().filter(|target| target.fallback.is_none());
        let current = target.and_then(|target| target.current);
        self.end_withdrawn(&rotation, Outcome::Rejected, current);
    }

    /// Reports that the client cannot be rotated.
    pub(super) fn report_client(&mut self, reason: Reason, message: &str) {
        self.set(condition_types::CLIENT_ROTATABLE, false, reason, message);
    }

    pub(super) fn set_client_rotatable(&mut self) {
        match self.client_check() {
            ClientCheck::NotMade => {}
            ClientCheck::Rejected(Rejection { reason, message }) => {
                if reason.forbids_client() {
                    self.report_client(reason, &message);
                }
            }
            ClientCheck::Passed => self.set_doubts(),
        }
    }

    fn set_doubts(&mut self) {
        let type_ = condition_types::CLIENT_ROTATABLE;
        let sets_values = self.policy.params.strategy == Strategy::Staged;
        match self.observed.client_doubt {
            // Auth0 rejected a change since: only a change that it accepts clears that.
            _ if self.has_rejected_change() => {}
            Some(ClientDoubt::Native) => self.set(
                type_,
                ConditionStatus::Unknown,
                Reason::NativeClient,
                "the client is a native application without a confidential authentication method \
                 (token_endpoint_auth_method), so its applications may not use the secret that the \
                 operator rotates. Delete this resource if they don't",
            ),
            Some(ClientDoubt::StrictThirdParty) if sets_values => self.set(
                type_,
                ConditionStatus::Unknown,
                Reason::StrictThirdParty,
                "the client is a third-party client in strict mode, for which Auth0 may reject the \
                 secret that the operator sets. Set spec.strategy to Rotate",
            ),
            Some(ClientDoubt::StrictThirdParty) | None => self.clear_client_report(),
        }
    }

    fn has_rejected_change(&self) -> bool {
        let type_ = condition_types::CLIENT_ROTATABLE;
        let reason = find_condition(&self.status.conditions, type_)
            .and_then(|condition| Reason::parse(&condition.reason));
        matches!(reason, Some(Reason::ValueRejected | Reason::ChangeRejected))
    }

    /// Records that nothing speaks against the client, if something did.
    pub(super) fn clear_client_report(&mut self) {
        let type_ = condition_types::CLIENT_ROTATABLE;
        if self.is_set(type_) {
            self.set(type_, true, Reason::UsesSecret, "");
        }
    }

    /// Records that Auth0 accepted a change, if it rejected one before.
    pub(super) fn clear_rejected_change(&mut self) {
        if self.has_rejected_change() {
            self.clear_client_report();
        }
    }
}
