//! The machine: one function from what is known to what to do next.
//!
//! # Architecture invariants
//!
//! - A step that changes something at Auth0 comes with a status that says so. The caller stores
//!   it first, by compare-and-swap; if that fails the step is not taken.
//! - Every step can be repeated after a crash, given the stored status and the target Secret. The
//!   one that can't, [`Step::RotateSecret`], is asked for only out of [`Phase::Started`], or after
//!   a read-back that a whole propagation window separates from the last attempt.
//! - What is missing never causes a rotation: causes are a due time that was stored, a request,
//!   and `initial: Rotate` of a resource that was never marked as initialized.
//! - A previous value is dropped on purpose only by [`Phase::Grace`], on Auth0's word.
//!
//! # After a crash
//!
//! | stored phase | what may have happened | what is done |
//! | --- | --- | --- |
//! | `Started` | nothing at Auth0 | go on |
//! | `Staging` | the pair is published | wait for the rest |
//! | `Activating`, by `rotate-secret` | Auth0 may have a new value | read it back, now and after the propagation window; publish it if it changed, call again if not; if it can't be read, stage a value of our own and set it |
//! | `Activating`, by `PATCH` | Auth0 may have the value | set the same value again |
//! | `Confirming` | the new value is published | ask again |
//! | `Grace` | the previous value may be gone | remove it again |
//! | `Withdrawing` | the next value may be gone | remove it again |

mod activate;
mod conclude;
mod consumers;
mod finish;
mod idle;
mod requests;
mod settle;

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    decision::{Decision, Purpose, Step, ValueSource, publish},
    observation::{ClientObservation, Observation, OwnedTarget, SecretMatch, Target},
    policy::Policy,
    reason::Reason,
    status::{Cause, Phase, Rotation, Status},
    trouble::{Failure, Rejection},
    window::first_open,
};

/// How long to leave a person's mistake alone that nothing here can see being mended.
const RECHECK: TimeDelta = TimeDelta::minutes(10);

/// How far the clocks of two replicas may be apart.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);

/// What to do next.
pub fn decide(seen: &Observation, now: DateTime<Utc>, policy: &Policy) -> Decision {
    let mut pass = Pass::new(seen, now, policy);
    let next = pass.next();
    pass.conclude(next)
}

/// What becomes of the record when `step`, or the way to it, has failed. The caller stores the
/// status, and comes again when the class of the trouble says.
pub fn fail(
    seen: &Observation,
    step: Option<&Step>,
    trouble: &Failure,
    now: DateTime<Utc>,
    policy: &Policy,
) -> Status {
    let mut pass = Pass::new(seen, now, policy);
    if trouble.unchanged && step == Some(&Step::RotateSecret) {
        pass.activation_did_not_happen();
    }
    if trouble.reason == Reason::ValueRejected && matches!(step, Some(Step::SetSecret(_))) {
        pass.value_was_refused(trouble);
    }
    pass.conclude_failed(trouble)
}

/// One decision in the making.
struct Pass<'a> {
    seen: &'a Observation,
    policy: &'a Policy,
    now: DateTime<Utc>,
    /// The status as it will be.
    status: Status,
    /// Why nothing more will happen without a person, if so.
    stalled: Option<Rejection>,
    /// Auth0 refuses the published secret although the propagation window is over.
    unconfirmed: bool,
    /// There is nothing good in the target Secret, and nothing to put there.
    unpublished: bool,
}

/// A step, and when to look again if it is to rest.
struct Next {
    step: Step,
    wake: Option<DateTime<Utc>>,
}

impl From<Step> for Next {
    fn from(step: Step) -> Next {
        Next { step, wake: None }
    }
}

impl Next {
    fn rest_until(wake: DateTime<Utc>) -> Next {
        Next { step: Step::Wait, wake: Some(wake) }
    }
}

impl<'a> Pass<'a> {
    fn new(seen: &'a Observation, now: DateTime<Utc>, policy: &'a Policy) -> Pass<'a> {
        let mut status = seen.status.clone();
        let respecified = status.observed_generation != Some(seen.generation);
        status.observed_generation = Some(seen.generation);
        if seen.status.observed_generation.is_none() {
            // The record begins here, or was lost: a request that stands already may be an old one.
            status.last_handled_request = seen.request.as_ref().map(|request| request.text.clone());
        }
        let mut pass = Pass {
            seen,
            policy,
            now,
            status,
            stalled: None,
            unconfirmed: false,
            unpublished: false,
        };
        pass.plan(respecified);
        pass.distrust_the_future();
        pass
    }

    /// Keeps the next due time. One that has come already is kept: it is a cause.
    fn plan(&mut self, respecified: bool) {
        if self.policy.refusal.is_some() {
            // What was planned stands until it is clear what is wanted.
            return;
        }
        if self.policy.schedule.is_none() {
            self.status.next_rotation_time = None;
            return;
        }
        let last = self.last_rotation();
        let planned = self.policy.next_start(self.now, last);
        let next = self.status.next_rotation_time;
        let due = next.is_some_and(|due| due <= self.now);
        // One that is later than it can be was planned by a clock that was ahead.
        let too_late = planned.is_some_and(|planned| next.is_some_and(|next| next > planned));
        if next.is_none() || too_late || (respecified && !due) {
            self.status.next_rotation_time = planned;
        } else if due && self.status.rotation.is_none() {
            // A due time that has come outside of all windows waits for the next one.
            let open = first_open(&self.policy.windows, self.now);
            if open != Some(self.now) {
                self.status.next_rotation_time = open.or(next);
            }
        }
    }

    /// What an interval is counted from: the last change, or the start of a rotation that has not
    /// come to one. What was withdrawn has used up its due time as well.
    fn last_rotation(&self) -> Option<DateTime<Utc>> {
        let Status { last_rotation_time, rotation, history, .. } = &self.status;
        let running = rotation.as_ref().map(|rotation| rotation.started_at);
        let ended = history.first().map(|entry| entry.started_at);
        let last = [*last_rotation_time, running, ended].into_iter().flatten().max();
        last.map(|last| last.min(self.now))
    }

    /// Takes back times of the rotation in progress that a clock which was ahead has stored: what
    /// counts from them would never be over.
    fn distrust_the_future(&mut self) {
        let now = self.now;
        self.rotation_mut(|rotation| {
            let times =
                [&mut rotation.staged_at, &mut rotation.activating_at, &mut rotation.activated_at];
            for at in times.into_iter().flatten().filter(|at| **at > now + CLOCK_SKEW) {
                *at = now;
            }
        });
    }

    /// The order in which things matter: what must not be lost, what is broken, what is under
    /// way, what is due.
    fn next(&mut self) -> Next {
        if self.seen.is_deleting {
            return self.let_go();
        }
        match &self.seen.target {
            Target::Rejected(refusal) => self.stall(refusal.clone()),
            _ if self.seen.has_unpublished_response => self.publish_answer(),
            Target::Owned(held) if self.is_sound(held) => {
                if let Some(next) = self.follow_numbers(held) {
                    return next;
                }
                if !held.in_sync {
                    return self.keep(held, Purpose::Render).into();
                }
                self.go_on()
            }
            _ => self.repair().unwrap_or_else(|| self.go_on()),
        }
    }

    fn go_on(&mut self) -> Next {
        if let Some(next) = self.withdraw_forbidden() {
            return next;
        }
        if let Some(next) = self.look_for_drift().or_else(|| self.heed_request()) {
            return next;
        }
        match self.status.rotation.clone() {
            Some(rotation) => match rotation.phase {
                Phase::Started => self.started(&rotation),
                Phase::Staging => self.staging(&rotation),
                Phase::Activating => self.activating(&rotation),
                Phase::Confirming => self.confirming(&rotation),
                Phase::Grace => self.grace(&rotation),
                Phase::Withdrawing => self.withdrawing(&rotation),
            },
            None => self.idle(),
        }
    }

    /// The target Secret as far as it can be relied on.
    fn held(&self) -> Option<&'a OwnedTarget> {
        match &self.seen.target {
            Target::Owned(held) if self.is_sound(held) => Some(held),
            _ => None,
        }
    }

    /// Values and numbers are as we wrote them, and not older than what the status remembers.
    fn is_sound(&self, held: &OwnedTarget) -> bool {
        !held.tampered && held.current.is_some_and(|number| Some(number) >= self.status.current)
    }

    /// What Auth0 says of the client's secret; `Err` is what to do instead of going on.
    fn read(&mut self) -> Result<SecretMatch, Next> {
        match &self.seen.client {
            ClientObservation::NotRead => Err(Step::ReadClient.into()),
            ClientObservation::Rejected(refusal) => Err(self.stall(refusal.clone())),
            ClientObservation::Found(seen) => Ok(*seen),
        }
    }

    /// What Auth0 said of the client may have changed since, by a call that was under way until `time`.
    fn read_before(&self, time: DateTime<Utc>) -> bool {
        self.seen.client_read_at.is_none_or(|read_at| read_at < time)
    }

    fn stall(&mut self, refusal: Rejection) -> Next {
        self.stalled = Some(refusal);
        Next::rest_until(self.now + RECHECK)
    }

    /// The same values once more, for the purpose given.
    fn keep(&self, held: &OwnedTarget, purpose: Purpose) -> Step {
        publish(
            purpose,
            (held.current.unwrap_or(1), ValueSource::Current),
            held.fallback.map(|number| (number, ValueSource::Fallback)),
        )
    }

    /// A number that no secret has had, as far as anyone knows.
    fn fresh_number(&self) -> u64 {
        let in_target = match &self.seen.target {
            Target::Owned(held) => held.current.max(held.fallback).unwrap_or(0),
            _ => 0,
        };
        self.status.highest_number().max(in_target).saturating_add(1)
    }

    /// Opens the record of a secret that is published already.
    fn open_published(&mut self, number: u64, cause: Cause, message: &str) {
        let mut rotation = Rotation::start(number, cause, self.policy.terms.strategy, self.now);
        rotation.message = Some(message.to_owned());
        self.status.rotation = Some(rotation);
        self.enter_confirming();
    }

    fn rotation_mut(&mut self, change: impl FnOnce(&mut Rotation)) {
        if let Some(rotation) = &mut self.status.rotation {
            change(rotation);
        }
    }

    fn window(&self) -> TimeDelta {
        self.policy.terms.propagation_window.to_delta()
    }
}
