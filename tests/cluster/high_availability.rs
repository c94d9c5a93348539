//! One of two replicas acts, and the other one takes over: after a kill, a clean stop, and a time in
//! which the leader stood still.

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

/// One rotation was made, in one piece, and Auth0 has what is published.
async fn assert_rotated_once(bench: &Fixture) {
    let resource = bench.wait_until_rotated("shop", 2).await;
    assert_eq!(resource.status.unwrap().history.len(), 1);
    let effects = bench.simulator.counters().client("shop").effects;
    assert_eq!((effects.rotations, effects.secret_patches), (0, 1));
    bench.assert_published("shop").await;
}

async fn finish(mut bench: Fixture, leader: Operator) {
    bench.operator = Some(leader);
    bench.finish().await;
}

#[tokio::test]
async fn a_standby_takes_over_from_a_killed_leader_in_the_middle_of_a_rotation() {
    let bench = Fixture::without_operator().await;
    let (first, second) = bench.start_two_replicas(&SHORT_LEASE).await;
    bench.apply_rotation("shop", staged("4s")).await;
    bench.wait_until_rotated("shop", 1).await;
    let holder = bench.lease_holder().await;
    bench.request("shop", "rotate/now").await;
    bench.wait_for("shop", "staged", is_in(Phase::Staging)).await;
    assert!(second.has_logged("standing by") && !second.has_logged("acquired leadership"));
    let metric = "auth0_rotator_leader";
    assert_eq!((first.metric(metric).await, second.metric(metric).await), (1.0, 0.0));
    first.kill();
    second.wait_until_leader().await;
    assert_rotated_once(&bench).await;
    let lease = bench.lease().await.unwrap().spec.unwrap();
    assert!(lease.holder_identity.is_some() && lease.holder_identity != holder);
    assert_eq!(lease.lease_transitions, Some(1));
    assert_eq!(lease.lease_duration_seconds, Some(5));
    finish(bench, second).await;
}

#[tokio::test]
async fn a_leader_that_stops_cleanly_hands_over_in_the_middle_of_a_rotation() {
    let bench = Fixture::without_operator().await;
    let (first, second) = bench.start_two_replicas(&LONG_LEASE).await;
    bench.apply_rotation("shop", staged("2s")).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    bench.wait_for("shop", "staged", is_in(Phase::Staging)).await;
    assert!(first.terminate().await.unwrap().success());
    // The Lease of five minutes is not waited out.
    second.wait_until_leader().await;
    assert_rotated_once(&bench).await;
    // The last one leaves it to nobody.
    assert!(second.terminate().await.unwrap().success());
    assert_eq!(bench.lease_holder().await, None);
    bench.finish().await;
}

#[tokio::test]
async fn a_standby_that_stops_leaves_the_lease_alone() {
    let bench = Fixture::without_operator().await;
    let (first, second) = bench.start_two_replicas(&LONG_LEASE).await;
    let holder = bench.lease_holder().await;
    assert!(second.terminate().await.unwrap().success());
    assert!(holder.is_some() && bench.lease_holder().await == holder);
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    finish(bench, first).await;
}

#[tokio::test]
async fn a_leader_that_stood_still_past_its_lease_does_nothing_more_and_ends() {
    let bench = Fixture::without_operator().await;
    let (first, second) = bench.start_two_replicas(&SHORT_LEASE).await;
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    first.signal(Signal::STOP).unwrap();
    second.wait_until_leader().await;
    // It finds this when it goes on, and may not touch it: the other one has.
    bench.request("shop", "rotate/now").await;
    bench.wait_until_rotated("shop", 2).await;
    bench.request("shop", "rotate/again").await;
    first.signal(Signal::CONT).unwrap();
    let log = first.log();
    let status = first.wait_for_exit().await;
    assert_eq!(status.code(), Some(1), "{log:?}");
    bench.wait_until_rotated("shop", 3).await;
    assert_eq!(bench.rotation_count("shop"), 2);
    bench.assert_published("shop").await;
    finish(bench, second).await;
}

/// The leader has recorded that it is about to change the secret, and is stopped before it does.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_leader_that_stood_still_just_before_an_effect_does_not_have_it_any_more() {
    for (strategy, place) in [("Staged", "before-set-secret"), ("Rotate", "before-rotate-secret")] {
        let bench = Fixture::without_operator().await;
        bench.grant_lease_access().await;
        let failpoints = format!("{place}=sleep(2000)");
        let first =
            bench.replica_command(&SHORT_LEASE).env("FAILPOINTS", failpoints).spawn().unwrap();
        first.wait_until_leader().await;
        let second = bench.start_replica(&SHORT_LEASE);
        second.wait_until_ready().await;
        let spec = json!({ "strategy": strategy, "staging": { "period": "1s" } });
        bench.apply_rotation("shop", spec).await;
        bench.wait_until_rotated("shop", 1).await;
        bench.request("shop", "rotate/now").await;
        bench.wait_for("shop", "about to be changed", is_in(Phase::Activating)).await;
        first.signal(Signal::STOP).unwrap();
        second.wait_until_leader().await;
        bench.wait_until_rotated("shop", 2).await;
        first.signal(Signal::CONT).unwrap();
        assert_eq!(first.wait_for_exit().await.code(), Some(1));
        let effects = bench.simulator.counters().client("shop").effects;
        assert_eq!(effects.rotations + effects.secret_patches, 1, "{strategy}: changed once");
        assert_eq!(bench.get("shop").await.status.unwrap().history.len(), 1);
        bench.assert_published("shop").await;
        finish(bench, second).await;
    }
}

/// Auth0's answer comes when its caller doesn't lead any more: nobody else has it, so it is published.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn an_answer_in_hand_is_published_after_the_lease_was_lost() {
    let bench = Fixture::without_operator().await;
    bench.grant_lease_access().await;
    let first = bench
        .replica_command(&SHORT_LEASE)
        .env("FAILPOINTS", "after-rotate-secret=sleep(2000)")
        .spawn()
        .unwrap();
    first.wait_until_leader().await;
    bench.apply_rotation("shop", json!({ "gracePeriod": "5s" })).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    bench.wait_until("rotated at Auth0", || bench.rotation_count("shop") == 1).await;
    first.signal(Signal::STOP).unwrap();
    // Longer than the renew deadline.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    first.signal(Signal::CONT).unwrap();
    assert_eq!(first.wait_for_exit().await.code(), Some(1));
    bench.assert_published("shop").await;
    // But that is all: what comes after is another leader's.
    bench.wait_for("shop", "about to be changed", is_in(Phase::Activating)).await;
    let second = bench.start_replica(&SHORT_LEASE);
    bench.wait_until_rotated("shop", 2).await;
    assert_eq!(bench.rotation_count("shop"), 1);
    finish(bench, second).await;
}

/// A replica whose clock is a minute ahead neither takes the Lease early nor shortens what was
/// begun by the other one's clock.
#[tokio::test]
async fn clocks_apart_by_a_minute_take_nothing_from_a_leader_nor_from_a_staging_period() {
    let bench = Fixture::without_operator().await;
    bench.grant_lease_access().await;
    let folder = TempDir::new().unwrap();
    let clock = shifted_clock(folder.path());
    let first = bench.start_replica(&SHORT_LEASE);
    first.wait_until_leader().await;
    let second = bench
        .replica_command(&SHORT_LEASE)
        .env("LD_PRELOAD", clock.to_str().unwrap())
        .env("CLOCK_APART_SECONDS", "60")
        .spawn()
        .unwrap();
    second.wait_until_ready().await;
    second.wait_for_log("the clock of this machine").await;
    bench.apply_rotation("shop", staged("20s")).await;
    bench.wait_until_rotated("shop", 1).await;
    assert!(!second.has_logged("acquired leadership"));
    bench.request("shop", "rotate/now").await;
    let staged = bench.wait_for("shop", "staged", is_in(Phase::Staging)).await;
    let staged_at = staged.status.unwrap().rotation.unwrap().staged_at.unwrap();
    first.kill();
    second.wait_until_leader().await;
    bench.wait_for("shop", "activated", is_in(Phase::Grace)).await;
    let waited = Utc::now() - staged_at;
    // The API server tells the time in whole seconds.
    assert!(waited >= TimeDelta::seconds(19), "activated after {waited}");
    assert_rotated_once(&bench).await;
    finish(bench, second).await;
}

/// A library that sets a process's clock on the wall apart from the machine's.
fn shifted_clock(folder: &Path) -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/clock.c");
    let library = folder.join("clock.so");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let built = Command::new(compiler)
        .args(["-shared", "-fPIC", "-o", library.to_str().unwrap(), source])
        .status();
    assert!(built.unwrap().success(), "{source}");
    library
}
