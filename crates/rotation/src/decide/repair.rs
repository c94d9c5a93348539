//! Repair of a target Secret that is missing, was edited, or is older than the status.
//!
//! A repair publishes the value that Auth0 has, and keeps each known value that may still be needed:
//!
//! | phase | kept |
//! | --- | --- |
//! | none | the current value, if Auth0 has another one: that is drift |
//! | `Confirming`, `Grace` | the current value; the previous one until its grace period is over |
//! | `Started`, `Staging`, `Activating`, `Withdrawing` | the current and the next value |
//!
//! A value is known if the operator wrote it, which the Secret shows; see
//! [`OwnedTarget`](crate::OwnedTarget). Of a value that another party overwrote or deleted, only the one
//! that Auth0 has can be read back.

use chrono::{DateTime, Utc};

use super::{Evaluation, NextStep};
use crate::{
    decision::{NumberedValue, Purpose, Step, ValueSource, publish},
    error::Rejection,
    observation::{SecretMatch, Target},
    reason::Reason,
    status::{Cause, Outcome, Phase, Rotation},
};

impl Evaluation<'_> {
    /// Restores the target Secret. Returns `None` when the rotation in progress writes it anyway.
    pub(super) fn repair(&mut self) -> Option<NextStep> {
        let rotation = self.status.rotation.clone();
        if rotation.is_none() && self.wants_initial_rotation() {
            return Some(self.start(Cause::Initial));
        }
        let secret = match self.read_client() {
            Ok(secret) => secret,
            Err(next) => return Some(next),
        };
        if secret == SecretMatch::Unpublishable {
            let phase = rotation.map(|rotation| rotation.phase);
            return if phase == Some(Phase::Activating) {
                None
            } else {
                self.replace_unpublishable(phase)
            };
        }
        match rotation {
            Some(rotation) if !is_published(rotation.phase) => {
                self.repair_in_progress(&rotation, secret)
            }
            _ => self.repair_published(secret),
        }
    }

    /// Repairs a target Secret whose current value is the newest one.
    fn repair_published(&mut self, secret: SecretMatch) -> Option<NextStep> {
        let number = match &self.status.rotation {
            Some(rotation) => rotation.number,
            None => self.current_number(),
        };
        let known = self.known_value(number);
        match (secret, known) {
            (SecretMatch::Unreadable | SecretMatch::Unpublishable, Some(known)) => {
                Some(self.restore(known))
            }
            (SecretMatch::Unreadable | SecretMatch::Unpublishable, None) => {
                self.repair_without_read_back(number)
            }
            (SecretMatch::Other, Some(known)) => {
                // Another party changed the secret, and Auth0 may still accept the known one.
                self.follow_or_hold_drift().or_else(|| Some(self.restore(known)))
            }
            (SecretMatch::Other, None) => {
                self.clear_pending_drift();
                Some(self.restore(NumberedValue::new(number, ValueSource::Auth0)))
            }
            (SecretMatch::Current | SecretMatch::Fallback, Some(known)) => {
                // If Auth0 has the previous value, both stay, and the probes decide.
                let other = self.known_match(secret).filter(|found| *found != known);
                Some(match other {
                    Some(other) if other.number < known.number => {
                        publish(Purpose::Repair, known, Some(other)).into()
                    }
                    _ => self.restore(known),
                })
            }
            (SecretMatch::Current, None) => {
                Some(self.restore(NumberedValue::new(number, ValueSource::Current)))
            }
            (SecretMatch::Fallback, None) => {
                Some(self.restore(NumberedValue::new(number, ValueSource::Fallback)))
            }
        }
    }

    /// Repairs a target Secret while the next value may not be the current one yet.
    fn repair_in_progress(&mut self, rotation: &Rotation, secret: SecretMatch) -> Option<NextStep> {
        let is_activating = rotation.phase == Phase::Activating;
        if is_activating && rotation.cause == Cause::Drift {
            return None;
        }
        let current = self.known_value(self.current_number());
        let next = self.known_value(rotation.number);
        if secret == SecretMatch::Unreadable {
            return self.repair_in_progress_unread(rotation, current, next);
        }
        let may_be_sent = rotation.attempts > 0;
        if let Some(found) = self.known_match(secret) {
            return Some(self.restore_known(rotation, found, current, next));
        }
        let read = match secret {
            SecretMatch::Current => ValueSource::Current,
            SecretMatch::Fallback => ValueSource::Fallback,
            _ => ValueSource::Auth0,
        };
        let read = NumberedValue::new(self.current_number(), read);
        match (current, next) {
            // Auth0 has the lost next value.
            (Some(_), None) if may_be_sent => Some(self.publish_lost_next(rotation)),
            (Some(_), _) if !may_be_sent && rotation.phase == Phase::Staging => self
                .follow_or_hold_drift()
                .or_else(|| Some(self.restore_pair(rotation, read, next))),
            (_, Some(_)) => Some(self.restore_pair(rotation, read, next)),
            (None, None) if is_activating => None,
            // A request in flight may still change the secret.
            (None, None) if may_be_sent => match self.read_settled_client(rotation) {
                Err(next) => Some(next),
                Ok(_) => Some(self.restore_pair(rotation, read, None)),
            },
            (_, None) => Some(self.restore_pair(rotation, read, None)),
        }
    }

    /// Restores the pair of a rotation in progress if Auth0 has a known value.
    fn restore_known(
        &mut self,
        rotation: &Rotation,
        found: NumberedValue,
        current: Option<NumberedValue>,
        next: Option<NumberedValue>,
    ) -> NextStep {
        if found.number != rotation.number {
            let found = NumberedValue::new(self.current_number(), found.value);
            return self.restore_pair(rotation, found, next);
        }
        self.resume_withdrawn();
        publish(Purpose::Repair, found, current).into()
    }

    /// Restores the current value, with the next one as its fallback if that is known. Otherwise the
    /// next value is replaced, once no request with it can be in flight.
    fn restore_pair(
        &mut self,
        rotation: &Rotation,
        current: NumberedValue,
        next: Option<NumberedValue>,
    ) -> NextStep {
        if next.is_none() && rotation.phase == Phase::Staging {
            self.update_rotation(|rotation| {
                rotation.phase =
                    if rotation.attempts > 0 { Phase::Activating } else { Phase::Started };
                rotation.staged_at = None;
            });
        }
        publish(self.repair_purpose(), current, next).into()
    }

    /// Publishes the value that Auth0 has as the next one, which the target Secret has lost.
    fn publish_lost_next(&mut self, rotation: &Rotation) -> NextStep {
        self.resume_withdrawn();
        self.publish_read_back(rotation)
    }

    /// Continues with a value that was to be withdrawn and that Auth0 has.
    pub(super) fn resume_withdrawn(&mut self) {
        self.update_rotation(|rotation| {
            if rotation.phase == Phase::Withdrawing {
                rotation.phase = Phase::Activating;
                rotation.withdrawn_as = None;
                rotation.message = None;
            }
        });
    }

    /// Repairs the target Secret of a rotation in progress if Auth0 does not return the secret.
    fn repair_in_progress_unread(
        &mut self,
        rotation: &Rotation,
        current: Option<NumberedValue>,
        next: Option<NumberedValue>,
    ) -> Option<NextStep> {
        let is_withdrawn = rotation.phase == Phase::Withdrawing;
        match (current, next) {
            (Some(current), Some(next)) if next.value == ValueSource::Current => {
                Some(publish(Purpose::Repair, next, Some(current)).into())
            }
            (Some(current), next) => Some(self.restore_pair(rotation, current, next)),
            // The current value is lost, so only the next one can help.
            (None, Some(next)) if !is_withdrawn => {
                self.update_rotation(|rotation| rotation.skip_staging = true);
                Some(publish(Purpose::Repair, next, None).into())
            }
            (None, None) if rotation.phase == Phase::Activating => None,
            (None, None) if rotation.phase == Phase::Staging && rotation.attempts == 0 => {
                self.update_rotation(|rotation| {
                    rotation.phase = Phase::Started;
                    rotation.skip_staging = true;
                });
                Some(Step::StoreStatus.into())
            }
            (None, _) => self.repair_without_read_back(self.current_number()),
        }
    }

    /// Restores a value as the current one, with the previous one if that may still be needed.
    fn restore(&mut self, current: NumberedValue) -> NextStep {
        let previous = self.kept_previous(current);
        publish(self.repair_purpose(), current, previous).into()
    }

    /// Restores what Auth0 has as the current value of a rotation whose outcome is settled.
    pub(super) fn restore_settled(&mut self, value: ValueSource) -> NextStep {
        let current = NumberedValue::new(self.current_number(), value);
        publish(self.repair_purpose(), current, None).into()
    }

    /// Returns the number of the value that is current before the rotation in progress.
    fn current_number(&self) -> u64 {
        let in_target = match &self.observed.target {
            Target::Owned(target) => target.current,
            Target::Absent | Target::Unknown | Target::Rejected(_) => None,
        };
        let next = self.status.rotation.as_ref().map(|rotation| rotation.number);
        self.status.current.or(in_target.filter(|_| in_target != next)).unwrap_or(1)
    }

    /// Returns the end of the propagation window in which a new value was published, until it is over.
    fn open_window_end(&self) -> Option<DateTime<Utc>> {
        let rotation = self.status.rotation.as_ref().filter(|found| is_published(found.phase))?;
        Some(self.window_end(rotation)).filter(|end| self.now < *end)
    }

    fn repair_purpose(&self) -> Purpose {
        let is_numbered =
            matches!(&self.observed.target, Target::Owned(target) if target.current.is_some());
        if self.status.current.is_none() && !is_numbered {
            Purpose::Import
        } else {
            Purpose::Repair
        }
    }

    /// Keeps the value that the target Secret still has if Auth0 accepts it. The Management API
    /// does not return the client's secret.
    fn repair_without_read_back(&mut self, number: u64) -> Option<NextStep> {
        let has_current =
            matches!(&self.observed.target, Target::Owned(target) if target.has_current);
        if has_current && let Some(window_end) = self.open_window_end() {
            // Auth0 may still accept the value that it has replaced.
            self.is_unpublished = true;
            return Some(NextStep::wait_until(window_end));
        }
        if has_current {
            match self.probe_current() {
                Err(next) => return Some(next),
                Ok(Some(true)) => {
                    return Some(self.restore(NumberedValue::new(number, ValueSource::Current)));
                }
                Ok(None | Some(false)) => {}
            }
        }
        let phase = self.status.rotation.as_ref().map(|rotation| rotation.phase);
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

/// Returns whether the value of a rotation in this phase is the current one.
fn is_published(phase: Phase) -> bool {
    matches!(phase, Phase::Confirming | Phase::Grace)
}

/// Returns why a secret at Auth0 is not published.
pub(super) fn unpublishable() -> Rejection {
    Rejection::new(
        Reason::SecretUnpublishable,
        "the client's secret at Auth0 cannot be published, because it has control characters, is \
         longer than 4096 bytes, or is no text, so applications can't log in with the published values. \
         Replace the secret with the annotation auth0-rotator.dev/request: rotate/<any text>",
    )
}
