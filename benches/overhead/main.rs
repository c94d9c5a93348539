//! `make bench`: the operator's overhead, measured with its real executable on a real API server.
//!
//! - the time from the end of Auth0's response to `rotate-secret` until the API server has
//!   acknowledged the target Secret, over 200 rotations;
//! - the requests of one rotation, to Auth0 and to the API server;
//! - the writes and requests of a restart with 200 resources and nothing due;
//! - the resident memory with 0 and with 200 resources.
//!
//! The figures are printed and not asserted, because they depend on the machine's load.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use auth0_rotator::api::ClientSecretRotation;
use auth0_simulator::{Counters, Operation};
use rotation::Cause;
use serde_json::{Value, json};
use testkit::{
    auth0::tenant,
    cluster::OPERATOR_USER,
    fixture::{Fixture, shared_control_plane},
    measure::{Durations, ProcessMemory, mebibytes},
};

/// One for the requests of a single rotation, and 200 for the rest.
const RESOURCES: usize = 201;

/// Returns the operator's arguments, with `--concurrency` from the environment.
fn arguments() -> Vec<String> {
    let concurrency = std::env::var("AUTH0_ROTATOR_BENCH_CONCURRENCY");
    let concurrency = format!("--concurrency={}", concurrency.as_deref().unwrap_or("16"));
    ["--allow-http-endpoints", "--log-level", "debug", &concurrency].map(str::to_owned).to_vec()
}

/// Number of requests by their kind.
type Requests = BTreeMap<String, u64>;

#[tokio::main]
async fn main() {
    // `cargo test` runs benchmarks too, to check that they compile.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let simulator = tenant().propagation(Duration::ZERO..=Duration::ZERO).start().await.unwrap();
    let mut fixture = Fixture::with_simulator(simulator).await;
    fixture.start_operator_with(&arguments().iter().map(String::as_str).collect::<Vec<_>>());
    fixture.operator().wait_until_ready().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!("resident memory, no resource: {}", resident_memory(&fixture));

    let names: Vec<_> = (0..RESOURCES).map(|number| format!("app-{number}")).collect();
    for name in &names {
        fixture.apply_rotation(name, json!({ "schedule": { "every": "1h" } })).await;
    }
    for name in &names {
        fixture.wait_until_rotated(name, 1).await;
    }
    println!("resident memory, {RESOURCES} resources: {}", resident_memory(&fixture));

    rotate_one(&fixture).await;
    rotate_all(&fixture, &names[1..], 1, Duration::from_millis(100)).await;
    rotate_all(&fixture, &names[1..], 2, Duration::ZERO).await;
    let memory = resident_memory(&fixture);
    println!("resident memory, {RESOURCES} resources, each rotated: {memory}");
    restart(&mut fixture, &names).await;
    fixture.finish().await;
}

/// Measures the requests of one rotation, from its request to its retirement.
async fn rotate_one(fixture: &Fixture) {
    let before = Snapshot::take(fixture).await;
    fixture.request("app-0", "rotate/one").await;
    fixture.wait_until_rotated("app-0", 2).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!("one rotation:");
    before.print_requests_since(fixture).await;
}

/// Requests a rotation of each resource, one every `interval`.
async fn rotate_all(fixture: &Fixture, names: &[String], round: u64, interval: Duration) {
    let before = fixture.simulator.counters();
    let known = publish_times(fixture).len();
    let started = Instant::now();
    for name in names {
        fixture.request(name, &format!("rotate/{round}")).await;
        tokio::time::sleep(interval).await;
    }
    for name in names {
        let is_rotated = |resource: &ClientSecretRotation| requested_rotations(resource) == round;
        fixture.wait_for(name, "rotated again", is_rotated).await;
    }
    println!(
        "{} rotations, one every {} ms: {:.1} s in total",
        names.len(),
        interval.as_millis(),
        started.elapsed().as_secs_f64()
    );
    print_auth0_requests(&before, &fixture.simulator.counters());
    let times: Durations = publish_times(fixture).split_off(known).into_iter().collect();
    let milliseconds = |share| times.quantile(share).as_secs_f64() * 1000.0;
    println!(
        "  from the end of Auth0's response to the acknowledged Secret, {} rotations: median \
         {:.1} ms, p99 {:.1} ms, worst {:.1} ms",
        times.len(),
        milliseconds(0.5),
        milliseconds(0.99),
        milliseconds(1.0)
    );
}

/// Returns how many requested rotations of the resource have ended.
fn requested_rotations(resource: &ClientSecretRotation) -> u64 {
    let status = resource.status.clone().unwrap_or_default();
    status.history.iter().filter(|entry| entry.cause == Cause::Request).count() as u64
}

/// Returns the times in the order of the log.
fn publish_times(fixture: &Fixture) -> Vec<Duration> {
    let log = fixture.operator().log();
    let lines =
        log.iter().filter(|line| line["message"] == "published the response of rotate-secret");
    let milliseconds = lines.filter_map(|line| line["milliseconds"].as_f64());
    milliseconds.map(|ms| Duration::from_secs_f64(ms / 1000.0)).collect()
}

/// Measures a restart with nothing due.
async fn restart(fixture: &mut Fixture, names: &[String]) {
    fixture.stop_operator().await;
    let before = Snapshot::take(fixture).await;
    let started = Instant::now();
    fixture.start_operator_with(&arguments().iter().map(String::as_str).collect::<Vec<_>>());
    fixture.operator().wait_until_ready().await;
    let ready = started.elapsed();
    let reconciled = "auth0_rotator_reconcile_total{result=\"ok\"}";
    while fixture.operator().metric(reconciled).await < names.len() as f64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "restart with {} resources and nothing due: ready after {:.2} s, all reconciled after \
         {:.2} s",
        names.len(),
        ready.as_secs_f64(),
        started.elapsed().as_secs_f64()
    );
    let status_writes = fixture.operator().metric("auth0_rotator_status_writes_total").await;
    let secret_writes = secret_writes(&fixture.operator().metrics().await);
    println!("  status writes: {status_writes}, Secret writes: {secret_writes}");
    before.print_requests_since(fixture).await;
}

/// Returns the number of writes of target Secrets, of all purposes.
fn secret_writes(metrics: &str) -> u64 {
    let series = metrics.lines().filter(|line| line.contains("_secret_writes_total{"));
    series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

fn resident_memory(fixture: &Fixture) -> String {
    mebibytes(ProcessMemory::of(fixture.operator().pid()).unwrap().resident)
}

/// The requests up to a moment.
struct Snapshot {
    auth0: Counters,
    api_server: Requests,
}

impl Snapshot {
    async fn take(fixture: &Fixture) -> Self {
        Self { auth0: fixture.simulator.counters(), api_server: api_server_requests().await }
    }

    async fn print_requests_since(&self, fixture: &Fixture) {
        print_auth0_requests(&self.auth0, &fixture.simulator.counters());
        let mut requests = api_server_requests().await;
        for (kind, count) in &mut requests {
            *count -= self.api_server.get(kind).copied().unwrap_or_default();
        }
        println!("  API server: {}", format_requests(&requests));
    }
}

fn print_auth0_requests(before: &Counters, after: &Counters) {
    let difference = |operation| after.requests(operation) - before.requests(operation);
    let operations = Operation::ALL.iter();
    let requests =
        operations.map(|operation| (operation.as_str().to_owned(), difference(*operation)));
    println!("  Auth0: {}", format_requests(&requests.collect()));
}

fn format_requests(requests: &Requests) -> String {
    let total: u64 = requests.values().sum();
    let made = requests.iter().filter(|(_, count)| **count > 0);
    let made: Vec<_> = made.map(|(kind, count)| format!("{kind} {count}")).collect();
    format!("{total} requests ({})", made.join(", "))
}

/// Returns the operator's requests to the API server so far, by verb and resource, from the audit
/// log.
async fn api_server_requests() -> Requests {
    // The log is written with a delay.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let control_plane = shared_control_plane().await;
    let log = fs::read_to_string(control_plane.audit_log_path().unwrap()).unwrap();
    let mut requests = Requests::new();
    for event in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let user = event["user"]["username"].as_str().unwrap_or_default();
        if user != OPERATOR_USER || event["stage"] != "ResponseComplete" {
            continue;
        }
        let verb = event["verb"].as_str().unwrap_or_default();
        let object = &event["objectRef"];
        let mut kind = format!("{verb} {}", object["resource"].as_str().unwrap_or_default());
        if let Some(subresource) = object["subresource"].as_str() {
            kind.push_str(&format!("/{subresource}"));
        }
        *requests.entry(kind).or_default() += 1;
    }
    requests
}
