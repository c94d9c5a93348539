use std::collections::BTreeMap;

use secrecy::SecretString;
use testbed::status::{Rotation, Status};
use testbed::tally::Tally;
use testbed::target::Target;
use testbed::world::View;

use super::*;

/// A Secret with these numbers, whose values are made of them.
fn target(numbers: &[u64]) -> Target {
    let list: Vec<_> = numbers.iter().map(|n| SecretString::from(format!("value-{n}"))).collect();
    let (first, second) = (list.first().cloned(), list.get(1).cloned());
    Target { numbers: numbers.to_vec(), list, first, second }
}

fn account(name: &str, strategy: &str, cause: &str, rotations: u64) -> Account {
    let status = Status { current: Some(rotations + 1), ..Status::default() };
    let target = Some(target(&[rotations + 1]));
    let completed = BTreeMap::from([(cause.to_owned(), rotations)]);
    Account {
        name: name.into(),
        strategy: strategy.into(),
        view: View { status, target, completed, not_completed: 0 },
        tally: Tally { logins: 100, later: 2, reread: 3, ..Tally::default() },
        changes_at_auth0: rotations,
        calls_of_rotate: if strategy == "Rotate" { rotations } else { 0 },
        is_accepted: true,
        is_overdue: false,
    }
}

fn good() -> Facts {
    let brief = Some(Duration::from_millis(40));
    Facts {
        accounts: vec![
            account(ON_SCHEDULE, "Rotate", "Schedule", 2),
            account(STAGED, "Staged", "Request", 2),
            account(ON_REQUEST, "Rotate", "Request", 1),
        ],
        seen: Seen {
            deleted_for: brief,
            edited_for: brief,
            killed_for: brief,
            read_back_after: brief,
        },
        search: Some(Search::default()),
        broken_off: None,
    }
}

/// The promises that don't hold once `change` is made to good facts.
fn broken(change: impl FnOnce(&mut Facts)) -> Vec<(Verdict, String)> {
    let mut facts = good();
    change(&mut facts);
    let broken: Vec<_> = promises(&facts)
        .into_iter()
        .filter(|promise| promise.verdict != Verdict::Held)
        .map(|promise| (promise.verdict, promise.evidence))
        .collect();
    assert_eq!(all_held(&facts), broken.is_empty() && facts.broken_off.is_none());
    broken
}

fn one(evidence: &str) -> Vec<(Verdict, String)> {
    vec![(Verdict::Broken, evidence.to_owned())]
}

#[test]
fn all_is_well() {
    assert_eq!(broken(|_| ()), []);
}

#[test]
fn a_failed_login_breaks_a_promise() {
    assert_eq!(broken(|facts| facts.accounts[0].tally.failed = 1), one("1 of 300 failed"));
}

#[test]
fn a_login_may_fail_before_the_publication_unless_it_is_staged() {
    assert_eq!(broken(|facts| facts.accounts[0].tally.failed_unpublished = 2), []);
    assert_eq!(
        broken(|facts| facts.accounts[1].tally.failed_unpublished = 2),
        one("2 of 300 failed")
    );
    let mut facts = good();
    facts.accounts[0].tally.failed_unpublished = 2;
    assert!(promises(&facts)[0].evidence.starts_with("0 of 300 failed; 2 more failed after"));
}

#[test]
fn an_application_that_nobody_logged_in_to_proves_nothing() {
    let untested = broken(|facts| facts.accounts[2].tally = Tally::default());
    assert_eq!(untested, [(Verdict::Untested, "0 of 200 failed".to_owned())]);
}

#[test]
fn a_rotation_that_is_missing_or_too_many_breaks_a_promise() {
    let missing = broken(|facts| facts.accounts[0] = account(ON_SCHEDULE, "Rotate", "Schedule", 1));
    assert_eq!(missing, one("checkout completed 1 of 2"));
    let twice = broken(|facts| facts.accounts[1].changes_at_auth0 = 3);
    assert_eq!(twice, one("billing was changed 3 times at Auth0 in 2 rotations"));
    assert_eq!(
        broken(|facts| facts.accounts[0].is_overdue = true),
        one("checkout has one that is overdue")
    );
    let superseded = broken(|facts| facts.accounts[0].view.not_completed = 1);
    assert_eq!(superseded, one("checkout did not complete 1"));
    let rotation = Rotation { phase: "Grace".into(), ..Rotation::default() };
    let running = broken(|facts| facts.accounts[0].view.status.rotation = Some(rotation));
    assert_eq!(running, one("checkout is still in phase Grace"));
}

#[test]
fn the_secret_that_is_left_must_be_the_one_that_auth0_accepts() {
    let told = "2 of 3 Secrets; not that of reports";
    assert_eq!(broken(|facts| facts.accounts[2].is_accepted = false), one(told));
    assert_eq!(broken(|facts| facts.accounts[2].view.target = None), one(told));
    let two = Some(target(&[2, 1]));
    assert_eq!(broken(|facts| facts.accounts[2].view.target = two), one(told));
}

#[test]
fn what_the_script_did_not_see_is_broken_or_untested() {
    let told = "0.04 s after it was deleted, not seen after it was edited";
    assert_eq!(broken(|facts| facts.seen.edited_for = None), one(told));
    let untested = broken(|facts| {
        facts.seen.edited_for = None;
        facts.broken_off = Some("the operator ended".into());
    });
    assert_eq!(untested, [(Verdict::Untested, told.to_owned())]);
    let twice = broken(|facts| facts.accounts[2].calls_of_rotate = 2);
    assert_eq!(twice, one("published after 0.04 s; rotate-secret was called 2 times"));
}

#[test]
fn a_rotation_must_outlive_the_operator_that_was_killed() {
    let lost = broken(|facts| {
        facts.accounts[1].view.completed.insert("Request".into(), 1);
        facts.accounts[1].changes_at_auth0 = 1;
    });
    let told: Vec<_> = lost.into_iter().map(|(_, evidence)| evidence).collect();
    assert_eq!(told, ["billing completed 1 of 2", "gone for 0.0 s; that rotation did not end"]);
}

#[test]
fn a_leak_is_named_and_a_search_must_be_made() {
    let leak = broken(|facts| {
        facts.search = Some(Search { found_in: vec!["Events".into()], ..Search::default() });
    });
    assert_eq!(leak, one("found in: Events"));
    assert_eq!(broken(|facts| facts.search = None)[0].0, Verdict::Untested);
}

#[test]
fn a_demo_that_broke_off_proves_nothing() {
    assert_eq!(broken(|facts| facts.broken_off = Some("why".into())), []);
}
