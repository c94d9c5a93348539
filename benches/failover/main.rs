//! `make bench-failover`: how long nobody acts when the leader goes.
//!
//! Two replicas with the times that they have by default. The leader is killed (SIGKILL), 20 times
//! unless `AUTH0_ROTATOR_TIMES` says otherwise, and as often stopped cleanly (SIGTERM); a rotation
//! is requested in the same moment. Measured from there, and from the outside:
//!
//! - until another replica holds the Lease;
//! - until that one has rotated the secret at Auth0;
//!
//! and for each replica that is started in place of the one that went, until `/readyz` says so.
//!
//! Figures are printed, not judged: a machine's load is no defect of the operator.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

#[path = "../../tests/cluster/bench.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod bench;
#[path = "../../tests/cluster/cluster.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod cluster;
#[path = "../../tests/cluster/leaks.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod leaks;
#[path = "../../tests/cluster/operator.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod operator;
#[path = "../../tests/cluster/replicas.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod replicas;

use std::time::{Duration, Instant};

use auth0_simulator::{ClientSeed, Simulator};
use bench::{Bench, MANAGER, SCOPES};
use operator::Operator;
use serde_json::json;

/// Longer than a lease, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() {
    // `cargo test` runs benchmarks too, to see that they build.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let times = std::env::var("AUTH0_ROTATOR_TIMES").map_or(20, |times| times.parse().unwrap());
    let simulator = Simulator::builder()
        .propagation(Duration::ZERO..=Duration::ZERO)
        .client(ClientSeed::new(MANAGER).scopes(SCOPES))
        .start()
        .await
        .unwrap();
    let mut bench = Bench::with(simulator).await;
    bench.allow_leases().await;
    let mut starts = Figures::default();
    let mut leader = started(&bench, &mut starts).await;
    leader.leads().await;
    bench.rotation("app", json!({})).await;
    bench.rotated("app", 1).await;
    let mut standby = started(&bench, &mut starts).await;
    for (signal, what) in [("KILL", "killed"), ("TERM", "stopped cleanly")] {
        let (mut taken, mut acted) = (Figures::default(), Figures::default());
        for time in 0..times {
            // Any moment of the interval at which the Lease is renewed.
            tokio::time::sleep(Duration::from_millis(time * 389 % 2_000)).await;
            fail_over(&bench, &leader, signal, time, (&mut taken, &mut acted)).await;
            let new = started(&bench, &mut starts).await;
            leader = std::mem::replace(&mut standby, new);
            bench
                .wait("app", "at rest", |app| {
                    app.status.as_ref().is_some_and(|status| status.rotation.is_none())
                })
                .await;
        }
        println!("leader {what}, {times} times:");
        println!("  until another one holds the Lease: {taken}");
        println!("  until it has rotated at Auth0:     {acted}");
    }
    println!("start of a replica, until it is ready: {starts}");
    drop(standby);
    bench.operator = Some(leader);
    bench.finish().await;
}

/// A replica that is ready, and how long that took.
async fn started(bench: &Bench, figures: &mut Figures) -> Operator {
    let since = Instant::now();
    let replica = bench.replica(&[]);
    replica.ready().await;
    figures.0.push(since.elapsed());
    replica
}

/// Has the leader go, and waits until another one has acted.
async fn fail_over(
    bench: &Bench,
    leader: &Operator,
    signal: &str,
    time: u64,
    (taken, acted): (&mut Figures, &mut Figures),
) {
    let (before, rotations) = (bench.holder().await.unwrap(), bench.rotations("app"));
    let since = Instant::now();
    leader.signal(signal);
    bench.request("app", &format!("rotate/{signal}-{time}")).await;
    while bench.holder().await.is_none_or(|holder| holder == before) {
        assert!(since.elapsed() < PATIENCE, "nobody takes the Lease");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    taken.0.push(since.elapsed());
    while bench.rotations("app") == rotations {
        assert!(since.elapsed() < PATIENCE, "the new leader does nothing");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    acted.0.push(since.elapsed());
}

/// How long something took, each time.
#[derive(Default)]
struct Figures(Vec<Duration>);

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut all = self.0.clone();
        all.sort();
        let at = |share: f64| all[((all.len() - 1) as f64 * share).round() as usize].as_secs_f64();
        write!(f, "median {:.2} s, worst {:.2} s, of {}", at(0.5), at(1.0), all.len())
    }
}
