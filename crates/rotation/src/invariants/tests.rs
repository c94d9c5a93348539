//! Each promise broken once, and the ways in which it is kept.

use super::*;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn lengths() -> Lengths {
    let seconds = TimeDelta::seconds;
    Lengths { staging: seconds(180), grace: seconds(3600), window: seconds(30), readable: true }
}

fn record(strategy: Strategy, cause: Cause, phase: Phase) -> Status {
    let mut rotation = Rotation::start(2, cause, strategy, at(1000));
    rotation.phase = phase;
    Status { rotation: Some(rotation), ..Status::default() }
}

fn requested(strategy: Strategy, phase: Phase) -> Status {
    let last_handled_request = Some("rotate/now".into());
    Status { last_handled_request, ..record(strategy, Cause::Request, phase) }
}

fn with(mut record: Status, change: impl Fn(&mut Rotation)) -> Status {
    change(record.rotation.as_mut().unwrap());
    record
}

/// `old` is published, accepted and alone, and somebody has asked for a rotation.
fn asked() -> Ledger<&'static str> {
    let mut ledger = Ledger::new(at(0), "old", lengths());
    ledger.published(at(0), &["old"]).unwrap();
    ledger.accepted(at(1), &"old");
    ledger.requested("rotate/now");
    ledger
}

fn staged() -> Ledger<&'static str> {
    let mut ledger = asked();
    ledger.recorded(at(1000), &requested(Strategy::Staged, Phase::Started)).unwrap();
    ledger.published(at(1000), &["old", "new"]).unwrap();
    ledger
}

const ROTATE: Strategy = Strategy::Rotate;
const STAGED: Strategy = Strategy::Staged;

fn promise(broken: Result<(), Breach>) -> &'static str {
    broken.expect_err("a promise is broken").promise()
}

#[test]
fn staged_by_the_book_breaks_nothing() {
    let mut ledger = staged();
    let activating = requested(STAGED, Phase::Activating);
    ledger.logins(at(1100), &["old"]).unwrap();
    ledger.changed(at(1180), "new", By::Us, &activating).unwrap();
    ledger.changed(at(1181), "new", By::Us, &activating).unwrap();
    for accepted in ["old", "new"] {
        ledger.logins(at(1181), &[accepted]).unwrap();
    }
    ledger.published(at(1182), &["new", "old"]).unwrap();
    ledger.accepted(at(1183), &"new");
    ledger.published(at(1182 + 3600), &["new"]).unwrap();
    ledger.logins(at(1183 + 3600), &["new"]).unwrap();
    ledger.rest(at(5000), &Status::default()).unwrap();
}

#[test]
fn rotate_is_excused_until_the_answer_is_written() {
    let mut ledger = asked();
    ledger.changed(at(1000), "new", By::Us, &requested(ROTATE, Phase::Activating)).unwrap();
    ledger.logins(at(1001), &["new"]).unwrap();
    ledger.published(at(1002), &["new", "old"]).unwrap();
    ledger.login(at(1003), &["old"], &["new"]).unwrap();
    assert_eq!(promise(ledger.login(at(1003), &["new", "old"], &[])), "no lockout");
}

#[test]
fn activation_before_the_staging_period_is_over_locks_out() {
    let mut ledger = staged();
    let activating = requested(STAGED, Phase::Activating);
    let early = ledger.clone().changed(at(1179), "new", By::Us, &activating);
    assert_eq!(promise(early), "no lockout");
    // What is compromised is not waited for.
    let urgent = with(activating, |rotation| rotation.skip_staging = true);
    ledger.changed(at(1001), "new", By::Us, &urgent).unwrap();
    ledger.logins(at(1002), &["new"]).unwrap();
}

#[test]
fn rolling_back_is_not_excused() {
    let mut ledger = staged();
    let activating = requested(STAGED, Phase::Activating);
    let back =
        with(activating, |rotation| (rotation.skip_staging, rotation.rollback) = (true, true));
    assert_eq!(promise(ledger.changed(at(1001), "new", By::Us, &back)), "no lockout");
}

#[test]
fn a_list_without_the_accepted_value_locks_out() {
    assert_eq!(promise(asked().published(at(9), &["new"])), "no lockout");
    assert_eq!(promise(asked().logins(at(9), &["new"])), "no lockout");
    asked().login(at(9), &["a list of long ago"], &["old"]).unwrap();
}

#[test]
fn a_change_without_its_record_is_not_written_ahead() {
    for phase in [Phase::Started, Phase::Staging, Phase::Confirming, Phase::Grace] {
        let changed = asked().changed(at(1000), "new", By::Us, &requested(ROTATE, phase));
        assert_eq!(promise(changed), "write-ahead");
    }
    let changed = asked().changed(at(1000), "new", By::Us, &Status::default());
    assert_eq!(promise(changed), "write-ahead");
}

#[test]
fn a_request_causes_one_rotation() {
    let mut ledger = staged();
    let mut again = requested(STAGED, Phase::Started);
    again.rotation.as_mut().unwrap().number = 3;
    assert_eq!(promise(ledger.recorded(at(2000), &again)), "one rotation per cause");
}

#[test]
fn a_due_time_causes_one_rotation() {
    let mut ledger = asked();
    let due = Status { next_rotation_time: Some(at(1000)), ..Status::default() };
    let started = |number| {
        let next_rotation_time = due.next_rotation_time;
        let record =
            Status { next_rotation_time, ..record(ROTATE, Cause::Schedule, Phase::Started) };
        with(record, |rotation| rotation.number = number)
    };
    ledger.recorded(at(10), &due).unwrap();
    let early = ledger.clone().recorded(at(999), &started(2));
    assert_eq!(promise(early), "one rotation per cause");
    ledger.recorded(at(1000), &started(2)).unwrap();
    // Restored from a backup.
    ledger.recorded(at(1001), &due).unwrap();
    assert_eq!(promise(ledger.recorded(at(1002), &started(3))), "one rotation per cause");
}

#[test]
fn a_lost_record_causes_nothing() {
    let mut ledger = asked();
    ledger.recorded(at(500), &Status::default()).unwrap();
    let started = record(ROTATE, Cause::Schedule, Phase::Started);
    assert_eq!(promise(ledger.recorded(at(1000), &started)), "one rotation per cause");
    for cause in [Cause::Drift, Cause::Recovery] {
        let record = record(ROTATE, cause, Phase::Activating);
        let changed = asked().changed(at(1000), "new", By::Us, &record);
        assert_eq!(promise(changed), "one rotation per cause");
    }
}

#[test]
fn an_initial_rotation_is_made_once() {
    let mut ledger = asked();
    let initial = record(ROTATE, Cause::Initial, Phase::Started);
    ledger.recorded(at(1000), &initial).unwrap();
    ledger.recorded(at(1001), &Status::default()).unwrap();
    assert_eq!(promise(ledger.recorded(at(1002), &initial)), "one rotation per cause");
}

#[test]
fn a_blind_repeat_loses_a_value() {
    let mut ledger = asked();
    let activating = requested(ROTATE, Phase::Activating);
    ledger.changed(at(1000), "lost", By::Us, &activating).unwrap();
    let repeated = ledger.clone().changed(at(1100), "new", By::Us, &activating);
    assert_eq!(promise(repeated), "nothing lost");
    assert_eq!(promise(ledger.clone().gone(at(1001))), "nothing lost");
    assert_eq!(promise(ledger.rest(at(9000), &Status::default())), "nothing lost");
    ledger.published(at(1001), &["lost", "old"]).unwrap();
    ledger.gone(at(1002)).unwrap();
}

#[test]
fn what_can_not_be_read_back_is_replaced_by_what_is_published() {
    let mut ledger = asked();
    ledger.lengths_changed(at(10), Lengths { readable: false, ..lengths() });
    ledger.changed(at(1000), "lost", By::Us, &requested(ROTATE, Phase::Activating)).unwrap();
    ledger.published(at(1030), &["old", "own"]).unwrap();
    let takeover =
        with(requested(STAGED, Phase::Activating), |rotation| rotation.skip_staging = true);
    ledger.changed(at(1031), "own", By::Us, &takeover).unwrap();
    ledger.published(at(1032), &["own", "old"]).unwrap();
    ledger.logins(at(1033), &["lost"]).unwrap();
    assert_eq!(promise(ledger.logins(at(1061), &["lost"])), "no lockout");
}

/// After activation at 1180, promoted at once.
fn promoted() -> Ledger<&'static str> {
    let mut ledger = staged();
    ledger.changed(at(1180), "new", By::Us, &requested(STAGED, Phase::Activating)).unwrap();
    ledger.published(at(1180), &["new", "old"]).unwrap();
    ledger
}

#[test]
fn removal_needs_evidence_and_time() {
    let mut ledger = promoted();
    let late = at(1180 + 3600);
    assert_eq!(promise(ledger.clone().published(late, &["new"])), "evidence before removal");
    ledger.accepted(at(1181), &"new");
    let early = ledger.clone().published(late - TimeDelta::seconds(1), &["new"]);
    assert_eq!(promise(early), "evidence before removal");
    let mut shorter = ledger.clone();
    shorter.lengths_changed(at(1200), Lengths { grace: TimeDelta::seconds(60), ..lengths() });
    shorter.published(at(1240), &["new"]).unwrap();
    ledger.published(late, &["new"]).unwrap();
}

#[test]
fn a_revoked_secret_needs_evidence_and_no_time() {
    let mut ledger = promoted();
    let hurried = with(requested(STAGED, Phase::Grace), |rotation| rotation.skip_grace = true);
    ledger.recorded(at(1182), &hurried).unwrap();
    assert_eq!(promise(ledger.clone().published(at(1183), &["new"])), "evidence before removal");
    ledger.accepted(at(1183), &"new");
    // It stays compromised when the record is lost.
    ledger.recorded(at(1184), &Status::default()).unwrap();
    ledger.published(at(1184), &["new"]).unwrap();
}

#[test]
fn a_change_by_someone_else_is_excused_until_it_is_settled() {
    let mut ledger = promoted();
    ledger.changed(at(1200), "theirs", By::SomeoneElse, &Status::default()).unwrap();
    ledger.logins(at(1300), &["theirs"]).unwrap();
    assert_eq!(promise(ledger.rest(at(1300), &Status::default())), "nothing lost");
    ledger.published(at(1300), &["theirs", "new"]).unwrap();
    assert_eq!(promise(ledger.logins(at(1301), &["old"])), "no lockout");
}

#[test]
fn a_target_that_someone_edited_is_excused_until_it_is_put_right() {
    let mut ledger = promoted();
    ledger.tampered(&["new"]);
    ledger.logins(at(1181), &["old"]).unwrap();
    ledger.published(at(1182), &["new"]).unwrap();
    ledger.logins(at(1183), &["old"]).unwrap();
    assert_eq!(promise(ledger.logins(at(1210), &["old"])), "no lockout");
}

#[test]
fn a_repair_brings_what_auth0_has() {
    let mut ledger = promoted();
    ledger.tampered(&[]);
    assert_eq!(promise(ledger.clone().published(at(1182), &["old"])), "nothing lost");
    ledger.changed(at(1182), "theirs", By::SomeoneElse, &Status::default()).unwrap();
    ledger.published(at(1183), &["new"]).unwrap();
}

#[test]
fn rest_is_one_value_and_no_rotation() {
    let mut ledger = promoted();
    let busy = requested(STAGED, Phase::Grace);
    assert_eq!(promise(ledger.rest(at(2000), &busy)), "nothing lost");
    assert_eq!(promise(ledger.rest(at(2000), &Status::default())), "nothing lost");
    ledger.accepted(at(2000), &"new");
    ledger.published(at(9000), &["new"]).unwrap();
    ledger.rest(at(9000), &Status::default()).unwrap();
}

#[test]
fn a_breach_never_shows_a_value() {
    let mut ledger = asked();
    let activating = requested(ROTATE, Phase::Activating);
    ledger.changed(at(1000), "hunter2", By::Us, &activating).unwrap();
    let breach = ledger.changed(at(1100), "hunter3", By::Us, &activating).unwrap_err();
    assert!(!format!("{breach} {breach:?}").contains("hunter"));
}
