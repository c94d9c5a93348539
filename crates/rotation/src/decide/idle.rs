//! No rotation is in progress: whether to start one.

use super::{Next, Pass};
use crate::{
    decision::Step,
    observation::SecretSeen,
    request::Verb,
    status::{Cause, Rotation},
    trouble::Refusal,
};

impl Pass<'_> {
    pub(super) fn idle(&mut self) -> Next {
        if self.seen.held {
            return Step::Release.into();
        }
        if let Some(refusal) = self.policy.refusal.clone() {
            return self.stall(refusal);
        }
        let due = self.status.next_rotation_time.is_some_and(|due| due <= self.now);
        let cause = if self.request_to_rotate() {
            Some(Cause::Request)
        } else {
            due.then_some(Cause::Schedule)
        };
        match cause.filter(|_| !self.policy.terms.suspend) {
            Some(cause) => self.prepare(cause),
            None => {
                // A slip in a request is shown, and stops nothing else.
                self.stalled = self.request_refusal();
                let wake = self.status.next_rotation_time.filter(|_| !self.policy.terms.suspend);
                Next { step: Step::Rest, wake }
            }
        }
    }

    /// A cause is there. The client is read before it is spent, so that a client that can't be
    /// rotated, or one that someone else has just rotated, doesn't use it up.
    fn prepare(&mut self, cause: Cause) -> Next {
        match self.read() {
            Err(next) => next,
            Ok(SecretSeen::Other) => self.follow_drift(),
            Ok(_) => self.start(cause),
        }
    }

    /// Records the rotation. With this the cause is spent.
    pub(super) fn start(&mut self, cause: Cause) -> Next {
        // Number 1 is the secret that the client has before its first rotation.
        let number = self.fresh_number().max(2);
        let strategy = self.policy.terms.strategy;
        self.status.rotation = Some(Rotation::start(number, cause, strategy, self.now));
        match cause {
            Cause::Request => {
                self.status.last_handled_request =
                    self.seen.request.as_ref().map(|request| request.text.clone());
            }
            Cause::Schedule => {
                self.status.next_rotation_time =
                    self.policy.schedule.as_ref().and_then(|schedule| {
                        schedule.next(self.now, Some(self.now), &self.policy.terms.seed)
                    });
            }
            Cause::Initial | Cause::Drift | Cause::Recovery => {}
        }
        Step::Record.into()
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

    /// There is a request that hasn't been acted upon, and it asks for a rotation.
    pub(super) fn request_to_rotate(&self) -> bool {
        self.seen.request.as_ref().is_some_and(|request| {
            request.verb == Ok(Verb::Rotate)
                && self.status.last_handled_request.as_deref() != Some(request.text.as_str())
        })
    }

    fn request_refusal(&self) -> Option<Refusal> {
        let request = self.seen.request.as_ref()?;
        let error = request.verb.as_ref().err()?;
        Some(Refusal::new(
            "RequestNotUnderstood",
            format!("annotation auth0-rotator.dev/request: {error}"),
        ))
    }
}
