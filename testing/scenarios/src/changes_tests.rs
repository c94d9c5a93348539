use chrono::DateTime;
use rotation::Condition;

use super::*;

fn labels(entries: &[TimelineEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.label.as_str()).collect()
}

pub(crate) fn history_entry() -> HistoryEntry {
    HistoryEntry {
        number: 2,
        cause: Cause::Schedule,
        started_at: DateTime::default(),
        activated_at: None,
        retired_at: None,
        outcome: Outcome::Completed,
        message: "overtaken".into(),
    }
}

fn idle() -> Status {
    Status { current: Some(1), ..Status::default() }
}

fn in_phase(phase: Phase) -> Status {
    let rotation = serde_json::json!({
        "number": 2, "cause": Cause::Schedule, "strategy": Strategy::Rotate, "phase": phase,
        "startedAt": DateTime::<chrono::Utc>::default(),
    });
    Status { rotation: serde_json::from_value(rotation).unwrap(), ..idle() }
}

fn with_condition(type_: &str, status: bool, reason: Reason) -> Status {
    let condition = Condition::new(type_, status, reason, "do this", None, DateTime::default());
    Status { conditions: vec![condition], ..idle() }
}

#[test]
fn each_step_of_a_rotation_has_an_entry() {
    let mut before = idle();
    let mut entries = Vec::new();
    for phase in [Phase::Started, Phase::Activating, Phase::Confirming, Phase::Grace] {
        let after = in_phase(phase);
        entries.extend(of_status(&before, &after));
        before = after;
    }
    assert_eq!(labels(&entries), ["started", "activating", "activated", "confirmed"]);
    assert_eq!(entries[0].text, "rotation 2, due by schedule; strategy Rotate");
}

#[test]
fn steps_that_were_not_observed_have_no_entry() {
    assert_eq!(labels(&of_status(&idle(), &in_phase(Phase::Grace))), ["started", "confirmed"]);
    assert!(of_status(&in_phase(Phase::Grace), &in_phase(Phase::Grace)).is_empty());
}

#[test]
fn withdrawal_has_an_entry() {
    let entries = of_status(&in_phase(Phase::Started), &in_phase(Phase::Withdrawing));
    assert_eq!(labels(&entries), ["withdrawing"]);
}

#[test]
fn requested_rotation_names_its_request() {
    let mut after = in_phase(Phase::Started);
    after.last_handled_request = Some("rotate/now".into());
    after.rotation.as_mut().unwrap().cause = Cause::Request;
    let entries = of_status(&idle(), &after);
    assert_eq!(entries[0].text, "rotation 2, requested by rotate/now; strategy Rotate");
}

#[test]
fn import_has_one_entry_and_is_no_rotation() {
    assert_eq!(labels(&of_status(&Status::default(), &idle())), ["imported"]);
    assert!(of_status(&idle(), &idle()).is_empty());
    let first = in_phase(Phase::Started);
    assert_eq!(labels(&of_status(&Status::default(), &first)), ["started"]);
}

#[test]
fn end_of_a_rotation_has_its_outcome() {
    let entry = |number, outcome| HistoryEntry { number, outcome, ..history_entry() };
    let completed = |number| entry(number, Outcome::Completed);
    let before = Status { history: vec![completed(2)], ..in_phase(Phase::Grace) };
    let after = Status {
        current: Some(4),
        history: vec![completed(4), entry(3, Outcome::Superseded), completed(2)],
        ..Status::default()
    };
    let entries = of_status(&before, &after);
    assert_eq!(labels(&entries), ["completed", "superseded"]);
    assert_eq!(entries[1].text, "rotation 3 ended: overtaken");
}

#[test]
fn problem_has_an_entry_when_it_begins() {
    let ready = with_condition("Ready", true, Reason::Published);
    let stalled = with_condition("Stalled", true, Reason::ClientNotFound);
    let entries = of_status(&ready, &stalled);
    assert_eq!(labels(&entries), ["stalled"]);
    assert_eq!(entries[0].text, "ClientNotFound: do this");
    assert!(of_status(&stalled, &stalled).is_empty());

    let retrying = with_condition("Reconciling", true, Reason::NoResponse);
    assert_eq!(labels(&of_status(&Status::default(), &retrying)), ["imported", "retrying"]);
    assert!(of_status(&retrying, &retrying).is_empty());
    let progressing = with_condition("Reconciling", true, Reason::Staging);
    assert!(of_status(&ready, &progressing).is_empty());

    let not_ready = with_condition("Ready", false, Reason::NotConfirmed);
    assert_eq!(labels(&of_status(&ready, &not_ready)), ["not ready"]);
}

#[test]
fn secret_has_an_entry_with_the_order_of_its_numbers() {
    let entry = |before: Option<&TargetSecret>, after: Option<&TargetSecret>| {
        of_target(before, after).map(|entry| (entry.label, entry.text))
    };
    let target = TargetSecret::with_numbers;
    let (one, two, edited) = (target(&[1]), target(&[2, 1]), TargetSecret::default());
    let published = |text: &str| Some(("published".to_owned(), text.to_owned()));
    assert_eq!(entry(None, Some(&one)), published("its Secret lists number 1"));
    assert_eq!(entry(Some(&one), Some(&two)), published("its Secret lists number 2, then 1"));
    assert_eq!(entry(Some(&two), Some(&two)), None);
    assert_eq!(entry(Some(&one), None).unwrap().0, "deleted");
    assert_eq!(entry(None, None), None);
    assert_eq!(entry(Some(&one), Some(&edited)).unwrap().0, "edited");
    assert_eq!(entry(Some(&edited), Some(&one)).unwrap().0, "restored");
}
