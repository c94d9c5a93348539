//! `make bench-budget`: how a tenant's rate limit is used when everything is due at once.
//!
//! Resources of one tenant, 10,000 unless `AUTH0_ROTATOR_RESOURCES` says otherwise, are imported
//! without a limit. Then the tenant is limited to 16 requests/s with a burst of 50, the operator is
//! told the same, all are asked to rotate, and the operator is started. For three minutes it is
//! counted, from the simulator's own log:
//!
//! - requests that were answered with 429;
//! - requests to the Management API, as a share of what the limit lets through;
//! - the longest time from an activation to its confirmation;
//! - resident memory with all of them waiting.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

#[path = "../../tests/cluster/bench.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod bench;
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
use kube::{ResourceExt as _, api::ListParams};
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
        .client(ClientSeed::new(MANAGER).scopes(SCOPES))
        .start()
        .await
        .unwrap();
    let mut bench = Bench::with(simulator).await;
    import(&mut bench, &names).await;
    bench
        .create_tenant(json!({ "rateLimit": { "requestsPerSecond": PER_SECOND, "burst": BURST } }))
        .await;
    stream::iter(&names)
        .for_each_concurrent(16, async |name| bench.request(name, "rotate/all").await)
        .await;
    println!("{resources} resources are asked to rotate");
    let before = bench.simulator.audit_log(0).last().map_or(0, |entry| entry.seq);
    bench.simulator.set_rate_limit(RateLimit::new(PER_SECOND, BURST).unwrap());
    start(&mut bench);
    while bench.operator().metric("auth0_rotator_waiting").await == 0.0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Without the crowd of the start.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let waiting = bench.operator().metric("auth0_rotator_waiting").await;
    println!("{waiting} wait; resident memory: {}", resident_memory(&bench));
    tokio::time::sleep(MEASURED + Duration::from_secs(5)).await;
    println!("at the end: resident memory {}, {}", resident_memory(&bench), processor(&bench));
    report(&bench.simulator.audit_log(before));
    assert!(bench.take_operator().stop().await.success());
}

fn start(bench: &mut Bench) {
    let arguments =
        ["--namespace", &bench.namespace, "--allow-http-endpoints", "--log-level", "info"];
    bench.operator = Some(Operator::start(bench.folder.path(), &bench.kubeconfig, &arguments));
}

async fn import(bench: &mut Bench, names: &[String]) {
    start(bench);
    let started = Instant::now();
    stream::iter(names)
        .for_each_concurrent(16, async |name| {
            bench.rotation(name, json!({ "gracePeriod": "1m" })).await
        })
        .await;
    println!("created after {:.0} s", started.elapsed().as_secs_f64());
    let mut page = ListParams::default().limit(500);
    let mut left = names.len();
    while left > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        left = names.len();
        page.continue_token = None;
        loop {
            let list = bench.api::<ClientSecretRotation>().list(&page).await.unwrap();
            let is_imported = |resource: &&ClientSecretRotation| {
                resource.status.as_ref().is_some_and(|status| status.current == Some(1))
            };
            left -= list.items.iter().filter(is_imported).count();
            page.continue_token = list.metadata.continue_.filter(|token| !token.is_empty());
            if page.continue_token.is_none() {
                break;
            }
        }
    }
    println!("imported after {:.0} s", started.elapsed().as_secs_f64());
    assert!(bench.take_operator().stop().await.success());
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
