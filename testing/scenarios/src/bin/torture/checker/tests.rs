use rotation::{Cause, Outcome, Status};
use serde_json::json;

use super::{
    client::{DatedList, is_too_late, may_never_fail},
    *,
};
use crate::clients::{Group, create_clients};

fn at(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_800_000_000_000 + millis).unwrap()
}

fn list(millis: i64, values: &[u32]) -> DatedList {
    DatedList { since: at(millis), values: values.to_vec() }
}

#[test]
fn consumer_may_be_late_by_the_staging_period() {
    let lists = [list(0, &[1]), list(1_000, &[1, 2]), list(5_000, &[2, 1])];
    let late = |list: &[u32], millis| is_too_late(&lists, list, at(millis));
    assert!(!late(&[1], 4_000) && late(&[1], 4_001));
    assert!(!late(&[1, 2], 8_000) && late(&[1, 2], 8_001));
    assert!(!late(&[2, 1], 1_000_000), "it is the present list");
    assert!(!late(&[9], 1_000_000), "an unknown list was not replaced");
    // The last occurrence of a list counts.
    let lists = [list(0, &[1]), list(1_000, &[1, 2]), list(2_000, &[1])];
    assert!(!is_too_late(&lists, &[1], at(9_000)));
}

#[test]
fn only_plain_staged_clients_may_never_fail() {
    for client in create_clients(24) {
        let expected = client.strategy == Strategy::Staged && client.group == Group::Plain;
        assert_eq!(may_never_fail(&client), expected);
    }
    assert!(may_never_fail(&create_clients(1)[0]));
}

fn with_history(numbers: &[u64], outcome: Outcome) -> Status {
    let entries: Vec<_> = numbers
        .iter()
        .map(|number| {
            json!({
                "number": number, "cause": Cause::Schedule, "outcome": outcome, "message": "",
                "startedAt": at(i64::try_from(*number).unwrap()),
            })
        })
        .collect();
    serde_json::from_value(json!({"history": entries})).unwrap()
}

#[test]
fn each_rotation_is_counted_once() {
    let checker = Checker::new(&create_clients(1));
    let mut state = checker.lock();
    let client = &mut state.clients[0];
    for numbers in [&[][..], &[2], &[2], &[4, 3, 2]] {
        let status = with_history(numbers, Outcome::Completed);
        client.count_outcomes(&status);
        client.status = status;
    }
    assert_eq!(client.outcomes, OutcomeCounts { completed: 3, ..OutcomeCounts::default() });
    // A user removes the status.
    let wiped = Status::default();
    client.count_outcomes(&wiped);
    client.status = wiped;
    client.count_outcomes(&with_history(&[5], Outcome::Rejected));
    let expected = OutcomeCounts { completed: 3, rejected: 1, ..OutcomeCounts::default() };
    assert_eq!(client.outcomes, expected);
    drop(state);
    assert_eq!(checker.outcomes(Strategy::Staged).total(), 4);
    assert_eq!(checker.outcomes(Strategy::Rotate).total(), 0);
}

#[test]
fn values_are_replaced_by_numbers() {
    let mut values = ValueNumbers::default();
    let [a, b] = ["a", "b"].map(SecretString::from);
    assert_eq!(values.numbers(&[a.clone(), b, a]), [0, 1, 0]);
}
