//! The state machine: one function from an observation to the next step.
//!
//! # Architecture invariants
//!
//! - A step that changes something at Auth0 comes with a status that records it. The caller stores
//!   the status first, by compare-and-swap, and skips the step if that fails.
//! - Given the stored status and the target Secret, every step can be repeated after a crash. The
//!   exception is [`Step::RotateSecret`]: it follows only [`Phase::Started`], or a read-back that
//!   happened at least one propagation window after the last attempt.
//! - [`Step::RotateSecret`] follows a real write of the target Secret in the same rotation, unless the
//!   target Secret has no reliable values to keep.
//! - Missing state never causes a rotation. The causes are a stored due time, a request, and
//!   `initial: Rotate` of a resource that was never marked as initialized.
//! - Only [`Phase::Grace`] removes a previous value, and only after a probe that a negative control
//!   backs accepted the current one, or after the propagation window and a read (`probe`).
//!
//! # After a crash
//!
//! | stored phase | what may have happened | what the operator does |
//! | --- | --- | --- |
//! | none | the finalizer is added and the target Secret is written for a start that waited | remove the finalizer; the cause starts the rotation again |
//! | `Started` | nothing at Auth0 | continue |
//! | `Staging` | the pair is published | wait for the rest of the staging period |
//! | `Activating`, and the target Secret has the number of the rotation | the new value is published | probe |
//! | `Activating` with `rotate-secret` | Auth0 may have a new value | read it back now and after the propagation window; if it changed, publish it; if not, call again; if it is unreadable, stage a generated value and set it |
//! | `Activating` with `PATCH` | Auth0 may have the value | set the same value again |
//! | `Confirming` | the new value is published | probe again |
//! | `Grace` | the previous value may be removed | remove it again |
//! | `Withdrawing` | the next value may be removed; a request before the rejected one may have set it | prove that Auth0 does not have it, then remove it again |
//!
//! A repair of the target Secret keeps each known value that may still be needed: the previous one until
//! its grace period is over, and the next one. A difference that is not restored yet, because another
//! party keeps making it, does not block rotations and requests.
//!
//! A value that was ever sent is withdrawn only on proof, and no later value is set before a request
//! without a response can no longer take effect ([`Status::unanswered_until`]).

// A rotation from its start to its end.
mod start;

mod activate;
mod confirm;
mod probe;
mod revoked;
mod rollouts;
mod withdraw;

// Problems of consumers that users may have solved.
mod recheck;

// Interference with a rotation.
mod client;
mod contest;
mod drift;
mod finalize;
mod known_values;
mod recover;
mod repair;
mod requests;

pub(crate) use probe::are_probes_proofs;

// The result for users.
mod conditions;
mod ready;

use chrono::{DateTime, TimeDelta, Utc};
pub use rollouts::{RestartLevel, RestartNeed, must_restart};

use crate::{
    clock::Clock,
    decision::{Decision, NumberedValue, Purpose, Step, ValueSource, publish},
    error::{Failure, Rejection},
    observation::{ClientObservation, Observation, OwnedTarget, SecretMatch, Target},
    policy::Policy,
    reason::Reason,
    request::TEXT_LIMIT,
    status::{Cause, Phase, Rotation, Status},
    stored_times::{TimeBounds, TimeField, clamp_future_times, latest_event},
    wall_clocks::MAX_DIFFERENCE,
    window::first_open,
};

/// How often to reconcile a stalled resource. The remedy may be in an object that the operator does
/// not watch.
const RECHECK_INTERVAL: TimeDelta = TimeDelta::minutes(10);

/// Maximum difference between the clocks of two replicas.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);

/// Returns the next step of the operator, and the status to store before it.
pub fn decide(observed: &Observation, clock: impl Into<Clock>, policy: &Policy) -> Decision {
    let mut evaluation = Evaluation::new(observed, clock.into(), policy);
    let next = evaluation.next_step();
    let mut next = evaluation.probe_revoked(next);
    if next.step == Step::Wait
        && let Some(step) = evaluation.recheck()
    {
        next = step.into();
    }
    evaluation.into_decision(next)
}

/// Returns the status to store after `step`, or the reads before it, failed. The class of the
/// failure determines when the caller retries.
pub fn record_failure(
    observed: &Observation,
    step: Option<&Step>,
    failure: &Failure,
    clock: impl Into<Clock>,
    policy: &Policy,
) -> Status {
    let mut evaluation = Evaluation::new(observed, clock.into(), policy);
    let is_change = matches!(step, Some(Step::RotateSecret | Step::SetSecret(_)));
    if failure.not_applied && is_change {
        evaluation.resolve_attempt();
    }
    if failure.not_applied && step == Some(&Step::RotateSecret) {
        evaluation.return_to_started();
    }
    if matches!(failure.reason, Reason::ValueRejected | Reason::ChangeRejected) {
        match step {
            Some(Step::SetSecret(_)) => evaluation.withdraw_rejected_value(failure),
            Some(Step::RotateSecret) => evaluation.end_rejected_rotation(failure),
            _ => {}
        }
        evaluation.report_client(failure.reason, &failure.message);
    }
    evaluation.into_failed_status(failure)
}

/// One evaluation of an observation: the status as it changes on the way to a decision.
struct Evaluation<'a> {
    observed: &'a Observation,
    policy: &'a Policy,
    clock: Clock,
    /// The time, for comparisons with [`Self::started_from`] and [`Self::ending_at`].
    now: DateTime<Utc>,
    /// The time to record: no earlier than the last event of the rotation in progress.
    event_time: DateTime<Utc>,
    /// The status to store.
    status: Status,
    /// Why nothing more happens until a user acts.
    stalled: Option<Rejection>,
    /// Auth0 rejects the published secret although the propagation window is over.
    is_unconfirmed: bool,
    /// The target Secret has no usable value, and the operator has none to publish.
    is_unpublished: bool,
    /// Auth0 has a secret that cannot be published.
    is_unpublishable: bool,
}

/// A step, and when to reconcile again if the step is to wait.
struct NextStep {
    step: Step,
    wake: Option<DateTime<Utc>>,
}

impl From<Step> for NextStep {
    fn from(step: Step) -> Self {
        Self { step, wake: None }
    }
}

impl NextStep {
    fn wait_until(wake: DateTime<Utc>) -> Self {
        Self { step: Step::Wait, wake: Some(wake) }
    }
}

impl<'a> Evaluation<'a> {
    fn new(observed: &'a Observation, clock: Clock, policy: &'a Policy) -> Self {
        let now = clock.now();
        let mut status = observed.status.clone();
        let spec_changed = status.observed_generation != Some(observed.generation);
        status.observed_generation = Some(observed.generation);
        // A version before this one recorded requests of any length, which it never carried out.
        status.last_handled_request.take_if(|request| request.len() > TEXT_LIMIT);
        let mut evaluation = Self {
            observed,
            policy,
            clock,
            now,
            event_time: now,
            status,
            stalled: None,
            is_unconfirmed: false,
            is_unpublished: false,
            is_unpublishable: false,
        };
        evaluation.clamp_future_times();
        evaluation.adopt_control();
        if observed.status.observed_generation.is_none() && observed.has_earlier_record() {
            // The status was lost or not restored.
            evaluation.reject_ambiguous_request();
        }
        evaluation.plan_next_rotation(spec_changed);
        if let Some(rotation) = &mut evaluation.status.rotation {
            evaluation.event_time = latest_event(rotation).unwrap_or(now).max(now);
        }
        evaluation
    }

    /// Maintains the next due time. A due time in the past is kept, because it is a cause.
    fn plan_next_rotation(&mut self, spec_changed: bool) {
        if self.policy.rejection.is_some() {
            // The existing plan stays until the spec is valid again.
            return;
        }
        if self.policy.schedule.is_none() {
            self.status.next_rotation_time = None;
            return;
        }
        let planned = self.policy.next_start(self.now, self.interval_start());
        let Some(next) = self.status.next_rotation_time else {
            self.status.next_rotation_time = planned;
            return;
        };
        let is_due = next <= self.now;
        // A time later than the schedule allows was planned by a clock that was ahead.
        let is_too_late = planned.is_some_and(|planned| next > planned);
        if is_too_late || (spec_changed && !is_due) {
            self.status.next_rotation_time = planned;
        } else if self.is_due(next) && self.status.rotation.is_none() {
            // A rotation that became due outside of all windows waits for the next window.
            let open = first_open(&self.policy.windows, self.now);
            if open != Some(self.now) {
                self.status.next_rotation_time = open.or(Some(next));
            }
        }
    }

    /// Returns when the interval of a schedule started: at the last change, or at the start of a
    /// rotation that has made no change yet or was withdrawn, because it used up its due time too.
    fn interval_start(&self) -> Option<DateTime<Utc>> {
        let Status { last_rotation_time, rotation, history, .. } = &self.status;
        let in_progress = rotation.as_ref().map(|rotation| rotation.started_at);
        let ended = history.first().map(|entry| entry.started_at);
        let last = [*last_rotation_time, in_progress, ended].into_iter().flatten().max();
        last.map(|last| last.min(self.now))
    }

    /// Corrects times that a clock ahead of this one stored.
    fn clamp_future_times(&mut self) {
        let bounds = TimeBounds {
            now: self.now,
            event_tolerance: CLOCK_SKEW,
            end_tolerance: MAX_DIFFERENCE,
            longest_window: self.propagation_window(),
            longest_hold_off: drift::MAX_HOLD_OFF,
        };
        clamp_future_times(&mut self.status, bounds);
    }

    /// Returns when an event of the rotation in progress happened, which is never in the future.
    fn started_from(&self, field: TimeField, time: Option<DateTime<Utc>>) -> DateTime<Utc> {
        time.map_or(self.now, |time| self.clock.start(field, time))
    }

    /// Returns when a wait ends that was recorded with its end.
    fn ending_at(&self, field: TimeField, time: DateTime<Utc>) -> DateTime<Utc> {
        self.clock.end(field, time)
    }

    /// Returns whether a due time has come, as far as both wall clocks agree.
    fn is_due(&self, due: DateTime<Utc>) -> bool {
        self.clock.until_due(due).is_some_and(|left| left <= TimeDelta::zero())
    }

    /// Decides in the order of importance: deletion, values that could be lost, a broken target
    /// Secret, the rotation in progress, and causes of a new one.
    fn next_step(&mut self) -> NextStep {
        if self.observed.is_deleting {
            return self.finalize();
        }
        match &self.observed.target {
            Target::Rejected(rejection) => self.stall(rejection.clone()),
            _ if self.observed.has_unpublished_response => self.publish_response(),
            Target::Owned(target) if self.is_intact(target) => {
                if let Some(next) = self.follow_numbers(target) {
                    return next;
                }
                if !target.in_sync && !self.is_restore_held_off() {
                    return rewrite(target, Purpose::Render).into();
                }
                self.advance()
            }
            _ if self.is_restore_held_off() => self.advance_contested(),
            _ => self.repair().unwrap_or_else(|| self.advance()),
        }
    }

    /// Continues with an intact target Secret, or with one that the rotation in progress replaces.
    fn advance(&mut self) -> NextStep {
        if let Some(next) = self.withdraw_forbidden() {
            return next;
        }
        if let Some(next) = self.check_drift() {
            return next;
        }
        if let Some(next) = self.handle_request() {
            return next;
        }
        let Some(rotation) = self.status.rotation.clone() else {
            return self.start_if_caused();
        };
        match rotation.phase {
            Phase::Started => self.advance_started(&rotation),
            Phase::Staging => self.advance_staging(&rotation),
            Phase::Activating => self.advance_activating(&rotation),
            Phase::Confirming => self.advance_confirming(&rotation),
            Phase::Grace => self.advance_grace(&rotation),
            Phase::Withdrawing => self.advance_withdrawing(&rotation),
        }
    }

    /// Returns the target Secret if its contents are reliable.
    fn intact_target(&self) -> Option<&'a OwnedTarget> {
        match &self.observed.target {
            Target::Owned(target) if self.is_intact(target) => Some(target),
            _ => None,
        }
    }

    /// Returns whether values and numbers are as the operator wrote them, and not older than the
    /// status.
    fn is_intact(&self, target: &OwnedTarget) -> bool {
        let is_recent = target.current.is_some_and(|number| Some(number) >= self.status.current);
        !target.tampered && is_recent
    }

    /// Returns how the client's secret compares with the target Secret.
    ///
    /// # Errors
    /// With the step to take instead: read the client, or stall because it must not be rotated.
    fn read_client(&mut self) -> Result<SecretMatch, NextStep> {
        match &self.observed.client {
            ClientObservation::NotRead => Err(Step::ReadClient.into()),
            ClientObservation::Rejected(rejection) => Err(self.stall(rejection.clone())),
            ClientObservation::Found(secret) => Ok(*secret),
        }
    }

    /// Returns whether the client was read before `time`, so that a request in flight until then
    /// may have changed it since.
    fn was_client_read_before(&self, time: DateTime<Utc>) -> bool {
        self.observed.client_read_at.is_none_or(|read_at| read_at < time)
    }

    fn stall(&mut self, rejection: Rejection) -> NextStep {
        self.stalled = Some(rejection);
        NextStep::wait_until(self.now + RECHECK_INTERVAL)
    }

    /// Returns a number that no secret has had, as far as status and target Secret show.
    fn unused_number(&self) -> u64 {
        let in_target = match &self.observed.target {
            Target::Owned(target) => target.current.max(target.fallback).unwrap_or(0),
            _ => 0,
        };
        self.status.highest_number().max(in_target).saturating_add(1)
    }

    /// Starts a rotation whose secret is already published.
    fn start_published(&mut self, number: u64, cause: Cause, message: &str) {
        let strategy = self.policy.params.strategy;
        let mut rotation = Rotation::new(number, cause, strategy, self.event_time);
        rotation.message = Some(message.to_owned());
        self.status.rotation = Some(rotation);
        self.enter_confirming();
    }

    fn update_rotation(&mut self, change: impl FnOnce(&mut Rotation)) {
        if let Some(rotation) = &mut self.status.rotation {
            change(rotation);
        }
    }

    fn propagation_window(&self) -> TimeDelta {
        self.policy.params.propagation_window.to_delta()
    }
}

/// Returns the step that writes the same values again.
fn rewrite(target: &OwnedTarget, purpose: Purpose) -> Step {
    publish(
        purpose,
        NumberedValue::new(target.current.unwrap_or(1), ValueSource::Current),
        target.fallback.map(|number| NumberedValue::new(number, ValueSource::Fallback)),
    )
}
