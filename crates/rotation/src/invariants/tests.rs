//! Each invariant violated once, and the ways in which it holds.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Actor, History, Invariant, Settings, Violation};
use crate::{
    condition::{Condition, condition_types},
    reason::Reason,
    status::{Cause, Phase, Rotation, Status, Strategy},
};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn settings() -> Settings {
    Settings {
        staging_period: TimeDelta::seconds(180),
        grace_period: TimeDelta::seconds(3600),
        propagation_window: TimeDelta::seconds(30),
        secrets_readable: true,
    }
}

fn status(strategy: Strategy, cause: Cause, phase: Phase) -> Status {
    let mut rotation = Rotation::new(2, cause, strategy, at(1000));
    rotation.phase = phase;
    Status { rotation: Some(rotation), ..Status::default() }
}

/// The status of a rotation that the request of [`requested`] caused.
fn by_request(strategy: Strategy, phase: Phase) -> Status {
    let last_handled_request = Some("rotate/now".into());
    Status { last_handled_request, ..status(strategy, Cause::Request, phase) }
}

fn with(mut status: Status, change: impl Fn(&mut Rotation)) -> Status {
    change(status.rotation.as_mut().unwrap());
    status
}

/// `old` is the only published value, Auth0 accepts it, and a user has requested a rotation.
fn requested() -> History<&'static str> {
    let mut history = History::new(at(0), "old", settings());
    history.record_control(true);
    history.record_publication(at(0), &["old"]).unwrap();
    history.record_accepted_probe(at(1), &"old");
    history.record_request("rotate/now");
    history
}

/// The requested rotation has started, and has proven that it can write the target Secret.
fn proven() -> History<&'static str> {
    let mut history = requested();
    history.record_status(at(999), &by_request(ROTATE, Phase::Started)).unwrap();
    history.record_publication(at(999), &["old"]).unwrap();
    history
}

/// The pair of `old` and `new` is published at 1000.
fn staged() -> History<&'static str> {
    let mut history = requested();
    history.record_status(at(1000), &by_request(STAGED, Phase::Started)).unwrap();
    history.record_publication(at(1000), &["old", "new"]).unwrap();
    history
}

/// `new` is activated and promoted at 1180.
fn promoted() -> History<&'static str> {
    let mut history = staged();
    let activating = by_request(STAGED, Phase::Activating);
    history.record_status_and_change(at(1180), "new", Actor::Operator, &activating).unwrap();
    history.record_publication(at(1180), &["new", "old"]).unwrap();
    history
}

const ROTATE: Strategy = Strategy::Rotate;
const STAGED: Strategy = Strategy::Staged;

fn assert_violates(result: Result<(), Violation>, invariant: Invariant) {
    let violation = result.expect_err("an invariant is violated");
    assert_eq!(violation.invariant(), invariant);
}

#[test]
fn regular_staged_rotation_violates_nothing() {
    let mut history = staged();
    let activating = by_request(STAGED, Phase::Activating);
    history.check_logins(at(1100), &["old"]).unwrap();
    history.record_status_and_change(at(1180), "new", Actor::Operator, &activating).unwrap();
    history.record_status_and_change(at(1181), "new", Actor::Operator, &activating).unwrap();
    for accepted in ["old", "new"] {
        history.check_logins(at(1181), &[accepted]).unwrap();
    }
    history.record_publication(at(1182), &["new", "old"]).unwrap();
    history.record_accepted_probe(at(1183), &"new");
    history.record_publication(at(1182 + 3600), &["new"]).unwrap();
    history.check_logins(at(1183 + 3600), &["new"]).unwrap();
    history.check_settled(at(5000), &Status::default()).unwrap();
}

#[test]
fn rotate_is_exempt_until_the_response_is_published() {
    let mut history = proven();
    let activating = by_request(ROTATE, Phase::Activating);
    history.record_status_and_change(at(1000), "new", Actor::Operator, &activating).unwrap();
    history.check_logins(at(1001), &["new"]).unwrap();
    history.record_publication(at(1002), &["new", "old"]).unwrap();
    history.check_login(at(1003), &["old"], &["new"]).unwrap();
    assert_violates(history.check_login(at(1003), &["new", "old"], &[]), Invariant::NoLockout);
}

#[test]
fn activation_before_the_end_of_the_staging_period_is_a_lockout() {
    let mut history = staged();
    let activating = by_request(STAGED, Phase::Activating);
    let early =
        history.clone().record_status_and_change(at(1179), "new", Actor::Operator, &activating);
    assert_violates(early, Invariant::NoLockout);
    // A compromised secret is replaced without a staging period.
    let revoking = with(activating, |rotation| rotation.skip_staging = true);
    history.record_status_and_change(at(1001), "new", Actor::Operator, &revoking).unwrap();
    history.check_logins(at(1002), &["new"]).unwrap();
}

#[test]
fn rollback_is_not_exempt() {
    let mut history = staged();
    let rollback = with(by_request(STAGED, Phase::Activating), |rotation| {
        rotation.skip_staging = true;
        rotation.rollback = true;
    });
    let changed = history.record_status_and_change(at(1001), "new", Actor::Operator, &rollback);
    assert_violates(changed, Invariant::NoLockout);
}

#[test]
fn list_without_the_accepted_value_is_a_lockout() {
    assert_violates(requested().record_publication(at(9), &["new"]), Invariant::NoLockout);
    assert_violates(requested().check_logins(at(9), &["new"]), Invariant::NoLockout);
    requested().check_login(at(9), &["an expired list"], &["old"]).unwrap();
}

#[test]
fn change_without_a_record_violates_write_ahead() {
    for phase in [Phase::Started, Phase::Staging, Phase::Confirming, Phase::Grace] {
        let changed = requested().record_status_and_change(
            at(1000),
            "new",
            Actor::Operator,
            &by_request(ROTATE, phase),
        );
        assert_violates(changed, Invariant::WriteAhead);
    }
    let changed =
        requested().record_status_and_change(at(1000), "new", Actor::Operator, &Status::default());
    assert_violates(changed, Invariant::WriteAhead);
}

#[test]
fn request_causes_one_rotation() {
    let mut history = staged();
    let mut second = by_request(STAGED, Phase::Started);
    second.rotation.as_mut().unwrap().number = 3;
    assert_violates(history.record_status(at(2000), &second), Invariant::OneRotationPerCause);
}

#[test]
fn due_time_causes_one_rotation() {
    let mut history = requested();
    let due = Status { next_rotation_time: Some(at(1000)), ..Status::default() };
    let started = |number| {
        let next_rotation_time = due.next_rotation_time;
        let status =
            Status { next_rotation_time, ..status(ROTATE, Cause::Schedule, Phase::Started) };
        with(status, |rotation| rotation.number = number)
    };
    history.record_status(at(10), &due).unwrap();
    let early = history.clone().record_status(at(999), &started(2));
    assert_violates(early, Invariant::OneRotationPerCause);
    history.record_status(at(1000), &started(2)).unwrap();
    // Restored from a backup.
    history.record_status(at(1001), &due).unwrap();
    let second = history.record_status(at(1002), &started(3));
    assert_violates(second, Invariant::OneRotationPerCause);
}

#[test]
fn lost_status_causes_nothing() {
    let mut history = requested();
    history.record_status(at(500), &Status::default()).unwrap();
    let started = status(ROTATE, Cause::Schedule, Phase::Started);
    let result = history.record_status(at(1000), &started);
    assert_violates(result, Invariant::OneRotationPerCause);
    for cause in [Cause::Drift, Cause::Recovery] {
        let status = status(ROTATE, cause, Phase::Activating);
        let changed =
            requested().record_status_and_change(at(1000), "new", Actor::Operator, &status);
        assert_violates(changed, Invariant::OneRotationPerCause);
    }
}

#[test]
fn initial_rotation_starts_once() {
    let mut history = requested();
    let initial = status(ROTATE, Cause::Initial, Phase::Started);
    history.record_status(at(1000), &initial).unwrap();
    history.record_status(at(1001), &Status::default()).unwrap();
    let second = history.record_status(at(1002), &initial);
    assert_violates(second, Invariant::OneRotationPerCause);
}

#[test]
fn rotation_without_a_write_of_its_own_is_a_violation() {
    let mut history = requested();
    let activating = by_request(ROTATE, Phase::Activating);
    let unproven = history.record_status_and_change(at(1000), "new", Actor::Operator, &activating);
    assert_violates(unproven, Invariant::ProvenWrite);
}

#[test]
fn blind_retry_loses_a_value() {
    let mut history = proven();
    let activating = by_request(ROTATE, Phase::Activating);
    history.record_status_and_change(at(1000), "lost", Actor::Operator, &activating).unwrap();
    let retried =
        history.clone().record_status_and_change(at(1100), "new", Actor::Operator, &activating);
    assert_violates(retried, Invariant::NothingLost);
    assert_violates(history.clone().record_deletion(at(1001)), Invariant::NothingLost);
    let settled = history.check_settled(at(9000), &Status::default());
    assert_violates(settled, Invariant::NothingLost);
    history.record_publication(at(1001), &["lost", "old"]).unwrap();
    history.record_deletion(at(1002)).unwrap();
}

#[test]
fn published_value_may_replace_an_unreadable_one() {
    let mut history = proven();
    history.record_settings(at(10), Settings { secrets_readable: false, ..settings() });
    let activating = by_request(ROTATE, Phase::Activating);
    history.record_status_and_change(at(1000), "lost", Actor::Operator, &activating).unwrap();
    history.record_publication(at(1030), &["old", "own"]).unwrap();
    let switched = with(by_request(STAGED, Phase::Activating), |rotation| {
        rotation.skip_staging = true;
    });
    history.record_status_and_change(at(1031), "own", Actor::Operator, &switched).unwrap();
    history.record_publication(at(1032), &["own", "old"]).unwrap();
    history.check_logins(at(1033), &["lost"]).unwrap();
    assert_violates(history.check_logins(at(1061), &["lost"]), Invariant::NoLockout);
}

#[test]
fn removal_requires_evidence_and_the_grace_period() {
    let mut history = promoted();
    let end = at(1180 + 3600);
    let unproven = history.clone().record_publication(end, &["new"]);
    assert_violates(unproven, Invariant::EvidenceBeforeRemoval);
    history.record_accepted_probe(at(1181), &"new");
    let early = history.clone().record_publication(end - TimeDelta::seconds(1), &["new"]);
    assert_violates(early, Invariant::EvidenceBeforeRemoval);
    let mut shortened = history.clone();
    let grace_period = TimeDelta::seconds(60);
    shortened.record_settings(at(1200), Settings { grace_period, ..settings() });
    shortened.record_publication(at(1240), &["new"]).unwrap();
    history.record_publication(end, &["new"]).unwrap();
}

#[test]
fn removal_of_a_revoked_secret_requires_evidence_only() {
    let mut history = promoted();
    let revoking = with(by_request(STAGED, Phase::Grace), |rotation| rotation.skip_grace = true);
    history.record_status(at(1182), &revoking).unwrap();
    let unproven = history.clone().record_publication(at(1183), &["new"]);
    assert_violates(unproven, Invariant::EvidenceBeforeRemoval);
    history.record_accepted_probe(at(1183), &"new");
    // The secret stays compromised when the status is lost.
    history.record_status(at(1184), &Status::default()).unwrap();
    history.record_publication(at(1184), &["new"]).unwrap();
}

#[test]
fn out_of_band_change_is_exempt_until_settled() {
    let mut history = promoted();
    history
        .record_status_and_change(at(1200), "theirs", Actor::OtherParty, &Status::default())
        .unwrap();
    history.check_logins(at(1300), &["theirs"]).unwrap();
    let settled = history.check_settled(at(1300), &Status::default());
    assert_violates(settled, Invariant::NothingLost);
    history.record_publication(at(1300), &["theirs", "new"]).unwrap();
    assert_violates(history.check_logins(at(1301), &["old"]), Invariant::NoLockout);
}

#[test]
fn edited_target_is_exempt_until_repaired() {
    let mut history = promoted();
    history.record_tampering(&["new"]);
    history.check_logins(at(1181), &["old"]).unwrap();
    history.record_publication(at(1182), &["new"]).unwrap();
    history.check_logins(at(1183), &["old"]).unwrap();
    assert_violates(history.check_logins(at(1210), &["old"]), Invariant::NoLockout);
}

#[test]
fn repair_publishes_the_secret_of_auth0() {
    let mut history = promoted();
    history.record_tampering(&[]);
    let repaired = history.clone().record_publication(at(1182), &["old"]);
    assert_violates(repaired, Invariant::NothingLost);
    history
        .record_status_and_change(at(1182), "theirs", Actor::OtherParty, &Status::default())
        .unwrap();
    history.record_publication(at(1183), &["new"]).unwrap();
}

#[test]
fn settled_means_one_value_and_no_rotation() {
    let mut history = promoted();
    let in_progress = by_request(STAGED, Phase::Grace);
    let settled = history.check_settled(at(2000), &in_progress);
    assert_violates(settled, Invariant::NothingLost);
    let settled = history.check_settled(at(2000), &Status::default());
    assert_violates(settled, Invariant::NothingLost);
    history.record_accepted_probe(at(2000), &"new");
    history.record_publication(at(9000), &["new"]).unwrap();
    history.check_settled(at(9000), &Status::default()).unwrap();
}

#[test]
fn violation_contains_no_value() {
    let mut history = proven();
    let activating = by_request(ROTATE, Phase::Activating);
    history.record_status_and_change(at(1000), "hunter2", Actor::Operator, &activating).unwrap();
    let violation = history
        .record_status_and_change(at(1100), "hunter3", Actor::Operator, &activating)
        .unwrap_err();
    assert!(!format!("{violation} {violation:?}").contains("hunter"));
}

#[test]
fn third_drift_within_the_hold_off_is_a_violation() {
    let following = |number: u64, seconds: i64| {
        let status = with(status(ROTATE, Cause::Drift, Phase::Activating), |rotation| {
            rotation.number = number;
            rotation.started_at = at(seconds);
        });
        Status { observed_generation: Some(1), ..status }
    };
    let mut history = requested();
    history.record_status(at(1000), &following(2, 1000)).unwrap();
    history.record_status(at(1000), &following(3, 1000)).unwrap();
    let mut later = history.clone();
    let violation = history.record_status(at(1119), &following(4, 1119)).unwrap_err();
    assert_eq!(violation.invariant(), Invariant::DriftHoldOff);
    later.record_status(at(1120), &following(4, 1120)).unwrap();
}

#[test]
fn ready_while_the_secret_at_auth0_is_not_published_is_a_violation() {
    let is_ready = |holds: bool, status: Status| {
        let reason = if holds { Reason::Published } else { Reason::OutcomeUnknown };
        let ready = Condition::new(condition_types::READY, holds, reason, "", None, at(0));
        Status { conditions: vec![ready], ..status }
    };
    let attempted = with(by_request(ROTATE, Phase::Activating), |rotation| rotation.attempts = 1);
    let mut history = requested();
    history.record_status(at(1000), &by_request(ROTATE, Phase::Started)).unwrap();
    history.record_publication(at(1000), &["old"]).unwrap();
    history.record_status_and_change(at(1000), "new", Actor::Operator, &attempted).unwrap();
    let violation = |at, status: &Status, seen| {
        let result = history.check_ready(at, status, seen);
        result.err().map(|violation: Violation| violation.invariant())
    };
    let expected = Some(Invariant::ReadyMeansLogin);
    let ready = is_ready(true, attempted.clone());
    assert_eq!(violation(at(1029), &ready, Some(&"new")), None, "in the propagation window");
    assert_eq!(violation(at(1030), &ready, None), expected, "an attempt is recorded");
    assert_eq!(violation(at(1030), &is_ready(false, attempted), None), None);
    let idle = is_ready(true, Status::default());
    assert_eq!(violation(at(1030), &idle, Some(&"new")), expected, "the secret was read");
    assert_eq!(violation(at(1030), &idle, Some(&"old")), None, "an earlier secret was read");
    assert_eq!(violation(at(1030), &idle, None), None, "nothing shows it");
}
