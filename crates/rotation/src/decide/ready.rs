//! Condition Ready: whether applications can log in with the published values, as far as can be known.

use super::{Evaluation, contest::contest_message, repair::unpublishable};
use crate::{
    condition::{condition_types, find_condition},
    error::{Failure, Rejection},
    observation::{ClientObservation, SecretMatch, Target},
    reason::Reason,
    status::{Cause, Phase, is_unresolved},
    stored_times::TimeField,
};

/// Why applications cannot log in, or may be unable to.
struct Problem {
    reason: Reason,
    message: String,
}

impl Problem {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

impl Evaluation<'_> {
    /// Sets Ready at the end of a reconcile that leaves nothing to do now.
    pub(super) fn set_ready(&mut self) {
        let type_ = condition_types::READY;
        if let Some(problem) = self.login_problem(None) {
            self.set(type_, false, problem.reason, &problem.message);
        } else if self.is_published() && !self.is_unpublished {
            self.set_published();
        } else if let Some(rejection) = self.stalled.clone() {
            self.set(type_, false, rejection.reason, &rejection.message);
        } else if self.is_unpublished {
            let message = "the target Secret was deleted or edited while the outcome of a change at \
                           Auth0 is unknown; the operator restores it once that is known";
            self.set(type_, false, Reason::NotPublished, message);
        } else {
            self.set_not_published();
        }
    }

    /// Sets Ready after a failure, which by itself does not affect the published values.
    pub(super) fn set_ready_after_failure(&mut self, failure: &Failure) {
        let type_ = condition_types::READY;
        let is_unread = self.observed.target == Target::Unknown;
        if let Some(problem) = self.login_problem(Some(failure)) {
            self.set(type_, false, problem.reason, &problem.message);
        } else if !self.is_set(type_) || !(is_unread || self.is_published() || self.keeps_values())
        {
            self.set(type_, false, failure.reason, &failure.message);
        } else if !is_unread && self.reports_unpublished_change() {
            self.set_published();
        }
    }

    /// Sets Ready after a conflict, which is retried at once: only a known problem is recorded.
    pub(super) fn set_ready_after_conflict(&mut self, failure: &Failure) {
        if let Some(problem) = self.login_problem(Some(failure)) {
            self.set(condition_types::READY, false, problem.reason, &problem.message);
        }
    }

    /// Sets the conditions of a resource that has never published anything, so that it does not seem
    /// to be complete.
    pub(super) fn set_first_conditions(&mut self) {
        if self.is_set(condition_types::READY) || self.intact_target().is_some() {
            return;
        }
        self.set_not_published();
        if self.status.rotation.is_none() {
            let message = "publishing the client's secret for the first time";
            self.set(condition_types::RECONCILING, true, Reason::NotPublished, message);
        }
    }

    fn set_published(&mut self) {
        let message = "the target Secret holds the client's secret";
        self.set(condition_types::READY, true, Reason::Published, message);
    }

    fn set_not_published(&mut self) {
        let message = "the target Secret holds no secret yet";
        self.set(condition_types::READY, false, Reason::NotPublished, message);
    }

    /// Returns whether the target Secret has a value that is ours and not older than the status.
    fn is_published(&self) -> bool {
        self.intact_target().is_some_and(|target| target.has_current)
            && self.status.current.is_some()
    }

    /// Returns whether the target Secret has values that the operator published and does not touch,
    /// because the tenant's endpoint changed.
    fn keeps_values(&self) -> bool {
        let is_from_elsewhere =
            matches!(&self.observed.target, Target::Owned(target) if target.is_from_elsewhere);
        is_from_elsewhere && self.status.current.is_some()
    }

    /// Returns whether Ready is false because a change was not published or known. That ends as soon
    /// as it is, even if a later step fails.
    fn reports_unpublished_change(&self) -> bool {
        let ready = find_condition(&self.status.conditions, condition_types::READY);
        let reason = ready.and_then(|ready| Reason::parse(&ready.reason));
        matches!(reason, Some(Reason::ResultUnpublished | Reason::OutcomeUnknown))
    }

    /// Returns why applications cannot log in with the published values, if an observation shows it or
    /// the outcome of a change is unknown for too long.
    fn login_problem(&self, failure: Option<&Failure>) -> Option<Problem> {
        if self.is_unpublishable {
            let Rejection { reason, message } = unpublishable();
            return Some(Problem::new(reason, message));
        }
        if let Some(hold_off) = self.status.drift_hold_off.filter(|hold_off| hold_off.pending) {
            let message = format!(
                "another party rotates this client again and again, so applications can't log in with \
                 the published secret; the operator publishes the next change at {}. Let one party \
                 rotate it (docs/high-availability.md), or replace the secret now with the annotation \
                 auth0-rotator.dev/request: rotate/<any text>",
                hold_off.until.format("%Y-%m-%dT%H:%M:%SZ")
            );
            return Some(Problem::new(Reason::DriftRecurs, message));
        }
        if let Some(rejection) = self.forbidden_client() {
            return Some(Problem::new(rejection.reason, rejection.message));
        }
        if let Some(hold_off) = self.target_hold_off()
            && hold_off.affects_values
            && !self.observed.has_unpublished_response
        {
            return Some(Problem::new(Reason::TargetContested, contest_message(hold_off)));
        }
        // Without a target Secret, or with a foreign one, there is a simpler reason.
        if self.observed.status.current.is_some() || self.observed.has_unpublished_response {
            self.unpublished_problem(failure).or_else(|| self.unconfirmed_problem())
        } else {
            None
        }
    }

    /// Returns the problem of a secret that Auth0 has, or may have, and that is not published.
    fn unpublished_problem(&self, failure: Option<&Failure>) -> Option<Problem> {
        let cause = failure.map(|failure| format!(": {}", failure.message)).unwrap_or_default();
        if self.observed.has_unpublished_response {
            let message = format!(
                "Auth0 has a new secret, and the operator could not publish it yet{cause}. \
                 Applications can't log in until the operator, which keeps trying, has published it"
            );
            return Some(Problem::new(Reason::ResultUnpublished, message));
        }
        if self.has_unpublished_change() {
            let message = format!(
                "Auth0 has another secret than the target Secret, and the operator could not publish \
                 it yet{cause}. Applications can't log in until the operator, which keeps trying, has \
                 published it"
            );
            return Some(Problem::new(Reason::ResultUnpublished, message));
        }
        let rotation = self.status.rotation.as_ref()?;
        let since = rotation.unresolved_since.filter(|_| is_unresolved(rotation))?;
        let since = self.started_from(TimeField::UnresolvedSince, Some(since));
        if self.now < since + self.propagation_window() {
            return None;
        }
        let message = format!(
            "it is unknown whether Auth0 has changed the secret, although its propagation window is \
             over, so applications may be unable to log in{cause}. The operator keeps trying to find \
             out; see the tenant's status and the tenant log"
        );
        Some(Problem::new(Reason::OutcomeUnknown, message))
    }

    /// Returns whether Auth0 was seen to have a secret that the target Secret does not have.
    fn has_unpublished_change(&self) -> bool {
        if self.observed.client == ClientObservation::Found(SecretMatch::Other)
            && self.intact_target().is_some()
        {
            return true;
        }
        // The change that started the rotation is still to be published.
        self.status.rotation.as_ref().is_some_and(|rotation| {
            rotation.cause == Cause::Drift && rotation.phase == Phase::Activating
        })
    }

    /// Returns the problem of a published secret that Auth0 rejects after its propagation window.
    fn unconfirmed_problem(&self) -> Option<Problem> {
        let is_rejected = self.status.rotation.as_ref().is_some_and(|rotation| {
            let window_end = self.window_end(rotation);
            matches!(rotation.phase, Phase::Confirming | Phase::Grace)
                && self.observed.rejected_at.is_some_and(|at| at >= window_end)
        });
        if !is_rejected && !self.is_unconfirmed {
            return None;
        }
        Some(Problem::new(
            Reason::NotConfirmed,
            "Auth0 still rejects the published secret although its propagation window is over; \
             the operator keeps the previous secret and probes again. Check the tenant log, or \
             restore the previous secret with the annotation auth0-rotator.dev/request: \
             rollback/<any text>",
        ))
    }
}
