//! From the start of a rotation until its secret is published as the current one.

use chrono::{DateTime, Utc};

use super::{Evaluation, NextStep, rewrite};
use crate::{
    decision::{NumberedValue, Purpose, Step, ValueSource, publish},
    observation::{OwnedTarget, SecretMatch, UnreachedPods},
    status::{Cause, Outcome, Phase, Rotation, Strategy},
    stored_times::TimeField,
};

impl Evaluation<'_> {
    /// Continues a rotation that has changed nothing at Auth0. Reads the client first, because it
    /// may be one that must not be rotated.
    pub(super) fn advance_started(&mut self, rotation: &Rotation) -> NextStep {
        if rotation.strategy == Strategy::Rotate && self.is_current(rotation.number) {
            // The status was restored from a backup that is older than the published secret.
            self.enter_confirming();
            return Step::StoreStatus.into();
        }
        if self.observed.unreached_pods == UnreachedPods::NotChecked {
            return Step::FindUnreachedPods.into();
        }
        let secret = match self.read_client() {
            Err(next) => return next,
            Ok(secret) => secret,
        };
        if let Some(next) = self.require_answered_probes_for(rotation) {
            return next;
        }
        match rotation.strategy {
            // A call that reported to have changed nothing did change the secret.
            Strategy::Rotate if rotation.attempts > 0 && secret == SecretMatch::Other => {
                self.publish_read_back(rotation)
            }
            Strategy::Rotate => self.call_rotate_secret(rotation),
            Strategy::Staged => self.stage(rotation, secret),
        }
    }

    fn call_rotate_secret(&mut self, rotation: &Rotation) -> NextStep {
        let is_marked = rotation.cause != Cause::Initial || self.observed.initialized;
        let is_guarded = self.observed.has_finalizer || self.observed.finalizer_contested;
        if !is_guarded || !is_marked {
            return Step::AddFinalizer.into();
        }
        if !self.observed.dry_run_passed {
            return Step::DryRun.into();
        }
        if let Some(next) = self.prove_write(rotation) {
            return next;
        }
        if let Some(next) = self.wait_for_unanswered(rotation) {
            return next;
        }
        self.record_attempt();
        Step::RotateSecret.into()
    }

    /// Writes the target Secret once before the first call of a rotation. A dry run neither reaches
    /// the storage, whose encryption may fail, nor webhooks that skip dry runs.
    fn prove_write(&self, rotation: &Rotation) -> Option<NextStep> {
        let target = self.intact_target()?;
        let is_proven = target.write_proven == Some(rotation.number);
        (!is_proven).then(|| rewrite(target, Purpose::ProveWrite).into())
    }

    /// Waits until no request of an earlier rotation can take effect anymore: it would replace the
    /// secret of this one.
    fn wait_for_unanswered(&self, rotation: &Rotation) -> Option<NextStep> {
        match self.status.unanswered_until {
            Some(until) if rotation.attempts == 0 => {
                let until = self.ending_at(TimeField::UnansweredUntil, until);
                (self.now < until).then(|| NextStep::wait_until(until))
            }
            _ => None,
        }
    }

    /// Records an attempt to change the secret. If it is a retry, an earlier request of the rotation
    /// has no response.
    fn record_attempt(&mut self) {
        let now = self.event_time;
        self.update_rotation(|rotation| {
            rotation.unresolved_since.get_or_insert(now);
        });
        if self.status.rotation.as_ref().is_some_and(|rotation| rotation.attempts > 0) {
            self.status.unanswered_until = Some(self.now + self.propagation_window());
        }
        self.update_rotation(|rotation| {
            rotation.phase = Phase::Activating;
            rotation.activating_at = Some(now);
            rotation.attempts = rotation.attempts.saturating_add(1);
        });
    }

    /// Publishes the pair of current and next value. If Auth0 has a current value that the target
    /// Secret does not have, the pair contains Auth0's: it is valid until activation.
    fn stage(&mut self, rotation: &Rotation, secret: SecretMatch) -> NextStep {
        if rotation.cause == Cause::Initial && !self.observed.initialized {
            return Step::AddFinalizer.into();
        }
        let number = rotation.number;
        let Some(target) = self.intact_target() else {
            return self.stage_over_damaged(number, secret);
        };
        if is_staged(target, number) {
            let now = self.event_time;
            self.update_rotation(|rotation| {
                rotation.phase = Phase::Staging;
                rotation.staged_at = Some(now);
            });
            return Step::StoreStatus.into();
        }
        let current = match secret {
            // The response that seemed to be lost can be read after all.
            SecretMatch::Other if rotation.attempts > 0 => return self.publish_read_back(rotation),
            SecretMatch::Other => ValueSource::Auth0,
            SecretMatch::Current
            | SecretMatch::Fallback
            | SecretMatch::Unreadable
            | SecretMatch::Unpublishable => ValueSource::Current,
        };
        let next = if !rotation.rollback {
            ValueSource::Generated
        } else if target.fallback.is_some() {
            // The previous value is already the fallback and only gets its new number.
            ValueSource::Fallback
        } else {
            let message = "the previous secret is no longer in the target Secret";
            self.withdraw(Outcome::Rejected, message);
            return Step::StoreStatus.into();
        };
        publish(
            Purpose::Stage,
            NumberedValue::new(target.current.unwrap_or(0), current),
            Some(NumberedValue::new(number, next)),
        )
        .into()
    }

    /// Publishes the pair over a target Secret that is missing or damaged. If Auth0's value is unknown,
    /// there is nothing to keep, so the next value is the only one.
    fn stage_over_damaged(&self, number: u64, secret: SecretMatch) -> NextStep {
        let next = NumberedValue::new(number, ValueSource::Generated);
        let recorded = self.status.current.unwrap_or(0);
        let current = match secret {
            SecretMatch::Other => Some(NumberedValue::new(recorded, ValueSource::Auth0)),
            SecretMatch::Current => Some(NumberedValue::new(recorded, ValueSource::Current)),
            SecretMatch::Fallback => Some(NumberedValue::new(recorded, ValueSource::Fallback)),
            SecretMatch::Unreadable | SecretMatch::Unpublishable => self.known_value(recorded),
        };
        match current {
            Some(current) => publish(Purpose::Stage, current, Some(next)),
            None => publish(Purpose::Stage, next, None),
        }
        .into()
    }

    /// Waits until consumers have read the pair, then sets the next value at Auth0.
    pub(super) fn advance_staging(&mut self, rotation: &Rotation) -> NextStep {
        let is_lost =
            self.intact_target().is_some_and(|target| !is_staged(target, rotation.number));
        if is_lost && rotation.attempts == 0 {
            // Another party restored an older target Secret, so the next value is staged again.
            return self.restage();
        }
        if let Some(next) = self.restart_workloads(rotation) {
            return next;
        }
        // Without a current value before it, the next value is already the current one.
        if !rotation.skip_staging && !self.is_current(rotation.number) {
            let staged_at = self.started_from(TimeField::StagedAt, rotation.staged_at);
            let until = staged_at + self.policy.params.staging_period.to_delta();
            if self.now < until {
                return NextStep::wait_until(until);
            }
            if let Some(next) = self.wait_for_rollouts(rotation) {
                return next;
            }
        }
        if let Some(next) = self.wait_for_unanswered(rotation) {
            return next;
        }
        if let Some(next) = self.require_answered_probes_for(rotation) {
            return next;
        }
        if let Some(next) = self.check_client_before_activation(rotation) {
            return next;
        }
        self.record_attempt();
        Step::SetSecret(rotation.number).into()
    }

    /// Resolves the outcome of a change at Auth0 that was recorded and may have been made.
    pub(super) fn advance_activating(&mut self, rotation: &Rotation) -> NextStep {
        match rotation.strategy {
            Strategy::Rotate => self.resolve_rotate_secret(rotation),
            Strategy::Staged => self.resolve_set_secret(rotation),
        }
    }

    fn resolve_rotate_secret(&mut self, rotation: &Rotation) -> NextStep {
        if self.is_current(rotation.number) {
            self.enter_confirming();
            return Step::StoreStatus.into();
        }
        if rotation.cause != Cause::Drift && !self.observed.has_finalizer {
            // Another party replaced the resource. Deleted now, it would take the outcome with it.
            return Step::AddFinalizer.into();
        }
        let secret = match self.read_client() {
            Err(next) => return next,
            Ok(secret) => secret,
        };
        if rotation.cause == Cause::Drift {
            return self.publish_drift(rotation, secret);
        }
        if self.intact_target().is_none() {
            return self.resolve_without_target(rotation);
        }
        let window_end = self.attempt_window_end(rotation);
        match secret {
            SecretMatch::Other => self.publish_read_back(rotation),
            SecretMatch::Unreadable | SecretMatch::Unpublishable
                if self.observed.attempt_finished || self.now >= window_end =>
            {
                self.switch_to_staged();
                Step::StoreStatus.into()
            }
            // The call of another process may be in flight.
            SecretMatch::Unreadable | SecretMatch::Unpublishable => {
                NextStep::wait_until(window_end)
            }
            // Auth0 shows no change, but the call may still be in flight.
            SecretMatch::Current | SecretMatch::Fallback if self.now < window_end => {
                NextStep::wait_until(window_end)
            }
            SecretMatch::Current | SecretMatch::Fallback
                if self.was_client_read_before(window_end) =>
            {
                Step::ReadClient.into()
            }
            SecretMatch::Current | SecretMatch::Fallback if !self.observed.dry_run_passed => {
                Step::DryRun.into()
            }
            SecretMatch::Current | SecretMatch::Fallback => match self.prove_write(rotation) {
                Some(next) => next,
                None => {
                    // The earlier attempt is known to have changed nothing.
                    self.update_rotation(|rotation| rotation.unresolved_since = None);
                    self.record_attempt();
                    Step::RotateSecret.into()
                }
            },
        }
    }

    pub(super) fn is_current(&self, number: u64) -> bool {
        self.intact_target().is_some_and(|target| target.current == Some(number))
    }

    /// Continues as Staged, which does not depend on the unknown outcome of `rotate-secret`. Skips
    /// the staging period, because the published values may already be invalid.
    fn switch_to_staged(&mut self) {
        self.update_rotation(|rotation| {
            rotation.strategy = Strategy::Staged;
            rotation.phase = Phase::Started;
            rotation.skip_staging = true;
            rotation.message = Some(
                "the response of rotate-secret was lost and could not be read back; the operator \
                 published and set a new value instead"
                    .into(),
            );
        });
    }

    fn resolve_set_secret(&mut self, rotation: &Rotation) -> NextStep {
        let number = rotation.number;
        let Some(target) = self.intact_target() else {
            return self.resolve_without_target(rotation);
        };
        if target.current == Some(number) && (target.fallback.is_some() || self.observed.secret_set)
        {
            self.enter_confirming();
            return Step::StoreStatus.into();
        }
        if !is_staged(target, number) {
            return self.resolve_unstaged(rotation);
        }
        if !self.observed.secret_set {
            self.record_attempt();
            return Step::SetSecret(number).into();
        }
        promote(number, target.current)
    }

    /// Continues after a change whose outcome is unknown, and whose values are no longer in the
    /// target Secret. Publishes what Auth0 has once a request in flight can no longer change it.
    ///
    /// Nothing shows whether that is the new secret. After `rotate-secret` it counts as such, unless
    /// the old one is compromised; otherwise the rotation sets another value.
    fn resolve_without_target(&mut self, rotation: &Rotation) -> NextStep {
        match self.read_settled_client(rotation) {
            Err(next) => next,
            Ok(SecretMatch::Unreadable | SecretMatch::Unpublishable)
                if rotation.strategy == Strategy::Rotate =>
            {
                self.switch_to_staged();
                Step::StoreStatus.into()
            }
            Ok(SecretMatch::Unreadable | SecretMatch::Unpublishable) => self.restage(),
            Ok(SecretMatch::Other)
                if rotation.strategy == Strategy::Rotate && !rotation.skip_grace =>
            {
                self.publish_read_back(rotation)
            }
            Ok(SecretMatch::Current) => self.restore_settled(ValueSource::Current),
            Ok(SecretMatch::Fallback) => self.restore_settled(ValueSource::Fallback),
            Ok(SecretMatch::Other) => self.restore_settled(ValueSource::Auth0),
        }
    }

    /// Continues after a repair replaced the pair: Auth0 may have the lost next value.
    fn resolve_unstaged(&mut self, rotation: &Rotation) -> NextStep {
        match self.read_client() {
            Err(next) => return next,
            Ok(SecretMatch::Other) => return self.publish_read_back(rotation),
            Ok(_) => {}
        }
        match self.read_settled_client(rotation) {
            Err(next) => next,
            Ok(_) => self.restage(),
        }
    }

    /// Reads the client once no request of the rotation can change its secret anymore.
    pub(super) fn read_settled_client(
        &mut self,
        rotation: &Rotation,
    ) -> Result<SecretMatch, NextStep> {
        let window_end = self.attempt_window_end(rotation);
        // Until it is restored, nothing reliable is published.
        self.is_unpublished |= self.intact_target().is_none();
        if self.now < window_end {
            return Err(NextStep::wait_until(window_end));
        }
        if self.was_client_read_before(window_end) {
            return Err(Step::ReadClient.into());
        }
        self.read_client()
    }

    /// Returns until when a recorded attempt to change the secret may take effect.
    pub(super) fn attempt_window_end(&self, rotation: &Rotation) -> DateTime<Utc> {
        self.started_from(TimeField::ActivatingAt, rotation.activating_at)
            + self.propagation_window()
    }

    fn restage(&mut self) -> NextStep {
        self.update_rotation(|rotation| rotation.phase = Phase::Started);
        Step::StoreStatus.into()
    }

    /// Publishes the response of `rotate-secret`, before anything else.
    pub(super) fn publish_response(&self) -> NextStep {
        let number = self.activating_number().unwrap_or_else(|| self.unused_number());
        self.publish_new(Purpose::Response, NumberedValue::new(number, ValueSource::Response))
    }

    /// Publishes the value that `rotate-secret` must have returned, as Auth0 shows it.
    pub(super) fn publish_read_back(&self, rotation: &Rotation) -> NextStep {
        let value = NumberedValue::new(rotation.number, ValueSource::Auth0);
        self.publish_new(Purpose::ReadBack, value)
    }

    /// Publishes a new value, with the current value as its fallback if that is known.
    pub(super) fn publish_new(&self, purpose: Purpose, value: NumberedValue) -> NextStep {
        let current = match self.intact_target() {
            Some(target) => target.current,
            None => self.status.current,
        };
        let superseded = current
            .and_then(|current| self.known_value(current))
            .filter(|known| known.number < value.number && known.value != value.value);
        publish(purpose, value, superseded).into()
    }

    /// Returns the number of the rotation that waits for a value from Auth0.
    fn activating_number(&self) -> Option<u64> {
        let rotation = self.status.rotation.as_ref()?;
        let is_published =
            self.intact_target().is_some_and(|target| target.current >= Some(rotation.number));
        (rotation.phase == Phase::Activating && !is_published).then_some(rotation.number)
    }

    /// Records that the last attempt certainly changed nothing. The outcome of an earlier one stays
    /// unknown.
    pub(super) fn resolve_attempt(&mut self) {
        self.update_rotation(|rotation| {
            if rotation.unresolved_since == rotation.activating_at {
                rotation.unresolved_since = None;
            }
        });
    }

    /// Returns to the phase before a call that certainly changed nothing and needs no read-back.
    pub(super) fn return_to_started(&mut self) {
        self.update_rotation(|rotation| {
            if rotation.phase == Phase::Activating && rotation.strategy == Strategy::Rotate {
                rotation.phase = Phase::Started;
            }
        });
    }
}

/// Returns whether the value with this number is in the target Secret.
fn is_staged(target: &OwnedTarget, number: u64) -> bool {
    target.current == Some(number) || target.fallback == Some(number)
}

/// Returns the step that makes the fallback the current value, with the superseded one behind it.
pub(super) fn promote(number: u64, superseded: Option<u64>) -> NextStep {
    publish(
        Purpose::Promote,
        NumberedValue::new(number, ValueSource::Fallback),
        superseded.map(|number| NumberedValue::new(number, ValueSource::Current)),
    )
    .into()
}
