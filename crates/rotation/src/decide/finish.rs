//! From the published secret to the end of the rotation: confirm, keep, retire.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Next, Pass};
use crate::{
    decision::{Purpose, Step, ValueSource, publish},
    observation::SecretMatch,
    request::Verb,
    schedule::Schedule,
    status::{Cause, Outcome, Phase, Rotation, Strategy},
};

impl Pass<'_> {
    /// The new secret is published as the current one.
    pub(super) fn enter_confirming(&mut self) {
        let now = self.now;
        self.status.last_rotation_time = Some(now);
        if let Some(rotation) = &mut self.status.rotation {
            rotation.phase = Phase::Confirming;
            rotation.activated_at = Some(now);
            if self.status.current != Some(rotation.number) {
                self.status.previous = self.status.current.replace(rotation.number);
            }
        }
        self.replan_interval();
    }

    /// An interval is counted from the last change.
    pub(super) fn replan_interval(&mut self) {
        if self.policy.schedule.as_ref().is_some_and(Schedule::is_interval) {
            let last = self.status.last_rotation_time;
            self.status.next_rotation_time = self.policy.next_start(self.now, last);
        }
    }

    /// Auth0 has to be seen to accept the new secret.
    pub(super) fn confirming(&mut self, rotation: &Rotation) -> Next {
        if self.seen.has_finalizer {
            return Step::RemoveFinalizer.into();
        }
        if rotation.strategy == Strategy::Rotate
            && let Some(next) = self.restart_consumers(rotation)
        {
            return next;
        }
        match self.seen.accepted {
            Some(true) => {
                let now = self.now;
                let retire_at = self.retire_time(rotation);
                self.rotation_mut(|rotation| {
                    rotation.phase = Phase::Grace;
                    rotation.confirmed_at.get_or_insert(now);
                    rotation.retire_at = Some(retire_at);
                });
                Step::StoreStatus.into()
            }
            Some(false) => self.refused(rotation),
            None => {
                let ask_at = self.next_question(rotation);
                self.unconfirmed =
                    self.seen.rejected_at.is_some_and(|at| at >= self.window_end(rotation));
                self.ask_from(ask_at)
            }
        }
    }

    fn ask_from(&self, ask_at: DateTime<Utc>) -> Next {
        if self.now >= ask_at { Step::ProbeSecret.into() } else { Next::rest_until(ask_at) }
    }

    /// Auth0 refuses the new secret. Within the propagation window that is to be expected; past
    /// it someone may have set another one.
    fn refused(&mut self, rotation: &Rotation) -> Next {
        // Whoever was stopped since it asked must not take an old answer for one of now.
        let rejected_at = self.seen.rejected_at.unwrap_or(self.now);
        if rejected_at < self.window_end(rotation) {
            return self.ask_from(self.question_after(rotation, rejected_at));
        }
        match self.read() {
            Err(next) => next,
            // Another value, or the one before it, which someone has set again.
            Ok(SecretMatch::Other | SecretMatch::Fallback) => self.follow_drift(),
            // What Auth0 has it will accept sooner or later, and until then the previous secret is
            // all that consumers have: only a secret that is compromised is replaced before.
            Ok(seen) if self.may_start() && self.may_replace_unconfirmed(seen) => {
                self.status.end_rotation(Outcome::Superseded, self.now);
                self.start(Cause::Request)
            }
            Ok(_) => {
                self.unconfirmed = true;
                Next::rest_until(self.question_after(rotation, self.now))
            }
        }
    }

    fn may_replace_unconfirmed(&self, seen: SecretMatch) -> bool {
        match self.pending() {
            Some(Verb::Revoke) => true,
            Some(Verb::Rotate) => seen == SecretMatch::Unreadable,
            _ => false,
        }
    }

    /// The previous secret stays until its time is over; then Auth0 is asked once more.
    pub(super) fn grace(&mut self, rotation: &Rotation) -> Next {
        if self.seen.has_finalizer {
            return Step::RemoveFinalizer.into();
        }
        let Some(held) = self.held() else { return Step::Wait.into() };
        if held.fallback.is_none() {
            self.status.previous = None;
            self.status.end_rotation(Outcome::Completed, self.now);
            return Step::StoreStatus.into();
        }
        let retire_at = self.retire_time(rotation);
        self.rotation_mut(|rotation| rotation.retire_at = Some(retire_at));
        if self.now < retire_at {
            return Next::rest_until(retire_at);
        }
        match self.seen.accepted {
            None => Step::ProbeSecret.into(),
            Some(true) => {
                publish(Purpose::Retire, (rotation.number, ValueSource::Current), None).into()
            }
            Some(false) => {
                self.rotation_mut(|rotation| rotation.phase = Phase::Confirming);
                self.refused(rotation)
            }
        }
    }

    /// The grace period is what the spec says now, and never shorter than the propagation window. A
    /// secret that is compromised has none.
    fn retire_time(&self, rotation: &Rotation) -> DateTime<Utc> {
        if rotation.skip_grace {
            return rotation.confirmed_at.unwrap_or(self.now);
        }
        let grace = self.policy.terms.grace_period.to_delta().max(self.window());
        rotation.activated_at.unwrap_or(self.now) + grace
    }

    fn window_end(&self, rotation: &Rotation) -> DateTime<Utc> {
        rotation.activated_at.unwrap_or(self.now) + self.window()
    }

    fn next_question(&self, rotation: &Rotation) -> DateTime<Utc> {
        let activated_at = rotation.activated_at.unwrap_or(self.now);
        match self.seen.rejected_at.filter(|at| *at >= activated_at) {
            None => self.now,
            Some(rejected_at) => self.question_after(rotation, rejected_at),
        }
    }

    /// A refused question leaves an entry in the tenant's log: the time between questions doubles,
    /// from a fifteenth of the propagation window to ten windows.
    fn question_after(&self, rotation: &Rotation, rejected_at: DateTime<Utc>) -> DateTime<Utc> {
        let waited = rejected_at - rotation.activated_at.unwrap_or(rejected_at);
        let shortest = (self.window() / 15).max(TimeDelta::milliseconds(10));
        rejected_at + waited.clamp(shortest, shortest.max(self.window() * 10))
    }
}
