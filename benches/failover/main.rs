//! `make bench-failover`: how long no replica acts after the leader ends.
//!
//! Two replicas run with the default times of leader election. The leader is killed (SIGKILL) 20
//! times, or as often as `AUTH0_ROTATOR_TIMES` says, and terminated (SIGTERM) as often. A rotation is
//! requested at the same moment. From then on it measures, from the outside:
//!
//! - the time until another replica holds the Lease;
//! - the time until that replica has rotated the secret at Auth0.
//!
//! For each replica that is started instead, it measures the time until `/readyz` responds with
//! success. The figures are printed and not asserted, because they depend on the machine's load.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::time::{Duration, Instant};

use auth0_rotator::api::ClientSecretRotation;
use serde_json::json;
use testkit::{Signal, auth0::tenant, fixture::Fixture, measure::Durations, operator::Operator};

/// Longer than a Lease lasts, on any machine.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

#[tokio::main]
async fn main() {
    // `cargo test` runs benchmarks too, to check that they compile.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let times = std::env::var("AUTH0_ROTATOR_TIMES").map_or(20, |times| times.parse().unwrap());
    let simulator = tenant().propagation(Duration::ZERO..=Duration::ZERO).start().await.unwrap();
    let mut fixture = Fixture::with_simulator(simulator).await;
    fixture.grant_lease_access().await;
    let mut starts = Durations::default();
    let mut leader = start_replica(&fixture, &mut starts).await;
    leader.wait_until_leader().await;
    fixture.apply_rotation("app", json!({})).await;
    fixture.wait_until_rotated("app", 1).await;
    let mut standby = start_replica(&fixture, &mut starts).await;
    for (signal, name) in [(Signal::KILL, "killed"), (Signal::TERM, "terminated")] {
        let mut measured = Failovers::default();
        for time in 0..times {
            // Spread over the interval at which the Lease is renewed.
            tokio::time::sleep(Duration::from_millis(time * 389 % 2_000)).await;
            let request = format!("rotate/{name}-{time}");
            fail_over(&fixture, &leader, signal, &request, &mut measured).await;
            let replica = start_replica(&fixture, &mut starts).await;
            leader = std::mem::replace(&mut standby, replica);
            fixture.wait_for("app", "idle", is_idle).await;
        }
        println!("leader {name}, {times} times:");
        println!("  until another replica holds the Lease: {}", summary(&measured.acquired));
        println!("  until it has rotated at Auth0:         {}", summary(&measured.rotated));
    }
    println!("start of a replica, until it is ready: {}", summary(&starts));
    drop(standby);
    fixture.operator = Some(leader);
    fixture.finish().await;
}

/// Starts a replica and records how long it takes until it is ready.
async fn start_replica(fixture: &Fixture, starts: &mut Durations) -> Operator {
    let since = Instant::now();
    let replica = fixture.start_replica(&[]);
    replica.wait_until_ready().await;
    starts.push(since.elapsed());
    replica
}

/// Times since the end of a leader.
#[derive(Default)]
struct Failovers {
    acquired: Durations,
    rotated: Durations,
}

/// Ends the leader and waits until another replica has acted.
async fn fail_over(
    fixture: &Fixture,
    leader: &Operator,
    signal: Signal,
    request: &str,
    measured: &mut Failovers,
) {
    let holder = fixture.lease_holder().await;
    let rotations = fixture.rotation_count("app");
    let since = Instant::now();
    leader.signal(signal).unwrap();
    fixture.request("app", request).await;
    loop {
        let now = fixture.lease_holder().await;
        if now.is_some() && now != holder {
            break;
        }
        assert!(since.elapsed() < DEADLINE, "no replica acquires the Lease");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    measured.acquired.push(since.elapsed());
    while fixture.rotation_count("app") == rotations {
        assert!(since.elapsed() < DEADLINE, "the new leader does not rotate");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    measured.rotated.push(since.elapsed());
}

fn is_idle(app: &ClientSecretRotation) -> bool {
    app.status.as_ref().is_some_and(|status| status.rotation.is_none())
}

fn summary(durations: &Durations) -> String {
    let (median, worst) = (durations.quantile(0.5), durations.quantile(1.0));
    format!(
        "median {:.2} s, worst {:.2} s, of {}",
        median.as_secs_f64(),
        worst.as_secs_f64(),
        durations.len()
    )
}
