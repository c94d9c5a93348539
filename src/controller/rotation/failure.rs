//! Failures of a reconcile: the work that must not depend on them, and their record in the status.

use chrono::{DateTime, Utc};
use rotation::{
    Failure, Observation, Purpose, Rotation, Status, Step, Target, condition_types, decide,
    is_condition_true, record_failure,
};

use super::{
    execute::execute,
    observe::{self, observe},
    reconcile::{Outcome, Reconciliation},
    settled::Then,
    status::for_users,
};
use crate::controller::{error::Error, write_budget::WriteKind};

/// The step that failed and its observation.
pub(super) struct FailedStep {
    pub(super) observation: Observation,
    pub(super) step: Step,
}

impl Reconciliation<'_> {
    /// Records that the reads before a decision failed. First does the work that must not depend on
    /// them: a response is published, and a resource that is being deleted loses its finalizer once
    /// the bound is over.
    pub(super) async fn fail_read(&mut self, error: Error) -> Result<Outcome, Error> {
        let clock = self.clock();
        let policy = self.policy(clock.now());
        let observation = observe(self);
        let step = decide(&observation, clock, &policy).step;
        if step == Step::RemoveFinalizer && observation.is_deleting {
            execute(self, step).await?;
            return Ok(Outcome::Done(None));
        }
        let is_target_read = observation.target != Target::Unknown;
        if is_response(&step) && is_target_read {
            self.enter_urgent_if_unpublished();
            if let Err(error) = execute(self, step.clone()).await {
                return self.fail(Some(FailedStep { observation, step }), error).await;
            }
        }
        self.fail(None, error).await
    }

    /// Leaves a resource of another shard to that shard's operator. A response of `rotate-secret` is
    /// published first, as after a loss of leadership: no other process has it.
    pub(super) async fn leave_shard(&mut self) -> Result<Outcome, Error> {
        if self.controller.has_response(&self.uid) {
            observe::read_target(self).await?;
            let clock = self.clock();
            let policy = self.policy(clock.now());
            let step = decide(&observe(self), clock, &policy).step;
            if is_response(&step) {
                self.enter_urgent_if_unpublished();
                execute(self, step).await?;
            }
        }
        Ok(Outcome::Gone)
    }

    /// Records a failure in the status. Returns the error, also when that fails.
    pub(super) async fn fail(
        &mut self,
        failed: Option<FailedStep>,
        error: Error,
    ) -> Result<Outcome, Error> {
        let clock = self.clock();
        let policy = self.policy(clock.now());
        let mut failure = Failure::from(&for_users(&error, &self.resource.spec.tenant_ref));
        let (observation, step) = match failed {
            Some(FailedStep { observation, step }) => {
                // The outcome of a change that was not recorded says nothing about an earlier one.
                failure.not_applied &= self.has_recorded_attempt_since(&observation.status);
                (observation, Some(step))
            }
            None => (observe(self), None),
        };
        // The status may have been stored since the observation: the step after it failed.
        let observation = Observation { status: self.status().clone(), ..observation };
        let status = record_failure(&observation, step.as_ref(), &failure, clock, &policy);
        let status = self.complete_status(status);
        self.then = Then::Continue;
        let is_notice = matches!(error, Error::WriteLimited { .. });
        let kind = is_notice.then_some(WriteKind::Notice);
        match self.store_status(status, kind).await {
            Err(limited @ Error::WriteLimited { .. }) if !is_notice => {
                Box::pin(self.fail(None, limited)).await
            }
            Err(second) => {
                if is_notice && !matches!(second, Error::WriteLimited { .. }) {
                    self.with_state(|state| state.writes.return_notice());
                }
                tracing::debug!(name = self.key.name, %second, "failed to record a failure");
                Err(error)
            }
            Ok(()) => Err(error),
        }
    }

    /// Returns whether an attempt to change the secret was recorded after a status was observed.
    fn has_recorded_attempt_since(&self, observed: &Status) -> bool {
        let attempts = |rotation: &Rotation| (rotation.number, rotation.attempts);
        self.rotation().map(attempts) != observed.rotation.as_ref().map(attempts)
    }

    /// Returns when Ready has to report a change whose outcome is unknown, unless it does so already.
    pub(super) fn report_at(&self) -> Option<DateTime<Utc>> {
        let status = self.resource.status.as_ref()?;
        let since = self.rotation()?.unresolved_since?;
        let window = self.controller.context.settings.propagation_window.to_delta();
        is_condition_true(&status.conditions, condition_types::READY).then(|| since + window)
    }
}

pub(super) fn is_response(step: &Step) -> bool {
    matches!(step, Step::Publish(publication) if publication.purpose == Purpose::Response)
}
