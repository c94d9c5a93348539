//! Workloads that are restarted when their target Secret changes, and Pods that are never updated.

use auth0_rotator::api::RESTART_ANNOTATION;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::api::{Patch, PatchParams, PostParams};
use rotation::Phase;
use serde_json::{Value, json};
use testkit::fixture::{Fixture, from_json};

async fn create_deployment(fixture: &Fixture, name: &str, pod: Value) {
    let labels = json!({ "app": name });
    let object = json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": pod },
        },
    });
    fixture.api::<Deployment>().create(&PostParams::default(), &from_json(object)).await.unwrap();
}

/// Returns the spec of a Pod that reads a Secret through environment variables.
fn pod_with_env_from(secret: &str) -> Value {
    json!({ "containers": [{
        "name": "app", "image": "none", "envFrom": [{ "secretRef": { "name": secret } }],
    }] })
}

/// Sets the status that the controller manager, which doesn't run here, would set after a rollout.
async fn complete_rollout(fixture: &Fixture, name: &str) {
    let api = fixture.api::<Deployment>();
    let generation = api.get(name).await.unwrap().metadata.generation;
    let status = json!({ "status": {
        "observedGeneration": generation, "replicas": 1, "updatedReplicas": 1,
        "readyReplicas": 1, "availableReplicas": 1,
    } });
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

async fn restarted_at(fixture: &Fixture, name: &str) -> Option<String> {
    let template = fixture.api::<Deployment>().get(name).await.unwrap().spec.unwrap().template;
    template.metadata?.annotations?.get(RESTART_ANNOTATION).cloned()
}

fn staged(restart: Value) -> Value {
    json!({
        "strategy": "Staged", "staging": { "period": "1s" },
        "consumers": { "restart": restart, "rolloutTimeout": "2s" },
    })
}

async fn phase(fixture: &Fixture) -> Option<Phase> {
    fixture.get("shop").await.status?.rotation.map(|rotation| rotation.phase)
}

#[tokio::test]
async fn restarts_a_workload_once_and_waits_for_its_rollout() {
    let fixture = Fixture::start().await;
    create_deployment(&fixture, "web", pod_with_env_from("shop-auth0")).await;
    complete_rollout(&fixture, "web").await;
    fixture.apply_rotation("shop", staged(json!([{ "kind": "Deployment", "name": "web" }]))).await;
    fixture.wait_until_rotated("shop", 1).await;
    assert_eq!(restarted_at(&fixture, "web").await, None, "an import restarts nothing");
    fixture.request("shop", "rotate/now").await;
    let message = fixture.wait_for_reason("shop", "Stalled", "RolloutInProgress").await;
    assert!(message.contains("Deployment web"), "{message}");
    assert_eq!(phase(&fixture).await, Some(Phase::Staging), "not activated");
    let first = restarted_at(&fixture, "web").await;
    assert!(first.is_some());
    complete_rollout(&fixture, "web").await;
    fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(restarted_at(&fixture, "web").await, first, "restarted once");
    fixture.assert_published("shop").await;
    fixture.finish().await;
}

#[tokio::test]
async fn does_not_repeat_a_restart_after_a_kill() {
    let mut fixture = Fixture::start().await;
    create_deployment(&fixture, "web", pod_with_env_from("shop-auth0")).await;
    fixture.apply_rotation("shop", staged(json!([{ "kind": "Deployment", "name": "web" }]))).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_for_reason("shop", "Stalled", "RolloutInProgress").await;
    let first = restarted_at(&fixture, "web").await;
    fixture.take_operator().kill();
    fixture.start_operator();
    complete_rollout(&fixture, "web").await;
    fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(restarted_at(&fixture, "web").await, first);
    fixture.finish().await;
}

#[tokio::test]
async fn names_a_missing_workload_and_continues_once_it_is_removed_from_the_spec() {
    let fixture = Fixture::start().await;
    fixture
        .apply_rotation("shop", staged(json!([{ "kind": "StatefulSet", "name": "missing" }])))
        .await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    let message = fixture.wait_for_reason("shop", "Stalled", "RolloutInProgress").await;
    assert!(message.contains("StatefulSet missing (it does not exist)"), "{message}");
    fixture.wait_for_reason("shop", "ConsumersReached", "RestartBlocked").await;
    fixture.apply_rotation("shop", staged(json!([]))).await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.finish().await;
}

#[tokio::test]
async fn names_a_paused_workload() {
    let fixture = Fixture::start().await;
    let pod = json!({ "containers": [{ "name": "app", "image": "none" }] });
    create_deployment(&fixture, "web", pod).await;
    let pause = Patch::Merge(json!({ "spec": { "paused": true } }));
    fixture.api::<Deployment>().patch("web", &PatchParams::default(), &pause).await.unwrap();
    fixture.apply_rotation("shop", staged(json!([{ "kind": "Deployment", "name": "web" }]))).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    let message = fixture.wait_for_reason("shop", "Stalled", "RolloutInProgress").await;
    assert!(message.contains("it is paused"), "{message}");
    fixture.request("shop", "abort/now").await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.finish().await;
}

#[tokio::test]
async fn names_pods_that_are_never_updated_when_a_rotation_starts() {
    let fixture = Fixture::start().await;
    for (name, app, secret) in
        [("env", "env", "shop-auth0"), ("covered", "web", "shop-auth0"), ("other", "x", "other")]
    {
        let pod = json!({
            "metadata": { "name": name, "labels": { "app": app } }, "spec": pod_with_env_from(secret),
        });
        fixture.api::<Pod>().create(&PostParams::default(), &from_json(pod)).await.unwrap();
    }
    create_deployment(&fixture, "web", pod_with_env_from("shop-auth0")).await;
    complete_rollout(&fixture, "web").await;
    let restart = json!([{ "kind": "Deployment", "name": "web" }]);
    fixture.apply_rotation("shop", json!({ "consumers": { "restart": restart } })).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    let message = fixture.wait_for_reason("shop", "ConsumersReached", "PodsNeverUpdated").await;
    assert!(message.contains(": env;"), "{message}");
    fixture.wait_for_event("PodsNeverUpdated").await;
    fixture.wait_until_rotated("shop", 2).await;
    assert!(
        restarted_at(&fixture, "web").await.is_some(),
        "also restarted with the strategy Rotate"
    );
    fixture.finish().await;
}

#[tokio::test]
async fn resource_that_asks_for_disabled_restarts_is_not_rotated() {
    let simulator = testkit::auth0::tenant().start().await.unwrap();
    let mut fixture = Fixture::with_simulator(simulator).await;
    let flags = ["--allow-http-endpoints", "--restarts=false", "--pod-detection=false"];
    fixture.start_operator_with(&flags);
    create_deployment(&fixture, "web", pod_with_env_from("shop-auth0")).await;
    let restart = json!([{ "kind": "Deployment", "name": "web" }]);
    fixture.apply_rotation("shop", staged(restart)).await;
    let message = fixture.wait_until_stalled("shop", "RestartsDisabled").await;
    assert!(message.contains("Remove spec.consumers.restart"), "{message}");
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_stalled("shop", "RestartsDisabled").await;
    fixture.assert_published("shop").await;
    assert_eq!(fixture.rotation_count("shop"), 0);
    assert_eq!(restarted_at(&fixture, "web").await, None);

    fixture.patch_rotation("shop", json!({ "spec": { "consumers": { "restart": [] } } })).await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.wait_for_reason("shop", "ConsumersReached", "PodDetectionDisabled").await;
    fixture.finish().await;
}
