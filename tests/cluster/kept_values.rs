//! A repaired target Secret keeps the values that may still be needed: applications log in throughout.

use std::time::{Duration, Instant};

use auth0_rotator::api::{CURRENT_ANNOTATION, FALLBACK_ANNOTATION};
use auth0_simulator::Simulator;
use k8s_openapi::api::core::v1::Secret;
use rotation::Phase;
use serde_json::{Value, json};
use testkit::{
    auth0::{self, application},
    fixture::Fixture,
};
use tokio::time::sleep;

use crate::{phases::wait_for_phase, provenance::patch_secret};

/// Starts a tenant that accepts a new secret late in the operator's propagation window.
async fn slow_tenant() -> Simulator {
    let propagation = Duration::from_millis(2_500)..=Duration::from_millis(2_800);
    let tenant = auth0::tenant().propagation(propagation).client(application("shop"));
    tenant.start().await.unwrap()
}

/// Starts a rotation and waits for a phase.
async fn rotation_in(phase: Phase, strategy: &str) -> Fixture {
    let mut fixture = Fixture::with_simulator(slow_tenant().await).await;
    fixture.start_operator();
    let spec = json!({
        "strategy": strategy, "staging": { "period": "8s" }, "gracePeriod": "8s",
    });
    fixture.apply_rotation_of("shop", "shop", spec).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    wait_for_phase(&fixture, phase).await;
    fixture
}

async fn can_log_in(fixture: &Fixture) -> bool {
    let Some(data) = fixture.secret_data("shop-auth0").await else { return false };
    let keys = ["client_secret", "client_secret_fallback"];
    keys.iter()
        .filter_map(|key| data.get(*key))
        .any(|value| fixture.simulator.accepts("shop", value))
}

/// Applies a change of another party, waits until the Secret is repaired, and asserts from then on that
/// a published value is accepted at each instant until the rotation is complete.
async fn check_repair(phase: Phase, strategy: &str, tamper: impl AsyncFn(&Fixture)) {
    let fixture = rotation_in(phase, strategy).await;
    tamper(&fixture).await;
    fixture
        .wait_until_async("an application can log in", async || can_log_in(&fixture).await)
        .await;
    let started = Instant::now();
    loop {
        let is_accepted = can_log_in(&fixture).await;
        let resource = fixture.get("shop").await;
        let status = resource.status.clone().unwrap_or_default();
        assert!(
            is_accepted,
            "{phase:?}, {strategy}: no published value is accepted: {status:?}\n{}",
            fixture.log_tail()
        );
        if status.rotation.is_none() && status.current == Some(2) {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{status:?}\n{}", fixture.log_tail());
        sleep(Duration::from_millis(50)).await;
    }
    fixture.wait_until_rotated("shop", 2).await;
    let count = fixture.simulator.client_secret_history("shop").len();
    assert_eq!(count, 2, "the secret is changed once");
    fixture.finish().await;
}

async fn edit(fixture: &Fixture, data: Value) {
    patch_secret(fixture, "shop-auth0", json!({ "stringData": data })).await;
}

async fn remove(fixture: &Fixture, annotation: &str) {
    let annotations = json!({ annotation: null });
    patch_secret(fixture, "shop-auth0", json!({ "metadata": { "annotations": annotations } }))
        .await;
}

#[tokio::test]
async fn edited_current_value_in_confirming_keeps_the_previous_one() {
    for strategy in ["Rotate", "Staged"] {
        check_repair(Phase::Confirming, strategy, async |fixture| {
            edit(fixture, json!({ "client_secret": "theirs" })).await;
        })
        .await;
    }
}

#[tokio::test]
async fn edited_list_in_confirming_keeps_both_values() {
    check_repair(Phase::Confirming, "Staged", async |fixture| {
        edit(fixture, json!({ "client_secrets": "[]" })).await;
    })
    .await;
}

#[tokio::test]
async fn removed_number_in_confirming_keeps_the_other_value() {
    for annotation in [CURRENT_ANNOTATION, FALLBACK_ANNOTATION] {
        check_repair(Phase::Confirming, "Rotate", async |fixture| {
            remove(fixture, annotation).await;
        })
        .await;
    }
}

#[tokio::test]
async fn edited_value_in_staging_keeps_the_other_one() {
    for key in ["client_secret", "client_secret_fallback"] {
        check_repair(Phase::Staging, "Staged", async |fixture| {
            edit(fixture, json!({ key: "theirs" })).await;
        })
        .await;
    }
}

/// A backup that contains `managedFields`, as Velero restores them.
#[tokio::test]
async fn older_secret_in_confirming_keeps_the_previous_value() {
    let mut fixture = Fixture::with_simulator(slow_tenant().await).await;
    fixture.start_operator();
    fixture.apply_rotation_of("shop", "shop", json!({ "gracePeriod": "12s" })).await;
    fixture.wait_until_rotated("shop", 1).await;
    let secrets = fixture.api::<Secret>();
    let mut older = secrets.get("shop-auth0").await.unwrap();
    fixture.request("shop", "rotate/now").await;
    wait_for_phase(&fixture, Phase::Confirming).await;
    let previous = fixture.published_values("shop").await.pop().unwrap();
    // Restored as Velero does it: first the object, then its managed fields.
    fixture.stop_operator().await;
    let managed_fields = json!(older.metadata.managed_fields.take());
    older.metadata.resource_version = None;
    older.metadata.uid = None;
    secrets.delete("shop-auth0", &Default::default()).await.unwrap();
    secrets.create(&Default::default(), &older).await.unwrap();
    let patch = json!({ "metadata": { "managedFields": managed_fields } });
    patch_secret(&fixture, "shop-auth0", patch).await;
    fixture.start_operator();
    fixture
        .wait_for_secret_data("shop-auth0", |data| data.contains_key("client_secret_fallback"))
        .await;
    assert_eq!(fixture.published_values("shop").await.pop().unwrap(), previous);
    assert!(can_log_in(&fixture).await);
    fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(fixture.rotation_count("shop"), 1);
    fixture.finish().await;
}
