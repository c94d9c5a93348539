//! Write-ahead: which statuses are stored before a step, and which may wait for the end of the
//! reconcile.

use crate::{
    condition::{Condition, ConditionStatus, condition_types, find_condition},
    decision::{Purpose, Step},
    status::{Cause, Phase, Rotation, Status},
};

/// Returns whether `status` has to be stored, over `stored`, before `step` is executed.
///
/// A status may wait while nothing depends on it. A crash then has the same result as one before the
/// decision. A status that waits is the input of the next decision, and is stored over the version that
/// was read. These may wait:
///
/// - A status that only reports progress, or adopts what the target Secret says.
/// - The start of a rotation, until its first change at Auth0 is recorded, with which it is stored. Its
///   cause stays until then, and its number follows from the same status and target Secret again.
/// - The publication of a new secret, until it is known whether Auth0 accepts it: the numbers in the
///   target Secret show the publication.
///
/// A change at Auth0, and the removal of a value, never come before their record, and a condition that
/// gets worse does not wait.
pub fn must_store_first(stored: &Status, status: &Status, step: &Step) -> bool {
    if stored == status {
        return false;
    }
    match step {
        // The step of the next decision shows whether the status may wait.
        Step::StoreStatus => false,
        Step::ReadClient
        | Step::CheckClient
        | Step::ProbeRandomValue
        | Step::ProbeSecret
        | Step::ProbeFallback
        | Step::ProbeRevoked
        | Step::DryRun
        | Step::FindUnreachedPods
        | Step::ReadRollouts => {
            let may_wait = !changes_record(stored, status)
                || starts_with_cause(stored, status)
                || records_publication(stored, status);
            !may_wait || is_worse(stored, status)
        }
        Step::Publish(publication) if publication.purpose == Purpose::ProveWrite => {
            !starts_with_cause(stored, status) || is_worse(stored, status)
        }
        Step::Publish(_) => {
            stored.current != status.current
                || changes_record(stored, status)
                || is_worse(stored, status)
        }
        Step::AddFinalizer => !starts_with_cause(stored, status) || is_worse(stored, status),
        // The outcome of `rotate-secret` is published, so that a deletion loses nothing.
        Step::RemoveFinalizer => !records_publication(stored, status) || is_worse(stored, status),
        Step::Wait | Step::RestartWorkloads | Step::RotateSecret | Step::SetSecret(_) => true,
    }
}

/// Returns whether `status` starts a rotation for a due time that is only in `deferred`, a status that
/// waits over `stored`: a cause is a due time that was stored. `deferred` is then stored first, and the
/// decision is made again.
pub fn has_unrecorded_cause(stored: &Status, deferred: &Status, status: &Status) -> bool {
    let is_due = |rotation: &Rotation| rotation.cause == Cause::Schedule;
    stored.next_rotation_time != deferred.next_rotation_time
        && stored.rotation.is_none()
        && deferred.rotation.is_none()
        && status.rotation.as_ref().is_some_and(is_due)
}

/// Returns whether the difference is the start of a rotation whose cause a status without it shows
/// again. The cause of an initial rotation is the absence of the mark that comes with the finalizer.
fn starts_with_cause(stored: &Status, status: &Status) -> bool {
    let Some(rotation) = &status.rotation else { return false };
    stored.rotation.is_none()
        && rotation.phase == Phase::Started
        && rotation.attempts == 0
        && matches!(rotation.cause, Cause::Request | Cause::Schedule)
        && stored.current == status.current
        && stored.previous == status.previous
        && stored.history == status.history
        && stored.unanswered_until == status.unanswered_until
}

/// Returns whether the difference is that the new secret of a rotation was found to be published as the
/// current one, and possibly that Auth0 accepts it.
fn records_publication(stored: &Status, status: &Status) -> bool {
    let (Some(before), Some(after)) = (&stored.rotation, &status.rotation) else { return false };
    before.number == after.number
        && before.phase == Phase::Activating
        && matches!(after.phase, Phase::Confirming | Phase::Grace)
        && stored.history == status.history
        && stored.last_handled_request == status.last_handled_request
        && stored.unanswered_until == status.unanswered_until
}

/// Returns whether two statuses differ in what can't be decided again.
fn changes_record(stored: &Status, status: &Status) -> bool {
    let Status {
        rotation,
        previous,
        history,
        last_handled_request,
        request_rejection,
        drift_hold_off,
        unanswered_until,
        // The spec and the target Secret have these.
        observed_generation: _,
        current: _,
        last_rotation_time: _,
        next_rotation_time: _,
        // The probe is made again.
        probe_control: _,
        // The next decision sets them again.
        conditions: _,
        settled: _,
    } = stored;
    *rotation != status.rotation
        || *previous != status.previous
        || *history != status.history
        || *last_handled_request != status.last_handled_request
        || *request_rejection != status.request_rejection
        || *drift_hold_off != status.drift_hold_off
        || *unanswered_until != status.unanswered_until
}

/// Returns whether applications can't log in anymore, or the resource is stalled, and the stored status
/// does not say so.
fn is_worse(stored: &Status, status: &Status) -> bool {
    let ceases = |type_, good: ConditionStatus| {
        let find =
            |conditions: &[Condition]| find_condition(conditions, type_).map(|found| found.status);
        find(&stored.conditions) == Some(good)
            && find(&status.conditions).is_some_and(|now| now != good)
    };
    ceases(condition_types::READY, ConditionStatus::True)
        || ceases(condition_types::STALLED, ConditionStatus::False)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::{
        condition::set_condition,
        decision::{NumberedValue, Purpose, ValueSource, publish},
        reason::Reason,
        status::Strategy,
    };

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn import() -> Step {
        publish(Purpose::Import, NumberedValue::new(1, ValueSource::Auth0), None)
    }

    fn with_condition(mut status: Status, type_: &str, holds: bool) -> Status {
        let condition = Condition::new(type_, holds, Reason::Idle, "", Some(1), NOW);
        set_condition(&mut status.conditions, condition);
        status
    }

    fn reads() -> [Step; 4] {
        [Step::StoreStatus, Step::ReadClient, Step::ProbeSecret, Step::DryRun]
    }

    #[test]
    fn first_conditions_and_the_first_number_wait_for_the_end_of_an_import() {
        let stored = Status::default();
        let first = with_condition(stored.clone(), condition_types::READY, false);
        let first = with_condition(first, condition_types::RECONCILING, true);
        let first = Status { observed_generation: Some(1), next_rotation_time: Some(NOW), ..first };
        for step in reads().into_iter().chain([import()]) {
            assert!(!must_store_first(&stored, &first, &step), "{step:?}");
        }
        let adopted = Status { current: Some(1), last_rotation_time: Some(NOW), ..first };
        for step in reads() {
            assert!(!must_store_first(&stored, &adopted, &step), "{step:?}");
        }
        assert!(must_store_first(&stored, &adopted, &import()));
        assert!(must_store_first(&stored, &adopted, &Step::Wait));
    }

    #[test]
    fn irreversible_steps_wait_for_every_change_of_the_status() {
        let stored = Status::default();
        let status = Status { observed_generation: Some(2), ..Status::default() };
        for step in [
            Step::RotateSecret,
            Step::SetSecret(2),
            Step::RestartWorkloads,
            Step::AddFinalizer,
            Step::RemoveFinalizer,
        ] {
            assert!(must_store_first(&stored, &status, &step), "{step:?}");
            assert!(!must_store_first(&stored, &stored, &step), "{step:?}");
        }
    }

    #[test]
    fn records_precede_every_step() {
        let stored = Status::default();
        let rotation = Rotation::new(2, Cause::Initial, Strategy::Rotate, NOW);
        let records = [
            Status { rotation: Some(rotation), ..Status::default() },
            Status { previous: Some(1), ..Status::default() },
            Status { last_handled_request: Some("rotate/a".into()), ..Status::default() },
            Status { request_rejection: Some("no".into()), ..Status::default() },
            Status { unanswered_until: Some(NOW), ..Status::default() },
        ];
        for status in records {
            for step in reads().into_iter().skip(1).chain([import(), Step::AddFinalizer]) {
                assert!(must_store_first(&stored, &status, &step), "{step:?} {status:?}");
            }
        }
    }

    #[test]
    fn due_time_is_stored_before_it_is_a_cause() {
        let stored = Status::default();
        let planned = Status { next_rotation_time: Some(NOW), ..Status::default() };
        let started = |cause| {
            let rotation = Some(Rotation::new(2, cause, Strategy::Rotate, NOW));
            Status { rotation, ..Status::default() }
        };
        assert!(has_unrecorded_cause(&stored, &planned, &started(Cause::Schedule)));
        assert!(!has_unrecorded_cause(&planned, &planned, &started(Cause::Schedule)));
        assert!(!has_unrecorded_cause(&stored, &planned, &started(Cause::Request)));
        assert!(!has_unrecorded_cause(&stored, &planned, &planned));
    }

    #[test]
    fn condition_that_gets_worse_precedes_every_step() {
        for (type_, good) in [(condition_types::READY, true), (condition_types::STALLED, false)] {
            let before = with_condition(Status::default(), type_, good);
            let after = with_condition(Status::default(), type_, !good);
            assert!(must_store_first(&before, &after, &Step::ReadClient), "{type_}");
            assert!(!must_store_first(&after, &before, &Step::ReadClient), "{type_}");
            assert!(!must_store_first(&Status::default(), &after, &Step::ReadClient), "{type_}");
        }
    }

    fn prove_write() -> Step {
        publish(Purpose::ProveWrite, NumberedValue::new(1, ValueSource::Current), None)
    }

    fn stage() -> Step {
        let next = NumberedValue::new(2, ValueSource::Generated);
        publish(Purpose::Stage, NumberedValue::new(1, ValueSource::Current), Some(next))
    }

    fn in_phase(phase: Phase) -> Status {
        let mut rotation = Rotation::new(2, Cause::Request, Strategy::Rotate, NOW);
        rotation.phase = phase;
        rotation.attempts = u32::from(phase != Phase::Started);
        let last_handled_request = Some("rotate/a".to_owned());
        Status { rotation: Some(rotation), last_handled_request, ..Status::default() }
    }

    #[test]
    fn start_waits_for_the_record_of_the_first_change() {
        let (stored, started) = (Status::default(), in_phase(Phase::Started));
        for step in reads().into_iter().chain([Step::AddFinalizer, prove_write()]) {
            assert!(!must_store_first(&stored, &started, &step), "{step:?}");
        }
        let activating = in_phase(Phase::Activating);
        assert!(must_store_first(&stored, &activating, &Step::RotateSecret));
        assert!(must_store_first(&stored, &activating, &Step::ReadClient));
        for step in [Step::Wait, Step::RemoveFinalizer, stage()] {
            assert!(must_store_first(&stored, &started, &step), "{step:?}");
        }
    }

    #[test]
    fn start_that_ends_another_rotation_does_not_wait() {
        let mut stored = in_phase(Phase::Grace);
        let started = in_phase(Phase::Started);
        assert!(must_store_first(&stored, &started, &prove_write()));
        stored.rotation = None;
        stored.previous = Some(1);
        assert!(must_store_first(&stored, &started, &prove_write()));
    }

    #[test]
    fn publication_waits_for_the_first_probe() {
        let stored = in_phase(Phase::Activating);
        for phase in [Phase::Confirming, Phase::Grace] {
            let published = in_phase(phase);
            for step in [Step::ProbeSecret, Step::ProbeRandomValue, Step::RemoveFinalizer] {
                assert!(!must_store_first(&stored, &published, &step), "{step:?}");
            }
            let retire =
                publish(Purpose::Retire, NumberedValue::new(2, ValueSource::Current), None);
            for step in [Step::Wait, Step::RestartWorkloads, Step::AddFinalizer, retire] {
                assert!(must_store_first(&stored, &published, &step), "{step:?}");
            }
        }
        let other = in_phase(Phase::Staging);
        assert!(must_store_first(&other, &in_phase(Phase::Confirming), &Step::ProbeSecret));
    }
}
