//! What others do to Secrets, resources and Auth0 while the operator looks on.

use auth0_rotator::api::ClientSecretRotation;
use auth0_simulator::{Fault, Operation};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use testkit::fixture::{Fixture, PROPAGATION_WINDOW};

async fn patch_secret(bench: &Fixture, patch: Value) {
    let params = PatchParams { field_manager: Some("someone".into()), ..PatchParams::default() };
    let secrets = bench.api::<Secret>();
    secrets.patch("shop-auth0", &params, &Patch::Merge(patch)).await.unwrap();
}

#[tokio::test]
async fn a_target_that_is_edited_is_put_right_from_auth0() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    let good = bench.secret_data("shop-auth0").await.unwrap();
    for patch in [
        json!({ "stringData": { "client_secret": "junk" } }),
        json!({ "data": { "client_secret": null } }),
        json!({ "stringData": { "client_secrets": "[]" } }),
        json!({ "data": null }),
        json!({ "stringData": { "client_secret_fallback": "junk" } }),
        json!({ "metadata": { "annotations": { "auth0-rotator.dev/current": "99" } } }),
        json!({ "metadata": { "annotations": { "auth0-rotator.dev/current": null } } }),
    ] {
        patch_secret(&bench, patch).await;
        bench.wait_for_secret_data("shop-auth0", |data| *data == good).await;
        bench.wait_until_rotated("shop", 1).await;
    }
    assert_eq!(bench.rotation_count("shop"), 0);
    bench.finish().await;
}

#[tokio::test]
async fn what_is_not_ours_in_the_target_survives() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    let theirs = json!({
        "stringData": { "theirs": "kept" },
        "metadata": { "labels": { "their": "label" }, "annotations": { "their": "annotation" } },
    });
    patch_secret(&bench, theirs).await;
    bench.request("shop", "rotate/now").await;
    bench.wait_until_rotated("shop", 2).await;
    assert_eq!(bench.secret_data("shop-auth0").await.unwrap()["theirs"], "kept");
    let secret = bench.api::<Secret>().get("shop-auth0").await.unwrap();
    assert_eq!(secret.labels()["their"], "label");
    assert_eq!(secret.annotations()["their"], "annotation");
    bench.finish().await;
}

#[tokio::test]
async fn a_label_that_is_taken_off_comes_back() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    let label = auth0_rotator::api::MANAGED_LABEL;
    patch_secret(&bench, json!({ "metadata": { "labels": { label: null } } })).await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !bench.api::<Secret>().get("shop-auth0").await.unwrap().labels().contains_key(label) {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    bench.finish().await;
}

#[tokio::test]
async fn a_deleted_target_comes_back_under_its_number() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    bench.wait_until_rotated("shop", 2).await;
    bench.api::<Secret>().delete("shop-auth0", &Default::default()).await.unwrap();
    bench.wait_for_secret_data("shop-auth0", |data| data.contains_key("client_secret")).await;
    bench.wait_until_rotated("shop", 2).await;
    bench.assert_published("shop").await;
    assert_eq!(bench.rotation_count("shop"), 1);
    bench.finish().await;
}

#[tokio::test]
async fn a_status_that_is_wiped_is_no_cause() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({ "schedule": { "every": "1h" } })).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    bench.wait_until_rotated("shop", 2).await;
    let wipe = Patch::Merge(json!({ "status": null }));
    let api = bench.api::<ClientSecretRotation>();
    api.patch_status("shop", &PatchParams::default(), &wipe).await.unwrap();
    let resource = bench.wait_until_rotated("shop", 2).await;
    let next = resource.status.unwrap().next_rotation_time.unwrap();
    assert!(next > chrono::Utc::now() + chrono::TimeDelta::minutes(59));
    assert_eq!(bench.rotation_count("shop"), 1);
    bench.finish().await;
}

/// While the answer of `rotate-secret` is on its way, something happens to the resource.
async fn in_mid_rotation(happen: impl AsyncFnOnce(&Fixture)) -> Fixture {
    let bench = Fixture::start().await;
    let late = Fault::delay(PROPAGATION_WINDOW / 3).on(Operation::RotateSecret);
    bench.simulator.faults().inject(late).unwrap();
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    bench.wait_until("Auth0 has rotated", || bench.rotation_count("shop") == 1).await;
    happen(&bench).await;
    bench.wait_until_rotated("shop", 2).await;
    bench.assert_published("shop").await;
    assert_eq!(bench.rotation_count("shop"), 1);
    bench
}

#[tokio::test]
async fn a_resource_that_is_edited_in_mid_rotation() {
    let bench = in_mid_rotation(async |bench| {
        bench
            .apply_rotation("shop", json!({ "gracePeriod": "4s", "schedule": { "every": "1h" } }))
            .await;
    })
    .await;
    assert!(bench.get("shop").await.status.unwrap().next_rotation_time.is_some());
    bench.finish().await;
}

#[tokio::test]
async fn a_status_that_is_wiped_in_mid_rotation() {
    let bench = in_mid_rotation(async |bench| {
        let wipe = Patch::Merge(json!({ "status": null }));
        let api = bench.api::<ClientSecretRotation>();
        api.patch_status("shop", &PatchParams::default(), &wipe).await.unwrap();
    })
    .await;
    bench.finish().await;
}

#[tokio::test]
async fn a_target_that_is_edited_in_mid_rotation() {
    let bench = in_mid_rotation(async |bench| {
        patch_secret(bench, json!({ "stringData": { "client_secret": "junk" } })).await;
    })
    .await;
    bench.finish().await;
}

#[tokio::test]
async fn a_target_that_is_deleted_in_mid_rotation() {
    let bench = in_mid_rotation(async |bench| {
        bench.api::<Secret>().delete("shop-auth0", &Default::default()).await.unwrap();
    })
    .await;
    bench.finish().await;
}

#[tokio::test]
async fn a_secret_that_was_changed_in_the_dashboard_is_followed_when_a_rotation_is_due() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.simulator.dashboard_rotate("shop").unwrap();
    bench.request("shop", "rotate/now").await;
    let resource = bench.wait_until_rotated("shop", 3).await;
    bench.assert_published("shop").await;
    let causes: Vec<_> = resource.status.unwrap().history.iter().map(|entry| entry.cause).collect();
    assert_eq!(causes, [rotation::Cause::Request, rotation::Cause::Drift]);
    bench.finish().await;
}

#[tokio::test]
async fn someone_elses_secret_is_not_written_for_a_resource_that_goes() {
    let bench = Fixture::start().await;
    let late = Fault::delay(PROPAGATION_WINDOW / 3).on(Operation::RotateSecret);
    bench.simulator.faults().inject(late).unwrap();
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    bench.wait_until("Auth0 has rotated", || bench.rotation_count("shop") == 1).await;
    bench.write_secret("shop-auth0", &[("client_secret", "theirs")]).await;
    bench.api::<ClientSecretRotation>().delete("shop", &Default::default()).await.unwrap();
    bench.wait_until_deleted("shop").await;
    let data = bench.secret_data("shop-auth0").await.unwrap();
    assert_eq!(data.len(), 1);
    assert_eq!(data["client_secret"], "theirs");
    bench.finish().await;
}
