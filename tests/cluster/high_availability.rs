//! Two replicas: the standby takes over after the leader was killed, terminated or paused past its
//! Lease.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use auth0_rotator::api::ClientSecretRotation;
use chrono::{TimeDelta, Utc};
use rotation::Phase;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{
    Signal,
    fixture::{Fixture, LONG_LEASE, SHORT_LEASE},
    operator::Operator,
};

fn staged(period: &str) -> Value {
    json!({ "strategy": "Staged", "staging": { "period": period } })
}

fn is_in(phase: Phase) -> impl Fn(&ClientSecretRotation) -> bool {
    move |resource| {
        let rotation = resource.status.as_ref().and_then(|status| status.rotation.as_ref());
        rotation.is_some_and(|rotation| rotation.phase == phase)
    }
}

/// Asserts that exactly one rotation was made, and that Auth0's value is published.
async fn assert_rotated_once(fixture: &Fixture) {
    let resource = fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(resource.status.unwrap().history.len(), 1);
    let effects = fixture.simulator.counters().client("shop").effects;
    assert_eq!((effects.rotations, effects.secret_patches), (0, 1));
    fixture.assert_published("shop").await;
}

/// Ends the test with the remaining replica as its operator.
async fn finish(mut fixture: Fixture, leader: Operator) {
    fixture.operator = Some(leader);
    fixture.finish().await;
}

#[tokio::test]
async fn standby_takes_over_from_a_killed_leader_during_a_rotation() {
    let fixture = Fixture::without_operator().await;
    let (first, second) = fixture.start_two_replicas(&SHORT_LEASE).await;
    fixture.apply_rotation("shop", staged("4s")).await;
    fixture.wait_until_rotated("shop", 1).await;
    let holder = fixture.lease_holder().await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_for("shop", "staged", is_in(Phase::Staging)).await;
    assert!(second.has_logged("standing by") && !second.has_logged("acquired leadership"));
    let metric = "auth0_rotator_leader";
    assert_eq!((first.metric(metric).await, second.metric(metric).await), (1.0, 0.0));
    first.kill();
    second.wait_until_leader().await;
    assert_rotated_once(&fixture).await;
    let lease = fixture.lease().await.unwrap().spec.unwrap();
    assert!(lease.holder_identity.is_some() && lease.holder_identity != holder);
    assert_eq!(lease.lease_transitions, Some(1));
    assert_eq!(lease.lease_duration_seconds, Some(5));
    finish(fixture, second).await;
}

#[tokio::test]
async fn terminated_leader_hands_over_during_a_rotation() {
    let fixture = Fixture::without_operator().await;
    let (first, second) = fixture.start_two_replicas(&LONG_LEASE).await;
    fixture.apply_rotation("shop", staged("2s")).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_for("shop", "staged", is_in(Phase::Staging)).await;
    assert!(first.terminate().await.unwrap().success());
    // Long before the Lease of five minutes expires.
    second.wait_until_leader().await;
    assert_rotated_once(&fixture).await;
    // The last replica releases the Lease.
    assert!(second.terminate().await.unwrap().success());
    assert_eq!(fixture.lease_holder().await, None);
    fixture.finish().await;
}

#[tokio::test]
async fn terminated_standby_leaves_the_lease_unchanged() {
    let fixture = Fixture::without_operator().await;
    let (first, second) = fixture.start_two_replicas(&LONG_LEASE).await;
    let holder = fixture.lease_holder().await;
    assert!(second.terminate().await.unwrap().success());
    assert!(holder.is_some() && fixture.lease_holder().await == holder);
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    finish(fixture, first).await;
}

#[tokio::test]
async fn leader_that_was_paused_past_its_lease_exits_without_changes() {
    let fixture = Fixture::without_operator().await;
    let (first, second) = fixture.start_two_replicas(&SHORT_LEASE).await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    first.signal(Signal::STOP).unwrap();
    second.wait_until_leader().await;
    // The paused replica finds these requests when it resumes, and must leave them to the leader.
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.request("shop", "rotate/again").await;
    first.signal(Signal::CONT).unwrap();
    let log = first.log();
    let status = first.wait_for_exit().await;
    assert_eq!(status.code(), Some(1), "{log:?}");
    fixture.wait_until_rotated("shop", 3).await;
    assert_eq!(fixture.rotation_count("shop"), 2);
    fixture.assert_published("shop").await;
    finish(fixture, second).await;
}

/// The leader is paused after it has stored the intent to change the secret, and before the change.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn leader_that_was_paused_before_a_change_at_auth0_does_not_make_it() {
    for (strategy, failpoint) in
        [("Staged", "before-set-secret"), ("Rotate", "before-rotate-secret")]
    {
        let fixture = Fixture::without_operator().await;
        fixture.grant_lease_access().await;
        let failpoints = format!("{failpoint}=sleep(2000)");
        let first =
            fixture.replica_command(&SHORT_LEASE).env("FAILPOINTS", failpoints).spawn().unwrap();
        first.wait_until_leader().await;
        let second = fixture.start_replica(&SHORT_LEASE);
        second.wait_until_ready().await;
        let spec = json!({ "strategy": strategy, "staging": { "period": "1s" } });
        fixture.apply_rotation("shop", spec).await;
        fixture.wait_until_rotated("shop", 1).await;
        fixture.request("shop", "rotate/now").await;
        fixture.wait_for("shop", "activating", is_in(Phase::Activating)).await;
        first.signal(Signal::STOP).unwrap();
        second.wait_until_leader().await;
        fixture.wait_until_rotated("shop", 2).await;
        first.signal(Signal::CONT).unwrap();
        assert_eq!(first.wait_for_exit().await.code(), Some(1));
        let effects = fixture.simulator.counters().client("shop").effects;
        assert_eq!(effects.rotations + effects.secret_patches, 1, "{strategy}: changes");
        assert_eq!(fixture.get("shop").await.status.unwrap().history.len(), 1);
        fixture.assert_published("shop").await;
        finish(fixture, second).await;
    }
}

/// Only the process that has received the response of `rotate-secret` knows the new value. It
/// publishes the value even if it is no longer the leader.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn publishes_a_received_response_after_losing_leadership() {
    // Longer than the renew deadline.
    const PAUSE: std::time::Duration = std::time::Duration::from_secs(4);
    let fixture = Fixture::without_operator().await;
    fixture.grant_lease_access().await;
    let failpoint = format!("after-rotate-secret=sleep({})", PAUSE.as_millis());
    let first = fixture.replica_command(&SHORT_LEASE).env("FAILPOINTS", failpoint).spawn().unwrap();
    first.wait_until_leader().await;
    fixture.apply_rotation("shop", json!({ "gracePeriod": "5s" })).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until("Auth0 has rotated", || fixture.rotation_count("shop") == 1).await;
    wait_until_responses_received(&fixture, &first).await;
    first.signal(Signal::STOP).unwrap();
    tokio::time::sleep(PAUSE).await;
    first.signal(Signal::CONT).unwrap();
    assert_eq!(first.wait_for_exit().await.code(), Some(1));
    fixture.assert_published("shop").await;
    // The next steps are left to the next leader.
    fixture.wait_for("shop", "activating", is_in(Phase::Activating)).await;
    let second = fixture.start_replica(&SHORT_LEASE);
    fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(fixture.rotation_count("shop"), 1);
    finish(fixture, second).await;
}

/// Waits until an operator has received the responses to all requests that the Management API has
/// counted.
#[cfg(feature = "failpoints")]
async fn wait_until_responses_received(fixture: &Fixture, operator: &Operator) {
    use auth0_simulator::Operation::{GetClient, ListClients, RotateSecret};

    let metric = format!(
        "auth0_rotator_auth0_request_duration_seconds_count{{api=\"management\",\
         kind=\"Auth0Tenant\",namespace=\"{}\",tenant=\"acme\"}}",
        fixture.namespace
    );
    let has_received_all = async || {
        let counters = fixture.simulator.counters();
        let requests = [ListClients, GetClient, RotateSecret];
        let counted: u64 = requests.iter().map(|operation| counters.requests(*operation)).sum();
        operator.metric(&metric).await == counted as f64
    };
    fixture.wait_until_async("all responses are received", has_received_all).await;
}

/// A replica whose clock is a minute ahead neither acquires the Lease early nor shortens a staging
/// period that started by the other replica's clock.
#[tokio::test]
async fn clock_skew_of_a_minute_shortens_neither_the_lease_nor_the_staging_period() {
    let fixture = Fixture::without_operator().await;
    fixture.grant_lease_access().await;
    let folder = TempDir::new().unwrap();
    let clock = build_clock_offset_library(folder.path());
    let first = fixture.start_replica(&SHORT_LEASE);
    first.wait_until_leader().await;
    let second = fixture
        .replica_command(&SHORT_LEASE)
        .env("LD_PRELOAD", clock.to_str().unwrap())
        .env("CLOCK_OFFSET_SECONDS", "60")
        .spawn()
        .unwrap();
    second.wait_until_ready().await;
    second.wait_for_log("this machine's clock differs from the API server's").await;
    fixture.apply_rotation("shop", staged("20s")).await;
    fixture.wait_until_rotated("shop", 1).await;
    assert!(!second.has_logged("acquired leadership"));
    fixture.request("shop", "rotate/now").await;
    let staged = fixture.wait_for("shop", "staged", is_in(Phase::Staging)).await;
    let staged_at = staged.status.unwrap().rotation.unwrap().staged_at.unwrap();
    first.kill();
    second.wait_until_leader().await;
    fixture.wait_for("shop", "activated", is_in(Phase::Grace)).await;
    let waited = Utc::now() - staged_at;
    // The time of the API server has a resolution of a second.
    assert!(waited >= TimeDelta::seconds(19), "activated after {waited}");
    assert_rotated_once(&fixture).await;
    finish(fixture, second).await;
}

/// Builds a library for LD_PRELOAD that shifts the wall clock of a process.
fn build_clock_offset_library(folder: &Path) -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/clock_offset.c");
    let library = folder.join("clock_offset.so");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let built = Command::new(compiler)
        .args(["-shared", "-fPIC", "-o", library.to_str().unwrap(), source])
        .status();
    assert!(built.unwrap().success(), "{source}");
    library
}
