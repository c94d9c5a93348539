//! No rotation is in progress: whether to start one.

use super::{Next, Pass};
use crate::{
    decision::Step,
    observation::SecretMatch,
    reason::Reason,
    request::Verb,
    status::{Cause, Rotation},
    trouble::Rejection,
};

impl Pass<'_> {
    pub(super) fn idle(&mut self) -> Next {
        if self.seen.has_finalizer {
            return Step::RemoveFinalizer.into();
        }
        if let Some(refusal) = self.policy.refusal.clone() {
            return self.stall(refusal);
        }
        let due = self.status.next_rotation_time.is_some_and(|due| due <= self.now);
        let cause = match self.pending() {
            Some(Verb::Rotate | Verb::Revoke) => Some(Cause::Request),
            _ => due.then_some(Cause::Schedule),
        };
        match cause.filter(|_| !self.policy.terms.suspend) {
            Some(cause) => self.prepare(cause),
            None => {
                // A slip in a request is shown, and stops nothing else.
                self.stalled = self.request_rejection();
                let wake = self.status.next_rotation_time.filter(|_| !self.policy.terms.suspend);
                Next { step: Step::Wait, wake }
            }
        }
    }

    /// A cause is there. The client is read before it is spent, so that a client that can't be
    /// rotated, or one that someone else has just rotated, doesn't use it up.
    fn prepare(&mut self, cause: Cause) -> Next {
        match self.read() {
            Err(next) => next,
            Ok(SecretMatch::Other) => self.follow_drift(),
            Ok(_) => self.start(cause),
        }
    }

    /// Records the rotation. With this the cause is spent.
    pub(super) fn start(&mut self, cause: Cause) -> Next {
        // Number 1 is the secret that the client has before its first rotation.
        let number = self.fresh_number().max(2);
        let mut rotation = Rotation::start(number, cause, self.policy.terms.strategy, self.now);
        match cause {
            Cause::Request => {
                let urgent = self.pending() == Some(Verb::Revoke);
                (rotation.skip_staging, rotation.skip_grace) = (urgent, urgent);
                self.handled(None);
            }
            Cause::Schedule => {
                self.status.next_rotation_time = self.policy.next_start(self.now, Some(self.now));
            }
            Cause::Initial | Cause::Drift | Cause::Recovery => {}
        }
        self.status.rotation = Some(rotation);
        Step::StoreStatus.into()
    }

    /// `initial: Rotate`, and nothing says that this resource is not new.
    pub(super) fn initial_rotation_is_wanted(&self) -> bool {
        self.policy.terms.rotate_initially
            && self.may_start()
            && !self.seen.initialized
            && self.status.current.is_none()
            && self.status.history.is_empty()
    }

    /// Nothing in the spec is against starting a rotation.
    pub(super) fn may_start(&self) -> bool {
        !self.policy.terms.suspend && self.policy.refusal.is_none()
    }

    fn request_rejection(&self) -> Option<Rejection> {
        let request = self.seen.request.as_ref()?;
        let error = request.verb.as_ref().err()?;
        Some(Rejection::new(
            Reason::InvalidRequest,
            format!("annotation auth0-rotator.dev/request: {error}"),
        ))
    }
}
