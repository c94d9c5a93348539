use serde_json::json;

use super::*;
use crate::operation::Operation;

fn request(operation: Operation) -> RequestInfo<'static> {
    RequestInfo { operation, method: "POST", path: "/api/v2/clients/a", client_id: Some("a") }
}

fn queue(faults: impl IntoIterator<Item = Fault>) -> FaultQueue {
    let mut queue = FaultQueue::new(1);
    for fault in faults {
        queue.inject(fault).unwrap();
    }
    queue
}

fn applies(queue: &mut FaultQueue, operation: Operation) -> bool {
    queue.take_for(&request(operation)).action.is_some()
}

#[test]
fn fault_applies_once_by_default() {
    let mut once = queue([Fault::cut_before()]);
    assert!(applies(&mut once, Operation::Token));
    assert!(!applies(&mut once, Operation::Token));
    assert!(once.list().is_empty());

    let mut twice = queue([Fault::cut_before().times(2)]);
    let count = (0..5).filter(|_| applies(&mut twice, Operation::Token)).count();
    assert_eq!(count, 2);

    let mut always = queue([Fault::cut_before().unlimited()]);
    assert!((0..100).all(|_| applies(&mut always, Operation::Token)));
    assert_eq!(always.list()[0].applied, 100);
}

#[test]
fn absent_match_fields_match_every_request() {
    let request = request(Operation::RotateSecret);
    for (on, expected) in [
        (json!({}), true),
        (json!({"operation": "clients.rotate_secret"}), true),
        (json!({"operation": "token"}), false),
        (json!({"method": "post"}), true),
        (json!({"method": "GET"}), false),
        (json!({"path": "/api/v2/*"}), true),
        (json!({"path": "/api/v2/clients"}), false),
        (json!({"client_id": "a"}), true),
        (json!({"client_id": "b"}), false),
        (json!({"operation": "clients.rotate_secret", "client_id": "b"}), false),
    ] {
        let parsed: Match = serde_json::from_value(on.clone()).unwrap();
        assert_eq!(matches(&parsed, &request), expected, "{on}");
    }
}

#[test]
fn star_matches_any_characters() {
    for (pattern, text, expected) in [
        ("*", "", true),
        ("/a/*", "/a/", true),
        ("/a/*/c", "/a/b/b/c", true),
        ("/a/*/c", "/a/b/d", false),
        ("*c", "abc", true),
        ("a*b*c", "aXbYc", true),
        ("a", "ab", false),
        ("*ü*", "grün", true),
    ] {
        assert_eq!(matches_glob(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn skips_matching_requests_first() {
    let mut queue = queue([Fault::cut_before().on(Operation::Token).skip(2)]);
    let applied: Vec<bool> = (0..4).map(|_| applies(&mut queue, Operation::Token)).collect();
    assert_eq!(applied, [false, false, true, false]);
}

#[test]
fn all_delays_and_the_first_other_fault_apply() {
    let second = Duration::from_secs(1);
    let mut queue = queue([
        Fault::delay(second),
        Fault::new(Action::Delay { ms: 500, when: When::Before }),
        Fault::cut_after(),
        Fault::status_before(503),
        Fault::delay(second),
    ]);
    let applied = queue.take_for(&request(Operation::Token));
    assert_eq!(applied.delay_after, second * 2);
    assert_eq!(applied.delay_before, Duration::from_millis(500));
    assert_eq!(applied.action, Some(Action::Cut { when: When::After }));
    assert_eq!(applied.names.as_deref(), Some("delay_after+delay_before+cut_after+delay_after"));
    let next = queue.take_for(&request(Operation::Token));
    assert_eq!(next.action, Some(Action::Status { status: 503, when: When::Before }));
}

#[test]
fn applies_with_probability_and_repeats_with_the_seed() {
    let run = || {
        let mut queue = queue([Fault::cut_before().unlimited().probability(0.25)]);
        (0..1_000).map(|_| applies(&mut queue, Operation::Token)).collect::<Vec<_>>()
    };
    let first = run();
    let count = first.iter().filter(|applies| **applies).count();
    assert!((180..320).contains(&count), "{count}");
    assert_eq!(first, run());
    let mut never = queue([Fault::cut_before().unlimited().probability(0.0)]);
    assert!((0..100).all(|_| !applies(&mut never, Operation::Token)));
}

#[test]
fn removes_faults() {
    let mut queue = queue([Fault::cut_before(), Fault::cut_after()]);
    let first = queue.list()[0].id;
    assert!(queue.remove(first));
    assert!(!queue.remove(first));
    assert_eq!(queue.list().len(), 1);
    queue.clear();
    assert!(queue.list().is_empty());
}

#[test]
fn json_has_defaults_and_rejects_unknown_members() {
    let fault: Fault = serde_json::from_value(json!({
        "match": {"operation": "clients.update"},
        "action": {"kind": "status", "status": 503},
    }))
    .unwrap();
    assert_eq!(fault, Fault::status_before(503).on(Operation::UpdateClient));
    let unlimited: Fault =
        serde_json::from_value(json!({"action": {"kind": "oversized"}, "times": null})).unwrap();
    assert_eq!(unlimited, Fault::new(Action::Oversized { bytes: 5_000_000 }).unlimited());
    for bad in [
        json!({"action": {"kind": "explode"}}),
        json!({"action": {"kind": "cut"}}),
        json!({"action": {"kind": "secret_empty"}, "time": 3}),
        json!({"match": {"op": "token"}, "action": {"kind": "secret_empty"}}),
    ] {
        assert!(serde_json::from_value::<Fault>(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn rejects_invalid_faults() {
    for (fault, hint) in [
        (Fault::status_before(404), "500 to 599"),
        (Fault::new(Action::Html { status: 100, when: When::Before }), "200 to 599"),
        (Fault::cut_before().probability(1.5), "between 0 and 1"),
        (Fault::cut_before().times(0), "null for no limit"),
        (Fault::cut_before().at("GE T", "/"), "HTTP method"),
        (Fault::delay(Duration::from_secs(7_200)), "hour"),
        (Fault::new(Action::Oversized { bytes: 1 << 30 }), "64 MiB"),
    ] {
        let error = FaultQueue::new(1).inject(fault).unwrap_err();
        assert!(error.contains(hint), "{error}");
    }
}
