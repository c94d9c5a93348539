use std::collections::HashMap;

use rotation::{Phase, Status, Strategy};
use scenarios::tracker::ApplicationState;
use testkit::{
    assertion::AssertionResult, leak_scan::LeakReport, login_tally::LoginTally,
    target_secret::TargetSecret,
};

use super::*;

fn application(name: &str, strategy: Strategy, cause: Cause, rotations: u64) -> ApplicationResult {
    ApplicationResult {
        name: name.into(),
        strategy,
        state: ApplicationState {
            status: Status { current: Some(rotations + 1), ..Status::default() },
            target: Some(TargetSecret::with_numbers(&[rotations + 1])),
            completed: HashMap::from([(cause, rotations)]),
            not_completed: 0,
        },
        logins: LoginTally { logins: 100, later_tries: 2, rereads: 3, ..LoginTally::default() },
        changes_at_auth0: rotations,
        rotate_calls: if strategy == Strategy::Rotate { rotations } else { 0 },
        is_accepted: true,
        is_overdue: false,
    }
}

fn good() -> DemoResults {
    let brief = Some(Duration::from_millis(40));
    DemoResults {
        common: Results {
            applications: vec![
                application(SCHEDULED, Strategy::Rotate, Cause::Schedule, 2),
                application(STAGED, Strategy::Staged, Cause::Request, 2),
                application(REQUESTED, Strategy::Rotate, Cause::Request, 1),
            ],
            leaks: Some(LeakReport::default()),
            aborted: None,
        },
        observed: Observations {
            deleted_for: brief,
            edited_for: brief,
            killed_for: brief,
            read_back_after: brief,
        },
    }
}

/// An assertion that has not passed.
#[derive(Debug, PartialEq)]
struct Unmet {
    result: AssertionResult,
    detail: String,
}

/// Returns the assertions that don't pass after a change to good results.
fn unmet(change: impl FnOnce(&mut DemoResults)) -> Vec<Unmet> {
    let mut results = good();
    change(&mut results);
    let mut unmet = Vec::new();
    for Assertion { result, detail, .. } in results.assertions() {
        if result != AssertionResult::Passed {
            unmet.push(Unmet { result, detail });
        }
    }
    assert_eq!(results.have_passed(), unmet.is_empty() && results.common.aborted.is_none());
    unmet
}

/// Returns the assertions that don't pass after a change to one application.
fn unmet_with(index: usize, change: impl FnOnce(&mut ApplicationResult)) -> Vec<Unmet> {
    unmet(|results| change(&mut results.common.applications[index]))
}

fn failed(detail: &str) -> Vec<Unmet> {
    vec![Unmet { result: AssertionResult::Failed, detail: detail.to_owned() }]
}

fn skipped(detail: &str) -> Vec<Unmet> {
    vec![Unmet { result: AssertionResult::Skipped, detail: detail.to_owned() }]
}

#[test]
fn good_results_pass() {
    assert_eq!(unmet(|_| ()), []);
}

#[test]
fn failed_login_fails() {
    assert_eq!(unmet_with(0, |app| app.logins.failed = 1), failed("1 of 300 failed"));
}

#[test]
fn login_may_fail_before_publication_only_with_rotate() {
    let fail = |app: &mut ApplicationResult| app.logins.failed_before_publication = 2;
    assert_eq!(unmet_with(0, fail), []);
    assert_eq!(unmet_with(1, fail), failed("2 of 300 failed"));
    let mut results = good();
    fail(&mut results.common.applications[0]);
    assert!(results.no_login_fails().detail.starts_with("0 of 300 failed; 2 more failed between"));
}

#[test]
fn application_without_logins_is_untested() {
    let untested = unmet_with(2, |app| app.logins = LoginTally::default());
    assert_eq!(untested, skipped("0 of 200 failed"));
}

#[test]
fn missing_or_surplus_rotation_fails() {
    let missing =
        unmet_with(0, |app| *app = application(SCHEDULED, Strategy::Rotate, Cause::Schedule, 1));
    assert_eq!(missing, failed("checkout completed 1 of 2"));
    let twice = unmet_with(1, |app| app.changes_at_auth0 = 3);
    assert_eq!(twice, failed("billing changed 3 times at Auth0 in 2 rotations"));
    let overdue = unmet_with(0, |app| app.is_overdue = true);
    assert_eq!(overdue, failed("checkout has an overdue rotation"));
    let superseded = unmet_with(0, |app| app.state.not_completed = 1);
    assert_eq!(superseded, failed("checkout did not complete 1"));
    let rotation = serde_json::json!({
        "number": 2, "cause": Cause::Schedule, "strategy": Strategy::Rotate,
        "phase": Phase::Grace, "startedAt": "2026-01-01T00:00:00Z",
    });
    let rotation = serde_json::from_value(rotation).unwrap();
    let running = unmet_with(0, |app| app.state.status.rotation = Some(rotation));
    assert_eq!(running, failed("checkout is still in phase Grace"));
}

#[test]
fn remaining_value_must_be_accepted() {
    let detail = "2 of 3 Secrets; not that of reports";
    assert_eq!(unmet_with(2, |app| app.is_accepted = false), failed(detail));
    assert_eq!(unmet_with(2, |app| app.state.target = None), failed(detail));
    let two = Some(TargetSecret::with_numbers(&[2, 1]));
    assert_eq!(unmet_with(2, |app| app.state.target = two), failed(detail));
}

#[test]
fn what_was_not_observed_fails_or_is_skipped() {
    let detail = "0.04 s after the deletion, not observed after the edit";
    assert_eq!(unmet(|results| results.observed.edited_for = None), failed(detail));
    let aborted = unmet(|results| {
        results.observed.edited_for = None;
        results.common.aborted = Some("the operator exited".into());
    });
    assert_eq!(aborted, skipped(detail));
    let twice = unmet_with(2, |app| app.rotate_calls = 2);
    assert_eq!(twice, failed("published after 0.04 s; rotate-secret was called 2 times"));
}

#[test]
fn rotation_must_survive_a_kill() {
    let lost = unmet_with(1, |app| {
        app.state.completed.insert(Cause::Request, 1);
        app.changes_at_auth0 = 1;
    });
    let details: Vec<_> = lost.into_iter().map(|unmet| unmet.detail).collect();
    let survival = "the operator was down for 0.0 s; the rotation did not complete";
    assert_eq!(details, ["billing completed 1 of 2", survival]);
}

#[test]
fn leak_fails_and_missing_scan_is_skipped() {
    let leak = unmet(|results| {
        let leaks = LeakReport { found_in: vec!["Events".into()], ..LeakReport::default() };
        results.common.leaks = Some(leaks);
    });
    assert_eq!(leak, failed("found in Events"));
    let missing = unmet(|results| results.common.leaks = None);
    assert_eq!(missing[0].result, AssertionResult::Skipped);
}

#[test]
fn aborted_demo_does_not_pass() {
    assert_eq!(unmet(|results| results.common.aborted = Some("why".into())), []);
}
