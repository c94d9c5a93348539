//! Evidence that Auth0 accepts a secret.
//!
//! A probe proves something only if Auth0 rejects a random value in the same call: the negative
//! control. It is made before a rotation starts, at most once a day, because each rejected value adds
//! a failed login to the tenant log and costs one of the application's requests. A rejection needs no
//! control.
//!
//! Where a probe proves nothing, the operator waits out the propagation window, after which Auth0
//! accepts only the secret that it has, and reads the client. Without the permission to read secrets,
//! the acknowledgment of the change has to do. `revoke` and `rollback` don't wait for a control.

use chrono::{DateTime, TimeDelta, Utc};

use super::{CLOCK_SKEW, Evaluation, NextStep, RECHECK_INTERVAL};
use crate::{
    condition::condition_types,
    decision::Step,
    error::Rejection,
    observation::SecretMatch,
    reason::Reason,
    request::Verb,
    status::{Cause, ControlResult, Outcome, ProbeControl, Rotation, Status},
};

/// How long the result of a negative control holds.
const CONTROL_LIFETIME: TimeDelta = TimeDelta::hours(24);

const PROBE_BLOCKED: &str = "Auth0 answers no probe of this client (status 403, as a tenant access \
                             control list does, or a long rate limit of the client), so the operator \
                             could not see whether a new secret works, and starts no rotation except \
                             for revoke and rollback. Allow the operator to call the Authentication \
                             API (with spec.probe.method: ClientCredentials, also grant the client \
                             the audience); it retries within ten minutes";

const ANY_SECRET_ACCEPTED: &str = "Auth0 accepts any value where the operator probes the secret of this client, so a probe proves \
     nothing. After a change the operator waits out the propagation window and reads the client; \
     for a proof by login, set spec.probe.method to ClientCredentials";

/// Known state of the published secret.
pub(super) enum Evidence {
    /// Auth0 accepts it.
    Accepted,
    /// Auth0 rejects it.
    Rejected,
    /// A probe would show it.
    NotProbed,
}

impl Evaluation<'_> {
    /// Adopts the last negative control of this process if the status does not have it.
    pub(super) fn adopt_control(&mut self) {
        let known = self.status.probe_control.map(|control| control.probed_at);
        if let Some(control) = self.observed.probe_control
            && known.is_none_or(|known| known <= control.probed_at)
        {
            self.status.probe_control = Some(control);
        }
    }

    /// Returns the result of the last negative control, or `None` if it is due.
    pub(super) fn control(&self) -> Option<ControlResult> {
        let control = self.control_of_method()?;
        let lifetime = match control.result {
            ControlResult::Rejected | ControlResult::Accepted => CONTROL_LIFETIME,
            // An access control list can change at any time, and a refusal is no failed login.
            ControlResult::Forbidden => RECHECK_INTERVAL,
        };
        let age = self.now - control.probed_at;
        (age >= -CLOCK_SKEW && age < lifetime).then_some(control.result)
    }

    fn control_of_method(&self) -> Option<ProbeControl> {
        let method = self.policy.params.probe_method;
        self.status.probe_control.filter(|control| control.method == method)
    }

    /// Makes sure, before anything irreversible happens, that probes get an answer.
    pub(super) fn require_answered_probes(&mut self) -> Option<NextStep> {
        match self.control() {
            None => Some(Step::ProbeRandomValue.into()),
            Some(ControlResult::Forbidden) => {
                Some(self.stall(Rejection::new(Reason::ProbeBlocked, PROBE_BLOCKED)))
            }
            Some(ControlResult::Rejected | ControlResult::Accepted) => None,
        }
    }

    /// Does the same for a rotation in progress. A rotation whose outcome is unknown, or that is
    /// urgent, continues.
    pub(super) fn require_answered_probes_for(&mut self, rotation: &Rotation) -> Option<NextStep> {
        if rotation.attempts > 0 || rotation.skip_grace || rotation.rollback {
            return None;
        }
        self.require_answered_probes()
    }

    /// Returns whether Auth0 accepts the current value of the target Secret, or `None` if a probe
    /// proves nothing.
    pub(super) fn probe_current(&mut self) -> Result<Option<bool>, NextStep> {
        self.proven(self.observed.accepted, Step::ProbeSecret)
    }

    /// Returns whether Auth0 accepts the fallback of the target Secret, or `None` if a probe proves
    /// nothing.
    pub(super) fn probe_fallback(&mut self) -> Result<Option<bool>, NextStep> {
        self.proven(self.observed.fallback_accepted, Step::ProbeFallback)
    }

    fn proven(&self, answer: Option<bool>, probe: Step) -> Result<Option<bool>, NextStep> {
        if answer == Some(false) {
            return Ok(Some(false));
        }
        match (self.control(), answer) {
            (None, _) => Err(Step::ProbeRandomValue.into()),
            (Some(ControlResult::Rejected), None) => Err(probe.into()),
            (Some(ControlResult::Rejected), Some(_)) => Ok(Some(true)),
            (Some(ControlResult::Accepted | ControlResult::Forbidden), _) => Ok(None),
        }
    }

    /// Returns what is known about the new secret of a rotation.
    pub(super) fn evidence(&mut self, rotation: &Rotation) -> Result<Evidence, NextStep> {
        match (self.observed.accepted, self.control()) {
            (Some(false), _) => Ok(Evidence::Rejected),
            (_, None) => Err(Step::ProbeRandomValue.into()),
            (None, Some(ControlResult::Rejected)) => Ok(Evidence::NotProbed),
            (Some(true), Some(ControlResult::Rejected)) => Ok(Evidence::Accepted),
            (_, Some(ControlResult::Accepted | ControlResult::Forbidden)) => {
                self.read_evidence(rotation)
            }
        }
    }

    /// Finds out without a probe: Auth0 has the secret after the propagation window.
    fn read_evidence(&mut self, rotation: &Rotation) -> Result<Evidence, NextStep> {
        let window_end = self.window_end(rotation);
        if self.now < window_end {
            return Err(NextStep::wait_until(window_end));
        }
        if self.was_client_read_before(window_end) {
            return Err(Step::ReadClient.into());
        }
        match self.read_client()? {
            SecretMatch::Current => Ok(Evidence::Accepted),
            SecretMatch::Other | SecretMatch::Fallback => Err(self.follow_unconfirmed(rotation)),
            SecretMatch::Unreadable if self.is_acknowledged(rotation) => Ok(Evidence::Accepted),
            SecretMatch::Unreadable => Err(self.wait_for_evidence()),
            SecretMatch::Unpublishable => {
                self.is_unpublishable = true;
                Err(self.wait_for_evidence())
            }
        }
    }

    /// Returns whether Auth0 acknowledged the published secret, or there is no other one to lose.
    fn is_acknowledged(&self, rotation: &Rotation) -> bool {
        rotation.cause != Cause::Recovery
            || rotation.attempts > 0
            || self.intact_target().is_some_and(|target| target.fallback.is_none())
    }

    /// Keeps the previous secret, unless a user asks for a new one.
    fn wait_for_evidence(&mut self) -> NextStep {
        if self.requests_new_secret() && self.may_start() {
            self.status.end_rotation(Outcome::Superseded, self.event_time);
            return self.start(Cause::Request);
        }
        self.stall(Rejection::new(
            Reason::ProbeInconclusive,
            "a probe proves nothing for this client, and Auth0 does not return its secret, so the \
             operator keeps both secrets. Grant the tenant's management client the scope \
             read:client_keys, or replace the secret with the annotation \
             auth0-rotator.dev/request: rotate/<any text>",
        ))
    }

    /// Waits with a next value of which nothing shows whether Auth0 has it. A compromised secret is
    /// replaced all the same.
    pub(super) fn wait_for_withdrawal_proof(&mut self) -> NextStep {
        if self.pending_verb() == Some(Verb::Revoke) && self.may_start() {
            self.status.end_rotation(Outcome::Superseded, self.event_time);
            return self.start(Cause::Request);
        }
        self.stall(Rejection::new(
            Reason::ProbeInconclusive,
            "a probe proves nothing for this client, and Auth0 does not return its secret, so the \
             operator can't see whether Auth0 has the next secret and keeps both. Grant the \
             tenant's management client the scope read:client_keys, or replace the secret with the \
             annotation auth0-rotator.dev/request: revoke/<any text>",
        ))
    }

    pub(super) fn window_end(&self, rotation: &Rotation) -> DateTime<Utc> {
        self.activated_at(rotation) + self.propagation_window()
    }

    pub(super) fn set_probe_inconclusive(&mut self) {
        let type_ = condition_types::PROBE_INCONCLUSIVE;
        match self.control_of_method().map(|control| control.result) {
            Some(ControlResult::Accepted) => {
                self.set(type_, true, Reason::AnySecretAccepted, ANY_SECRET_ACCEPTED);
            }
            Some(ControlResult::Forbidden) => {
                self.set(type_, true, Reason::ProbeBlocked, PROBE_BLOCKED);
            }
            Some(ControlResult::Rejected) if self.is_set(type_) => {
                self.set(type_, false, Reason::ProbeConclusive, "");
            }
            Some(ControlResult::Rejected) | None => {}
        }
    }
}

/// Returns whether the last negative control showed that probes are proofs.
pub(crate) fn are_probes_proofs(status: &Status) -> bool {
    status.probe_control.is_none_or(|control| control.result == ControlResult::Rejected)
}
