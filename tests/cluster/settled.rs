//! A restart: resources for which nothing is left to do are recognized from the watches, and whatever
//! changed while no operator ran is noticed.

use std::{collections::BTreeMap, fs};

use auth0_rotator::api::{Auth0Tenant, ClientSecretRotation};
use auth0_simulator::Operation;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use rotation::{ConditionStatus, condition_types, find_condition};
use serde_json::{Value, json};
use testkit::{auth0::tenant, cluster::OPERATOR_USER, fixture::Fixture};

const UNCHANGED: &str = "auth0_rotator_reconcile_total{result=\"unchanged\"}";
const RECONCILED: &str = "auth0_rotator_reconcile_total{result=\"ok\"}";

/// Returns a fixture with this many resources for which nothing is left to do, and an operator with the
/// shipped defaults.
async fn settled_fixture(resources: usize) -> Fixture {
    let mut fixture = Fixture::with_dedicated_control_plane(tenant().start().await.unwrap()).await;
    fixture.start_shipped_operator();
    fixture.operator().wait_until_ready().await;
    let names: Vec<_> = names(resources).collect();
    let spec = json!({ "schedule": { "every": "720h" }, "gracePeriod": "1h" });
    stream::iter(&names)
        .for_each_concurrent(8, async |name| fixture.apply_rotation(name, spec.clone()).await)
        .await;
    for name in &names {
        fixture.wait_for(name, "settled", is_settled).await;
    }
    fixture
}

fn names(resources: usize) -> impl Iterator<Item = String> {
    (0..resources).map(|number| format!("app-{number}"))
}

fn is_settled(resource: &ClientSecretRotation) -> bool {
    resource.status.as_ref().is_some_and(|status| status.settled.is_some())
}

/// Waits until a metric of the operator has at least this value.
async fn wait_for_metric(fixture: &Fixture, metric: &str, expected: usize) {
    let is_reached = async || fixture.operator().metric(metric).await >= expected as f64;
    fixture.wait_until_async(&format!("{metric} is {expected}"), is_reached).await;
}

/// Returns the operator's requests to the API server so far, by verb and resource.
fn requests(fixture: &Fixture) -> BTreeMap<String, usize> {
    let control_plane = fixture.dedicated_control_plane.as_ref().unwrap();
    let log = fs::read_to_string(control_plane.audit_log_path().unwrap()).unwrap();
    let mut requests = BTreeMap::new();
    for event in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        // The last request of a watch is still in progress.
        let is_first = event["stage"] == "ResponseComplete" && event["verb"] != "watch"
            || event["stage"] == "ResponseStarted";
        if event["user"]["username"] == OPERATOR_USER && is_first {
            let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
            let resource = text(&event["objectRef"]["resource"]);
            *requests.entry(format!("{} {resource}", text(&event["verb"]))).or_default() += 1;
        }
    }
    requests
}

fn requests_since(fixture: &Fixture, before: &BTreeMap<String, usize>) -> BTreeMap<String, usize> {
    let mut requests = requests(fixture);
    for (kind, count) in &mut requests {
        *count -= before.get(kind).copied().unwrap_or_default();
    }
    requests.retain(|_, count| *count > 0);
    requests
}

/// Stops the operator, and returns its requests to the API server until then.
async fn stop(fixture: &mut Fixture) -> BTreeMap<String, usize> {
    fixture.stop_operator().await;
    // The release of the Lease is the last request; the log is written with a delay.
    let mut last = requests(fixture);
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let now = requests(fixture);
        if now == last {
            return now;
        }
        last = now;
    }
}

#[tokio::test]
async fn restart_reads_and_writes_nothing_for_settled_resources() {
    const RESOURCES: usize = 100;
    let mut fixture = settled_fixture(RESOURCES).await;
    let before = stop(&mut fixture).await;
    let auth0_before = fixture.simulator.counters();
    fixture.start_shipped_operator();
    fixture.operator().wait_until_ready().await;
    wait_for_metric(&fixture, UNCHANGED, RESOURCES).await;
    let metrics = fixture.operator().metrics().await;
    assert_eq!(fixture.operator().metric(RECONCILED).await, 0.0, "{metrics}");
    let has_token = async || {
        fixture.simulator.counters().requests(Operation::Token)
            > auth0_before.requests(Operation::Token)
    };
    fixture.wait_until_async("the tenant is checked", has_token).await;
    // Once it has stopped, whatever the start caused has happened.
    stop(&mut fixture).await;
    let requests = requests_since(&fixture, &before);
    let is_read =
        |kind: &str| ["get ", "list ", "watch "].iter().any(|verb| kind.starts_with(verb));
    let writes: Vec<_> = requests.keys().filter(|kind| !is_read(kind)).collect();
    assert!(writes.iter().all(|kind| *kind == "update leases"), "{requests:?}");
    assert!(requests.values().sum::<usize>() <= 30, "{requests:?}");
    let auth0 = fixture.simulator.counters();
    for operation in Operation::ALL {
        let made = auth0.requests(operation) - auth0_before.requests(operation);
        let allowed = u64::from(operation == Operation::Token);
        assert!(made <= allowed, "{operation:?}: {made}");
    }
    fixture.start_shipped_operator();
    fixture.operator().wait_until_ready().await;
    fixture.finish().await;
}

#[tokio::test]
async fn changes_without_an_operator_are_noticed_at_its_start() {
    const RESOURCES: usize = 10;
    let mut fixture = settled_fixture(RESOURCES).await;
    let [deleted, edited, unlabeled, respecified, requested, status, removed] =
        [0, 1, 2, 3, 4, 5, 6].map(|number| format!("app-{number}"));
    let target = |name: &str| format!("{name}-auth0");
    let published = fixture.secret_data(&target(&edited)).await.unwrap();
    let published_unlabeled = fixture.secret_data(&target(&unlabeled)).await.unwrap();
    let published_deleted = fixture.secret_data(&target(&deleted)).await.unwrap();
    stop(&mut fixture).await;

    let secrets = fixture.api::<Secret>();
    let params = PatchParams { field_manager: Some("other".into()), ..PatchParams::default() };
    secrets.delete(&target(&deleted), &DeleteParams::default()).await.unwrap();
    let junk = Patch::Merge(json!({ "stringData": { "client_secret": "junk" } }));
    secrets.patch(&target(&edited), &params, &junk).await.unwrap();
    let unlabel = Patch::Merge(json!({ "metadata": { "labels": null } }));
    secrets.patch(&target(&unlabeled), &params, &unlabel).await.unwrap();
    let keys = json!({ "spec": { "target": { "keys": { "current": "password" } } } });
    fixture.patch_rotation(&respecified, keys).await;
    fixture.request(&requested, "rotate/while-down").await;
    let resources = fixture.api::<ClientSecretRotation>();
    let mut forged = fixture.get(&status).await;
    for condition in &mut forged.status.as_mut().unwrap().conditions {
        condition.message = "forged".into();
    }
    let name = forged.name_any();
    resources.replace_status(&name, &Default::default(), &forged).await.unwrap();
    resources.delete(&removed, &DeleteParams::default()).await.unwrap();

    fixture.start_shipped_operator();
    fixture.wait_for_secret_data(&target(&deleted), |data| *data == published_deleted).await;
    fixture.wait_for_secret_data(&target(&edited), |data| *data == published).await;
    fixture.wait_for_secret_data(&target(&respecified), |data| data.contains_key("password")).await;
    let is_labeled = async || {
        let found = secrets.get(&target(&unlabeled)).await.unwrap();
        !found.labels().is_empty()
    };
    fixture.wait_until_async("the label is restored", is_labeled).await;
    fixture.wait_for_secret_data(&target(&unlabeled), |data| *data == published_unlabeled).await;
    let is_rotated = async || fixture.rotation_count(&requested) == 1;
    fixture.wait_until_async("the request is carried out", is_rotated).await;
    let is_corrected = |resource: &ClientSecretRotation| {
        let conditions = &resource.status.as_ref().unwrap().conditions;
        conditions.iter().all(|condition| condition.message != "forged")
    };
    fixture.wait_for(&status, "corrected", is_corrected).await;
    fixture.wait_until_deleted(&removed).await;
    // The other three are as they were.
    wait_for_metric(&fixture, UNCHANGED, 3).await;
    for name in [&deleted, &edited, &unlabeled, &respecified, &status] {
        assert_eq!(fixture.rotation_count(name), 0, "{name}");
    }
    fixture.finish().await;
}

#[tokio::test]
async fn changed_tenant_is_noticed_at_the_start() {
    const RESOURCES: usize = 5;
    let mut fixture = settled_fixture(RESOURCES).await;
    stop(&mut fixture).await;
    let patch = Patch::Merge(json!({ "spec": { "rateLimit": { "requestsPerSecond": 900 } } }));
    let tenants = fixture.api::<Auth0Tenant>();
    tenants.patch("acme", &PatchParams::default(), &patch).await.unwrap();
    fixture.start_shipped_operator();
    wait_for_metric(&fixture, RECONCILED, RESOURCES).await;
    stop(&mut fixture).await;

    // The credentials are gone, which only the tenant's status shows.
    let secrets = fixture.api::<Secret>();
    secrets.delete("auth0-management", &DeleteParams::default()).await.unwrap();
    fixture.start_shipped_operator();
    for name in names(RESOURCES) {
        let is_reported = |resource: &ClientSecretRotation| {
            let conditions = &resource.status.as_ref().unwrap().conditions;
            let ready = find_condition(conditions, condition_types::TENANT_READY);
            ready.is_some_and(|ready| ready.status == ConditionStatus::False)
        };
        fixture.wait_for(&name, "without a tenant", is_reported).await;
    }
    fixture.finish().await;
}

/// An operator with other settings, as one of another version, may write another target Secret.
#[tokio::test]
async fn operator_that_may_render_otherwise_reconciles_everything() {
    const RESOURCES: usize = 5;
    let mut fixture = settled_fixture(RESOURCES).await;
    stop(&mut fixture).await;
    fixture.start_cluster_operator_with(&[]);
    wait_for_metric(&fixture, RECONCILED, RESOURCES).await;
    fixture.finish().await;
}
