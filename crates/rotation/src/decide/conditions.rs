//! Conditions, set once the next step is known.

use chrono::{DateTime, Utc};

use super::{Evaluation, NextStep, RECHECK_INTERVAL, are_probes_proofs, repair::unpublishable};
use crate::{
    condition::{Condition, ConditionStatus, condition_types, find_condition, set_condition},
    decision::{Decision, Step},
    error::{ErrorClass, Failure},
    observation::UnreachedPods,
    reason::Reason,
    status::{Phase, Rotation, Status},
};

impl Evaluation<'_> {
    pub(super) fn into_decision(mut self, next: NextStep) -> Decision {
        let is_last = next.step == Step::Wait;
        if self.has_new_rotation() {
            self.clear_pending_drift();
        }
        let has_progress = self.status.rotation != self.observed.status.rotation;
        if is_last || has_progress {
            self.set_client_rotatable();
        }
        if is_last || self.observed.contested.is_some() {
            self.set_in_sync();
        }
        // Ready and Stalled describe the result of a reconcile, so they stay until its last step.
        if is_last && self.is_unpublishable && self.stalled.is_none() {
            self.stalled = Some(unpublishable());
        }
        if is_last {
            self.set_ready();
            self.set_stalled();
        }
        if is_last || self.status.last_handled_request != self.observed.status.last_handled_request
        {
            self.set_request_accepted();
        }
        if is_last || has_progress {
            self.set_reconciling();
            self.set_consumers_reached();
            self.set_signs_with_secret();
            self.set_probe_inconclusive();
            self.set_revoked_secret_rejected();
        }
        if !is_last {
            self.set_first_conditions();
        }
        let mut wake = if is_last { self.earlier_wake(next.wake) } else { next.wake };
        if is_last && self.is_unpublishable {
            wake = wake.into_iter().chain([self.now + RECHECK_INTERVAL]).min();
        }
        Decision { status: self.status, step: next.step, wake }
    }

    /// Returns whether this evaluation started a rotation, which replaces a secret of another party.
    fn has_new_rotation(&self) -> bool {
        let number = |status: &Status| status.rotation.as_ref().map(|rotation| rotation.number);
        let started = number(&self.status);
        started.is_some() && started != number(&self.observed.status)
    }

    /// Returns when to reconcile again: at the latest when the hold-off of a pending change ends, or
    /// a check of consumers is due.
    fn earlier_wake(&self, wake: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
        let end = self.hold_off_end().filter(|_| self.has_pending_drift());
        let ends = end.filter(|until| *until > self.now);
        let consumers = self.rollouts_wake().into_iter().chain(self.recheck_wake());
        wake.into_iter().chain(ends).chain(self.contest_wake()).chain(consumers).min()
    }

    pub(super) fn into_failed_status(mut self, failure: &Failure) -> Status {
        let (reason, message) = (failure.reason, failure.message.as_str());
        match failure.class {
            ErrorClass::Conflict => {
                self.set_ready_after_conflict(failure);
                return self.status;
            }
            ErrorClass::Retry | ErrorClass::Throttled { .. } => {
                self.set(condition_types::RECONCILING, true, reason, message);
                self.set(condition_types::STALLED, false, Reason::Progressing, "");
            }
            ErrorClass::Invalid | ErrorClass::Denied | ErrorClass::Fatal => {
                self.set(condition_types::STALLED, true, reason, message);
                self.set(condition_types::RECONCILING, false, reason, message);
            }
        }
        self.set_ready_after_failure(failure);
        self.set_request_accepted();
        self.status
    }

    pub(super) fn is_set(&self, type_: &str) -> bool {
        find_condition(&self.status.conditions, type_).is_some()
    }

    pub(super) fn set(
        &mut self,
        type_: &str,
        status: impl Into<ConditionStatus>,
        reason: Reason,
        message: &str,
    ) {
        let generation = self.status.observed_generation;
        let condition = Condition::new(type_, status, reason, message, generation, self.now);
        set_condition(&mut self.status.conditions, condition);
    }

    fn set_stalled(&mut self) {
        let type_ = condition_types::STALLED;
        match self.stalled.clone() {
            Some(rejection) => self.set(type_, true, rejection.reason, &rejection.message),
            None => self.set(type_, false, Reason::Progressing, ""),
        }
    }

    fn set_consumers_reached(&mut self) {
        let type_ = condition_types::CONSUMERS_REACHED;
        if let Some(unreached) = self.unreached_workloads() {
            self.set(type_, false, unreached.reason, &unreached.message);
            return;
        }
        match &self.observed.unreached_pods {
            UnreachedPods::NotChecked => {}
            UnreachedPods::Pods(pods) if pods.is_empty() => {
                self.set(type_, true, Reason::Reached, "");
            }
            UnreachedPods::Pods(pods) => {
                let message = format!(
                    "these Pods use the target Secret in environment variables or subPath mounts, \
                     which are never updated: {}; mount it as a volume, or list their workload in \
                     spec.consumers.restart",
                    pods.join(", ")
                );
                self.set(type_, false, Reason::PodsNeverUpdated, &message);
            }
            UnreachedPods::Disabled => {
                let (unknown, reason) = (ConditionStatus::Unknown, Reason::PodDetectionDisabled);
                self.set(type_, unknown, reason, "Pod detection is disabled in this operator");
            }
            UnreachedPods::Unknown(error) => {
                self.set(type_, ConditionStatus::Unknown, Reason::PodsNotListed, error);
            }
        }
    }

    /// HS256 uses the client secret as its key ("Signing Algorithms" in Auth0's documentation).
    fn set_signs_with_secret(&mut self) {
        let type_ = condition_types::SIGNS_WITH_SECRET;
        match self.observed.signs_with_secret {
            Some(true) => self.set(
                type_,
                true,
                Reason::HS256,
                "the client signs ID tokens with its secret (HS256), so applications that validate \
                 them need the new secret as soon as Auth0 has it; switch the client to RS256 at \
                 Auth0",
            ),
            Some(false) if self.is_set(type_) => {
                self.set(type_, false, Reason::OtherAlgorithm, "");
            }
            Some(false) | None => {}
        }
    }

    /// Reports what became of the request annotation. An invalid request affects nothing else.
    fn set_request_accepted(&mut self) {
        let type_ = condition_types::REQUEST_ACCEPTED;
        let Some(request) = &self.observed.request else {
            self.status.conditions.retain(|condition| condition.type_ != type_);
            return;
        };
        if let Err(error) = &request.verb {
            let message = format!("annotation auth0-rotator.dev/request: {error}");
            self.set(type_, false, Reason::InvalidRequest, &message);
        } else if self.status.last_handled_request.as_ref() != Some(&request.text) {
            let (unknown, reason) = (ConditionStatus::Unknown, Reason::RequestPending);
            self.set(type_, unknown, reason, &self.reason_to_wait());
        } else if let Some(rejection) = self.status.request_rejection.clone() {
            self.set(type_, false, Reason::RequestRejected, &rejection);
        } else {
            self.set(type_, true, Reason::RequestHandled, "");
        }
    }

    /// Returns why a request is not handled yet.
    fn reason_to_wait(&self) -> String {
        let reason = if self.policy.params.suspend {
            "spec.suspend is true"
        } else if self.policy.rejection().is_some() || self.stalled.is_some() {
            "the resource is stalled"
        } else if self.status.rotation.is_some() {
            "a rotation is in progress"
        } else {
            "the operator has not been able to start it"
        };
        format!("the request waits because {reason}")
    }

    fn set_reconciling(&mut self) {
        let type_ = condition_types::RECONCILING;
        if self.stalled.is_some() {
            self.set(type_, false, Reason::Stalled, "");
        } else if let Some(rotation) = &self.status.rotation {
            let reason = phase_reason(rotation.phase);
            let message = describe_progress(rotation, are_probes_proofs(&self.status));
            // In the grace period, the new secret is in use and nothing is left to wait for.
            self.set(type_, rotation.phase != Phase::Grace, reason, &message);
        } else if self.policy.params.suspend {
            let message = "spec.suspend is true; no rotation starts";
            self.set(type_, false, Reason::Suspended, message);
        } else {
            self.set(type_, false, Reason::Idle, "");
        }
    }
}

fn phase_reason(phase: Phase) -> Reason {
    match phase {
        Phase::Started => Reason::Started,
        Phase::Staging => Reason::Staging,
        Phase::Activating => Reason::Activating,
        Phase::Confirming => Reason::Confirming,
        Phase::Grace => Reason::Grace,
        Phase::Withdrawing => Reason::Withdrawing,
    }
}

fn describe_progress(rotation: &Rotation, are_probes_proofs: bool) -> String {
    let progress = match rotation.phase {
        Phase::Started => "started",
        Phase::Staging => {
            "the next secret is published as a fallback; waiting until consumers read it"
        }
        Phase::Activating => "changing the secret at Auth0",
        Phase::Confirming => "the new secret is published; waiting until Auth0 accepts it",
        Phase::Grace if !are_probes_proofs => {
            "Auth0 has the new secret; the previous one stays as a fallback"
        }
        Phase::Grace => "Auth0 accepts the new secret; the previous one stays as a fallback",
        Phase::Withdrawing => "removing the next secret from the target Secret",
    };
    format!("rotation {}: {progress}", rotation.number)
}
