//! One client in several clusters: two operators that don't know of each other, each with a namespace
//! and a tenant resource of its own, and one Auth0.

use std::time::{Duration, Instant};

use auth0_rotator::api::ClientSecretRotation;
use rotation::{Cause, condition_types, find_condition, is_condition_true};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::{
    auth0::{MANAGER, application},
    fixture::{Fixture, NamespaceFixture, PROPAGATION_WINDOW},
    manifests::merge,
    operator::{self, Operator, OperatorCommand},
};

/// How often the follower checks for drift.
const DRIFT_CHECK: Duration = Duration::from_secs(2);

/// Time in which the follower publishes a secret that its drift check has found, on a loaded machine.
const SLACK: Duration = Duration::from_secs(6);

/// A namespace that represents a cluster, with its operator.
struct Cluster {
    namespace: NamespaceFixture,
    _operator: Operator,
}

impl Cluster {
    /// Creates another cluster that uses the Auth0 of the fixture.
    async fn start(fixture: &Fixture) -> Self {
        let name = format!("{}-b", fixture.namespace);
        let namespace = fixture.create_namespace(&name, json!({})).await;
        let secret = fixture.simulator.client_secret(MANAGER).unwrap();
        let credentials = json!({ "client_id": MANAGER, "client_secret": secret.expose_secret() });
        namespace.write_annotated_secret("auth0-management", credentials, json!({})).await;
        let tenant = json!({
            "domain": "acme.eu.auth0.com", "endpoint": fixture.simulator.url(),
            "credentials": { "clientSecret": { "secretRef": { "name": "auth0-management" } } },
            "rateLimit": { "requestsPerSecond": 1000, "burst": 1000 },
            "driftCheck": { "minInterval": "1s" },
        });
        namespace.try_apply_tenant("acme", tenant).await.unwrap();
        let executable = operator::executable().unwrap();
        let command =
            OperatorCommand::new(executable, fixture.kubeconfig.clone(), fixture.log_dir.clone());
        let window = format!("{}s", PROPAGATION_WINDOW.as_secs());
        let command = command.args(["--namespace", &name, "--allow-http-endpoints"]);
        let operator = command.args(["--propagation-window", &window]).spawn().unwrap();
        Self { namespace, _operator: operator }
    }

    async fn apply_rotation(&self, overrides: Value) {
        let mut spec = json!({ "tenantRef": { "kind": "Auth0Tenant", "name": "acme" } });
        merge(&mut spec, overrides);
        self.namespace.apply_rotation_of("shop", "shop", spec).await;
    }
}

/// Returns the spec of a resource that only follows.
fn follower() -> Value {
    json!({ "gracePeriod": "60s", "driftCheck": { "every": format!("{}s", DRIFT_CHECK.as_secs()) } })
}

fn changes(fixture: &Fixture) -> u64 {
    let effects = fixture.simulator.counters().client("shop").effects;
    effects.rotations + effects.patches
}

fn value_at_auth0(fixture: &Fixture) -> String {
    fixture.simulator.client_secret("shop").unwrap().expose_secret().to_owned()
}

/// Waits until both clusters publish the secret that Auth0 has.
async fn wait_until_both_publish(fixture: &Fixture, other: &Cluster) {
    let is_published = async || {
        let value = Some(value_at_auth0(fixture));
        fixture.current_value("shop").await == value
            && other.namespace.current_value("shop").await == value
    };
    fixture.wait_until_async("both clusters publish Auth0's secret", is_published).await;
}

#[tokio::test]
async fn follower_publishes_within_its_drift_interval_and_keeps_the_fallback() {
    for strategy in ["Rotate", "Staged"] {
        let fixture = Fixture::start().await;
        let spec = json!({ "strategy": strategy, "staging": { "period": "1s" } });
        fixture.apply_rotation("shop", spec).await;
        fixture.wait_until_rotated("shop", 1).await;
        let other = Cluster::start(&fixture).await;
        other.apply_rotation(follower()).await;
        other.namespace.wait_until_rotated("shop", 1).await;
        let mut longest = Duration::ZERO;
        for number in 2..4 {
            let before = value_at_auth0(&fixture);
            let count = changes(&fixture);
            fixture.request("shop", &format!("rotate/{number}")).await;
            fixture.wait_until("Auth0 has rotated", || changes(&fixture) > count).await;
            let changed_at = Instant::now();
            let value = value_at_auth0(&fixture);
            let follows = async || other.namespace.published_values("shop").await[0] == value;
            fixture.wait_within(DRIFT_CHECK + SLACK, "the follower follows", follows).await;
            longest = longest.max(changed_at.elapsed());
            let published = other.namespace.published_values("shop").await;
            assert!(published == [value, before], "{strategy}: the fallback is missing");
            fixture.wait_until_rotated("shop", number).await;
        }
        println!("{strategy}: the follower published an old value for {longest:.1?} at most");
        // The follower changed nothing at Auth0, and none of its rotations came back to the owner.
        assert_eq!(changes(&fixture), 2);
        let history = fixture.get("shop").await.status.unwrap().history;
        assert!(history.iter().all(|entry| entry.cause == Cause::Request), "{history:?}");
        let rotation = other.namespace.get("shop").await.status.unwrap().rotation.unwrap();
        assert_eq!(rotation.cause, Cause::Drift);
        fixture.finish().await;
    }
}

#[tokio::test]
async fn two_rotators_end_with_one_secret() {
    for strategy in ["Rotate", "Staged"] {
        let fixture = Fixture::start().await;
        fixture.simulator.add_client(application("shop")).unwrap();
        let spec = json!({
            "strategy": strategy, "staging": { "period": "1s" }, "gracePeriod": "3s",
            "driftCheck": { "every": "1s" },
        });
        fixture.apply_rotation("shop", spec.clone()).await;
        fixture.wait_until_rotated("shop", 1).await;
        let other = Cluster::start(&fixture).await;
        other.apply_rotation(spec).await;
        other.namespace.wait_until_rotated("shop", 1).await;
        // Both are due at the same time.
        futures::join!(
            fixture.request("shop", "rotate/now"),
            other.namespace.request("shop", "rotate/now"),
        );
        let is_handled = |resource: &ClientSecretRotation| {
            let status = resource.status.clone().unwrap_or_default();
            status.last_handled_request.is_some() && status.rotation.is_none()
        };
        fixture.wait_for("shop", "idle after its request", is_handled).await;
        other.namespace.wait_for("shop", "idle after its request", is_handled).await;
        wait_until_both_publish(&fixture, &other).await;
        let count = changes(&fixture);
        // A PATCH is repeated only with the same value.
        assert!((2..=4).contains(&count), "{strategy}: {count} changes for two requests");
        // Ten drift checks of each later, nothing has changed.
        tokio::time::sleep(Duration::from_secs(10)).await;
        wait_until_both_publish(&fixture, &other).await;
        assert_eq!(changes(&fixture), count, "{strategy}: the fight continues");
        fixture.finish().await;
    }
}

#[tokio::test]
async fn second_rotator_with_an_interval_becomes_a_follower() {
    let fixture = Fixture::start().await;
    fixture.simulator.add_client(application("shop")).unwrap();
    let every = 12;
    let spec = json!({
        "schedule": { "every": format!("{every}s") }, "gracePeriod": "3s",
        "driftCheck": { "every": "1s" },
    });
    fixture.apply_rotation("shop", spec.clone()).await;
    fixture.wait_until_rotated("shop", 1).await;
    let other = Cluster::start(&fixture).await;
    other.apply_rotation(spec).await;
    other.namespace.wait_until_rotated("shop", 1).await;
    let (started, count) = (Instant::now(), changes(&fixture));
    let has_rotated = || changes(&fixture) >= count + 4;
    fixture
        .wait_within(Duration::from_secs(90), "rotated four times", async || has_rotated())
        .await;
    // As many changes as one rotator makes, and one more in which both were due together.
    let due = started.elapsed().as_secs() / every + 1;
    let changes = changes(&fixture) - count;
    assert!(changes <= due + 1, "{changes} changes in {due} intervals");
    let causes = |resource: ClientSecretRotation| -> Vec<Cause> {
        resource.status.unwrap().history.iter().map(|entry| entry.cause).collect()
    };
    let causes = [causes(fixture.get("shop").await), causes(other.namespace.get("shop").await)];
    let drifts = causes.iter().flatten().filter(|cause| **cause == Cause::Drift).count();
    assert!(drifts > 0, "{causes:?}");
    fixture.finish().await;
}

#[tokio::test]
async fn recurring_changes_of_another_cluster_are_reported() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    let other = Cluster::start(&fixture).await;
    other.apply_rotation(json!({ "driftCheck": { "every": "1s" }, "gracePeriod": "3s" })).await;
    other.namespace.wait_until_rotated("shop", 1).await;
    for number in 2..5 {
        fixture.request("shop", &format!("rotate/{number}")).await;
        fixture.wait_until_rotated("shop", number).await;
        let value = value_at_auth0(&fixture);
        let has_noticed = async || {
            let status = other.namespace.get("shop").await.status.unwrap();
            other.namespace.current_value("shop").await.as_ref() == Some(&value)
                || status.drift_hold_off.is_some_and(|hold_off| hold_off.pending)
        };
        fixture.wait_until_async("the other cluster has noticed", has_noticed).await;
    }
    let is_reported = |resource: &ClientSecretRotation| {
        let conditions = resource.status.clone().unwrap_or_default().conditions;
        find_condition(&conditions, condition_types::READY)
            .is_some_and(|ready| ready.reason == "DriftRecurs")
    };
    let resource = other.namespace.wait_for("shop", "reported", is_reported).await;
    let conditions = resource.status.unwrap().conditions;
    let ready = find_condition(&conditions, condition_types::READY).unwrap();
    assert!(!is_condition_true(&conditions, condition_types::READY));
    let message = &ready.message;
    assert!(message.contains("another party rotates this client"), "{message}");
    assert!(message.contains("docs/high-availability.md"), "{message}");
    // The owner continues undisturbed.
    fixture.wait_until_rotated("shop", 4).await;
    fixture.assert_published("shop").await;
    fixture.finish().await;
}
