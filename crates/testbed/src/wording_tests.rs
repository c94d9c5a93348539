use super::*;
use crate::status::Condition;
use crate::target::tests::target;

fn words(happened: &[Happening]) -> Vec<&str> {
    happened.iter().map(|happening| happening.what.as_str()).collect()
}

fn in_phase(phase: &str) -> Status {
    let rotation = Rotation {
        number: 2,
        cause: "Schedule".into(),
        strategy: "Rotate".into(),
        phase: phase.into(),
    };
    Status { current: Some(1), rotation: Some(rotation), ..Status::default() }
}

fn with_condition(kind: &str, status: &str, reason: &str) -> Status {
    let condition = Condition {
        kind: kind.into(),
        status: status.into(),
        reason: reason.into(),
        message: "do this".into(),
    };
    Status { current: Some(1), conditions: vec![condition], ..Status::default() }
}

#[test]
fn a_rotation_is_told_step_by_step() {
    let idle = Status { current: Some(1), ..Status::default() };
    let told: Vec<_> = ["Started", "Activating", "Confirming", "Grace"]
        .iter()
        .scan(idle, |before, phase| {
            let after = in_phase(phase);
            let told = of_status(before, &after);
            *before = after;
            Some(told)
        })
        .flatten()
        .collect();
    assert_eq!(words(&told), ["started", "activating", "activated", "confirmed"]);
    assert_eq!(told[0].text, "rotation 2, by its schedule; strategy Rotate");
}

#[test]
fn steps_that_were_not_seen_are_not_made_up() {
    let idle = Status { current: Some(1), ..Status::default() };
    assert_eq!(words(&of_status(&idle, &in_phase("Grace"))), ["started", "confirmed"]);
    assert!(of_status(&in_phase("Grace"), &in_phase("Grace")).is_empty());
}

#[test]
fn a_phase_that_is_not_known_is_shown_as_it_is() {
    let told = of_status(&in_phase("Started"), &in_phase("Restarting"));
    assert_eq!(words(&told), ["restarting"]);
}

#[test]
fn a_request_is_told_with_its_text() {
    let mut after = in_phase("Started");
    after.last_handled_request = Some("rotate/now".into());
    let rotation = after.rotation.as_mut().unwrap();
    rotation.cause = "Request".into();
    let told = of_status(&Status { current: Some(1), ..Status::default() }, &after);
    assert_eq!(told[0].text, "rotation 2, as asked for by rotate/now; strategy Rotate");
}

#[test]
fn an_import_is_told_once_and_is_no_rotation() {
    let imported = Status { current: Some(1), ..Status::default() };
    assert_eq!(words(&of_status(&Status::default(), &imported)), ["imported"]);
    assert!(of_status(&imported, &imported).is_empty());
    let first = in_phase("Started");
    assert_eq!(words(&of_status(&Status::default(), &first)), ["started"]);
}

#[test]
fn the_end_is_told_by_its_outcome() {
    let entry = |number, outcome: &str| Ended {
        number,
        outcome: outcome.into(),
        message: "overtaken".into(),
        ..Ended::default()
    };
    let before = Status { history: vec![entry(2, "Completed")], ..in_phase("Grace") };
    let after = Status {
        current: Some(4),
        history: vec![entry(4, "Completed"), entry(3, "Superseded"), entry(2, "Completed")],
        ..Status::default()
    };
    let told = of_status(&before, &after);
    assert_eq!(words(&told), ["completed", "superseded"]);
    assert_eq!(told[1].text, "rotation 3 ended: overtaken");
}

#[test]
fn trouble_is_told_when_it_begins() {
    let fine = with_condition("Ready", "True", "Published");
    let stalled = with_condition("Stalled", "True", "ClientNotFound");
    let told = of_status(&fine, &stalled);
    assert_eq!(words(&told), ["stalled"]);
    assert_eq!(told[0].text, "ClientNotFound: do this");
    assert!(of_status(&stalled, &stalled).is_empty());

    let retrying = with_condition("Reconciling", "True", "NoResponse");
    assert_eq!(words(&of_status(&Status::default(), &retrying)), ["imported", "retrying"]);
    assert!(of_status(&retrying, &retrying).is_empty());
    let in_order = with_condition("Reconciling", "True", "Staging");
    assert!(of_status(&fine, &in_order).is_empty());

    let not_ready = with_condition("Ready", "False", "NotConfirmed");
    assert_eq!(words(&of_status(&fine, &not_ready)), ["not ready"]);
}

#[test]
fn a_secret_is_told_by_the_order_of_its_numbers() {
    let told = |before: Option<&Target>, after: Option<&Target>| {
        of_target(before, after).map(|happening| (happening.what, happening.text))
    };
    let (one, two, edited) = (target(&[1]), target(&[2, 1]), Target::default());
    let published = |text: &str| Some(("published".to_owned(), text.to_owned()));
    assert_eq!(told(None, Some(&one)), published("its Secret lists number 1"));
    assert_eq!(told(Some(&one), Some(&two)), published("its Secret lists number 2, then 1"));
    assert_eq!(told(Some(&two), Some(&two)), None);
    assert_eq!(told(Some(&one), None).unwrap().0, "gone");
    assert_eq!(told(None, None), None);
    assert_eq!(told(Some(&one), Some(&edited)).unwrap().0, "edited");
    assert_eq!(told(Some(&edited), Some(&one)).unwrap().0, "put right");
}
