//! Mutants: state machines that are broken on purpose, each in one way, which the check must
//! detect.

use chrono::{DateTime, Utc};
use rotation::{
    Cause, ClientCheck, Clock, ControlResult, Decision, Observation, Phase, Policy, ProbeControl,
    ProbeMethod, Publication, Purpose, RolloutState, Rotation, Status, Step, Strategy, Target,
    ValueSource, decide, invariants::Invariant,
};

use crate::model::SETTLES;

/// How the state machine is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Changes the secret at Auth0 without a record.
    SkipWriteAhead,
    /// Stores the record of a change after the change, with the start of the rotation.
    DeferIntent,
    /// Takes it that Auth0 accepts the new secret, without a probe.
    RetireWithoutProbe,
    /// Takes every probe for a proof, without a negative control.
    TrustUncontrolledProbe,
    /// Skips the grace period.
    SkipGracePeriod,
    /// Calls `rotate-secret` again when its outcome is unknown.
    RetryBlindly,
    /// Skips the staging period.
    SkipStagingPeriod,
    /// Publishes the next secret alone.
    StageAlone,
    /// Rotates when the status is lost.
    RotateOnLostStatus,
    /// Repairs the target Secret with a generated value.
    RepairWithGeneratedValue,
    /// Starts a rotation for a due time that is not stored.
    StartFromDeferred,
    /// Does not record a request as handled.
    ForgetHandledRequest,
    /// Repairs the target Secret without the previous value.
    DropFallbackOnRepair,
    /// Removes the finalizer while an outcome is unknown.
    RemoveFinalizerEarly,
    /// Follows every change by another party at once.
    ForgetHoldOff,
    /// Withdraws a value that was sent before, without a proof that Auth0 does not have it.
    WithdrawWithoutProof,
    /// Sets a secret while an earlier request may still replace it.
    IgnoreUnanswered,
    /// Does not restore a finalizer that another party removed while the outcome is unknown.
    ForgetFinalizer,
    /// Activates a staged secret without another look at the client.
    SkipClientCheck,
    /// Takes the time from the API server without a check.
    TrustApiServer,
    /// Records the earliest time that it may be.
    RecordEarliest,
    /// Calls `rotate-secret` without a write of the target Secret before it.
    SkipProof,
    /// Keeps Ready true after a failure, although the outcome of a change is unknown.
    ReadyWhileUnknown,
    /// Takes it that any restart replaced the Pods, as a restart time of another party would show.
    TrustAnyRestart,
    /// Activates the next secret while Pods without it run.
    ActivateBeforeRollout,
    /// Restarts workloads before activation only.
    RestartBeforeActivationOnly,
    /// Restarts a workload again at once if another party takes the restart back.
    ForgetRestartHoldOff,
    /// Never removes the previous secret.
    NeverRetire,
}

impl Mutant {
    pub(crate) const ALL: [Self; 28] = [
        Self::SkipWriteAhead,
        Self::DeferIntent,
        Self::RetireWithoutProbe,
        Self::TrustUncontrolledProbe,
        Self::SkipGracePeriod,
        Self::RetryBlindly,
        Self::SkipStagingPeriod,
        Self::StageAlone,
        Self::RotateOnLostStatus,
        Self::RepairWithGeneratedValue,
        Self::DropFallbackOnRepair,
        Self::StartFromDeferred,
        Self::ForgetHandledRequest,
        Self::RemoveFinalizerEarly,
        Self::ForgetHoldOff,
        Self::WithdrawWithoutProof,
        Self::IgnoreUnanswered,
        Self::ForgetFinalizer,
        Self::SkipClientCheck,
        Self::TrustApiServer,
        Self::RecordEarliest,
        Self::SkipProof,
        Self::ReadyWhileUnknown,
        Self::TrustAnyRestart,
        Self::ActivateBeforeRollout,
        Self::RestartBeforeActivationOnly,
        Self::ForgetRestartHoldOff,
        Self::NeverRetire,
    ];

    /// Returns the name of the property that the mutant violates.
    pub(crate) fn violated_property(self) -> &'static str {
        let invariant = match self {
            Self::SkipWriteAhead | Self::DeferIntent => Invariant::WriteAhead,
            Self::RetireWithoutProbe
            | Self::TrustUncontrolledProbe
            | Self::SkipGracePeriod
            | Self::DropFallbackOnRepair => Invariant::EvidenceBeforeRemoval,
            Self::SkipStagingPeriod
            | Self::StageAlone
            | Self::WithdrawWithoutProof
            | Self::IgnoreUnanswered
            | Self::TrustApiServer
            | Self::RecordEarliest
            | Self::TrustAnyRestart
            | Self::ActivateBeforeRollout => Invariant::NoLockout,
            Self::RotateOnLostStatus | Self::StartFromDeferred | Self::ForgetHandledRequest => {
                Invariant::OneRotationPerCause
            }
            Self::RetryBlindly
            | Self::RepairWithGeneratedValue
            | Self::RemoveFinalizerEarly
            | Self::ForgetFinalizer => Invariant::NothingLost,
            Self::ForgetHoldOff => Invariant::DriftHoldOff,
            Self::SkipClientCheck => Invariant::SuitableClient,
            Self::SkipProof => Invariant::ProvenWrite,
            Self::ReadyWhileUnknown => Invariant::ReadyMeansLogin,
            Self::ForgetRestartHoldOff => Invariant::RestartHoldOff,
            Self::RestartBeforeActivationOnly | Self::NeverRetire => return SETTLES,
        };
        invariant.as_str()
    }

    /// Calls the state machine as shipped, with an altered observation or an altered decision.
    pub(crate) fn decide(self, observed: &Observation, clock: Clock, policy: &Policy) -> Decision {
        let mut altered = observed.clone();
        match self {
            Self::RetireWithoutProbe => altered.accepted = Some(true),
            Self::TrustUncontrolledProbe => {
                let control = ControlResult::Rejected;
                let method = ProbeMethod::Revocation;
                let control = ProbeControl { result: control, probed_at: clock.now(), method };
                altered.probe_control = Some(control);
            }
            Self::SkipGracePeriod => set_skip_grace(&mut altered.status, true),
            Self::SkipStagingPeriod => set_skip_staging(&mut altered.status, true),
            Self::ForgetHoldOff => altered.status.drift_hold_off = None,
            Self::WithdrawWithoutProof => forget_attempts(&mut altered.status),
            Self::IgnoreUnanswered => altered.status.unanswered_until = None,
            Self::ForgetFinalizer => assume_finalizer(&mut altered),
            Self::SkipClientCheck => assume_suitable(&mut altered),
            Self::SkipProof => prove_write(&mut altered),
            Self::TrustAnyRestart => set_rollouts(&mut altered, |state| {
                matches!(state, RolloutState::NotRestarted { .. })
            }),
            Self::ActivateBeforeRollout => set_rollouts(&mut altered, |state| {
                matches!(state, RolloutState::InProgress | RolloutState::OldPods)
            }),
            Self::RestartBeforeActivationOnly if is_promoted(&altered.status) => {
                altered.rollouts = Some(Vec::new());
            }
            Self::ForgetRestartHoldOff => altered.restart_attempted = false,
            _ => {}
        }
        let now = clock.now();
        let mut decision = decide(&altered, clock, policy);
        self.alter(observed, now, &mut decision);
        decision
    }

    fn alter(self, observed: &Observation, now: DateTime<Utc>, decision: &mut Decision) {
        match self {
            Self::RetireWithoutProbe
            | Self::TrustUncontrolledProbe
            | Self::ForgetHoldOff
            | Self::WithdrawWithoutProof
            | Self::IgnoreUnanswered
            | Self::ForgetFinalizer
            | Self::SkipClientCheck
            | Self::TrustApiServer
            | Self::RecordEarliest
            | Self::SkipProof
            // These alter what becomes of a decision.
            | Self::DeferIntent
            | Self::ReadyWhileUnknown
            | Self::StartFromDeferred
            | Self::TrustAnyRestart
            | Self::ActivateBeforeRollout
            | Self::RestartBeforeActivationOnly
            | Self::ForgetRestartHoldOff => {}
            Self::SkipGracePeriod => set_skip_grace(&mut decision.status, false),
            Self::SkipStagingPeriod => set_skip_staging(&mut decision.status, false),
            Self::SkipWriteAhead => {
                if matches!(decision.step, Step::RotateSecret | Step::SetSecret(_)) {
                    decision.status.rotation.clone_from(&observed.status.rotation);
                    decision.status.observed_generation = Some(observed.generation);
                }
            }
            Self::RetryBlindly => {
                if waits_for_rotate_secret(&observed.status) && decision.step == Step::ReadClient {
                    decision.step = Step::RotateSecret;
                    let rotation = decision.status.rotation.as_mut();
                    rotation.expect("a rotation is in progress").attempts += 1;
                }
            }
            Self::StageAlone => alter_publication(decision, Purpose::Stage, |publication| {
                if let Some(next) = publication.fallback.take() {
                    publication.current = next;
                }
            }),
            Self::RepairWithGeneratedValue => {
                alter_publication(decision, Purpose::Repair, |publication| {
                    publication.current.value = ValueSource::Generated;
                });
            }
            Self::DropFallbackOnRepair => {
                alter_publication(decision, Purpose::Repair, |publication| {
                    publication.fallback = None;
                });
            }
            Self::ForgetHandledRequest => {
                let handled = &observed.status.last_handled_request;
                decision.status.last_handled_request.clone_from(handled);
            }
            Self::RotateOnLostStatus => {
                if observed.status == Status::default()
                    && let Target::Owned(target) = &observed.target
                {
                    let number = target.current.max(target.fallback).unwrap_or(0) + 1;
                    decision.status.rotation = Some(started_rotation(number, now));
                    decision.step = Step::StoreStatus;
                }
            }
            Self::RemoveFinalizerEarly => {
                if observed.is_deleting && observed.has_finalizer {
                    decision.step = Step::RemoveFinalizer;
                }
            }
            Self::NeverRetire => {
                if let Step::Publish(publication) = &decision.step
                    && publication.purpose == Purpose::Retire
                {
                    decision.step = Step::Wait;
                }
            }
        }
    }
}

fn waits_for_rotate_secret(status: &Status) -> bool {
    let Some(rotation) = &status.rotation else { return false };
    rotation.phase == Phase::Activating
        && rotation.strategy == Strategy::Rotate
        && rotation.cause != Cause::Drift
}

fn prove_write(observed: &mut Observation) {
    let number = observed.status.rotation.as_ref().map(|rotation| rotation.number);
    if let Target::Owned(target) = &mut observed.target {
        target.write_proven = number;
    }
}

/// Reports the workloads in some states as restarted.
fn set_rollouts(observed: &mut Observation, is_altered: impl Fn(&RolloutState) -> bool) {
    for rollout in observed.rollouts.iter_mut().flatten() {
        if is_altered(&rollout.state) {
            rollout.state = RolloutState::Complete;
        }
    }
}

fn is_promoted(status: &Status) -> bool {
    let phase = status.rotation.as_ref().map(|rotation| rotation.phase);
    matches!(phase, Some(Phase::Confirming | Phase::Grace))
}

fn set_skip_grace(status: &mut Status, value: bool) {
    if let Some(rotation) = &mut status.rotation {
        rotation.skip_grace = value;
    }
}

fn forget_attempts(status: &mut Status) {
    if let Some(rotation) = &mut status.rotation
        && rotation.phase == Phase::Withdrawing
    {
        rotation.attempts = 1;
    }
}

fn assume_finalizer(observed: &mut Observation) {
    let phase = observed.status.rotation.as_ref().map(|rotation| rotation.phase);
    if phase == Some(Phase::Activating) && !observed.is_deleting {
        observed.has_finalizer = true;
    }
}

fn assume_suitable(observed: &mut Observation) {
    let phase = observed.status.rotation.as_ref().map(|rotation| rotation.phase);
    if phase == Some(Phase::Staging) {
        observed.client_check = ClientCheck::Passed;
    }
}

fn set_skip_staging(status: &mut Status, value: bool) {
    if let Some(rotation) = &mut status.rotation {
        rotation.skip_staging = value;
    }
}

fn alter_publication(
    decision: &mut Decision,
    purpose: Purpose,
    change: impl FnOnce(&mut Publication),
) {
    if let Step::Publish(publication) = &mut decision.step
        && publication.purpose == purpose
    {
        change(publication);
    }
}

fn started_rotation(number: u64, now: DateTime<Utc>) -> Rotation {
    Rotation {
        number,
        cause: Cause::Schedule,
        strategy: Strategy::Rotate,
        phase: Phase::Started,
        started_at: now,
        staged_at: None,
        activating_at: None,
        unresolved_since: None,
        activated_at: None,
        confirmed_at: None,
        retire_at: None,
        attempts: 0,
        skip_staging: false,
        skip_grace: false,
        rollback: false,
        restart_at: None,
        restart_attempts: 0,
        restart_attempted_at: None,
        withdrawn_as: None,
        origin: None,
        message: None,
    }
}
