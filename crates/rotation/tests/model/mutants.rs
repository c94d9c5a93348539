//! Machines that are broken on purpose, each in one way: the check has to find out.

use chrono::{DateTime, Utc};
use rotation::{
    Cause, Decision, Observation, Phase, Policy, Publication, Purpose, Rotation, Status, Step,
    Strategy, Target, ValueSource, decide,
};

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A change at Auth0 comes without its record.
    NoWriteAhead,
    /// Auth0 isn't asked whether it accepts the new secret.
    RetireUnconfirmed,
    /// The grace period is left out.
    RetireEarly,
    /// `rotate-secret` is called again when its outcome isn't known.
    RepeatBlindly,
    /// The staging period is left out.
    NoStaging,
    /// The next secret is published alone.
    StageAlone,
    /// A lost status is a reason to rotate.
    LostStatusRotates,
    /// A target Secret is repaired with a value of our own.
    RepairWithAnother,
    /// A request isn't recorded as handled.
    RequestTwice,
    /// A resource is let go while an outcome is open.
    LetGoEarly,
    /// The previous secret is left where it is, for good.
    NeverRetire,
}

impl Mutant {
    pub(crate) const ALL: [Mutant; 11] = [
        Mutant::NoWriteAhead,
        Mutant::RetireUnconfirmed,
        Mutant::RetireEarly,
        Mutant::RepeatBlindly,
        Mutant::NoStaging,
        Mutant::StageAlone,
        Mutant::LostStatusRotates,
        Mutant::RepairWithAnother,
        Mutant::RequestTwice,
        Mutant::LetGoEarly,
        Mutant::NeverRetire,
    ];

    /// The property that it breaks.
    pub(crate) fn breaks(self) -> &'static str {
        match self {
            Mutant::NoWriteAhead => "write-ahead",
            Mutant::RetireUnconfirmed | Mutant::RetireEarly => "evidence before removal",
            Mutant::NoStaging | Mutant::StageAlone => "no lockout",
            Mutant::LostStatusRotates | Mutant::RequestTwice => "one rotation per cause",
            Mutant::RepeatBlindly | Mutant::RepairWithAnother | Mutant::LetGoEarly => {
                "nothing lost"
            }
            Mutant::NeverRetire => "it comes to rest",
        }
    }

    /// The shipped machine, with something done to what it sees or says.
    pub(crate) fn decide(
        self,
        seen: &Observation,
        now: DateTime<Utc>,
        policy: &Policy,
    ) -> Decision {
        let phase = seen.status.rotation.as_ref().map(|rotation| rotation.phase);
        let mut altered = seen.clone();
        match self {
            Mutant::RetireUnconfirmed => altered.accepted = Some(true),
            Mutant::RetireEarly => set_haste(&mut altered.status, |it| &mut it.skip_grace, true),
            Mutant::NoStaging => set_haste(&mut altered.status, |it| &mut it.skip_staging, true),
            _ => {}
        }
        let mut decision = decide(&altered, now, policy);
        match self {
            Mutant::RetireUnconfirmed => {}
            Mutant::RetireEarly => {
                set_haste(&mut decision.status, |it| &mut it.skip_grace, false);
            }
            Mutant::NoStaging => {
                set_haste(&mut decision.status, |it| &mut it.skip_staging, false);
            }
            Mutant::NoWriteAhead => {
                if matches!(decision.step, Step::RotateSecret | Step::SetSecret(_)) {
                    decision.status.rotation.clone_from(&seen.status.rotation);
                    decision.status.observed_generation = Some(seen.generation);
                }
            }
            Mutant::RepeatBlindly => {
                let rotating = seen.status.rotation.as_ref().is_some_and(|rotation| {
                    rotation.strategy == Strategy::Rotate && rotation.cause != Cause::Drift
                });
                if rotating && phase == Some(Phase::Activating) && decision.step == Step::ReadClient
                {
                    decision.step = Step::RotateSecret;
                    let rotation = decision.status.rotation.as_mut().expect("one is rotating");
                    rotation.attempts += 1;
                }
            }
            Mutant::StageAlone => edit(&mut decision, Purpose::Stage, |publication| {
                if let Some(next) = publication.fallback.take() {
                    publication.current = next;
                }
            }),
            Mutant::RepairWithAnother => edit(&mut decision, Purpose::Repair, |publication| {
                publication.current.value = ValueSource::Generated;
            }),
            Mutant::RequestTwice => {
                let handled = &seen.status.last_handled_request;
                decision.status.last_handled_request.clone_from(handled);
            }
            Mutant::LostStatusRotates => {
                let lost = seen.status == Status::default();
                if lost && let Target::Owned(held) = &seen.target {
                    let number = held.current.max(held.fallback).unwrap_or(0) + 1;
                    decision.status.rotation = Some(rotation(number, now));
                    decision.step = Step::StoreStatus;
                }
            }
            Mutant::LetGoEarly => {
                if seen.is_deleting && seen.has_finalizer {
                    decision.step = Step::RemoveFinalizer;
                }
            }
            Mutant::NeverRetire => {
                let retires = |step: &Step| {
                    matches!(step, Step::Publish(Publication { purpose: Purpose::Retire, .. }))
                };
                if retires(&decision.step) {
                    decision.step = Step::Wait;
                }
            }
        }
        decision
    }
}

fn set_haste(status: &mut Status, field: impl FnOnce(&mut Rotation) -> &mut bool, to: bool) {
    if let Some(rotation) = &mut status.rotation {
        *field(rotation) = to;
    }
}

fn edit(decision: &mut Decision, purpose: Purpose, change: impl FnOnce(&mut Publication)) {
    if let Step::Publish(publication) = &mut decision.step
        && publication.purpose == purpose
    {
        change(publication);
    }
}

fn rotation(number: u64, now: DateTime<Utc>) -> Rotation {
    Rotation {
        number,
        cause: Cause::Schedule,
        strategy: Strategy::Rotate,
        phase: Phase::Started,
        started_at: now,
        staged_at: None,
        activating_at: None,
        activated_at: None,
        confirmed_at: None,
        retire_at: None,
        attempts: 0,
        skip_staging: false,
        skip_grace: false,
        rollback: false,
        restart_at: None,
        withdrawn_as: None,
        message: None,
    }
}
