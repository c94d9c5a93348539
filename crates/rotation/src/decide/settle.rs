//! Putting record and target Secret in step: import, repair, what others changed, deletion.

use super::{Next, Pass};
use crate::{
    decision::{Purpose, Step, ValueSource, publish},
    observation::{ClientObservation, OwnedTarget, SecretMatch, Target},
    reason::Reason,
    status::{Cause, Outcome, Phase, Rotation, Strategy},
    trouble::Rejection,
};

impl Pass<'_> {
    /// The target Secret is sound. When its numbers are ahead of the record, the record follows.
    pub(super) fn follow_numbers(&mut self, held: &OwnedTarget) -> Option<Next> {
        let current = held.current?;
        let running = self.status.rotation.as_ref().map(|rotation| rotation.number);
        if running.is_some_and(|number| current > number) {
            self.status.end_rotation(Outcome::Superseded, self.now);
            return Some(self.adopt_newer(current));
        }
        if running.is_some() {
            return None;
        }
        match self.status.current {
            None => self.adopt_unrecorded(held, current),
            Some(recorded) if current > recorded => Some(self.adopt_newer(current)),
            Some(_) => self.adopt_fallback(held, current),
        }
    }

    /// The record is older than the target Secret: it was restored from a backup. Its due time may
    /// have been used up, so that the next one is counted from now.
    fn adopt_newer(&mut self, number: u64) -> Next {
        self.distrust_request();
        self.status.next_rotation_time = self.policy.next_start(self.now, Some(self.now));
        self.open_published(
            number,
            Cause::Recovery,
            "the record was older than the target Secret; it was brought up to date",
        );
        Step::StoreStatus.into()
    }

    /// The request that stands may be the one that led to what the record doesn't know.
    fn distrust_request(&mut self) {
        if self.pending().is_some() {
            self.handled(Some(
                "the record of this resource was lost or restored, and this request may have been \
                 carried out before: if it was not, make it again with another text",
            ));
        }
    }

    /// There is no record, but there are values: a fresh import, or a status that was lost.
    fn adopt_unrecorded(&mut self, held: &OwnedTarget, current: u64) -> Option<Next> {
        match self.read() {
            Err(next) => return Some(next),
            Ok(SecretMatch::Other) => {
                self.status.current = Some(current);
                return Some(self.follow_drift());
            }
            Ok(SecretMatch::Current | SecretMatch::Fallback) => {}
            Ok(SecretMatch::Unreadable) => match self.seen.accepted {
                None => return Some(Step::ProbeSecret.into()),
                Some(true) => {}
                Some(false) => {
                    self.status.current = Some(current);
                    self.open_published(
                        current,
                        Cause::Recovery,
                        "the record was lost, and Auth0 did not accept the published secret then",
                    );
                    return Some(Step::StoreStatus.into());
                }
            },
        }
        self.status.current = Some(current);
        self.status.last_rotation_time = Some(self.now);
        self.replan_interval();
        self.adopt_fallback(held, current).or(Some(Step::StoreStatus.into()))
    }

    /// A fallback that no rotation in progress accounts for: its record was lost.
    fn adopt_fallback(&mut self, held: &OwnedTarget, current: u64) -> Option<Next> {
        let fallback = held.fallback?;
        if fallback < current {
            self.status.previous = Some(fallback);
            self.open_published(
                current,
                Cause::Recovery,
                "the record of this rotation was lost; its grace period started anew",
            );
        } else {
            // Published as the next one, and perhaps set at Auth0: setting it again is safe, taking
            // it back is not.
            self.distrust_request();
            let mut rotation =
                Rotation::start(fallback, Cause::Recovery, Strategy::Staged, self.now);
            rotation.attempts = 1;
            rotation.phase = Phase::Staging;
            rotation.staged_at = Some(self.now);
            rotation.message =
                Some("the record of this rotation was lost; it was gone on with".into());
            self.status.rotation = Some(rotation);
        }
        Some(Step::StoreStatus.into())
    }

    /// Auth0 has a value that nobody here was told of: a rotation that someone else activated.
    pub(super) fn follow_drift(&mut self) -> Next {
        let number = self.fresh_number();
        self.status.end_rotation(Outcome::Superseded, self.now);
        let mut rotation = Rotation::start(number, Cause::Drift, Strategy::Rotate, self.now);
        rotation.phase = Phase::Activating;
        rotation.activating_at = Some(self.now);
        rotation.message = Some(
            "the secret was changed at Auth0 by someone else; it was published, with the one before \
             it as its fallback"
                .into(),
        );
        self.status.rotation = Some(rotation);
        Step::StoreStatus.into()
    }

    /// The target Secret is missing, was edited, or is older than the record: put it right from
    /// Auth0. `None` when the rotation in progress does that by itself.
    pub(super) fn repair(&mut self) -> Option<Next> {
        let phase = self.status.rotation.as_ref().map(|rotation| rotation.phase);
        if phase == Some(Phase::Activating) {
            return None;
        }
        if phase.is_none() && self.initial_rotation_is_wanted() {
            return Some(self.start(Cause::Initial));
        }
        let seen = match self.read() {
            Err(next) => return Some(next),
            Ok(seen) => seen,
        };
        match seen {
            SecretMatch::Unreadable => self.repair_unread(phase),
            SecretMatch::Current => Some(self.restore(ValueSource::Current)),
            SecretMatch::Fallback => Some(self.restore(ValueSource::Fallback)),
            SecretMatch::Other => Some(self.restore(ValueSource::Auth0)),
        }
    }

    fn restore(&mut self, value: ValueSource) -> Next {
        let published =
            |rotation: &&Rotation| matches!(rotation.phase, Phase::Confirming | Phase::Grace);
        let held = match &self.seen.target {
            Target::Owned(held) => held.current,
            _ => None,
        };
        let number = match self.status.rotation.as_ref().filter(published) {
            Some(rotation) => rotation.number,
            None => self.status.current.or(held).unwrap_or(1),
        };
        let first = self.status.current.is_none() && held.is_none();
        let purpose = if first { Purpose::Import } else { Purpose::Repair };
        // A next value that was staged can't be relied on any more: it is staged anew.
        self.rotation_mut(|rotation| {
            if matches!(rotation.phase, Phase::Staging | Phase::Withdrawing)
                && rotation.withdrawn_as.is_none()
            {
                rotation.phase = Phase::Started;
                rotation.staged_at = None;
            }
        });
        publish(purpose, (number, value), None).into()
    }

    /// The Management API doesn't tell the secret. What the target Secret still has may do.
    fn repair_unread(&mut self, phase: Option<Phase>) -> Option<Next> {
        let has_current = matches!(&self.seen.target, Target::Owned(held) if held.has_current);
        match self.seen.accepted {
            None if has_current => return Some(Step::ProbeSecret.into()),
            Some(true) => return Some(self.restore(ValueSource::Current)),
            _ => {}
        }
        if phase == Some(Phase::Started) {
            return None;
        }
        if self.wants_another() && self.may_start() {
            self.status.end_rotation(Outcome::Superseded, self.now);
            return Some(self.start(Cause::Request));
        }
        let what = if self.status.current.is_none() && !has_current {
            "there is no secret to publish: Auth0 does not show the client's secret"
        } else {
            "the target Secret was deleted or edited, and Auth0 does not show the client's secret"
        };
        self.unpublished = true;
        Some(self.stall(Rejection::new(
            Reason::SecretUnreadable,
            format!(
                "{what}; grant the tenant's management client the scope read:client_keys, or replace \
                 the secret by annotating this resource with auth0-rotator.dev/request: rotate/<any text>"
            ),
        )))
    }

    /// The resource is being deleted. Only an outcome of `rotate-secret` that isn't known yet is
    /// worth holding it for, and not for ever: Auth0 may be gone for good.
    pub(super) fn let_go(&mut self) -> Next {
        if !self.seen.has_finalizer {
            return Step::Wait.into();
        }
        let Some(rotation) = self.status.rotation.clone() else {
            return Step::RemoveFinalizer.into();
        };
        let outcome_open = rotation.phase == Phase::Activating
            && rotation.strategy == Strategy::Rotate
            && self.held().is_none_or(|held| held.current < Some(rotation.number));
        let since = rotation.activating_at.unwrap_or(self.now);
        let may_write = !matches!(self.seen.target, Target::Rejected(_));
        if !outcome_open || !may_write || self.now >= since + self.window() * 10 {
            return Step::RemoveFinalizer.into();
        }
        if self.seen.has_unpublished_response {
            return self.publish_answer();
        }
        match &self.seen.client {
            ClientObservation::NotRead => Step::ReadClient.into(),
            ClientObservation::Found(SecretMatch::Other) => self.publish_read_back(&rotation),
            ClientObservation::Found(SecretMatch::Current) if self.now < since + self.window() => {
                Next::rest_until(since + self.window())
            }
            ClientObservation::Found(SecretMatch::Current)
                if self.read_before(since + self.window()) =>
            {
                Step::ReadClient.into()
            }
            ClientObservation::Found(_) | ClientObservation::Rejected(_) => {
                Step::RemoveFinalizer.into()
            }
        }
    }
}
