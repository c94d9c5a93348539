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

use crate::{
    bench::{Bench, DEADLINE},
    operator::Operator,
    replicas::{LONG, SHORT},
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
async fn assert_rotated_once(bench: &Bench) {
    let resource = bench.rotated("shop", 2).await;
    assert_eq!(resource.status.unwrap().history.len(), 1);
    let effects = bench.simulator.counters().client("shop").effects;
    assert_eq!((effects.rotations, effects.secret_patches), (0, 1));
    bench.assert_published("shop").await;
}

async fn finish(mut bench: Bench, leader: Operator) {
    bench.operator = Some(leader);
    bench.finish().await;
}

#[tokio::test]
async fn a_standby_takes_over_from_a_killed_leader_in_the_middle_of_a_rotation() {
    let bench = Bench::without_operator().await;
    let (first, second) = bench.two_replicas(&SHORT).await;
    bench.rotation("shop", staged("4s")).await;
    bench.rotated("shop", 1).await;
    let holder = bench.holder().await;
    bench.request("shop", "rotate/now").await;
    bench.wait("shop", "staged", is_in(Phase::Staging)).await;
    assert!(second.says("standing by") && !second.says("acquired leadership"));
    let metric = "auth0_rotator_leader";
    assert_eq!((first.metric(metric).await, second.metric(metric).await), (1.0, 0.0));
    first.kill();
    second.leads().await;
    assert_rotated_once(&bench).await;
    let lease = bench.lease().await.unwrap().spec.unwrap();
    assert!(lease.holder_identity.is_some() && lease.holder_identity != holder);
    assert_eq!(lease.lease_transitions, Some(1));
    assert_eq!(lease.lease_duration_seconds, Some(5));
    finish(bench, second).await;
}

#[tokio::test]
async fn a_leader_that_stops_cleanly_hands_over_in_the_middle_of_a_rotation() {
    let bench = Bench::without_operator().await;
    let (first, second) = bench.two_replicas(&LONG).await;
    bench.rotation("shop", staged("2s")).await;
    bench.rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    bench.wait("shop", "staged", is_in(Phase::Staging)).await;
    assert!(first.stop().await.success());
    // The Lease of five minutes is not waited out.
    second.leads().await;
    assert_rotated_once(&bench).await;
    // The last one leaves it to nobody.
    assert!(second.stop().await.success());
    assert_eq!(bench.holder().await, None);
    bench.finish().await;
}

#[tokio::test]
async fn a_standby_that_stops_leaves_the_lease_alone() {
    let bench = Bench::without_operator().await;
    let (first, second) = bench.two_replicas(&LONG).await;
    let holder = bench.holder().await;
    assert!(second.stop().await.success());
    assert!(holder.is_some() && bench.holder().await == holder);
    bench.rotation("shop", json!({})).await;
    bench.rotated("shop", 1).await;
    finish(bench, first).await;
}

#[tokio::test]
async fn a_leader_that_stood_still_past_its_lease_does_nothing_more_and_ends() {
    let bench = Bench::without_operator().await;
    let (first, second) = bench.two_replicas(&SHORT).await;
    bench.rotation("shop", json!({})).await;
    bench.rotated("shop", 1).await;
    first.signal("STOP");
    second.leads().await;
    // It finds this when it goes on, and may not touch it: the other one has.
    bench.request("shop", "rotate/now").await;
    bench.rotated("shop", 2).await;
    bench.request("shop", "rotate/again").await;
    first.signal("CONT");
    let log = first.log();
    let status = first.end().await;
    assert_eq!(status.code(), Some(1), "{log:?}");
    bench.rotated("shop", 3).await;
    assert_eq!(bench.rotations("shop"), 2);
    bench.assert_published("shop").await;
    finish(bench, second).await;
}

/// The leader has recorded that it is about to change the secret, and is stopped before it does.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_leader_that_stood_still_just_before_an_effect_does_not_have_it_any_more() {
    for (strategy, place) in [("Staged", "before-set-secret"), ("Rotate", "before-rotate-secret")] {
        let bench = Bench::without_operator().await;
        bench.allow_leases().await;
        let failpoints = format!("{place}=sleep(2000)");
        let first = bench.replica_with(&SHORT, &[("FAILPOINTS", failpoints.as_str())]);
        first.leads().await;
        let second = bench.replica(&SHORT);
        second.ready().await;
        let spec = json!({ "strategy": strategy, "staging": { "period": "1s" } });
        bench.rotation("shop", spec).await;
        bench.rotated("shop", 1).await;
        bench.request("shop", "rotate/now").await;
        bench.wait("shop", "about to be changed", is_in(Phase::Activating)).await;
        first.signal("STOP");
        second.leads().await;
        bench.rotated("shop", 2).await;
        first.signal("CONT");
        assert_eq!(first.end().await.code(), Some(1));
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
    let bench = Bench::without_operator().await;
    bench.allow_leases().await;
    let first = bench.replica_with(&SHORT, &[("FAILPOINTS", "after-rotate-secret=sleep(2000)")]);
    first.leads().await;
    bench.rotation("shop", json!({ "gracePeriod": "5s" })).await;
    bench.rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    bench.until("rotated at Auth0", |bench| bench.rotations("shop") == 1).await;
    first.signal("STOP");
    // Longer than the renew deadline.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    first.signal("CONT");
    assert_eq!(first.end().await.code(), Some(1));
    bench.assert_published("shop").await;
    // But that is all: what comes after is another leader's.
    bench.wait("shop", "about to be changed", is_in(Phase::Activating)).await;
    let second = bench.replica(&SHORT);
    bench.rotated("shop", 2).await;
    assert_eq!(bench.rotations("shop"), 1);
    finish(bench, second).await;
}

/// A replica whose clock is a minute ahead neither takes the Lease early nor shortens what was
/// begun by the other one's clock.
#[tokio::test]
async fn clocks_apart_by_a_minute_take_nothing_from_a_leader_nor_from_a_staging_period() {
    let bench = Bench::without_operator().await;
    bench.allow_leases().await;
    let folder = TempDir::new().unwrap();
    let clock = shifted_clock(folder.path());
    let ahead = [("LD_PRELOAD", clock.to_str().unwrap()), ("CLOCK_APART_SECONDS", "60")];
    let first = bench.replica(&SHORT);
    first.leads().await;
    let second = bench.replica_with(&SHORT, &ahead);
    second.ready().await;
    second.eventually_says("the clock of this machine", DEADLINE).await;
    bench.rotation("shop", staged("20s")).await;
    bench.rotated("shop", 1).await;
    assert!(!second.says("acquired leadership"));
    bench.request("shop", "rotate/now").await;
    let staged = bench.wait("shop", "staged", is_in(Phase::Staging)).await;
    let staged_at = staged.status.unwrap().rotation.unwrap().staged_at.unwrap();
    first.kill();
    second.leads().await;
    bench.wait("shop", "activated", is_in(Phase::Grace)).await;
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
