//! `make bench-rate-limit`: how much of a tenant's rate limit the operator uses when all resources are
//! due at once.
//!
//! It creates 10,000 resources of one tenant, or as many as `AUTH0_ROTATOR_RESOURCES` says, with
//! `initial: Rotate`, so that all are due when the operator starts. The tenant accepts 16 requests/s
//! with a burst of 50, and the operator is configured with the same limit. From the simulator's audit
//! log of three minutes it reports:
//!
//! - the requests that were rejected with 429;
//! - the requests to the Management API as a share of the limit;
//! - the longest time from an activation to its confirmation;
//! - the resident memory with all resources in the work queue.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::{
    collections::HashMap,
    fs,
    time::{Duration, Instant},
};

use auth0_simulator::{AuditEntry, AuditKind, Operation, RateLimit};
use chrono::{DateTime, Utc};
use futures::{StreamExt as _, stream};
use serde_json::json;
use testkit::{
    auth0::tenant,
    fixture::Fixture,
    measure::{Durations, ProcessMemory},
};

const PER_SECOND: u32 = 16;
const BURST: u32 = 50;
const MEASURED: Duration = Duration::from_secs(180);
const QUEUE_DEPTH: &str = "auth0_rotator_workqueue_depth";

#[tokio::main]
async fn main() {
    // `cargo test` runs benchmarks too, to check that they compile.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let resources = std::env::var("AUTH0_ROTATOR_RESOURCES").map_or(10_000, |n| n.parse().unwrap());
    let simulator = tenant()
        .propagation(Duration::ZERO..=Duration::from_secs(5))
        .audit_capacity(1_000_000)
        .rate_limit(RateLimit::new(PER_SECOND, BURST).ok());
    let mut fixture = Fixture::with_simulator(simulator.start().await.unwrap()).await;
    let limit = json!({ "requestsPerSecond": PER_SECOND, "burst": BURST });
    fixture.apply_tenant(json!({ "rateLimit": limit })).await;
    let started = Instant::now();
    create_resources(&fixture, resources).await;
    println!("created {resources} due resources in {:.0} s", started.elapsed().as_secs_f64());
    fixture.start_operator_with(&["--allow-http-endpoints", "--log-level", "info"]);
    while fixture.operator().metric(QUEUE_DEPTH).await == 0.0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Leaves out the peak of the start.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let depth = fixture.operator().metric(QUEUE_DEPTH).await;
    println!("{depth} in the work queue; resident memory: {}", memory(&fixture));
    tokio::time::sleep(MEASURED + Duration::from_secs(5)).await;
    let cpu = cpu_seconds(&fixture);
    println!("at the end: resident memory {}, CPU time {cpu:.1} s", memory(&fixture));
    report(&fixture.simulator.audit_log(0));
    fixture.stop_operator().await;
}

/// Creates clients at Auth0, and resources that rotate them as soon as the operator runs.
async fn create_resources(fixture: &Fixture, count: usize) {
    let create = async |number: usize| {
        let spec = json!({ "initial": "Rotate", "gracePeriod": "1m" });
        fixture.apply_rotation(&format!("app-{number}"), spec).await;
    };
    stream::iter(0..count).for_each_concurrent(16, create).await;
}

fn time(entry: &AuditEntry) -> DateTime<Utc> {
    entry.time.parse().unwrap()
}

fn is_management(entry: &AuditEntry) -> bool {
    !matches!(entry.operation, Operation::Token | Operation::Revoke)
}

/// Prints the figures of the time since the first response of the Management API.
fn report(log: &[AuditEntry]) {
    let first = time(log.iter().find(|entry| is_management(entry)).unwrap());
    let seconds = |entry: &AuditEntry| (time(entry) - first).as_seconds_f64();
    let log: Vec<_> = log.iter().filter(|entry| seconds(entry) <= MEASURED.as_secs_f64()).collect();
    let rejected = log.iter().filter(|entry| entry.status == Some(429)).count();
    println!("rejected with 429 within {} s: {rejected}", MEASURED.as_secs());
    let management = log.iter().filter(|entry| is_management(entry)).count();
    let permitted = f64::from(BURST) + f64::from(PER_SECOND) * MEASURED.as_secs_f64();
    println!(
        "requests to the Management API: {management} of {permitted:.0} ({:.1} %)",
        100.0 * management as f64 / permitted
    );
    let mut by_operation: HashMap<&str, usize> = HashMap::new();
    for entry in &log {
        *by_operation.entry(entry.operation.as_str()).or_default() += 1;
    }
    println!("requests by operation: {by_operation:?}");
    let mut activated = HashMap::new();
    let mut confirmed = Durations::default();
    for entry in &log {
        let Some(client_id) = entry.client_id.as_deref() else { continue };
        if entry.operation == Operation::RotateSecret && entry.effect {
            activated.insert(client_id, seconds(entry));
        } else if entry.kind == AuditKind::Revocation
            && let Some(since) = activated.remove(client_id)
        {
            confirmed.push(Duration::from_secs_f64(seconds(entry) - since));
        }
    }
    println!(
        "rotations activated: {}, confirmed: {}; from activation to confirmation: median {:.1} s, \
         longest {:.1} s (Auth0 takes up to 5 s to accept)",
        confirmed.len() + activated.len(),
        confirmed.len(),
        confirmed.quantile(0.5).as_secs_f64(),
        confirmed.quantile(1.0).as_secs_f64(),
    );
    let oldest = activated.values().map(|since| MEASURED.as_secs_f64() - since).reduce(f64::max);
    println!("oldest unconfirmed rotation at the end: {:.1} s", oldest.unwrap_or_default());
}

fn memory(fixture: &Fixture) -> ProcessMemory {
    ProcessMemory::of(fixture.operator().pid()).unwrap()
}

/// Returns the user and system time so far. Linux reports hundredths of a second.
fn cpu_seconds(fixture: &Fixture) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", fixture.operator().pid())).unwrap();
    let ticks = stat.split_whitespace().skip(13).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}
