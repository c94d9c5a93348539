//! Rollouts of Argo Rollouts as restart targets. Its controller doesn't run here.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use testkit::{
    cluster,
    fixture::{Fixture, NamespaceFixture, from_json},
    poll::poll_until,
};

/// Installs a CustomResourceDefinition that accepts any Rollout.
pub(crate) async fn install(client: &Client) {
    let any = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let schema = json!({ "type": "object", "properties": { "spec": any, "status": any } });
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "rollouts.argoproj.io" },
        "spec": {
            "group": "argoproj.io", "scope": "Namespaced",
            "names": { "plural": "rollouts", "singular": "rollout", "kind": "Rollout" },
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": schema }, "subresources": { "status": {} },
            }],
        },
    });
    cluster::apply(client, &[definition]).await.unwrap();
    let rollouts: Api<DynamicObject> = Api::all_with(client.clone(), &resource());
    let is_served = async || rollouts.list(&Default::default()).await.is_ok();
    assert!(poll_until(is_served).await, "Rollouts are served");
}

fn resource() -> ApiResource {
    ApiResource {
        group: "argoproj.io".into(),
        version: "v1alpha1".into(),
        api_version: "argoproj.io/v1alpha1".into(),
        kind: "Rollout".into(),
        plural: "rollouts".into(),
    }
}

fn api(namespace: &NamespaceFixture) -> Api<DynamicObject> {
    Api::namespaced_with(namespace.client.clone(), &namespace.namespace, &resource())
}

/// Creates a Rollout whose Pods take the list of a Secret as an environment variable.
pub(crate) async fn create(namespace: &NamespaceFixture, name: &str, secret: &str) {
    let labels = json!({ "app": "argo" });
    let rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": { "name": name },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": labels }, "strategy": { "canary": {} },
            "template": { "metadata": { "labels": labels }, "spec": pod_spec(secret) },
        },
    });
    api(namespace).create(&PostParams::default(), &from_json(rollout)).await.unwrap();
}

fn pod_spec(secret: &str) -> Value {
    let source = json!({ "secretKeyRef": { "name": secret, "key": "client_secrets" } });
    let variable = json!({ "name": "SECRETS", "valueFrom": source });
    json!({ "containers": [{ "name": "app", "image": "none", "env": [variable] }] })
}

/// Sets the status that Argo Rollouts sets when it has replaced all Pods.
pub(crate) async fn complete_restart(namespace: &NamespaceFixture, name: &str) {
    let rollout = api(namespace).get(name).await.unwrap();
    let status = json!({ "status": {
        "observedGeneration": rollout.metadata.generation.unwrap().to_string(),
        "phase": "Healthy", "restartedAt": rollout.data["spec"]["restartAt"], "replicas": 1,
    } });
    let params = PatchParams::default();
    api(namespace).patch_status(name, &params, &Patch::Merge(status)).await.unwrap();
}

fn staged() -> Value {
    json!({
        "strategy": "Staged", "staging": { "period": "1s" },
        "consumers": {
            "restart": [{ "kind": "Rollout", "name": "web" }], "rolloutTimeout": "2s",
        },
    })
}

/// Returns the permission that the chart's value `restarts.argoRollouts` gives.
fn permission() -> [Value; 2] {
    let group = "rbac.authorization.k8s.io";
    let role = json!({
        "apiVersion": format!("{group}/v1"), "kind": "ClusterRole",
        "metadata": { "name": "argo-rollouts" },
        "rules": [{
            "apiGroups": ["argoproj.io"], "resources": ["rollouts"],
            "verbs": ["get", "list", "watch", "patch"],
        }],
    });
    let binding = json!({
        "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding",
        "metadata": { "name": "argo-rollouts" },
        "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": "argo-rollouts" },
        "subjects": [{ "apiGroup": group, "kind": "User", "name": cluster::OPERATOR_USER }],
    });
    [role, binding]
}

async fn wait_for_message(fixture: &Fixture, expected: &str) {
    let has_message = async || {
        let message = fixture.wait_for_reason("shop", "ConsumersReached", "RestartBlocked").await;
        message.contains(expected)
    };
    fixture.wait_until_async(expected, has_message).await;
}

#[tokio::test]
async fn restarts_a_rollout_without_a_change_of_its_template() {
    let simulator = testkit::auth0::tenant().start().await.unwrap();
    let mut fixture = Fixture::with_dedicated_control_plane(simulator).await;
    fixture.start_operator();
    fixture.apply_rotation("shop", staged()).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    wait_for_message(&fixture, "restarts.argoRollouts").await;
    cluster::apply(&fixture.client, &permission()).await.unwrap();
    wait_for_message(&fixture, "Argo Rollouts is not installed").await;

    install(&fixture.client).await;
    let old = json!({
        "metadata": { "name": "web-old", "labels": { "app": "argo" } },
        "spec": pod_spec("shop-auth0"),
    });
    fixture.api::<Pod>().create(&PostParams::default(), &from_json(old)).await.unwrap();
    create(&fixture, "web", "shop-auth0").await;
    let before = api(&fixture).get("web").await.unwrap();
    let has_restarted =
        async || api(&fixture).get("web").await.unwrap().data["spec"]["restartAt"].is_string();
    fixture.wait_until_async("the Rollout is restarted", has_restarted).await;
    let rollout = api(&fixture).get("web").await.unwrap();
    assert_eq!(rollout.data["spec"]["template"], before.data["spec"]["template"]);
    complete_restart(&fixture, "web").await;
    fixture.wait_until_stalled("shop", "RolloutInProgress").await;
    fixture.api::<Pod>().delete("web-old", &DeleteParams::default()).await.unwrap();
    fixture.wait_until_rotated("shop", 2).await;
    fixture.assert_published("shop").await;
    fixture.finish().await;
}
