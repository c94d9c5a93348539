//! Writes of the target Secret that the cluster denies: the operator distinguishes the causes, and
//! retries soon after the cause is gone.

use std::time::Duration;

use auth0_simulator::{Fault, Operation};
use k8s_openapi::api::{
    admissionregistration::v1::{
        ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
    },
    core::v1::{ResourceQuota, Secret},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use testkit::fixture::{Fixture, PROPAGATION_WINDOW, from_json};

/// Longest time until a write is tried again once nothing denies it anymore.
const MINUTE: Duration = Duration::from_secs(60);

/// Selects the fixture's namespace in an admission configuration.
fn selector(fixture: &Fixture) -> Value {
    json!({ "matchLabels": { "kubernetes.io/metadata.name": fixture.namespace } })
}

/// Installs a webhook without a server for writes of a resource.
async fn install_dead_webhook(fixture: &Fixture, group: &str, resource: &str) {
    let webhook = json!({
        "metadata": { "name": fixture.namespace },
        "webhooks": [{
            "name": "dead.example.com",
            "clientConfig": { "url": "https://127.0.0.1:9/" },
            "namespaceSelector": selector(fixture),
            "rules": [{
                "apiGroups": [group], "apiVersions": ["*"], "resources": [resource],
                "operations": ["CREATE", "UPDATE"],
            }],
            "sideEffects": "None", "timeoutSeconds": 1, "admissionReviewVersions": ["v1"],
        }],
    });
    let api: Api<ValidatingWebhookConfiguration> = Api::all(fixture.client.clone());
    api.create(&PostParams::default(), &from_json(webhook)).await.unwrap();
}

async fn remove_webhook(fixture: &Fixture) {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(fixture.client.clone());
    api.delete(&fixture.namespace, &DeleteParams::default()).await.unwrap();
}

/// Returns whether users may write Secrets of the namespace, by a dry run.
async fn can_write(fixture: &Fixture) -> bool {
    let secret: Secret = from_json(json!({ "metadata": { "name": "probe" } }));
    let params = PostParams { dry_run: true, ..PostParams::default() };
    fixture.api::<Secret>().create(&params, &secret).await.is_ok()
}

async fn wait_until_denied(fixture: &Fixture) {
    let is_denied = async || !can_write(fixture).await;
    fixture.wait_until_async("writes are denied", is_denied).await;
}

async fn wait_until_allowed(fixture: &Fixture) {
    let is_allowed = async || can_write(fixture).await;
    fixture.wait_until_async("writes are allowed", is_allowed).await;
}

/// Installs a policy that rejects writes of Secrets unless `expression` is true.
async fn install_policy(fixture: &Fixture, expression: &str) {
    let name = &fixture.namespace;
    let policy = json!({
        "metadata": { "name": name },
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": { "namespaceSelector": selector(fixture), "resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"],
                "operations": ["CREATE", "UPDATE"],
            }] },
            "validations": [
                { "expression": expression, "message": "not now", "reason": "Forbidden" },
            ],
        },
    });
    let binding = json!({
        "metadata": { "name": name },
        "spec": { "policyName": name, "validationActions": ["Deny"] },
    });
    let params = PostParams::default();
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(fixture.client.clone());
    policies.create(&params, &from_json(policy)).await.unwrap();
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(fixture.client.clone());
    bindings.create(&params, &from_json(binding)).await.unwrap();
}

async fn remove_policy(fixture: &Fixture) {
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(fixture.client.clone());
    bindings.delete(&fixture.namespace, &DeleteParams::default()).await.unwrap();
}

async fn wait_for_message(fixture: &Fixture, type_: &str, expected: &str) {
    let has_message = async || {
        let conditions = fixture.get("shop").await.status.unwrap_or_default().conditions;
        let mut found = conditions.iter().filter(|condition| condition.type_ == type_);
        found.any(|condition| condition.message.contains(expected))
    };
    fixture.wait_until_async(&format!("{type_}: {expected}"), has_message).await;
}

/// Returns a fixture with the resource `shop`, which has published its secret.
async fn published() -> Fixture {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture
}

#[tokio::test]
async fn quota_is_named_and_retried_once_it_has_room() {
    let fixture = Fixture::start().await;
    let hard = json!({ "count/secrets": "1" });
    let quota = json!({ "metadata": { "name": "few" }, "spec": { "hard": hard } });
    let quotas = fixture.api::<ResourceQuota>();
    quotas.create(&PostParams::default(), &from_json(quota)).await.unwrap();
    // The quota controller does this.
    let status = json!({ "status": { "hard": hard, "used": { "count/secrets": "1" } } });
    quotas.patch_status("few", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    wait_until_denied(&fixture).await;
    fixture.apply_rotation("shop", json!({})).await;
    let message = fixture.wait_until_stalled("shop", "SecretRejected").await;
    assert!(message.contains("a ResourceQuota denies it (status 403)"), "{message}");
    assert!(!message.contains("Grant"), "{message}");
    quotas.delete("few", &DeleteParams::default()).await.unwrap();
    fixture.wait_until_rotated("shop", 1).await;
    fixture.finish().await;
}

#[tokio::test]
async fn webhook_without_a_server_is_named() {
    let fixture = published().await;
    install_dead_webhook(&fixture, "", "secrets").await;
    wait_until_denied(&fixture).await;
    fixture.request("shop", "rotate/now").await;
    let expected = "can't call the admission webhook dead.example.com";
    wait_for_message(&fixture, "Reconciling", expected).await;
    assert_eq!(fixture.rotation_count("shop"), 0);
    remove_webhook(&fixture).await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.finish().await;
}

#[tokio::test]
async fn policy_is_named_and_retried_within_a_minute() {
    let fixture = published().await;
    install_policy(&fixture, "false").await;
    wait_until_denied(&fixture).await;
    fixture.request("shop", "rotate/now").await;
    let policy = &fixture.namespace;
    let expected = format!("the ValidatingAdmissionPolicy {policy} denies it (status 403)");
    wait_for_message(&fixture, "Stalled", &expected).await;
    // Long enough for a backoff without a cap to grow beyond a minute.
    tokio::time::sleep(Duration::from_secs(100)).await;
    remove_policy(&fixture).await;
    let is_rotated = async || fixture.rotation_count("shop") == 1;
    fixture.wait_within(MINUTE, "rotates again", is_rotated).await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.finish().await;
}

#[tokio::test]
async fn secret_that_grows_past_its_limit_is_named() {
    let fixture = Fixture::start().await;
    let large = "x".repeat(1024 * 1024 - 20);
    fixture.write_secret("shop-auth0", &[("theirs", &large)]).await;
    fixture.apply_rotation("shop", json!({ "target": { "adopt": true } })).await;
    let message = fixture.wait_until_stalled("shop", "SecretRejected").await;
    assert!(message.contains("at most 1 MiB"), "{message}");
    let smaller = Patch::Merge(json!({ "data": { "theirs": null } }));
    let secrets = fixture.api::<Secret>();
    secrets.patch("shop-auth0", &PatchParams::default(), &smaller).await.unwrap();
    fixture.wait_until_rotated("shop", 1).await;
    fixture.finish().await;
}

/// Rotates while `deny` makes writes fail from the response on, and asserts that the response is
/// published within seconds after `allow`, however long that lasted.
async fn publish_soon_after(fixture: &Fixture, deny: impl AsyncFn(), allow: impl AsyncFn()) {
    let late = Fault::delay(PROPAGATION_WINDOW / 2).on(Operation::RotateSecret);
    fixture.simulator.faults().inject(late).unwrap();
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until("Auth0 has rotated", || fixture.rotation_count("shop") == 1).await;
    deny().await;
    tokio::time::sleep(Duration::from_secs(45)).await;
    assert_eq!(fixture.published_values("shop").await.len(), 1, "the response is not published");
    allow().await;
    let is_published = async || fixture.published_values("shop").await.len() == 2;
    fixture.wait_within(Duration::from_secs(10), "the response is published", is_published).await;
    fixture.assert_published("shop").await;
    fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(fixture.rotation_count("shop"), 1);
}

#[tokio::test]
async fn response_is_published_within_seconds_after_a_policy_is_gone() {
    let fixture = published().await;
    let deny = async || {
        install_policy(&fixture, "false").await;
        wait_until_denied(&fixture).await;
    };
    let allow = async || {
        remove_policy(&fixture).await;
        wait_until_allowed(&fixture).await;
    };
    publish_soon_after(&fixture, deny, allow).await;
    fixture.finish().await;
}

#[tokio::test]
async fn response_is_published_within_seconds_after_a_webhook_is_gone() {
    let fixture = published().await;
    let deny = async || {
        install_dead_webhook(&fixture, "", "secrets").await;
        wait_until_denied(&fixture).await;
    };
    let allow = async || {
        remove_webhook(&fixture).await;
        wait_until_allowed(&fixture).await;
    };
    publish_soon_after(&fixture, deny, allow).await;
    fixture.finish().await;
}

/// The operator itself rejects this target, without an error of the API server.
#[tokio::test]
async fn response_is_published_within_seconds_after_the_target_is_accepted_again() {
    let fixture = published().await;
    let set_owner = async |name: &str| {
        let annotation = json!({ "auth0-rotator.dev/rotation": name });
        let patch = Patch::Merge(json!({ "metadata": { "annotations": annotation } }));
        let secrets = fixture.api::<Secret>();
        secrets.patch("shop-auth0", &PatchParams::default(), &patch).await.unwrap();
    };
    let (deny, allow) = (async || set_owner("other").await, async || set_owner("shop").await);
    publish_soon_after(&fixture, deny, allow).await;
    fixture.finish().await;
}

#[tokio::test]
async fn response_is_published_although_no_status_can_be_stored() {
    let fixture = published().await;
    let late = Fault::delay(PROPAGATION_WINDOW / 2).on(Operation::RotateSecret);
    fixture.simulator.faults().inject(late).unwrap();
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until("Auth0 has rotated", || fixture.rotation_count("shop") == 1).await;
    let group = "auth0-rotator.dev";
    install_dead_webhook(&fixture, group, "clientsecretrotations/status").await;
    // A changed spec changes the status, which can't be stored.
    fixture.apply_rotation("shop", json!({ "gracePeriod": "4s" })).await;
    let is_published = async || fixture.published_values("shop").await.len() == 2;
    fixture.wait_until_async("the response is published", is_published).await;
    remove_webhook(&fixture).await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.finish().await;
}

/// The policy simulates failures that no dry run reaches: webhooks with side effects, and the storage.
#[tokio::test]
async fn auth0_is_not_called_if_only_real_writes_are_denied() {
    let fixture = published().await;
    let expression = "has(request.dryRun) && request.dryRun";
    install_policy(&fixture, expression).await;
    let secret: Secret = from_json(json!({ "metadata": { "name": "probe" } }));
    let is_denied = async || {
        let secrets = fixture.api::<Secret>();
        let created = secrets.create(&PostParams::default(), &secret).await;
        let _ = secrets.delete("probe", &DeleteParams::default()).await;
        created.is_err()
    };
    fixture.wait_until_async("real writes are denied", is_denied).await;
    assert!(can_write(&fixture).await, "dry runs are allowed");
    fixture.request("shop", "rotate/now").await;
    let policy = &fixture.namespace;
    let expected = format!("the ValidatingAdmissionPolicy {policy} denies it");
    wait_for_message(&fixture, "Stalled", &expected).await;
    assert_eq!(fixture.rotation_count("shop"), 0);
    remove_policy(&fixture).await;
    fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(fixture.rotation_count("shop"), 1);
    let proofs = "auth0_rotator_secret_writes_total{purpose=\"prove-write\"}";
    assert_eq!(fixture.operator().metric(proofs).await, 1.0, "one proof for a rotation");
    fixture.finish().await;
}

/// Waits until the policy denies writes of a Secret with this name, which has the key `spare`.
async fn wait_until_denies(fixture: &Fixture, name: &str) {
    let secret: Secret = from_json(json!({
        "metadata": { "name": name }, "stringData": { "spare": "x" },
    }));
    let is_denied = async || {
        let params = PostParams { dry_run: true, ..PostParams::default() };
        fixture.api::<Secret>().create(&params, &secret).await.is_err()
    };
    fixture.wait_until_async("writes are denied", is_denied).await;
}

#[tokio::test]
async fn keys_of_a_secret_are_checked_although_another_secret_was_accepted() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("allowed", json!({})).await;
    fixture
        .apply_rotation("denied", json!({ "target": { "keys": { "fallback": "spare" } } }))
        .await;
    for name in ["allowed", "denied"] {
        fixture.wait_until_rotated(name, 1).await;
    }
    let expression =
        "!has(object.data) || !('spare' in object.data) || size(object.data.spare) == 0";
    install_policy(&fixture, expression).await;
    wait_until_denies(&fixture, "other").await;
    fixture.request("allowed", "rotate/now").await;
    fixture.wait_until_rotated("allowed", 2).await;
    fixture.request("denied", "rotate/now").await;
    fixture.wait_for_reason("denied", "Stalled", "SecretRejected").await;
    assert_eq!(fixture.rotation_count("denied"), 0);
    remove_policy(&fixture).await;
    fixture.wait_until_rotated("denied", 2).await;
    assert_eq!(fixture.rotation_count("denied"), 1);
    fixture.finish().await;
}

#[tokio::test]
async fn creation_of_a_secret_is_checked_although_another_secret_was_accepted() {
    let fixture = Fixture::start().await;
    let expression = "object.metadata.name != 'denied-auth0'";
    install_policy(&fixture, expression).await;
    wait_until_denies(&fixture, "denied-auth0").await;
    fixture.apply_rotation("allowed", json!({ "initial": "Rotate" })).await;
    fixture.wait_until_rotated("allowed", 2).await;
    fixture.apply_rotation("denied", json!({ "initial": "Rotate" })).await;
    fixture.wait_for_reason("denied", "Stalled", "SecretRejected").await;
    assert_eq!(fixture.rotation_count("denied"), 0);
    remove_policy(&fixture).await;
    fixture.wait_until_rotated("denied", 2).await;
    assert_eq!(fixture.rotation_count("denied"), 1);
    fixture.finish().await;
}
