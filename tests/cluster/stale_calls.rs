//! A process that is suspended between a decision and its call to Auth0 does not send the call when it
//! resumes: another process may have continued in the meantime.

use std::time::Duration;

use rotation::Phase;
use serde_json::json;
use testkit::{fixture::Fixture, operator::Operator, status::phase};

/// How long the first process is suspended: longer than the second one takes for two rotations.
const SUSPENSION: Duration = Duration::from_secs(25);

#[tokio::test]
async fn stale_set_secret_is_not_sent() {
    assert_stale_call_is_not_sent("Staged", "before-set-secret").await;
}

#[tokio::test]
async fn stale_rotate_secret_is_not_sent() {
    assert_stale_call_is_not_sent("Rotate", "before-rotate-secret").await;
}

/// Suspends a process at a failpoint before its call to Auth0, completes that rotation and another
/// one in a second process, and asserts that the first process does not send its call.
async fn assert_stale_call_is_not_sent(strategy: &str, failpoint: &str) {
    let mut fixture = Fixture::start().await;
    fixture
        .apply_rotation("shop", json!({ "strategy": strategy, "staging": { "period": "1s" } }))
        .await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.stop_operator().await;

    let first = start_suspended_at(&fixture, failpoint);
    fixture.request("shop", "rotate/first").await;
    fixture
        .wait_for("shop", "activating", |resource| {
            resource.status.as_ref().and_then(phase) == Some(Phase::Activating)
        })
        .await;
    let reconciles = reconcile_count(&first);
    fixture.start_operator();
    fixture.wait_until_rotated("shop", 2).await;
    fixture.request("shop", "rotate/second").await;
    fixture.wait_until_rotated("shop", 3).await;
    assert_eq!(change_count(&fixture), 2);
    // The suspended reconcile has ended.
    fixture
        .wait_until("the first process has resumed", || reconcile_count(&first) > reconciles)
        .await;
    fixture.assert_published("shop").await;
    assert_eq!(change_count(&fixture), 2, "the stale call was sent");
    assert!(first.terminate().await.unwrap().success());
    fixture.finish().await;
}

/// Starts an operator that sleeps the first time that it reaches a failpoint.
fn start_suspended_at(fixture: &Fixture, failpoint: &str) -> Operator {
    let sleep = format!("{failpoint}=1*sleep({})", SUSPENSION.as_millis());
    let command = fixture.operator_command().args(["--allow-http-endpoints"]);
    command.env("FAILPOINTS", sleep).spawn().unwrap()
}

/// Returns how many reconciles an operator has completed.
fn reconcile_count(operator: &Operator) -> usize {
    operator.log().iter().filter(|line| line["message"] == "reconciled").count()
}

/// Returns how often the secret of the client `shop` was changed at Auth0.
fn change_count(fixture: &Fixture) -> u64 {
    let effects = fixture.simulator.counters().client("shop").effects;
    effects.rotations + effects.patches
}
