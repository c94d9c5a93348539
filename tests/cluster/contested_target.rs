//! Other controllers and admission policies that keep changing the target Secret.

#![expect(clippy::print_stderr, reason = "the figures are of interest when a test fails")]

use std::time::{Duration, Instant};

use auth0_rotator::api::{
    CURRENT_ANNOTATION, ClientSecretRotation, DATA_KEYS_ANNOTATION, MANAGED_LABEL, OWNER_ANNOTATION,
};
use auth0_simulator::Operation;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use rotation::{condition_types, find_condition, is_condition_true};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::fixture::Fixture;
use tokio::time::sleep;

use crate::provenance::patch_secret;

/// Type of the condition that reports a contest.
const IN_SYNC: &str = condition_types::IN_SYNC;

/// Returns the JSON patches of a policy, as a CEL expression.
fn add(path: &str, value: &str) -> String {
    format!("[JSONPatch{{op: 'add', path: '{path}', value: {value}}}]")
}

fn remove_annotation(name: &str) -> String {
    let path = format!("/metadata/annotations/{}", name.replace('/', "~1"));
    format!(
        "has(object.metadata.annotations) && '{name}' in object.metadata.annotations ? \
         [JSONPatch{{op: 'remove', path: '{path}'}}] : []"
    )
}

fn label_path() -> String {
    format!("/metadata/labels/{}", MANAGED_LABEL.replace('/', "~1"))
}

async fn is_ready(fixture: &Fixture) -> bool {
    let status = fixture.get("shop").await.status.unwrap_or_default();
    is_condition_true(&status.conditions, condition_types::READY)
}

/// Waits until a rotation is complete, and asserts that an application can log in with the published
/// values.
async fn wait_until_rotated(fixture: &Fixture, current: u64) {
    fixture
        .wait_for("shop", &format!("idle with secret {current}"), |resource| {
            let status = resource.status.clone().unwrap_or_default();
            status.current == Some(current) && status.rotation.is_none()
        })
        .await;
    let value = fixture.current_value("shop").await.unwrap();
    assert!(fixture.simulator.accepts("shop", &value), "the published value is not accepted");
    fixture.wait_until_async("the resource is Ready", async || is_ready(fixture).await).await;
}

/// Runs an operator under a policy that changes its Secret without harm, and asserts that nothing is
/// blocked.
async fn check_cosmetic_policy(mutation: &str, is_reported: bool) -> Fixture {
    let mut fixture = Fixture::without_operator().await;
    fixture.mutate_secrets(mutation).await;
    fixture.start_operator();
    fixture.apply_rotation("shop", json!({ "gracePeriod": "3s" })).await;
    wait_until_rotated(&fixture, 1).await;
    fixture.request("shop", "rotate/now").await;
    wait_until_rotated(&fixture, 2).await;
    if is_reported {
        let message = fixture.wait_for_reason("shop", IN_SYNC, "TargetContested").await;
        assert!(message.starts_with("an admission policy or webhook changes the "), "{message}");
        fixture.wait_for_event("TargetContested").await;
    }
    fixture
        .apply_rotation("shop", json!({ "strategy": "Staged", "staging": { "period": "1s" } }))
        .await;
    fixture.request("shop", "revoke/now").await;
    wait_until_rotated(&fixture, 3).await;
    let reads = fixture.simulator.counters().requests(Operation::GetClient);
    assert!(reads <= 12, "{reads} reads of the client");
    fixture
}

#[tokio::test]
async fn policy_that_normalizes_a_label_blocks_nothing() {
    let fixture = check_cosmetic_policy(&add(&label_path(), "'True'"), true).await;
    fixture.stop_mutating_secrets().await;
    let has_label = async || {
        let secret = fixture.api::<Secret>().get("shop-auth0").await.unwrap();
        secret.labels().get(MANAGED_LABEL).is_some_and(|text| text == "true")
    };
    fixture.wait_within(Duration::from_secs(80), "the label is restored", has_label).await;
    fixture.finish().await;
}

#[tokio::test]
async fn policy_that_removes_a_label_blocks_nothing() {
    let mutation = format!(
        "has(object.metadata.labels) && '{MANAGED_LABEL}' in object.metadata.labels ? \
         [JSONPatch{{op: 'remove', path: '{}'}}] : []",
        label_path()
    );
    check_cosmetic_policy(&mutation, true).await.finish().await;
}

#[tokio::test]
async fn policy_that_removes_an_annotation_blocks_nothing() {
    check_cosmetic_policy(&remove_annotation(DATA_KEYS_ANNOTATION), true).await.finish().await;
}

#[tokio::test]
async fn policy_that_chooses_the_type_blocks_nothing() {
    let mutation = "request.operation == 'CREATE' ? \
                    [JSONPatch{op: 'add', path: '/type', value: 'example.com/managed'}] : []";
    check_cosmetic_policy(mutation, false).await.finish().await;
}

/// Fields that the operator depends on are checked before Auth0 is called.
#[tokio::test]
async fn policy_that_removes_a_number_is_found_before_activation() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.mutate_secrets(&remove_annotation(CURRENT_ANNOTATION)).await;
    fixture.request("shop", "rotate/now").await;
    let message = fixture.wait_until_stalled("shop", "SecretRejected").await;
    assert!(message.contains(CURRENT_ANNOTATION) && message.contains("Exempt"), "{message}");
    assert_eq!(fixture.rotation_count("shop"), 0);
    fixture.stop_mutating_secrets().await;
    fixture.request("shop", "revoke/now").await;
    wait_until_rotated(&fixture, 2).await;
    fixture.finish().await;
}

#[tokio::test]
async fn policy_that_makes_the_secret_immutable_is_found_before_activation() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.mutate_secrets(&add("/immutable", "true")).await;
    fixture.request("shop", "rotate/now").await;
    let message = fixture.wait_until_stalled("shop", "SecretRejected").await;
    assert!(message.contains("immutable"), "{message}");
    assert_eq!(fixture.rotation_count("shop"), 0);
    fixture.finish().await;
}

/// Another party removes the annotation that names the resource.
#[tokio::test]
async fn removed_owner_annotation_is_restored() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    let removed = json!({ "metadata": { "annotations": { OWNER_ANNOTATION: null } } });
    patch_secret(&fixture, "shop-auth0", removed).await;
    let has_owner = async || {
        let secret = fixture.api::<Secret>().get("shop-auth0").await.unwrap();
        secret.annotations().get(OWNER_ANNOTATION).is_some_and(|owner| owner == "shop")
    };
    fixture.wait_until_async("the annotation is restored", has_owner).await;
    wait_until_rotated(&fixture, 1).await;
    assert_eq!(fixture.rotation_count("shop"), 0);
    fixture.finish().await;
}

/// Patches the target Secret as the controller `fighter` does.
async fn fight(fixture: &Fixture, patch: Value) {
    let params = PatchParams { field_manager: Some("fighter".into()), ..PatchParams::default() };
    let secrets = fixture.api::<Secret>();
    let _ = secrets.patch("shop-auth0", &params, &Patch::Merge(patch)).await;
}

/// Writes of the target Secret and reads of the client so far.
async fn figures(fixture: &Fixture) -> (usize, usize) {
    let metrics = fixture.operator().metrics().await;
    let lines =
        metrics.lines().filter(|line| line.starts_with("auth0_rotator_secret_writes_total"));
    let writes = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    let reads = fixture.simulator.counters().requests(Operation::GetClient);
    (writes.sum::<f64>() as usize, reads as usize)
}

/// Lets a controller repeat a patch as fast as it can, and runs `checks` meanwhile. Returns the writes
/// of the Secret and the reads of the client.
async fn while_fighting(
    fixture: &Fixture,
    patch: Value,
    checks: impl Future<Output = ()>,
) -> (usize, usize) {
    let before = figures(fixture).await;
    let started = Instant::now();
    let repeat = async {
        loop {
            fight(fixture, patch.clone()).await;
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = repeat => {}
        () = checks => {}
    }
    let after = figures(fixture).await;
    let (writes, reads) = (after.0 - before.0, after.1 - before.1);
    eprintln!("{writes} writes and {reads} reads in {:?}", started.elapsed());
    (writes, reads)
}

#[tokio::test]
async fn fight_over_a_value_is_held_off_and_delays_nobody_else() {
    let fixture = Fixture::start().await;
    for name in ["shop", "cart"] {
        fixture.apply_rotation(name, json!({})).await;
    }
    for name in ["shop", "cart"] {
        fixture.wait_until_rotated(name, 1).await;
    }
    let patch = json!({ "stringData": { "client_secret": "theirs" } });
    let checks = async {
        let message = fixture.wait_for_reason("shop", IN_SYNC, "TargetContested").await;
        assert!(
            message.starts_with("the field manager \"fighter\" keeps changing the key"),
            "{message}"
        );
        fixture.wait_for_reason("shop", condition_types::READY, "TargetContested").await;
        fixture.wait_for_event("TargetContested").await;
        fixture.request("cart", "rotate/now").await;
        fixture.wait_until_rotated("cart", 2).await;
        sleep(Duration::from_secs(20)).await;
        assert!(!is_ready(&fixture).await, "applications read a value that Auth0 rejects");
    };
    let (writes, reads) = while_fighting(&fixture, patch, checks).await;
    // Three writes and six reads are those of the rotation of `cart`.
    assert!(writes <= 22 && reads <= 28, "{writes} writes, {reads} reads");
    fixture.wait_for_secret_data("shop-auth0", |data| data["client_secret"] != "theirs").await;
    fixture.finish().await;
}

#[tokio::test]
async fn fight_over_a_label_blocks_no_rotation() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    let patch = json!({ "metadata": { "labels": { MANAGED_LABEL: "theirs" } } });
    let checks = async {
        let message = fixture.wait_for_reason("shop", IN_SYNC, "TargetContested").await;
        assert!(message.contains("\"fighter\"") && message.contains(MANAGED_LABEL), "{message}");
        assert!(is_ready(&fixture).await);
        fixture.request("shop", "rotate/now").await;
        wait_until_rotated(&fixture, 2).await;
        fixture.request("shop", "revoke/now").await;
        wait_until_rotated(&fixture, 3).await;
    };
    let (writes, _) = while_fighting(&fixture, patch, checks).await;
    assert!(writes <= 26, "{writes} writes");
    fixture.finish().await;
}

/// The secret that Auth0 has is published at once, even if the target Secret is contested.
#[tokio::test]
async fn revocation_during_a_fight_over_a_value_is_published() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    let compromised = fixture.simulator.client_secret("shop").unwrap();
    let patch = json!({ "stringData": { "client_secret": "theirs" } });
    let checks = async {
        fixture.wait_for_reason("shop", IN_SYNC, "TargetContested").await;
        fixture.request("shop", "revoke/now").await;
        fixture.wait_until("the secret is rotated", || fixture.rotation_count("shop") == 1).await;
        assert!(!is_ready(&fixture).await);
    };
    while_fighting(&fixture, patch, checks).await;
    fixture
        .wait_within(Duration::from_secs(60), "the new secret is published", async || {
            let secret = fixture.simulator.client_secret("shop").unwrap();
            secret.expose_secret() != compromised.expose_secret()
                && fixture.current_value("shop").await.as_deref() == Some(secret.expose_secret())
        })
        .await;
    fixture.finish().await;
}

#[tokio::test]
async fn fight_over_the_existence_is_reported() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    for _ in 0..14 {
        let exists = async || fixture.current_value("shop").await.is_some();
        fixture.wait_until_async("the Secret exists", exists).await;
        fixture.api::<Secret>().delete("shop-auth0", &DeleteParams::default()).await.unwrap();
    }
    let is_reported = |resource: &ClientSecretRotation| {
        let conditions = resource.status.clone().unwrap_or_default().conditions;
        find_condition(&conditions, IN_SYNC)
            .is_some_and(|condition| condition.message.contains("keeps deleting"))
    };
    fixture.wait_for("shop", "reported as contested", is_reported).await;
    fixture.wait_for_secret_data("shop-auth0", |data| data.contains_key("client_secret")).await;
    fixture.finish().await;
}

/// Repeats an action while the checks run.
async fn while_repeating(action: impl AsyncFn(), checks: impl Future<Output = ()>) {
    let repeat = async {
        loop {
            action().await;
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = repeat => {}
        () = checks => {}
    }
}

fn fighter() -> PatchParams {
    PatchParams { field_manager: Some("fighter".into()), ..PatchParams::default() }
}

#[tokio::test]
async fn fight_over_the_status_is_held_off() {
    for status in [json!(null), json!({ "current": 1, "conditions": [] })] {
        let fixture = Fixture::start().await;
        fixture.apply_rotation("shop", json!({})).await;
        fixture.wait_until_rotated("shop", 1).await;
        let api = fixture.api::<ClientSecretRotation>();
        let before = fixture.simulator.counters().requests(Operation::GetClient);
        let overwrite = async || {
            let patch = Patch::Merge(json!({ "status": status.clone() }));
            let _ = api.patch_status("shop", &fighter(), &patch).await;
        };
        let checks = async {
            fixture.wait_for_event("StatusContested").await;
            sleep(Duration::from_secs(20)).await;
        };
        while_repeating(overwrite, checks).await;
        let reads = fixture.simulator.counters().requests(Operation::GetClient) - before;
        let writes = metric(&fixture, "auth0_rotator_status_writes_total").await;
        eprintln!("{reads} reads, {writes} writes of the status in all");
        assert!(reads <= 30 && writes <= 80, "{reads} reads, {writes} writes");
        assert_eq!(fixture.rotation_count("shop"), 0);
        fixture.wait_until_rotated("shop", 1).await;
        fixture.request("shop", "revoke/now").await;
        wait_until_rotated(&fixture, 2).await;
        fixture.finish().await;
    }
}

async fn metric(fixture: &Fixture, name: &str) -> usize {
    let metrics = fixture.operator().metrics().await;
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as usize
}

#[tokio::test]
async fn fight_over_the_finalizer_blocks_no_rotation() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    let api = fixture.api::<ClientSecretRotation>();
    let strip = async || {
        let patch = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        let _ = api.patch("shop", &fighter(), &patch).await;
    };
    let checks = async {
        for number in 2..6 {
            fixture.request("shop", &format!("revoke/{number}")).await;
            wait_until_rotated(&fixture, number).await;
        }
    };
    while_repeating(strip, checks).await;
    assert_eq!(fixture.rotation_count("shop"), 4);
    fixture.finish().await;
}
