use rotation::Cause;
use serde_json::json;

use super::*;
use crate::fleet::muster;

fn at(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_800_000_000_000 + millis).unwrap()
}

#[test]
fn a_consumer_may_be_as_late_as_the_staging_period_and_no_later() {
    let lists = [(at(0), vec![1]), (at(1_000), vec![1, 2]), (at(5_000), vec![2, 1])];
    let late = |list: &[u32], millis| is_too_late(&lists, list, at(millis));
    assert!(!late(&[1], 4_000) && late(&[1], 4_001));
    assert!(!late(&[1, 2], 8_000) && late(&[1, 2], 8_001));
    assert!(!late(&[2, 1], 1_000_000), "it is the present one");
    assert!(!late(&[9], 1_000_000), "whatever it is, it was not replaced");
    // A list that came back counts from its last time.
    let lists = [(at(0), vec![1]), (at(1_000), vec![1, 2]), (at(2_000), vec![1])];
    assert!(!is_too_late(&lists, &[1], at(9_000)));
}

#[test]
fn the_promise_is_made_for_staged_clients_that_nobody_meddles_with() {
    for member in muster(24) {
        let promised = member.strategy == Strategy::Staged && member.group == Group::Plain;
        assert_eq!(is_promised(&member), promised);
    }
    assert!(is_promised(&muster(1)[0]));
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
fn rotations_are_counted_once_each() {
    let watch = Watch::new(&muster(1));
    let mut inner = watch.lock();
    let client = &mut inner.clients[0];
    for numbers in [&[][..], &[2], &[2], &[4, 3, 2]] {
        let status = with_history(numbers, Outcome::Completed);
        client.count_ended(&status);
        client.record = status;
    }
    assert_eq!(client.ended, Ended { completed: 3, ..Ended::default() });
    // Somebody removed the status.
    let wiped = Status::default();
    client.count_ended(&wiped);
    client.record = wiped;
    client.count_ended(&with_history(&[5], Outcome::Rejected));
    assert_eq!(client.ended, Ended { completed: 3, refused: 1, ..Ended::default() });
    drop(inner);
    assert_eq!(watch.ended(Strategy::Staged).all(), 4);
    assert_eq!(watch.ended(Strategy::Rotate).all(), 0);
}

#[test]
fn values_have_numbers_in_their_place() {
    let mut values = Values::default();
    let [a, b] = ["a", "b"].map(SecretString::from);
    assert_eq!(values.numbers(&[a.clone(), b, a]), [0, 1, 0]);
}
