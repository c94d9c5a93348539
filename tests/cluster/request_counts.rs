//! Limits on requests to Auth0 and writes to the API server, regardless of the number of resources.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use auth0_rotator::api::ClientSecretRotation;
use auth0_simulator::Operation;
use futures::{StreamExt as _, future::join_all, stream};
use k8s_openapi::api::{core::v1::Secret, events::v1::Event};
use kube::{ResourceExt as _, api::ListParams};
use rotation::{Phase, is_condition_true};
use serde_json::{Value, json};
use testkit::{
    auth0::MANAGER,
    cluster::OPERATOR_USER,
    fixture::{DEADLINE, Fixture, shared_control_plane},
};

use crate::tenant_status::wait_for_tenant_reason;

/// Resources that a test of requests for each resource has.
const RESOURCES: u64 = 20;

/// Requests for all resources together: of the tenant, of the leader election and of watches.
const SHARED_REQUESTS: u64 = 10;

/// The operator's requests to the API server in the namespace of a test.
#[derive(Debug, Default)]
struct ApiRequests(BTreeMap<String, u64>);

impl ApiRequests {
    /// Reads the requests so far, by verb and resource, from the audit log.
    async fn read(fixture: &Fixture) -> Self {
        // The log is written with a delay.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let log = fs::read_to_string(shared_control_plane().await.audit_log_path().unwrap());
        let mut requests = Self::default();
        for line in log.unwrap().lines() {
            let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
            let object = &event["objectRef"];
            if event["user"]["username"] != OPERATOR_USER
                || event["stage"] != "ResponseComplete"
                || object["namespace"] != fixture.namespace.as_str()
            {
                continue;
            }
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let mut kind = format!("{} {}", text(&event["verb"]), text(&object["resource"]));
            if !object["subresource"].is_null() {
                kind = format!("{kind}/{}", text(&object["subresource"]));
            }
            *requests.0.entry(kind).or_default() += 1;
        }
        requests
    }

    fn since(mut self, before: &Self) -> Self {
        for (kind, count) in &mut self.0 {
            *count -= before.0.get(kind).copied().unwrap_or_default();
        }
        self.0.retain(|_, count| *count > 0);
        self
    }

    /// Asserts how many requests there were for each resource.
    fn assert_per_resource(&self, limit: u64) {
        let total: u64 = self.0.values().sum();
        assert!(total <= limit * RESOURCES + SHARED_REQUESTS, "{total}: {self:?}");
    }
}

/// Returns how many Events there are of each reason.
async fn event_reasons(fixture: &Fixture) -> BTreeMap<String, u64> {
    let mut reasons = BTreeMap::new();
    for event in fixture.api::<Event>().list(&ListParams::default()).await.unwrap().items {
        *reasons.entry(event.reason.unwrap_or_default()).or_default() += 1;
    }
    reasons
}

fn names() -> Vec<String> {
    (0..RESOURCES).map(|number| format!("app-{number}")).collect()
}

/// Starts the operator as it is shipped, and waits until it can use the tenant.
async fn start_shipped() -> Fixture {
    let mut fixture = Fixture::without_operator().await;
    fixture.start_shipped_operator();
    wait_for_tenant_reason(&fixture, "acme", "Usable").await;
    fixture
}

/// Waits until all resources are ready and nothing is in progress.
async fn wait_until_ready(fixture: &Fixture) {
    for name in names() {
        let is_ready = |resource: &ClientSecretRotation| {
            let conditions = resource.status.clone().unwrap_or_default().conditions;
            is_condition_true(&conditions, "Ready")
        };
        fixture.wait_for(&name, "ready", is_ready).await;
    }
}

/// One create of the Secret, one write of the status, and one Event.
#[tokio::test]
async fn import_takes_three_requests() {
    let fixture = start_shipped().await;
    let before = ApiRequests::read(&fixture).await;
    let spec = json!({ "schedule": { "every": "720h", "jitter": "30m" }, "gracePeriod": "1h" });
    join_all(names().iter().map(|name| fixture.apply_rotation(name, spec.clone()))).await;
    wait_until_ready(&fixture).await;
    let requests = ApiRequests::read(&fixture).await.since(&before);
    let reasons = event_reasons(&fixture).await;
    for kind in ["create secrets", "update clientsecretrotations/status", "create events"] {
        assert_eq!(requests.0.get(kind), Some(&RESOURCES), "{kind}: {requests:?}, {reasons:?}");
    }
    requests.assert_per_resource(3);
    fixture.finish().await;
}

/// Creates all resources with this spec, requests a rotation of each, and waits until all are in a phase
/// or, without a phase, until all rotations are over. Returns the requests since the first one.
async fn rotate_all(fixture: &Fixture, spec: Value, phase: Option<Phase>) -> ApiRequests {
    for name in names() {
        fixture.apply_rotation(&name, spec.clone()).await;
    }
    wait_until_ready(fixture).await;
    let before = ApiRequests::read(fixture).await;
    let request = async |name: String| fixture.request(&name, "rotate/now").await;
    stream::iter(names()).for_each_concurrent(4, request).await;
    for name in names() {
        let is_in_phase = |resource: &ClientSecretRotation| {
            let Some(status) = &resource.status else { return false };
            let found = status.rotation.as_ref().map(|rotation| rotation.phase);
            let is_started = found.is_some() || !status.history.is_empty();
            is_started && found == phase && resource.finalizers().is_empty()
        };
        let expected = format!("in the phase {phase:?}");
        let check = async || is_in_phase(&fixture.get(&name).await);
        fixture.wait_within(Duration::from_secs(120), &expected, check).await;
    }
    ApiRequests::read(fixture).await.since(&before)
}

/// One read of the resource, the Secret and the Pods each, two writes of the Secret, two of the status and
/// two of the finalizer, and one Event. Dry runs and reads of the tenant are shared. A probe that Auth0
/// does not accept at once, or a call that takes long, adds a write of the status.
#[tokio::test]
async fn requests_of_a_rotation_are_bounded() {
    let fixture = start_shipped().await;
    let requests = rotate_all(&fixture, json!({ "gracePeriod": "1h" }), Some(Phase::Grace)).await;
    let finalizers = requests.0.get("patch clientsecretrotations");
    assert_eq!(finalizers, Some(&(2 * RESOURCES)), "{requests:?}");
    assert_eq!(requests.0.get("create events"), Some(&RESOURCES), "{requests:?}");
    requests.assert_per_resource(13);
    fixture.finish().await;
}

/// The retirement takes a read and a write of the Secret, a write of the status, and one Event.
#[tokio::test]
async fn requests_of_a_rotation_and_its_retirement_are_bounded() {
    let fixture = start_shipped().await;
    let requests = rotate_all(&fixture, json!({ "gracePeriod": "30s" }), None).await;
    let events = requests.0.get("create events");
    assert_eq!(events, Some(&(2 * RESOURCES)), "{requests:?}");
    requests.assert_per_resource(18);
    fixture.finish().await;
}

/// Without a finalizer and a proof that the Secret can be written, but with a status for the staging
/// period.
#[tokio::test]
async fn requests_of_a_staged_rotation_are_bounded() {
    let fixture = start_shipped().await;
    let spec = json!({
        "strategy": "Staged", "staging": { "period": "1s" }, "gracePeriod": "1h",
    });
    let requests = rotate_all(&fixture, spec, Some(Phase::Grace)).await;
    assert_eq!(requests.0.get("create events"), Some(&RESOURCES), "{requests:?}");
    requests.assert_per_resource(15);
    fixture.finish().await;
}

#[tokio::test]
async fn restart_with_nothing_due_makes_no_write_and_no_client_request() {
    let mut fixture = Fixture::start().await;
    let names: Vec<_> = (0..20).map(|number| format!("app-{number}")).collect();
    for name in &names {
        fixture.apply_rotation(name, json!({ "schedule": { "every": "1h" } })).await;
    }
    for name in &names {
        fixture.wait_until_rotated(name, 1).await;
    }
    fixture.stop_operator().await;
    let versions_before = resource_versions(&fixture, &names).await;
    let before = fixture.simulator.counters();
    fixture.start_operator();
    fixture.operator().wait_until_ready().await;
    // Resources for which nothing is left to do are recognized without a reconcile.
    let has_considered_all = async || fixture.operator().considered().await >= 20.0;
    fixture
        .wait_within(Duration::from_secs(20), "all resources are considered", has_considered_all)
        .await;
    assert_eq!(fixture.operator().metric("auth0_rotator_status_writes_total").await, 0.0);
    let metrics = fixture.operator().metrics().await;
    let writes = metrics.lines().filter(|line| line.contains("secret_writes_total{"));
    assert!(writes.clone().count() > 0 && writes.clone().all(|line| line.ends_with(" 0")));
    assert_eq!(resource_versions(&fixture, &names).await, versions_before);
    let after = fixture.simulator.counters();
    for operation in [Operation::GetClient, Operation::ListClients, Operation::RotateSecret] {
        assert_eq!(after.requests(operation), before.requests(operation), "{operation:?}");
    }
    fixture.finish().await;
}

#[tokio::test]
async fn drift_check_of_1000_resources_takes_ten_requests() {
    const RESOURCES: usize = 1000;
    let fixture = Fixture::start().await;
    // One of the thousand is the management client.
    let names: Vec<_> = (1..RESOURCES).map(|number| format!("app-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).chain([MANAGER]).collect();
    stream::iter(&names)
        .for_each_concurrent(8, async |name| {
            let mut spec = json!({ "driftCheck": { "every": "8760h" } });
            if **name == *MANAGER {
                // Its target is the Secret with the operator's credentials.
                spec["target"] = json!({ "name": "auth0-management", "adopt": true });
            }
            fixture.apply_rotation(name, spec).await;
        })
        .await;
    wait_until_all_idle(&fixture, RESOURCES).await;
    let requests = || {
        let counters = fixture.simulator.counters();
        [Operation::ListClients, Operation::GetClient, Operation::Token]
            .map(|operation| counters.requests(operation))
    };
    let checks = async || {
        let metric = format!(
            "auth0_rotator_auth0_requests_total{{class=\"ok\",kind=\"Auth0Tenant\",namespace=\"{}\",\
             operation=\"drift-check\",result=\"ok\",tenant=\"acme\"}}",
            fixture.namespace
        );
        fixture.operator().metric(&metric).await
    };
    assert_eq!(checks().await, 0.0);
    let before = requests();
    // This resource makes one check of the tenant due. The next check is due long after this test.
    fixture.apply_rotation("app-7", json!({ "driftCheck": { "every": "10s" } })).await;
    fixture
        .wait_within(Duration::from_secs(30), "a drift check is made", async || {
            checks().await >= 1.0
        })
        .await;
    let [lists, gets, tokens] = requests();
    assert_eq!(checks().await, 1.0, "the next check has started");
    assert_eq!([lists - before[0], gets - before[1], tokens - before[2]], [10, 0, 0]);
    fixture.finish().await;
}

/// Waits until `expected` resources are published and no rotation is in progress. The deadline starts
/// again whenever there is progress.
async fn wait_until_all_idle(fixture: &Fixture, expected: usize) {
    let (mut last, mut deadline) = (0, Instant::now() + DEADLINE);
    while last < expected {
        assert!(Instant::now() < deadline, "{last} of {expected}\n{}", fixture.log_tail());
        tokio::time::sleep(Duration::from_millis(500)).await;
        let all = fixture.api::<ClientSecretRotation>().list(&ListParams::default()).await.unwrap();
        let is_idle = |resource: &&ClientSecretRotation| {
            let status = resource.status.as_ref();
            status.is_some_and(|status| status.current.is_some() && status.rotation.is_none())
        };
        let now = all.items.iter().filter(is_idle).count();
        if now > last {
            (last, deadline) = (now, Instant::now() + DEADLINE);
        }
    }
}

/// Returns the resource versions of all resources and of their target Secrets.
async fn resource_versions(fixture: &Fixture, names: &[String]) -> Vec<Option<String>> {
    let mut versions = Vec::new();
    for name in names {
        versions.push(fixture.get(name).await.metadata.resource_version);
        let secrets = fixture.api::<Secret>();
        let secret = secrets.get(&format!("{name}-auth0")).await.unwrap();
        versions.push(secret.metadata.resource_version);
    }
    versions
}
