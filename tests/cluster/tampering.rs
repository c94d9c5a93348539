//! Out-of-band changes of target Secrets, resources and statuses.

use std::time::Duration;

use auth0_rotator::api::{ClientSecretRotation, MANAGED_LABEL};
use auth0_simulator::{Fault, Operation};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use testkit::fixture::{Fixture, PROPAGATION_WINDOW};

/// Patches the target Secret as another field manager.
async fn patch_secret(fixture: &Fixture, patch: Value) {
    let params = PatchParams { field_manager: Some("other".into()), ..PatchParams::default() };
    let secrets = fixture.api::<Secret>();
    secrets.patch("shop-auth0", &params, &Patch::Merge(patch)).await.unwrap();
}

#[tokio::test]
async fn edited_target_is_restored_from_auth0() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    let original = fixture.secret_data("shop-auth0").await.unwrap();
    for patch in [
        json!({ "stringData": { "client_secret": "junk" } }),
        json!({ "data": { "client_secret": null } }),
        json!({ "stringData": { "client_secrets": "[]" } }),
        json!({ "data": null }),
        json!({ "stringData": { "client_secret_fallback": "junk" } }),
        json!({ "metadata": { "annotations": { "auth0-rotator.dev/current": "99" } } }),
        json!({ "metadata": { "annotations": { "auth0-rotator.dev/current": null } } }),
    ] {
        patch_secret(&fixture, patch).await;
        fixture.wait_for_secret_data("shop-auth0", |data| *data == original).await;
        fixture.wait_until_rotated("shop", 1).await;
    }
    assert_eq!(fixture.rotation_count("shop"), 0);
    fixture.finish().await;
}

#[tokio::test]
async fn foreign_keys_labels_and_annotations_are_kept() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    let theirs = json!({
        "stringData": { "theirs": "kept" },
        "metadata": { "labels": { "theirs": "label" }, "annotations": { "theirs": "annotation" } },
    });
    patch_secret(&fixture, theirs).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(fixture.secret_data("shop-auth0").await.unwrap()["theirs"], "kept");
    let secret = fixture.api::<Secret>().get("shop-auth0").await.unwrap();
    assert_eq!(secret.labels()["theirs"], "label");
    assert_eq!(secret.annotations()["theirs"], "annotation");
    fixture.finish().await;
}

#[tokio::test]
async fn removed_label_is_restored() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    patch_secret(&fixture, json!({ "metadata": { "labels": { MANAGED_LABEL: null } } })).await;
    let secrets = fixture.api::<Secret>();
    let has_label =
        async || secrets.get("shop-auth0").await.unwrap().labels().contains_key(MANAGED_LABEL);
    fixture.wait_within(Duration::from_secs(20), "the label is restored", has_label).await;
    fixture.finish().await;
}

#[tokio::test]
async fn deleted_target_is_restored_with_its_number() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.api::<Secret>().delete("shop-auth0", &Default::default()).await.unwrap();
    fixture.wait_for_secret_data("shop-auth0", |data| data.contains_key("client_secret")).await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.assert_published("shop").await;
    assert_eq!(fixture.rotation_count("shop"), 1);
    fixture.finish().await;
}

#[tokio::test]
async fn wiped_status_starts_no_rotation() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({ "schedule": { "every": "1h" } })).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    wipe_status(&fixture).await;
    let resource = fixture.wait_until_rotated("shop", 2).await;
    let next = resource.status.unwrap().next_rotation_time.unwrap();
    assert!(next > chrono::Utc::now() + chrono::TimeDelta::minutes(59));
    assert_eq!(fixture.rotation_count("shop"), 1);
    fixture.finish().await;
}

/// Removes the status of the resource.
async fn wipe_status(fixture: &Fixture) {
    let wipe = Patch::Merge(json!({ "status": null }));
    let api = fixture.api::<ClientSecretRotation>();
    api.patch_status("shop", &PatchParams::default(), &wipe).await.unwrap();
}

/// Starts a rotation whose response of `rotate-secret` is delayed, and returns once Auth0 has
/// rotated the secret.
async fn start_delayed_rotation() -> Fixture {
    let fixture = Fixture::start().await;
    let delay = Fault::delay(PROPAGATION_WINDOW / 3).on(Operation::RotateSecret);
    fixture.simulator.faults().inject(delay).unwrap();
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until("Auth0 has rotated", || fixture.rotation_count("shop") == 1).await;
    fixture
}

/// Tampers with something while the response of `rotate-secret` is delayed, and asserts that the
/// rotation completes.
async fn tamper_during_call(tamper: impl AsyncFnOnce(&Fixture)) -> Fixture {
    let fixture = start_delayed_rotation().await;
    tamper(&fixture).await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.assert_published("shop").await;
    assert_eq!(fixture.rotation_count("shop"), 1);
    fixture
}

#[tokio::test]
async fn edit_of_the_resource_during_a_rotation_is_applied() {
    let fixture = tamper_during_call(async |fixture| {
        fixture
            .apply_rotation("shop", json!({ "gracePeriod": "4s", "schedule": { "every": "1h" } }))
            .await;
    })
    .await;
    assert!(fixture.get("shop").await.status.unwrap().next_rotation_time.is_some());
    fixture.finish().await;
}

#[tokio::test]
async fn rotation_completes_after_its_status_is_wiped() {
    tamper_during_call(wipe_status).await.finish().await;
}

#[tokio::test]
async fn rotation_completes_after_its_target_is_edited() {
    let fixture = tamper_during_call(async |fixture| {
        patch_secret(fixture, json!({ "stringData": { "client_secret": "junk" } })).await;
    })
    .await;
    fixture.finish().await;
}

#[tokio::test]
async fn rotation_completes_after_its_target_is_deleted() {
    let fixture = tamper_during_call(async |fixture| {
        fixture.api::<Secret>().delete("shop-auth0", &Default::default()).await.unwrap();
    })
    .await;
    fixture.finish().await;
}

#[tokio::test]
async fn foreign_secret_is_not_written_for_a_deleted_resource() {
    let fixture = start_delayed_rotation().await;
    fixture.write_secret("shop-auth0", &[("client_secret", "theirs")]).await;
    fixture.api::<ClientSecretRotation>().delete("shop", &Default::default()).await.unwrap();
    fixture.wait_until_deleted("shop").await;
    let data = fixture.secret_data("shop-auth0").await.unwrap();
    assert_eq!(data.len(), 1);
    assert_eq!(data["client_secret"], "theirs");
    fixture.finish().await;
}
