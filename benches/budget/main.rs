//! `make bench-budget`: how a tenant's rate limit is used when everything is due at once.
//!
//! Resources of one tenant, 10,000 unless `AUTH0_ROTATOR_RESOURCES` says otherwise, are made with
//! `initial: Rotate`, so that all are due when the operator is started. The tenant lets 16
//! requests/s through with a burst of 50, and the operator is told the same. For three minutes it
//! is counted, from the simulator's own log:
//!
//! - requests that were answered with 429;
//! - requests to the Management API, as a share of what the limit lets through;
//! - the longest time from an activation to its confirmation;
//! - resident memory with all of them waiting.

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

use std::{
    collections::HashMap,
    fs,
    time::{Duration, Instant},
};

use auth0_rotator::api::ClientSecretRotation;
use auth0_simulator::{AuditEntry, AuditKind, ClientSeed, Operation, RateLimit, Simulator};
use bench::{Bench, MANAGER, SCOPES};
use chrono::{DateTime, Utc};
use futures::{StreamExt as _, stream};
use kube::api::PostParams;
use operator::Operator;
use serde_json::json;

const PER_SECOND: u32 = 16;
const BURST: u32 = 50;
const MEASURED: Duration = Duration::from_secs(180);

#[tokio::main]
async fn main() {
    // `cargo test` runs benchmarks too, to see that they build.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let resources = std::env::var("AUTH0_ROTATOR_RESOURCES").map_or(10_000, |n| n.parse().unwrap());
    let names: Vec<_> = (0..resources).map(|number| format!("app-{number}")).collect();
    let simulator = Simulator::builder()
        .propagation(Duration::ZERO..=Duration::from_secs(5))
        .audit_capacity(1_000_000)
        .rate_limit(RateLimit::new(PER_SECOND, BURST).ok())
        .client(ClientSeed::new(MANAGER).scopes(SCOPES))
        .start()
        .await
        .unwrap();
    let mut bench = Bench::with(simulator).await;
    let limit = json!({ "requestsPerSecond": PER_SECOND, "burst": BURST });
    bench.create_tenant(json!({ "rateLimit": limit })).await;
    let started = Instant::now();
    create(&bench, &names).await;
    println!("{resources} resources made in {:.0} s, each due", started.elapsed().as_secs_f64());
    start(&mut bench);
    while bench.operator().metric("auth0_rotator_workqueue_depth").await == 0.0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Without the crowd of the start.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let waiting = bench.operator().metric("auth0_rotator_workqueue_depth").await;
    println!("{waiting} wait; resident memory: {}", resident_memory(&bench));
    tokio::time::sleep(MEASURED + Duration::from_secs(5)).await;
    println!("at the end: resident memory {}, {}", resident_memory(&bench), processor(&bench));
    report(&bench.simulator.audit_log(0));
    assert!(bench.take_operator().stop().await.success());
}

fn start(bench: &mut Bench) {
    let arguments =
        ["--namespace", &bench.namespace, "--allow-http-endpoints", "--log-level", "info"];
    bench.operator = Some(Operator::start(bench.folder.path(), &bench.kubeconfig, &arguments));
}

/// Makes clients at Auth0, and resources that have them rotated as soon as the operator runs.
async fn create(bench: &Bench, names: &[String]) {
    let api = bench.api::<ClientSecretRotation>();
    let create = async |name: &String| {
        bench.simulator.add_client(ClientSeed::new(name)).unwrap();
        let resource = bench::from(json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "ClientSecretRotation",
            "metadata": { "name": name },
            "spec": {
                "clientId": name,
                "tenantRef": { "name": "acme" },
                "initial": "Rotate",
                "gracePeriod": "1m",
                "target": { "name": format!("{name}-auth0") },
            },
        }));
        api.create(&PostParams::default(), &resource).await.unwrap();
    };
    stream::iter(names).for_each_concurrent(16, create).await;
}

fn at(entry: &AuditEntry) -> DateTime<Utc> {
    entry.time.parse().unwrap()
}

/// What the simulator wrote down from its first answer to the Management API on.
fn report(log: &[AuditEntry]) {
    let is_management =
        |entry: &&AuditEntry| !matches!(entry.operation, Operation::Token | Operation::Revoke);
    let first = at(log.iter().find(is_management).unwrap());
    let seconds = |entry: &AuditEntry| (at(entry) - first).as_seconds_f64();
    let within = |entry: &&AuditEntry| seconds(entry) <= MEASURED.as_secs_f64();
    let log: Vec<_> = log.iter().filter(within).collect();
    let refused = log.iter().filter(|entry| entry.status == Some(429)).count();
    println!("answered with 429 within {} s: {refused}", MEASURED.as_secs());
    let management = log.iter().filter(|entry| is_management(entry)).count();
    let most = f64::from(BURST) + f64::from(PER_SECOND) * MEASURED.as_secs_f64();
    println!(
        "requests to the Management API: {management} of {most:.0}, which is {:.1} %",
        100.0 * management as f64 / most
    );
    let mut by_operation: HashMap<&str, usize> = HashMap::new();
    for entry in &log {
        *by_operation.entry(entry.operation.as_str()).or_default() += 1;
    }
    println!("requests by operation: {by_operation:?}");
    let mut activated = HashMap::new();
    let mut took = Vec::new();
    for entry in log.iter().filter(|entry| entry.client_id.is_some()) {
        let client = entry.client_id.as_deref().unwrap();
        if entry.operation == Operation::RotateSecret && entry.effect {
            activated.insert(client, seconds(entry));
        } else if entry.kind == AuditKind::Revocation
            && let Some(since) = activated.remove(client)
        {
            took.push(seconds(entry) - since);
        }
    }
    took.sort_by(f64::total_cmp);
    println!(
        "rotations activated: {}, confirmed: {}; from activation to confirmation: median {:.1} s, \
         longest {:.1} s (Auth0 takes up to 5 s to accept)",
        took.len() + activated.len(),
        took.len(),
        took[took.len() / 2],
        took.last().unwrap()
    );
    let oldest = activated.values().map(|since| MEASURED.as_secs_f64() - since).reduce(f64::max);
    println!("the oldest that is not confirmed at the end: {:.1} s", oldest.unwrap_or_default());
}

/// As Linux tells.
fn resident_memory(bench: &Bench) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", bench.operator().pid())).unwrap();
    let lines =
        status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join(", ")
}

/// User and system time so far, in the hundredths of a second that Linux counts.
fn processor(bench: &Bench) -> String {
    let stat = fs::read_to_string(format!("/proc/{}/stat", bench.operator().pid())).unwrap();
    let ticks: Vec<f64> =
        stat.split_whitespace().skip(13).take(2).map(|n| n.parse().unwrap()).collect();
    format!("processor time {:.1} s", (ticks[0] + ticks[1]) / 100.0)
}
