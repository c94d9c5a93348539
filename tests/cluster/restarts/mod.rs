//! Restarts of workloads among neighbors: times written by others, several resources of one workload,
//! controllers that take a restart back, and applications that know only one secret.

mod controller;

use std::time::{Duration, Instant};

use controller::WorkloadController;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment},
    core::v1::Pod,
};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use rotation::Phase;
use serde_json::{Value, json};
use testkit::fixture::{Fixture, from_json};

/// Restarts that others order are in this annotation.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// Field manager of the controller that owns the Deployments.
const DEPLOYER: &str = "argocd-controller";

/// How long two parties fight over a Pod template.
const FIGHT: Duration = Duration::from_secs(20);

/// Creates a Deployment whose Pods take these keys of a Secret as environment variables.
async fn create_deployment(fixture: &Fixture, name: &str, secret: &str, keys: &[&str]) {
    let labels = json!({ "app": name });
    let object = json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": pod_spec(secret, keys) },
        },
    });
    let params = PostParams { field_manager: Some(DEPLOYER.into()), ..PostParams::default() };
    fixture.api::<Deployment>().create(&params, &from_json(object)).await.unwrap();
}

/// Returns the spec of a Pod that takes these keys of a Secret as environment variables.
fn pod_spec(secret: &str, keys: &[&str]) -> Value {
    let variable = |key: &&str| {
        let source = json!({ "secretKeyRef": { "name": secret, "key": key } });
        json!({ "name": key.to_uppercase(), "valueFrom": source })
    };
    let variables: Vec<Value> = keys.iter().map(variable).collect();
    json!({ "containers": [{ "name": "app", "image": "none", "env": variables }] })
}

async fn create_pod(fixture: &Fixture, name: &str, spec: Value) {
    let pod = json!({ "metadata": { "name": name, "labels": { "app": "web" } }, "spec": spec });
    fixture.api::<Pod>().create(&PostParams::default(), &from_json(pod)).await.unwrap();
}

async fn generation(fixture: &Fixture, name: &str) -> i64 {
    fixture.api::<Deployment>().get(name).await.unwrap().metadata.generation.unwrap()
}

/// Merges a patch into the metadata of a Deployment's Pod template.
async fn patch_template(fixture: &Fixture, name: &str, annotations: Value) {
    let patch = json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } });
    let params = PatchParams::default();
    fixture.api::<Deployment>().patch(name, &params, &Patch::Merge(patch)).await.unwrap();
}

fn staged(workload: &str) -> Value {
    json!({
        "strategy": "Staged", "staging": { "period": "1s" },
        "consumers": {
            "restart": [{ "kind": "Deployment", "name": workload }], "rolloutTimeout": "60s",
        },
    })
}

/// Returns whether Auth0 accepts any of the values in a list that a Pod has taken.
fn logs_in(fixture: &Fixture, client_id: &str, list: &str) -> bool {
    let values: Vec<String> = serde_json::from_str(list).unwrap_or_else(|_| vec![list.to_owned()]);
    values.iter().any(|value| fixture.simulator.accepts(client_id, value))
}

#[tokio::test]
async fn restart_time_of_others_does_not_count() {
    let fixture = Fixture::start().await;
    create_deployment(&fixture, "web", "shop-auth0", &["client_secrets"]).await;
    fixture.apply_rotation("shop", staged("web")).await;
    fixture.wait_until_rotated("shop", 1).await;
    let future = chrono::Utc::now() + chrono::TimeDelta::minutes(10);
    patch_template(&fixture, "web", json!({ RESTARTED_AT: future.to_rfc3339() })).await;
    let controller = WorkloadController::start(&fixture, "web", "shop-auth0", "client_secrets");
    fixture.wait_until("the Pod runs", || controller.started_with().len() == 1).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    let started_with = controller.started_with();
    assert!(logs_in(&fixture, "shop", started_with.last().unwrap()), "the Pod is locked out");
    assert_eq!(controller.restarts(), 1);
    fixture.finish().await;
}

#[tokio::test]
async fn rotations_of_one_workload_share_restarts() {
    let fixture = Fixture::start().await;
    let names: Vec<String> = (0..10).map(|number| format!("shop-{number}")).collect();
    create_deployment(&fixture, "web", "shop-0-auth0", &["client_secrets"]).await;
    for name in &names {
        fixture.apply_rotation(name, staged("web")).await;
    }
    for name in &names {
        fixture.wait_until_rotated(name, 1).await;
    }
    let controller = WorkloadController::start(&fixture, "web", "shop-0-auth0", "client_secrets");
    fixture.wait_until("the Pod runs", || controller.started_with().len() == 1).await;
    let before = generation(&fixture, "web").await;
    for name in &names {
        fixture.request(name, "rotate/now").await;
    }
    for name in &names {
        fixture.wait_until_rotated(name, 2).await;
    }
    let restarts = generation(&fixture, "web").await - before;
    println!("{restarts} restarts of a workload with ten resources");
    assert!((1..=2).contains(&restarts), "{restarts} restarts");
    fixture.finish().await;
}

/// Takes every annotation off a Deployment's Pod template as soon as it appears, as GitOps does.
/// Returns how often.
async fn revert_annotations(fixture: &Fixture, name: &str, duration: Duration) -> usize {
    let api = fixture.api::<Deployment>();
    let params = PatchParams { field_manager: Some(DEPLOYER.into()), ..PatchParams::default() };
    let (started, mut reverts) = (Instant::now(), 0);
    while started.elapsed() < duration {
        let template = api.get(name).await.unwrap().spec.unwrap().template;
        let annotations = template.metadata.unwrap_or_default().annotations.unwrap_or_default();
        if annotations.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        let patch = json!({ "spec": { "template": { "metadata": { "annotations": null } } } });
        api.patch(name, &params, &Patch::Merge(patch)).await.unwrap();
        reverts += 1;
    }
    reverts
}

#[tokio::test]
async fn controller_that_takes_restarts_back_is_met_with_a_hold_off() {
    let fixture = Fixture::start().await;
    create_deployment(&fixture, "web", "shop-auth0", &["client_secrets"]).await;
    create_pod(&fixture, "web-old", pod_spec("shop-auth0", &["client_secrets"])).await;
    fixture.apply_rotation("shop", staged("web")).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    let reverts = revert_annotations(&fixture, "web", FIGHT).await;
    println!("{reverts} restarts within {FIGHT:?} with a controller that takes them back");
    assert!((1..=4).contains(&reverts), "{reverts} restarts");
    let message = fixture.wait_for_reason("shop", "ConsumersReached", "RestartReverted").await;
    assert!(message.contains(DEPLOYER), "{message}");
    assert!(message.contains("Deployment web"), "{message}");
    fixture.wait_for_event("RestartReverted").await;
    let rotation = fixture.get("shop").await.status.unwrap().rotation.unwrap();
    assert_eq!(rotation.phase, Phase::Staging, "not activated");

    // Once the other party stops, the next restart is made and counts.
    fixture.api::<Pod>().delete("web-old", &DeleteParams::default()).await.unwrap();
    let _controller = WorkloadController::start(&fixture, "web", "shop-auth0", "client_secrets");
    fixture.wait_until_rotated("shop", 2).await;
    fixture.wait_for_reason("shop", "ConsumersReached", "Reached").await;
    fixture.finish().await;
}

/// A Pod that was created after the pair was published has it, regardless of the outcome of the restart.
#[tokio::test]
async fn pods_created_since_the_publication_need_no_restart() {
    let fixture = Fixture::start().await;
    create_deployment(&fixture, "web", "shop-auth0", &["client_secrets"]).await;
    let mut spec = staged("web");
    spec["staging"]["period"] = json!("8s");
    fixture.apply_rotation("shop", spec).await;
    fixture.wait_until_rotated("shop", 1).await;
    let controller = WorkloadController::start(&fixture, "web", "shop-auth0", "client_secrets");
    fixture.wait_until("the Pod runs", || controller.started_with().len() == 1).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until("the Pod restarts", || controller.restarts() == 1).await;
    // Later than the difference of clocks that the operator tolerates.
    tokio::time::sleep(Duration::from_secs(5)).await;
    revert_annotations(&fixture, "web", Duration::from_secs(1)).await;
    fixture.wait_until_rotated("shop", 2).await;
    let started_with = controller.started_with();
    assert!(logs_in(&fixture, "shop", started_with.last().unwrap()), "the Pod is locked out");
    assert_eq!(controller.restarts(), 2, "the restart, and the rollout that took it back");
    fixture.finish().await;
}

#[tokio::test]
async fn pod_that_takes_only_the_current_secret_is_restarted_after_the_promotion() {
    let fixture = Fixture::start().await;
    create_deployment(&fixture, "web", "shop-auth0", &["client_id", "client_secret"]).await;
    fixture.apply_rotation("shop", staged("web")).await;
    fixture.wait_until_rotated("shop", 1).await;
    let controller = WorkloadController::start(&fixture, "web", "shop-auth0", "client_secret");
    fixture.wait_until("the Pod runs", || controller.started_with().len() == 1).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    let started_with = controller.started_with();
    assert!(logs_in(&fixture, "shop", started_with.last().unwrap()), "the Pod is locked out");
    assert_eq!(controller.restarts(), 1);
    fixture.finish().await;
}

#[tokio::test]
async fn old_pod_that_still_terminates_counts_as_a_consumer() {
    let fixture = Fixture::start().await;
    create_deployment(&fixture, "web", "shop-auth0", &["client_secrets"]).await;
    let mut old = pod_spec("shop-auth0", &["client_secrets"]);
    old["nodeName"] = json!("node");
    fixture.apply_rotation("shop", staged("web")).await;
    fixture.wait_until_rotated("shop", 1).await;
    create_pod(&fixture, "web-old", old).await;
    let pods = fixture.api::<Pod>();
    pods.delete("web-old", &DeleteParams::default().grace_period(600)).await.unwrap();
    assert!(pods.get("web-old").await.unwrap().metadata.deletion_timestamp.is_some());
    let controller = WorkloadController::start(&fixture, "web", "shop-auth0", "client_secrets");
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until("the Pod restarts", || controller.restarts() == 1).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let rotation = fixture.get("shop").await.status.unwrap().rotation.unwrap();
    assert_eq!(rotation.phase, Phase::Staging, "activated while an old Pod runs");
    pods.delete("web-old", &DeleteParams::default().grace_period(0)).await.unwrap();
    fixture.wait_until_rotated("shop", 2).await;
    fixture.finish().await;
}

#[tokio::test]
async fn pods_that_take_no_secret_are_no_consumers() {
    let fixture = Fixture::start().await;
    create_pod(&fixture, "name-only", pod_spec("shop-auth0", &["client_id", "domain"])).await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.wait_for_reason("shop", "ConsumersReached", "Reached").await;
    fixture.finish().await;
}

#[tokio::test]
async fn condition_clears_soon_after_the_pod_is_gone() {
    let fixture = Fixture::start().await;
    create_pod(&fixture, "env", pod_spec("shop-auth0", &["client_secrets"])).await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.wait_for_reason("shop", "ConsumersReached", "PodsNeverUpdated").await;
    fixture.api::<Pod>().delete("env", &DeleteParams::default()).await.unwrap();
    fixture.wait_for_reason("shop", "ConsumersReached", "Reached").await;
    fixture.finish().await;
}

#[tokio::test]
async fn rotation_proceeds_without_a_workload_if_the_spec_says_so() {
    let fixture = Fixture::start().await;
    let labels = json!({ "app": "agent" });
    let object = json!({
        "metadata": { "name": "agent" },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": pod_spec("shop-auth0", &["client_secrets"]),
            },
        },
    });
    let api = fixture.api::<DaemonSet>();
    api.create(&PostParams::default(), &from_json(object)).await.unwrap();
    // One of three nodes is dead.
    let status = json!({ "status": {
        "observedGeneration": 100, "currentNumberScheduled": 3, "desiredNumberScheduled": 3,
        "numberMisscheduled": 0, "numberReady": 2, "updatedNumberScheduled": 2, "numberAvailable": 2,
    } });
    api.patch_status("agent", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    fixture
        .apply_rotation(
            "shop",
            json!({
                "strategy": "Staged", "staging": { "period": "1s" },
                "consumers": {
                    "restart": [{ "kind": "DaemonSet", "name": "agent" }],
                    "rolloutTimeout": "3s", "onRolloutTimeout": "Proceed",
                },
            }),
        )
        .await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    let message = fixture.wait_for_reason("shop", "ConsumersReached", "RolloutInProgress").await;
    assert!(message.contains("DaemonSet agent"), "{message}");
    fixture.wait_until_rotated("shop", 2).await;
    fixture.assert_published("shop").await;
    fixture.finish().await;
}
