//! Secrets and clients that are changed at Auth0 by another party.

use auth0_rotator::api::ClientSecretRotation;
use rotation::{Cause, Phase};
use secrecy::ExposeSecret as _;
use serde_json::json;
use testkit::fixture::Fixture;

use crate::phases::{HeldPhase, wait_for_phase};

#[tokio::test]
async fn dashboard_rotation_is_followed_in_each_phase() {
    let phases = [Phase::Staging, Phase::Confirming, Phase::Grace];
    futures::future::join_all(phases.map(assert_dashboard_rotation_is_followed)).await;
}

/// Changes the secret in Auth0's dashboard in a phase of a rotation.
async fn assert_dashboard_rotation_is_followed(phase: Phase) {
    let fixture = Fixture::start().await;
    let spec = json!({
        "strategy": "Staged", "staging": { "period": "6s" }, "gracePeriod": "6s",
        "driftCheck": { "every": "1s" },
    });
    fixture.apply_rotation("shop", spec).await;
    fixture.wait_until_rotated("shop", 1).await;
    let held = HeldPhase::inject(&fixture, phase);
    fixture.request("shop", "rotate/now").await;
    wait_for_phase(&fixture, phase).await;
    fixture.simulator.dashboard_rotate("shop").unwrap();
    let value = value_at_auth0(&fixture);
    fixture.wait_for_secret_data("shop-auth0", |data| data["client_secret"] == value).await;
    held.release(&fixture);
    let has_followed = |resource: &ClientSecretRotation| {
        let status = resource.status.clone().unwrap_or_default();
        let last_cause = status.history.first().map(|entry| entry.cause);
        status.rotation.is_none() && last_cause == Some(Cause::Drift)
    };
    let resource = fixture.wait_for("shop", "idle with the new secret", has_followed).await;
    assert!(resource.status.unwrap().history.len() >= 2, "{phase:?}");
    fixture.assert_published("shop").await;
    fixture.finish().await;
}

fn value_at_auth0(fixture: &Fixture) -> String {
    fixture.simulator.client_secret("shop").unwrap().expose_secret().to_owned()
}

#[tokio::test]
async fn due_rotation_follows_a_dashboard_rotation_first() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.simulator.dashboard_rotate("shop").unwrap();
    fixture.request("shop", "rotate/now").await;
    let resource = fixture.wait_until_rotated("shop", 3).await;
    fixture.assert_published("shop").await;
    let causes: Vec<_> = resource.status.unwrap().history.iter().map(|entry| entry.cause).collect();
    assert_eq!(causes, [Cause::Request, Cause::Drift]);
    fixture.finish().await;
}

#[tokio::test]
async fn drift_check_follows_a_dashboard_rotation() {
    let fixture = Fixture::start().await;
    let spec = json!({ "driftCheck": { "every": "2s" }, "suspend": true });
    for name in ["shop", "cart", "pay"] {
        fixture.apply_rotation(name, spec.clone()).await;
        fixture.wait_until_rotated(name, 1).await;
    }
    let old = fixture.published_values("shop").await[0].clone();
    fixture.simulator.dashboard_rotate("shop").unwrap();
    let value = value_at_auth0(&fixture);
    fixture.wait_for_secret_data("shop-auth0", |data| data["client_secret"] == value).await;
    fixture.wait_for_event("Drift").await;
    fixture
        .wait_for_secret_data("shop-auth0", |data| !data.contains_key("client_secret_fallback"))
        .await;
    assert_ne!(old, value);
    fixture.wait_until_rotated("cart", 1).await;
    fixture.finish().await;
}

#[tokio::test]
async fn drift_check_reports_a_deleted_client() {
    let fixture = Fixture::start().await;
    let spec = json!({ "driftCheck": { "every": "1s" } });
    for name in ["shop", "cart"] {
        fixture.apply_rotation(name, spec.clone()).await;
        fixture.wait_until_rotated(name, 1).await;
    }
    fixture.simulator.remove_client("shop");
    fixture.wait_for_reason("shop", "Stalled", "ClientNotFound").await;
    fixture.wait_for_reason("shop", "Ready", "ClientNotFound").await;
    fixture.wait_until_rotated("cart", 1).await;
    fixture.finish().await;
}
