//! Write-ahead: which statuses are stored before a step, and which may wait for the end of the
//! reconcile.

use crate::{
    condition::{Condition, ConditionStatus, condition_types, find_condition},
    decision::Step,
    status::{Cause, Rotation, Status},
};

/// Returns whether `status` has to be stored, over `stored`, before `step` is executed.
///
/// A status may wait while nothing depends on it: the step changes nothing that can't be decided
/// again, and the status only reports progress, or adopts what the target Secret says. A crash then
/// has the same result as one before the decision. A status that waits is the input of the next
/// decision, and is stored over the version that was read.
///
/// The record of a rotation, of a request and of a change of the secret never waits, and neither does
/// a condition that gets worse.
pub fn must_store_first(stored: &Status, status: &Status, step: &Step) -> bool {
    if stored == status {
        return false;
    }
    match step {
        Step::StoreStatus
        | Step::ReadClient
        | Step::CheckClient
        | Step::ProbeRandomValue
        | Step::ProbeSecret
        | Step::ProbeFallback
        | Step::ProbeRevoked
        | Step::DryRun
        | Step::FindUnreachedPods
        | Step::ReadRollouts => changes_record(stored, status) || is_worse(stored, status),
        Step::Publish(_) => {
            stored.current != status.current
                || changes_record(stored, status)
                || is_worse(stored, status)
        }
        Step::Wait
        | Step::AddFinalizer
        | Step::RemoveFinalizer
        | Step::RestartWorkloads
        | Step::RotateSecret
        | Step::SetSecret(_) => true,
    }
}

/// Returns whether `status` starts a rotation for a due time that is only in `deferred`, a status that
/// waits over `stored`: a cause is a due time that was stored. `deferred` is then stored first, and the
/// decision is made again.
pub fn has_unrecorded_cause(stored: &Status, deferred: &Status, status: &Status) -> bool {
    let is_due = |rotation: &Rotation| rotation.cause == Cause::Schedule;
    stored.next_rotation_time != deferred.next_rotation_time
        && stored.rotation.is_none()
        && status.rotation.as_ref().is_some_and(is_due)
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
        [Step::ReadClient, Step::ProbeSecret, Step::DryRun, Step::StoreStatus]
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
        let rotation = Rotation::new(2, Cause::Request, Strategy::Rotate, NOW);
        let records = [
            Status { rotation: Some(rotation), ..Status::default() },
            Status { previous: Some(1), ..Status::default() },
            Status { last_handled_request: Some("rotate/a".into()), ..Status::default() },
            Status { request_rejection: Some("no".into()), ..Status::default() },
            Status { unanswered_until: Some(NOW), ..Status::default() },
        ];
        for status in records {
            for step in reads().into_iter().chain([import()]) {
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
}
