//! Applications that have to be restarted, and those that will never see what is published.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::api::{Patch, PatchParams, PostParams};
use rotation::Phase;
use serde_json::{Value, json};
use testkit::fixture::{Fixture, from_json};

const STAMP: &str = "kubectl.kubernetes.io/restartedAt";

async fn deployment(bench: &Fixture, name: &str, pod: Value) {
    let labels = json!({ "app": name });
    let object = json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": pod },
        },
    });
    bench.api::<Deployment>().create(&PostParams::default(), &from_json(object)).await.unwrap();
}

fn pod_with(env_from: &str) -> Value {
    json!({ "containers": [{
        "name": "app", "image": "none", "envFrom": [{ "secretRef": { "name": env_from } }],
    }] })
}

/// What a controller manager would say once all pods are new and ready. There is none here.
async fn roll_out(bench: &Fixture, name: &str) {
    let api = bench.api::<Deployment>();
    let generation = api.get(name).await.unwrap().metadata.generation;
    let status = json!({ "status": {
        "observedGeneration": generation, "replicas": 1, "updatedReplicas": 1,
        "readyReplicas": 1, "availableReplicas": 1,
    } });
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

async fn stamp(bench: &Fixture, name: &str) -> Option<String> {
    let template = bench.api::<Deployment>().get(name).await.unwrap().spec.unwrap().template;
    template.metadata?.annotations?.get(STAMP).cloned()
}

fn staged(restart: Value) -> Value {
    json!({
        "strategy": "Staged", "staging": { "period": "1s" },
        "consumers": { "restart": restart, "rolloutTimeout": "2s" },
    })
}

async fn phase(bench: &Fixture) -> Option<Phase> {
    bench.get("shop").await.status?.rotation.map(|rotation| rotation.phase)
}

#[tokio::test]
async fn a_consumer_is_restarted_once_and_waited_for() {
    let bench = Fixture::start().await;
    deployment(&bench, "web", pod_with("shop-auth0")).await;
    roll_out(&bench, "web").await;
    bench.apply_rotation("shop", staged(json!([{ "kind": "Deployment", "name": "web" }]))).await;
    bench.wait_until_rotated("shop", 1).await;
    assert_eq!(stamp(&bench, "web").await, None, "an import restarts nobody");
    bench.request("shop", "rotate/now").await;
    let message = bench.wait_for_reason("shop", "Stalled", "RolloutInProgress").await;
    assert!(message.contains("Deployment web"), "{message}");
    assert_eq!(phase(&bench).await, Some(Phase::Staging), "it is not activated");
    let first = stamp(&bench, "web").await;
    assert!(first.is_some());
    roll_out(&bench, "web").await;
    bench.wait_until_rotated("shop", 2).await;
    assert_eq!(stamp(&bench, "web").await, first, "once");
    bench.assert_published("shop").await;
    bench.finish().await;
}

#[tokio::test]
async fn a_restart_outlives_a_kill_and_is_made_once() {
    let mut bench = Fixture::start().await;
    deployment(&bench, "web", pod_with("shop-auth0")).await;
    bench.apply_rotation("shop", staged(json!([{ "kind": "Deployment", "name": "web" }]))).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    bench.wait_for_reason("shop", "Stalled", "RolloutInProgress").await;
    let first = stamp(&bench, "web").await;
    bench.take_operator().kill();
    bench.start_operator();
    roll_out(&bench, "web").await;
    bench.wait_until_rotated("shop", 2).await;
    assert_eq!(stamp(&bench, "web").await, first);
    bench.finish().await;
}

#[tokio::test]
async fn a_consumer_that_does_not_exist_is_named_and_can_be_taken_out() {
    let bench = Fixture::start().await;
    bench
        .apply_rotation("shop", staged(json!([{ "kind": "StatefulSet", "name": "nobody" }])))
        .await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    let message = bench.wait_for_reason("shop", "Stalled", "RolloutInProgress").await;
    assert!(message.contains("StatefulSet nobody (it does not exist)"), "{message}");
    bench.wait_for_reason("shop", "ConsumersReached", "RestartImpossible").await;
    bench.apply_rotation("shop", staged(json!([]))).await;
    bench.wait_until_rotated("shop", 2).await;
    bench.finish().await;
}

#[tokio::test]
async fn a_consumer_that_may_not_be_restarted_is_named() {
    let bench = Fixture::start().await;
    let paused = json!({ "containers": [{ "name": "app", "image": "none" }] });
    deployment(&bench, "web", paused).await;
    let pause = Patch::Merge(json!({ "spec": { "paused": true } }));
    bench.api::<Deployment>().patch("web", &PatchParams::default(), &pause).await.unwrap();
    bench.apply_rotation("shop", staged(json!([{ "kind": "Deployment", "name": "web" }]))).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    let message = bench.wait_for_reason("shop", "Stalled", "RolloutInProgress").await;
    assert!(message.contains("it is paused"), "{message}");
    bench.request("shop", "abort/now").await;
    bench.wait_until_rotated("shop", 1).await;
    bench.finish().await;
}

#[tokio::test]
async fn pods_that_never_see_an_update_are_named_when_a_rotation_starts() {
    let bench = Fixture::start().await;
    for (name, app, secret) in
        [("env", "env", "shop-auth0"), ("covered", "web", "shop-auth0"), ("other", "x", "other")]
    {
        let pod = json!({
            "metadata": { "name": name, "labels": { "app": app } }, "spec": pod_with(secret),
        });
        bench.api::<Pod>().create(&PostParams::default(), &from_json(pod)).await.unwrap();
    }
    deployment(&bench, "web", pod_with("shop-auth0")).await;
    roll_out(&bench, "web").await;
    let restart = json!([{ "kind": "Deployment", "name": "web" }]);
    bench.apply_rotation("shop", json!({ "consumers": { "restart": restart } })).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    let message = bench.wait_for_reason("shop", "ConsumersReached", "PodsNeverUpdated").await;
    assert!(message.contains(": env;"), "{message}");
    bench.wait_for_event("PodsNeverUpdated").await;
    bench.wait_until_rotated("shop", 2).await;
    assert!(stamp(&bench, "web").await.is_some(), "with the strategy Rotate too");
    bench.finish().await;
}
