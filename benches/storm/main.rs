//! `make bench-storm`: 10,000 rotations that are due within a minute, under a rate limit of 16 requests
//! per second.
//!
//! Half of the resources use the strategy Staged. They share one tenant and are spread unevenly over four
//! namespaces. All are imported before their common due time, which a jitter of a minute spreads. The
//! tenant then accepts 16 requests per second with a burst of 50, and the operator knows that limit.
//! From Auth0's log, the API server's log and the kernel, the benchmark reports:
//!
//! - the responses with 429, and the share of the limit that is used;
//! - the time of the whole storm, against the least that the limit allows;
//! - the operator's peak of memory, its CPU time, and its requests to the API server;
//! - how long another user waits for a `get` and a `list`, before and during the storm;
//! - how many rotations each namespace gets, against its fair share.
//!
//! By default it measures five minutes and extrapolates; with `AUTH0_ROTATOR_ALL` it runs until the last
//! rotation is activated. `AUTH0_ROTATOR_RESOURCES` changes the number of resources.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

mod fairness;
mod user;

use std::{
    collections::{BTreeMap, HashMap},
    env,
    time::{Duration, Instant},
};

use auth0_rotator::api::{ClientSecretRotation, ClusterAuth0Tenant};
use auth0_simulator::{AuditEntry, AuditKind, Operation, RateLimit};
use chrono::{DateTime, DurationRound as _, TimeDelta, Timelike as _, Utc};
use fairness::Namespaces;
use futures::{StreamExt as _, stream};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use rotation::{condition_types, is_condition_true};
use serde_json::json;
use testkit::{
    auth0::{application, tenant},
    cluster::OPERATOR_USER,
    fixture::{Fixture, NamespaceFixture},
    measure::{ApiRequests, Durations, ProcessMemory, cpu_time},
};
use user::OtherUser;

const PER_SECOND: u32 = 16;
const BURST: u32 = 50;
/// Time in which all resources are due.
const JITTER: Duration = Duration::from_secs(60);
/// Longer than the jitter and the staging period, so that both strategies activate.
const MEASURED: Duration = Duration::from_secs(300);
const SETTLE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() {
    // `cargo test` runs benchmarks too, to check that they compile.
    if env::args().any(|argument| argument == "--test") {
        return;
    }
    let resources = env::var("AUTH0_ROTATOR_RESOURCES").map_or(10_000, |n| n.parse().unwrap());
    let simulator = tenant()
        .propagation(Duration::ZERO..=Duration::from_secs(5))
        .audit_capacity(1_000_000)
        .start()
        .await
        .unwrap();
    let mut storm = Storm::prepare(Fixture::cluster_wide(simulator).await, resources).await;
    storm.wait_for_due_time().await;
    storm.run(env::var_os("AUTH0_ROTATOR_ALL").is_some()).await;
    storm.fixture.stop_operator().await;
}

/// Resources that are due at the same time.
struct Storm {
    fixture: Fixture,
    namespaces: Namespaces,
    resources: usize,
    due: DateTime<Utc>,
    user: OtherUser,
}

impl Storm {
    /// Creates the resources and waits until all are imported, without a rate limit.
    async fn prepare(fixture: Fixture, resources: usize) -> Self {
        fixture.apply_shared_tenant(json!([{ "namespaces": {}, "clientIds": ["*"] }])).await;
        set_rate_limit(&fixture, 1000, 1000).await;
        // The creation and the import of a resource take less than this, also on a busy machine.
        let lead = TimeDelta::seconds(60) + TimeDelta::milliseconds(50) * resources as i32;
        let minute = TimeDelta::minutes(1);
        let due = (Utc::now() + lead).duration_trunc(minute).unwrap() + minute;
        let namespaces = Namespaces::of(resources);
        let user = OtherUser::new(&fixture, namespaces.largest()).await;
        let started = Instant::now();
        for (name, count) in namespaces.sizes() {
            let namespace = fixture.create_namespace(name, json!({})).await;
            create_resources(&fixture, &namespace, *count, due).await;
        }
        println!("created {resources} resources in {:.0} s", started.elapsed().as_secs_f64());
        while imported(&fixture).await < resources {
            assert!(Utc::now() < due, "the import takes too long");
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        println!("imported after {:.0} s", started.elapsed().as_secs_f64());
        println!("  operator: {}", memory(&fixture));
        Self { fixture, namespaces, resources, due, user }
    }

    async fn wait_for_due_time(&self) {
        let limit = RateLimit::new(PER_SECOND, BURST).unwrap();
        set_rate_limit(&self.fixture, PER_SECOND, BURST).await;
        self.fixture.simulator.set_rate_limit(limit);
        let quiet = self.user.measure_until(Instant::now() + Duration::from_secs(20)).await;
        println!("another user before the storm: {quiet}");
        tokio::time::sleep((self.due - Utc::now()).to_std().unwrap_or_default()).await;
    }

    /// Measures from the due time on.
    async fn run(&self, is_complete: bool) {
        let started = Instant::now();
        let since = Utc::now();
        let before = Counts::take(&self.fixture, since);
        let first = self.fixture.simulator.audit_log(0).last().map_or(0, |entry| entry.seq);
        let (user, took) = if is_complete {
            tokio::join!(
                self.user.measure_until_stopped(),
                self.wait_until_activated(first, started)
            )
        } else {
            (self.user.measure_until(started + MEASURED).await, started.elapsed())
        };
        let log = self.fixture.simulator.audit_log(first);
        tokio::time::sleep(SETTLE).await;
        let until = since + TimeDelta::from_std(took).unwrap();
        let seconds = took.as_secs_f64();
        println!("the storm, {seconds:.0} s since the due time:");
        report_auth0(&log, self.resources, took);
        let activated = report_activations(&log, since);
        self.namespaces.report(&activated);
        println!(
            "  operator: {}, {}",
            memory(&self.fixture),
            before.cpu_since(&self.fixture, &activated)
        );
        before.requests_since(&self.fixture, since, until, &activated);
        let limit = self.fixture.operator().metric("auth0_rotator_concurrency_limit").await;
        let depth = self.fixture.operator().metric("auth0_rotator_workqueue_depth").await;
        println!("  concurrency limit {limit}, {depth} in the work queue");
        println!("  another user: {user}");
    }

    /// Waits until the secret of each client is changed. Returns how long that took.
    async fn wait_until_activated(&self, first: u64, started: Instant) -> Duration {
        loop {
            let log = self.fixture.simulator.audit_log(first);
            let changes = log.iter().filter(|entry| is_activation(entry)).count();
            if changes >= self.resources {
                self.user.stop();
                return started.elapsed();
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Creates clients at Auth0 and their resources. Every second one is staged.
async fn create_resources(
    fixture: &Fixture,
    namespace: &NamespaceFixture,
    count: usize,
    due: DateTime<Utc>,
) {
    let schedule = json!({
        "cron": format!("{} {} * * *", due.minute(), due.hour()),
        "jitter": format!("{}s", JITTER.as_secs()),
    });
    let create = async |number: usize| {
        let name = format!("{}-{number}", namespace.namespace);
        fixture.simulator.add_client(application(&name)).unwrap();
        let mut spec = json!({ "schedule": schedule, "gracePeriod": "1m" });
        if number % 2 == 1 {
            spec["strategy"] = json!("Staged");
            spec["staging"] = json!({ "period": "1m" });
        }
        namespace.apply_rotation_of(&name, &name, spec).await;
    };
    stream::iter(0..count).for_each_concurrent(16, create).await;
}

async fn set_rate_limit(fixture: &Fixture, per_second: u32, burst: u32) {
    let tenants: Api<ClusterAuth0Tenant> = Api::all(fixture.client.clone());
    let limit = json!({ "requestsPerSecond": per_second, "burst": burst });
    let patch = Patch::Merge(json!({ "spec": { "rateLimit": limit } }));
    tenants.patch("shared", &PatchParams::default(), &patch).await.unwrap();
}

/// Returns how many resources are ready.
async fn imported(fixture: &Fixture) -> usize {
    let resources: Api<ClientSecretRotation> = Api::all(fixture.client.clone());
    // From the API server's cache.
    let list = resources.list(&ListParams::default().match_any()).await.unwrap();
    let statuses = list.items.iter().filter_map(|resource| resource.status.as_ref());
    statuses.filter(|status| is_condition_true(&status.conditions, condition_types::READY)).count()
}

fn time(entry: &AuditEntry) -> DateTime<Utc> {
    entry.time.parse().unwrap()
}

fn is_management(entry: &AuditEntry) -> bool {
    !matches!(entry.operation, Operation::Token | Operation::Revoke | Operation::Dashboard)
}

fn is_activation(entry: &AuditEntry) -> bool {
    let is_change = matches!(entry.operation, Operation::RotateSecret | Operation::UpdateClient);
    is_change && entry.effect
}

/// Prints the use of the rate limit, and the time of the whole storm.
fn report_auth0(log: &[AuditEntry], resources: usize, took: Duration) {
    let rejected = log.iter().filter(|entry| entry.status == Some(429)).count();
    println!("  responses with 429: {rejected}");
    let management = log.iter().filter(|entry| is_management(entry)).count();
    let permitted = f64::from(BURST) + f64::from(PER_SECOND) * took.as_secs_f64();
    let used = management as f64 / permitted;
    println!(
        "  requests to the Management API: {management} of {permitted:.0} ({:.1} %)",
        100.0 * used
    );
    let mut by_operation: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in log {
        *by_operation.entry(entry.operation.as_str()).or_default() += 1;
    }
    println!("  requests by operation: {by_operation:?}");
    // Each rotation reads its client and changes it.
    let least = (2.0 * resources as f64 - f64::from(BURST)).max(0.0) / f64::from(PER_SECOND);
    println!(
        "  all {resources} take {:.0} s at least by the limit, and {:.0} s at the measured use of it",
        least,
        least / used
    );
}

/// Prints how many rotations were activated and confirmed. Returns the times of activation by client.
fn report_activations(log: &[AuditEntry], since: DateTime<Utc>) -> HashMap<String, f64> {
    let mut activated = HashMap::new();
    let mut unconfirmed = HashMap::new();
    let mut confirmed = Durations::default();
    for entry in log {
        let Some(client_id) = entry.client_id.clone() else { continue };
        let seconds = (time(entry) - since).as_seconds_f64();
        if is_activation(entry) {
            activated.insert(client_id.clone(), seconds);
            unconfirmed.insert(client_id, seconds);
        } else if entry.kind == AuditKind::Revocation
            && let Some(activated) = unconfirmed.remove(&client_id)
        {
            confirmed.push(Duration::from_secs_f64(seconds - activated));
        }
    }
    println!(
        "  rotations activated: {}, confirmed: {}; from activation to confirmation: median {:.1} s, \
         longest {:.1} s (Auth0 takes up to 5 s to accept)",
        activated.len(),
        confirmed.len(),
        confirmed.quantile(0.5).as_secs_f64(),
        confirmed.quantile(1.0).as_secs_f64(),
    );
    activated
}

/// The state of the operator when the storm begins.
struct Counts {
    cpu: Duration,
}

impl Counts {
    fn take(fixture: &Fixture, _: DateTime<Utc>) -> Self {
        Self { cpu: cpu_time(fixture.operator().pid()).unwrap() }
    }

    fn cpu_since(&self, fixture: &Fixture, activated: &HashMap<String, f64>) -> String {
        let cpu = cpu_time(fixture.operator().pid()).unwrap() - self.cpu;
        let each = cpu.as_secs_f64() * 1000.0 / activated.len().max(1) as f64;
        format!("CPU time {:.1} s, {each:.1} ms for each activated rotation", cpu.as_secs_f64())
    }

    fn requests_since(
        &self,
        fixture: &Fixture,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
        activated: &HashMap<String, f64>,
    ) {
        let control_plane = fixture.dedicated_control_plane.as_ref().unwrap();
        let path = control_plane.audit_log_path().unwrap();
        let requests = ApiRequests::of(path, OPERATOR_USER, since..until).unwrap();
        let total = requests.total() as f64;
        println!(
            "  requests to the API server: {:.1}/s, {:.1} for each activated rotation ({requests})",
            total / (until - since).as_seconds_f64(),
            total / activated.len().max(1) as f64,
        );
    }
}

fn memory(fixture: &Fixture) -> ProcessMemory {
    ProcessMemory::of(fixture.operator().pid()).unwrap()
}
