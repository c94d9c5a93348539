//! Shares: one namespace or tenant does not keep others waiting. The operator runs with
//! the defaults that it ships with, except where a test says otherwise.

#![expect(clippy::print_stdout, reason = "the figures are of interest")]

use std::time::{Duration, Instant};

use auth0_rotator::api::{Auth0Tenant, ClusterAuth0Tenant};
use auth0_simulator::{Action, AuditEntry, Fault, Operation, RateLimit, Simulator, When};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use rotation::{condition_types, is_condition_true};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::{
    auth0::{self, MANAGER},
    fixture::{Fixture, NamespaceFixture},
};

/// How long another namespace or tenant may wait. Before there were shares, each of these tests waited
/// for more than half a minute.
const LIMIT: Duration = Duration::from_secs(15);

/// Longer than the propagation window that the operator ships with.
const GRACE_PERIOD: &str = "1m";

/// A simulated Auth0 that never responds, but accepts connections.
async fn tarpit() -> Simulator {
    let simulator = auth0::tenant().start().await.unwrap();
    let hang = Action::Delay { ms: 600_000, when: When::Before };
    simulator.faults().inject(Fault::new(hang).unlimited()).unwrap();
    simulator
}

/// Returns whether a request hangs.
fn is_called(tarpit: &Simulator) -> bool {
    tarpit.faults().list().iter().any(|fault| fault.applied > 0)
}

/// Applies an Auth0Tenant for a simulator, with its credentials.
async fn apply_tenant(
    namespace: &NamespaceFixture,
    name: &str,
    simulator: &Simulator,
    overrides: Value,
) {
    let secret = simulator.client_secret(MANAGER).unwrap();
    let credentials = [("client_id", MANAGER), ("client_secret", secret.expose_secret())];
    let secret_name = format!("{name}-management");
    namespace.write_secret(&secret_name, &credentials).await;
    let mut spec = json!({
        "domain": "acme.eu.auth0.com", "endpoint": simulator.url(),
        "credentials": { "clientSecret": { "secretRef": { "name": secret_name } } },
    });
    for (key, value) in overrides.as_object().unwrap() {
        spec[key] = value.clone();
    }
    namespace.try_apply_tenant(name, spec).await.unwrap();
}

/// Applies resources for clients that may be missing.
async fn apply_rotations(
    namespace: &NamespaceFixture,
    tenant: &str,
    prefix: &str,
    count: usize,
    overrides: &Value,
) {
    for number in 0..count {
        let mut spec = json!({ "tenantRef": { "name": tenant }, "gracePeriod": GRACE_PERIOD });
        for (key, value) in overrides.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let name = format!("{prefix}-{number}");
        namespace.apply_rotation_of(&name, &name, spec).await;
    }
}

/// Waits until something happens, and returns how long that took.
async fn measure(
    namespace: &NamespaceFixture,
    expected: &str,
    is_met: impl AsyncFn() -> bool,
) -> Duration {
    let start = Instant::now();
    namespace.wait_within(Duration::from_secs(40), expected, is_met).await;
    let elapsed = start.elapsed();
    println!("{expected} after {elapsed:.1?}");
    elapsed
}

async fn is_published(namespace: &NamespaceFixture, name: &str) -> bool {
    let status = namespace.get(name).await.status.unwrap_or_default();
    status.current.is_some() && is_condition_true(&status.conditions, condition_types::READY)
}

#[tokio::test]
async fn slow_tenants_do_not_delay_a_third() {
    let mut fixture = Fixture::without_operator().await;
    let slow = [tarpit().await, tarpit().await];
    for (name, simulator) in ["slow", "slower"].into_iter().zip(&slow) {
        apply_tenant(&fixture, name, simulator, json!({})).await;
        apply_rotations(&fixture, name, name, 60, &json!({})).await;
    }
    fixture.start_shipped_operator();
    fixture.wait_until("the slow tenants are called", || slow.iter().all(is_called)).await;
    fixture.apply_rotation("shop", json!({ "gracePeriod": GRACE_PERIOD })).await;
    let is_shop_published = async || is_published(&fixture, "shop").await;
    let waited = measure(&fixture, "the third tenant's client is published", is_shop_published);
    assert!(waited.await < LIMIT);
    fixture.request("shop", "rotate/now").await;
    let is_rotated = async || fixture.rotation_count("shop") == 1;
    assert!(measure(&fixture, "the third tenant's client is rotated", is_rotated).await < LIMIT);
    fixture.finish().await;
}

/// One namespace requests a rotation of each of its clients, and then another one of one.
async fn assert_requests_of_one_namespace_do_not_delay_another(count: usize, limit: Value) {
    let mut fixture =
        Fixture::with_dedicated_control_plane(auth0::tenant().start().await.unwrap()).await;
    let rule = json!([{ "namespaces": {}, "clientIds": ["*"] }]);
    fixture.apply_shared_tenant(rule).await;
    let flood = fixture.create_namespace("flood", json!({})).await;
    let victim = fixture.create_namespace("victim", json!({})).await;
    fixture.start_shipped_operator();
    let names: Vec<_> = (0..count).map(|number| format!("app-{number}")).collect();
    for name in &names {
        fixture.simulator.add_client(auth0::application(name)).unwrap();
        flood.apply_rotation_of(name, name, json!({ "gracePeriod": GRACE_PERIOD })).await;
    }
    fixture.simulator.add_client(auth0::application("shop")).unwrap();
    victim.apply_rotation_of("shop", "shop", json!({ "gracePeriod": GRACE_PERIOD })).await;
    for name in &names {
        flood.wait_until_rotated(name, 1).await;
    }
    victim.wait_until_rotated("shop", 1).await;
    let tenants: Api<ClusterAuth0Tenant> = Api::all(fixture.client.clone());
    let patch = Patch::Merge(json!({ "spec": { "rateLimit": limit } }));
    tenants.patch("shared", &PatchParams::default(), &patch).await.unwrap();
    for name in &names {
        flood.request(name, "rotate/all").await;
    }
    let rotations =
        || fixture.simulator.counters().with_status(Operation::RotateSecret, 200) as usize;
    fixture.wait_until("the flood is rotated", || rotations() >= 4).await;
    victim.request("shop", "rotate/now").await;
    let is_rotated = async || fixture.rotation_count("shop") == 1;
    let waited = measure(&victim, "the other namespace's client is rotated", is_rotated).await;
    assert!(waited < LIMIT, "{waited:?}");
    assert!(rotations() < count, "the flood still waits");
    fixture.finish().await;
}

#[tokio::test]
async fn requests_of_one_namespace_do_not_delay_another() {
    let limit = json!({ "requestsPerSecond": 8, "burst": 8 });
    assert_requests_of_one_namespace_do_not_delay_another(300, limit).await;
}

/// The rate limit of Auth0's free plan.
#[tokio::test]
async fn requests_of_one_namespace_do_not_delay_another_with_the_default_rate_limit() {
    assert_requests_of_one_namespace_do_not_delay_another(60, json!(null)).await;
}

/// Counts the lists of clients while many resources want a drift check every second.
async fn count_drift_lists(driftcheck: Value, seconds: u64) -> u64 {
    let mut fixture = Fixture::without_operator().await;
    let simulator = auth0::tenant().start().await.unwrap();
    let fast = json!({ "requestsPerSecond": 100, "burst": 100 });
    let overrides = json!({ "rateLimit": fast, "driftCheck": driftcheck });
    apply_tenant(&fixture, "drift", &simulator, overrides).await;
    for number in 0..20 {
        simulator.add_client(auth0::application(format!("app-{number}"))).unwrap();
    }
    let every_second = json!({ "driftCheck": { "every": "1s" } });
    apply_rotations(&fixture, "drift", "app", 20, &every_second).await;
    fixture.start_shipped_operator();
    for number in 0..20 {
        fixture.wait_until_rotated(&format!("app-{number}"), 1).await;
    }
    let before = simulator.counters().requests(Operation::ListClients);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let lists = simulator.counters().requests(Operation::ListClients) - before;
    println!("{lists} lists in {seconds} s");
    fixture.confidential.extend(
        simulator.value_history().secrets.iter().map(|value| value.expose_secret().to_owned()),
    );
    fixture.finish().await;
    lists
}

#[tokio::test]
async fn drift_checks_are_no_more_frequent_than_the_tenant_allows() {
    let slow = count_drift_lists(json!({ "minInterval": "10s" }), 20).await;
    assert!((1..=3).contains(&slow), "{slow}");
}

/// The first check comes at a random time within five minutes.
#[tokio::test]
async fn drift_checks_are_rare_by_default() {
    assert!(count_drift_lists(json!({}), 10).await <= 1);
}

#[tokio::test]
async fn slow_tenants_do_not_delay_the_status_of_another() {
    let mut fixture =
        Fixture::with_dedicated_control_plane(auth0::tenant().start().await.unwrap()).await;
    let slow = tarpit().await;
    let flood = fixture.create_namespace("flood", json!({})).await;
    for number in 0..40 {
        apply_tenant(&flood, &format!("slow-{number}"), &slow, json!({})).await;
    }
    fixture.start_shipped_operator();
    fixture.wait_until("a slow tenant is called", || is_called(&slow)).await;
    let quick = auth0::tenant().start().await.unwrap();
    let other = fixture.create_namespace("other", json!({})).await;
    apply_tenant(&other, "quick", &quick, json!({})).await;
    let tenants: Api<Auth0Tenant> = other.api();
    let is_ready = async || {
        let status = tenants.get("quick").await.unwrap().status.unwrap_or_default();
        is_condition_true(&status.conditions, condition_types::READY)
    };
    assert!(measure(&other, "the other tenant is ready", is_ready).await < LIMIT);
    fixture.finish().await;
}

fn rejected(log: &[AuditEntry]) -> usize {
    log.iter().filter(|entry| entry.status == Some(429)).count()
}

#[tokio::test]
async fn tenants_of_one_host_share_its_rate_limit() {
    let mut fixture = Fixture::without_operator().await;
    let simulator = auth0::tenant().start().await.unwrap();
    for number in 0..6 {
        let name = format!("team-{number}");
        // With the default rate limit, that of Auth0's free plan.
        apply_tenant(&fixture, &name, &simulator, json!({})).await;
        for app in 0..3 {
            simulator.add_client(auth0::application(format!("{name}-{app}"))).unwrap();
        }
        apply_rotations(&fixture, &name, &name, 3, &json!({})).await;
    }
    simulator.set_rate_limit(RateLimit::new(2, 2).unwrap());
    fixture.start_shipped_operator();
    for number in 0..6 {
        for app in 0..3 {
            fixture.wait_until_rotated(&format!("team-{number}-{app}"), 1).await;
        }
    }
    let log = simulator.audit_log(0);
    println!("{} of {} requests were rejected with 429", rejected(&log), log.len());
    assert_eq!(rejected(&log), 0);
    fixture.confidential.extend(
        simulator.value_history().secrets.iter().map(|value| value.expose_secret().to_owned()),
    );
    fixture.finish().await;
}

#[tokio::test]
async fn closed_limit_stays_closed_when_the_tenant_is_changed() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    // Auth0 rejects one request and asks for a pause.
    let pause = Action::RateLimited { reset_in_s: 6, retry_after: true };
    let fault = Fault::new(pause).on(Operation::GetClient).times(1);
    fixture.simulator.faults().inject(fault).unwrap();
    let rejections = || fixture.simulator.counters().with_status(Operation::GetClient, 429);
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until("Auth0 rejects a request", || rejections() == 1).await;
    // The Authentication API has a limit of its own.
    let is_management =
        |entry: &&AuditEntry| !matches!(entry.operation, Operation::Token | Operation::Revoke);
    let requests = || fixture.simulator.audit_log(0).iter().filter(is_management).count();
    let before = requests();
    let closed_at = Instant::now();
    for burst in [500, 600, 700] {
        let limit = json!({ "requestsPerSecond": 1000, "burst": burst });
        fixture.apply_tenant(json!({ "rateLimit": limit })).await;
    }
    fixture.wait_until("Auth0 is called again", || requests() > before).await;
    let pause = closed_at.elapsed();
    println!("no call for {pause:.1?}");
    assert!(pause > Duration::from_secs(5), "{pause:?}");
    fixture.wait_until_rotated("shop", 2).await;
    fixture.finish().await;
}
