//! `make bench`: what the operator costs, measured with its real binary on a real API server.
//!
//! - from the end of Auth0's answer to `rotate-secret` to the API server's acknowledgement of the
//!   target Secret, over 200 rotations;
//! - the calls that one rotation makes, on both sides;
//! - a restart with 200 resources and nothing due: writes and calls;
//! - resident memory with 0 and with 200 resources.
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

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use auth0_simulator::{ClientSeed, Counters, Operation, Simulator};
use bench::{Bench, MANAGER, SCOPES};
use serde_json::{Value, json};

/// One for the calls of one rotation, and 200 for the rest.
const RESOURCES: usize = 201;

#[tokio::main]
async fn main() {
    // `cargo test` runs benchmarks too, to see that they build.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let simulator = Simulator::builder()
        .propagation(Duration::ZERO..=Duration::ZERO)
        .client(ClientSeed::new(MANAGER).scopes(SCOPES))
        .start()
        .await
        .unwrap();
    let mut bench = Bench::with(simulator).await;
    bench.start_operator_with(&["--allow-http-endpoints", "--log-level", "debug"]);
    bench.operator().ready().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!("resident memory, no resource: {}", mebibytes(resident_memory(&bench)));

    let names: Vec<_> = (0..RESOURCES).map(|number| format!("app-{number}")).collect();
    for name in &names {
        bench.rotation(name, json!({ "schedule": { "every": "1h" } })).await;
    }
    for name in &names {
        bench.rotated(name, 1).await;
    }
    println!("resident memory, {RESOURCES} resources: {}", mebibytes(resident_memory(&bench)));

    one_rotation(&bench).await;
    all_rotations(&bench, &names[1..], 1, Duration::from_millis(100)).await;
    all_rotations(&bench, &names[1..], 2, Duration::ZERO).await;
    println!(
        "resident memory, {RESOURCES} resources, each rotated: {}",
        mebibytes(resident_memory(&bench))
    );
    restart(&mut bench, &names).await;
    bench.finish().await;
}

/// The calls of one rotation, from request to retirement.
async fn one_rotation(bench: &Bench) {
    let (calls, since) = (bench.simulator.counters(), bench.api_calls().await);
    bench.request("app-0", "rotate/one").await;
    bench.rotated("app-0", 2).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    print_calls("one rotation", &calls, &bench.simulator.counters());
    println!("  API server: {}", listed(&difference(&since, &bench.api_calls().await)));
}

/// All resources are asked to rotate, one every `pace`.
async fn all_rotations(bench: &Bench, names: &[String], turn: u64, pace: Duration) {
    let before = bench.simulator.counters();
    let known = publishing_times(bench).len();
    let started = Instant::now();
    for name in names {
        bench.request(name, &format!("rotate/{turn}")).await;
        tokio::time::sleep(pace).await;
    }
    for name in names {
        bench.wait(name, "rotated again", |resource| ended(resource) == turn).await;
    }
    println!(
        "{} rotations, one every {} ms: {:.1} s in all",
        names.len(),
        pace.as_millis(),
        started.elapsed().as_secs_f64()
    );
    print_calls("all of them", &before, &bench.simulator.counters());
    let mut took = publishing_times(bench).split_off(known);
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took[((took.len() - 1) as f64 * share).round() as usize];
    println!(
        "  from the end of Auth0's answer to the acknowledged Secret, {} rotations: median {:.1} ms, \
         p99 {:.1} ms, worst {:.1} ms",
        took.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// How many rotations of the resource were asked for and are over.
fn ended(resource: &auth0_rotator::api::ClientSecretRotation) -> u64 {
    let status = resource.status.clone().unwrap_or_default();
    let ended = status.history.iter().filter(|entry| entry.cause == rotation::Cause::Request);
    ended.count() as u64
}

/// Milliseconds, in the order of the log.
fn publishing_times(bench: &Bench) -> Vec<f64> {
    let log = bench.operator().log();
    let lines = log.iter().filter(|line| line["message"] == "published the answer");
    lines.filter_map(|line| line["milliseconds"].as_f64()).collect()
}

/// A restart with nothing due.
async fn restart(bench: &mut Bench, names: &[String]) {
    assert!(bench.take_operator().stop().await.success());
    let (calls, since) = (bench.simulator.counters(), bench.api_calls().await);
    let started = Instant::now();
    bench.start_operator_with(&["--allow-http-endpoints", "--log-level", "debug"]);
    bench.operator().ready().await;
    let ready = started.elapsed();
    let passes = "auth0_rotator_reconcile_total{result=\"ok\"}";
    while bench.operator().metric(passes).await < names.len() as f64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "restart with {} resources and nothing due: ready after {:.2} s, all looked at after {:.2} s",
        names.len(),
        ready.as_secs_f64(),
        started.elapsed().as_secs_f64()
    );
    println!(
        "  status writes: {}, Secret writes: {}",
        bench.operator().metric("auth0_rotator_status_writes_total").await,
        secret_writes(&bench.operator().metrics().await),
    );
    print_calls("restart", &calls, &bench.simulator.counters());
    println!("  API server: {}", listed(&difference(&since, &bench.api_calls().await)));
}

/// Writes of target Secrets, whatever they were for.
fn secret_writes(metrics: &str) -> u64 {
    let series = metrics.lines().filter(|line| line.contains("_secret_writes_total{"));
    series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

fn print_calls(what: &str, before: &Counters, after: &Counters) {
    let calls: BTreeMap<String, u64> = Operation::ALL
        .iter()
        .map(|operation| {
            let name = operation.as_str().to_owned();
            (name, after.requests(*operation) - before.requests(*operation))
        })
        .filter(|(_, count)| *count > 0)
        .collect();
    println!("{what}:");
    println!("  Auth0: {}", listed(&calls));
}

fn listed(calls: &BTreeMap<String, u64>) -> String {
    let total: u64 = calls.values().sum();
    let each: Vec<_> = calls.iter().map(|(name, count)| format!("{name} {count}")).collect();
    format!("{total} calls ({})", each.join(", "))
}

fn difference(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
) -> BTreeMap<String, u64> {
    let gained = |(name, count): (&String, &u64)| {
        let gained = count - before.get(name).copied().unwrap_or_default();
        (gained > 0).then(|| (name.clone(), gained))
    };
    after.iter().filter_map(gained).collect()
}

/// The operator's resident memory in bytes, as Linux tells.
fn resident_memory(bench: &Bench) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", bench.operator().pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

impl Bench {
    /// The operator's calls to the API server so far, by verb and resource, from its audit log.
    async fn api_calls(&self) -> BTreeMap<String, u64> {
        // The log is written a moment after the answer.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let control_plane = cluster::control_plane().await;
        let log = fs::read_to_string(control_plane.audit_log_path().unwrap()).unwrap();
        let mut calls = BTreeMap::new();
        for event in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let user = event["user"]["username"].as_str().unwrap_or_default();
            if user != cluster::OPERATOR || event["stage"] != "ResponseComplete" {
                continue;
            }
            let object = &event["objectRef"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let subresource = object["subresource"].as_str().map(|name| format!("/{name}"));
            let name = format!(
                "{} {}{}",
                text(&event["verb"]),
                text(&object["resource"]),
                subresource.unwrap_or_default()
            );
            *calls.entry(name).or_default() += 1;
        }
        calls
    }
}
