//! From the start of a rotation to the moment its secret is published as the current one.

use super::{Next, Pass};
use crate::{
    decision::{Purpose, Step, ValueSource, publish},
    observation::{SecretMatch, UnreachedPods},
    status::{Cause, Outcome, Phase, Rotation, Strategy},
    trouble::Failure,
};

impl Pass<'_> {
    /// Recorded, nothing changed at Auth0. The client is read first: it may not be one to rotate.
    pub(super) fn started(&mut self, rotation: &Rotation) -> Next {
        if rotation.strategy == Strategy::Rotate && self.is_published_as(rotation.number) {
            // The record was restored from a time before the secret was published.
            self.enter_confirming();
            return Step::StoreStatus.into();
        }
        if self.seen.unreached_pods == UnreachedPods::NotChecked {
            return Step::FindUnreachedPods.into();
        }
        let seen = match self.read() {
            Err(next) => return next,
            Ok(seen) => seen,
        };
        match rotation.strategy {
            // A call that was told to have changed nothing has changed something all the same.
            Strategy::Rotate if rotation.attempts > 0 && seen == SecretMatch::Other => {
                self.publish_read_back(rotation)
            }
            Strategy::Rotate => self.rotate_secret(rotation),
            Strategy::Staged => self.stage(rotation, seen),
        }
    }

    fn rotate_secret(&mut self, rotation: &Rotation) -> Next {
        let marked = rotation.cause != Cause::Initial || self.seen.initialized;
        if !self.seen.has_finalizer || !marked {
            return Step::AddFinalizer.into();
        }
        if !self.seen.dry_run_passed {
            return Step::DryRun.into();
        }
        self.record_attempt();
        Step::RotateSecret.into()
    }

    fn record_attempt(&mut self) {
        let now = self.now;
        self.rotation_mut(|rotation| {
            rotation.phase = Phase::Activating;
            rotation.activating_at = Some(now);
            rotation.attempts = rotation.attempts.saturating_add(1);
        });
    }

    /// Publishes the pair of current and next. Where Auth0 has a current value that the target
    /// Secret doesn't, that one takes its place: it is what logs in until activation.
    fn stage(&mut self, rotation: &Rotation, seen: SecretMatch) -> Next {
        if rotation.cause == Cause::Initial && !self.seen.initialized {
            return Step::AddFinalizer.into();
        }
        let next = (rotation.number, ValueSource::Generated);
        let Some(held) = self.held() else {
            // Nothing to keep: the next secret is the only one.
            return publish(Purpose::Stage, next, None).into();
        };
        let staged =
            held.fallback == Some(rotation.number) || held.current == Some(rotation.number);
        if staged {
            let now = self.now;
            self.rotation_mut(|rotation| {
                rotation.phase = Phase::Staging;
                rotation.staged_at = Some(now);
            });
            return Step::StoreStatus.into();
        }
        let value = match seen {
            // The answer that was given up for lost can be read after all.
            SecretMatch::Other if rotation.attempts > 0 => return self.publish_read_back(rotation),
            SecretMatch::Other => ValueSource::Auth0,
            _ => ValueSource::Current,
        };
        // What is rolled back to is the fallback already: it only gets its new number.
        let next = match held.fallback {
            Some(_) if rotation.rollback => (rotation.number, ValueSource::Fallback),
            None if rotation.rollback => return self.nothing_to_roll_back_to(),
            _ => next,
        };
        publish(Purpose::Stage, (held.current.unwrap_or(0), value), Some(next)).into()
    }

    fn nothing_to_roll_back_to(&mut self) -> Next {
        self.rotation_mut(|rotation| {
            rotation.phase = Phase::Withdrawing;
            rotation.withdrawn_as = Some(Outcome::Rejected);
            rotation.message = Some("the previous secret is gone from the target Secret".into());
        });
        Step::StoreStatus.into()
    }

    /// The pair is out: wait until consumers have it.
    pub(super) fn staging(&mut self, rotation: &Rotation) -> Next {
        let alone = self.held().is_some_and(|held| held.current == Some(rotation.number));
        if let Some(next) = self.restart_consumers(rotation) {
            return next;
        }
        if !rotation.skip_staging && !alone {
            let staged_at = rotation.staged_at.unwrap_or(self.now);
            let until = staged_at + self.policy.terms.staging_period.to_delta();
            if self.now < until {
                return Next::rest_until(until);
            }
            if let Some(next) = self.wait_for_rollouts(rotation) {
                return next;
            }
        }
        self.record_attempt();
        Step::SetSecret(rotation.number).into()
    }

    /// A change at Auth0 was recorded, and perhaps made.
    pub(super) fn activating(&mut self, rotation: &Rotation) -> Next {
        match rotation.strategy {
            Strategy::Rotate => self.activating_by_rotate(rotation),
            Strategy::Staged => self.activating_by_patch(rotation),
        }
    }

    fn activating_by_rotate(&mut self, rotation: &Rotation) -> Next {
        if self.is_published_as(rotation.number) {
            self.enter_confirming();
            return Step::StoreStatus.into();
        }
        let seen = match self.read() {
            Err(next) => return next,
            Ok(seen) => seen,
        };
        if rotation.cause == Cause::Drift {
            return self.publish_drift(rotation, seen);
        }
        let window_over = rotation.activating_at.unwrap_or(self.now) + self.window();
        match seen {
            SecretMatch::Other => self.publish_read_back(rotation),
            SecretMatch::Unreadable if self.seen.attempt_finished || self.now >= window_over => {
                self.take_over();
                Step::StoreStatus.into()
            }
            // Somebody's call may be on its way.
            SecretMatch::Unreadable => Next::rest_until(window_over),
            // Unchanged, as far as Auth0 shows; it may still be on its way.
            SecretMatch::Current | SecretMatch::Fallback if self.now < window_over => {
                Next::rest_until(window_over)
            }
            SecretMatch::Current | SecretMatch::Fallback if self.read_before(window_over) => {
                Step::ReadClient.into()
            }
            SecretMatch::Current | SecretMatch::Fallback if !self.seen.dry_run_passed => {
                Step::DryRun.into()
            }
            SecretMatch::Current | SecretMatch::Fallback => {
                self.record_attempt();
                Step::RotateSecret.into()
            }
        }
    }

    fn is_published_as(&self, number: u64) -> bool {
        self.held().is_some_and(|held| held.current == Some(number))
    }

    /// A change that someone else made becomes the current secret.
    fn publish_drift(&mut self, rotation: &Rotation, seen: SecretMatch) -> Next {
        match seen {
            SecretMatch::Other => self.publish_read_back(rotation),
            SecretMatch::Fallback => {
                self.publish_new(Purpose::ReadBack, rotation.number, ValueSource::Fallback)
            }
            // Whoever changed it has changed it back, or it can't be seen any more.
            SecretMatch::Current | SecretMatch::Unreadable => {
                self.status.end_rotation(Outcome::Superseded, self.now);
                Step::StoreStatus.into()
            }
        }
    }

    /// The outcome of `rotate-secret` can't be known: go on as Staged, which doesn't have to know.
    /// Its wait is left out, for what consumers have may be dead already.
    fn take_over(&mut self) {
        self.rotation_mut(|rotation| {
            rotation.strategy = Strategy::Staged;
            rotation.phase = Phase::Started;
            rotation.skip_staging = true;
            rotation.message = Some(
                "the answer of rotate-secret was lost and could not be read back; a new value was \
                 published and set instead"
                    .into(),
            );
        });
    }

    fn activating_by_patch(&mut self, rotation: &Rotation) -> Next {
        let n = rotation.number;
        let Some(held) = self.held() else {
            // The staged value is gone from the target Secret, and may be the one at Auth0.
            return match self.read() {
                Err(next) => next,
                Ok(SecretMatch::Unreadable) => {
                    self.rotation_mut(|rotation| rotation.phase = Phase::Started);
                    Step::StoreStatus.into()
                }
                Ok(_) => self.publish_read_back(rotation),
            };
        };
        if held.current == Some(n) && (held.fallback.is_some() || self.seen.secret_set) {
            self.enter_confirming();
            return Step::StoreStatus.into();
        }
        let staged = held.current == Some(n) || held.fallback == Some(n);
        if !staged {
            // A read-back replaced the pair: what Auth0 has is published under this number or none.
            self.rotation_mut(|rotation| rotation.phase = Phase::Started);
            return Step::StoreStatus.into();
        }
        if !self.seen.secret_set {
            return Step::SetSecret(n).into();
        }
        Self::promote(n, held.current)
    }

    fn promote(number: u64, superseded: Option<u64>) -> Next {
        let superseded = superseded.map(|number| (number, ValueSource::Current));
        publish(Purpose::Promote, (number, ValueSource::Fallback), superseded).into()
    }

    /// Auth0 refused a value that it has: it had taken it before.
    fn promote_after_all(&mut self, rotation: &Rotation, current: u64) -> Next {
        self.rotation_mut(|rotation| {
            rotation.phase = Phase::Activating;
            (rotation.withdrawn_as, rotation.message) = (None, None);
        });
        Self::promote(rotation.number, Some(current))
    }

    /// The answer of `rotate-secret`, before anything else.
    pub(super) fn publish_answer(&self) -> Next {
        let number = self.activating_number().unwrap_or_else(|| self.fresh_number());
        self.publish_new(Purpose::Response, number, ValueSource::Response)
    }

    /// What `rotate-secret` must have returned, as Auth0 shows it.
    pub(super) fn publish_read_back(&self, rotation: &Rotation) -> Next {
        self.publish_new(Purpose::ReadBack, rotation.number, ValueSource::Auth0)
    }

    /// A new value first, and the one that was current until now behind it.
    fn publish_new(&self, purpose: Purpose, number: u64, value: ValueSource) -> Next {
        let superseded = self
            .held()
            .and_then(|held| held.current)
            .filter(|current| *current < number)
            .map(|current| (current, ValueSource::Current));
        publish(purpose, (number, value), superseded).into()
    }

    fn activating_number(&self) -> Option<u64> {
        let rotation = self.status.rotation.as_ref()?;
        let published = self.held().is_some_and(|held| held.current >= Some(rotation.number));
        (rotation.phase == Phase::Activating && !published).then_some(rotation.number)
    }

    /// The call that was recorded certainly changed nothing: it need not be read back.
    pub(super) fn activation_did_not_happen(&mut self) {
        self.rotation_mut(|rotation| {
            if rotation.phase == Phase::Activating && rotation.strategy == Strategy::Rotate {
                rotation.phase = Phase::Started;
            }
        });
    }

    /// Auth0 will never take the next value: it is withdrawn.
    pub(super) fn value_was_refused(&mut self, trouble: &Failure) {
        self.rotation_mut(|rotation| {
            rotation.phase = Phase::Withdrawing;
            rotation.withdrawn_as = Some(Outcome::Rejected);
            rotation.message = Some(trouble.message.clone());
        });
    }

    /// The client may not be touched any more, and hasn't been in this rotation.
    pub(super) fn withdraw_forbidden(&mut self) -> Option<Next> {
        let refusal = self.policy.forbidden.as_ref()?;
        let rotation = self.status.rotation.as_mut()?;
        let untouched = matches!(rotation.phase, Phase::Started | Phase::Staging);
        if !untouched || rotation.attempts > 0 {
            return None;
        }
        rotation.phase = Phase::Withdrawing;
        rotation.withdrawn_as = Some(Outcome::Rejected);
        rotation.message = Some(refusal.message.clone());
        Some(Step::StoreStatus.into())
    }

    /// The next value goes out of the target Secret again. A value that was to be rolled back to
    /// stays the fallback that it was.
    pub(super) fn withdrawing(&mut self, rotation: &Rotation) -> Next {
        let Some(held) = self.held() else { return Step::Wait.into() };
        let current = held.current.unwrap_or(0);
        if held.fallback == Some(rotation.number) {
            // An attempt before the one that was refused may have been carried out, and its answer
            // lost: what Auth0 has is not withdrawn.
            if rotation.withdrawn_as == Some(Outcome::Rejected) && rotation.attempts > 0 {
                match self.read() {
                    Err(next) => return next,
                    Ok(SecretMatch::Fallback) => return self.promote_after_all(rotation, current),
                    Ok(_) => {}
                }
            }
            let previous = self.status.previous.filter(|previous| *previous < current);
            let back = previous.filter(|_| rotation.rollback);
            let fallback = back.map(|previous| (previous, ValueSource::Fallback));
            return publish(Purpose::Withdraw, (current, ValueSource::Current), fallback).into();
        }
        // After an answer that was lost, Auth0 may have a value that nobody knows: ask.
        let uncertain = rotation.attempts > 1 && held.fallback.is_none();
        self.status.end_rotation(rotation.withdrawn_as.unwrap_or(Outcome::Aborted), self.now);
        if uncertain {
            self.open_published(
                current,
                Cause::Recovery,
                "the rotation before this one was withdrawn; it is seen whether Auth0 accepts the \
                 published secret",
            );
        }
        Step::StoreStatus.into()
    }
}
