//! Invalid, late and missing responses of Auth0, and how the operator recovers from them.

use std::time::Duration;

use auth0_simulator::{Action, ClientSeed, Fault, Operation, RateLimit, Simulator, When};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use testkit::{
    auth0::{MANAGER, SCOPES},
    fixture::Fixture,
};

/// Rotates while the first `rotate-secret` request fails with this action, and asserts that Auth0
/// has changed the secret exactly once.
async fn rotate_once_despite(action: Action) {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    let name = action.name();
    fixture.simulator.faults().inject(Fault::new(action).on(Operation::RotateSecret)).unwrap();
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.assert_published("shop").await;
    assert_eq!(fixture.rotation_count("shop"), 1, "{name}: changes at Auth0");
    assert_eq!(fixture.published_values("shop").await.len(), 1);
    fixture.finish().await;
}

#[tokio::test]
async fn rotates_once_despite_connection_closed_after_the_change() {
    rotate_once_despite(Action::Cut { when: When::After }).await;
}

#[tokio::test]
async fn rotates_once_despite_connection_closed_before_the_change() {
    rotate_once_despite(Action::Cut { when: When::Before }).await;
}

#[tokio::test]
async fn rotates_once_despite_server_error_after_the_change() {
    rotate_once_despite(Action::Status { status: 503, when: When::After }).await;
}

#[tokio::test]
async fn rotates_once_despite_server_error_before_the_change() {
    rotate_once_despite(Action::Status { status: 500, when: When::Before }).await;
}

#[tokio::test]
async fn rotates_once_despite_malformed_json() {
    rotate_once_despite(Action::MalformedJson { when: When::After }).await;
}

#[tokio::test]
async fn rotates_once_despite_truncated_json() {
    rotate_once_despite(Action::TruncatedJson { when: When::After }).await;
}

#[tokio::test]
async fn rotates_once_despite_html_with_status_200() {
    rotate_once_despite(Action::Html { status: 200, when: When::After }).await;
}

#[tokio::test]
async fn rotates_once_despite_html_with_status_403() {
    rotate_once_despite(Action::Html { status: 403, when: When::Before }).await;
}

#[tokio::test]
async fn rotates_once_despite_empty_body() {
    rotate_once_despite(Action::EmptyBody { when: When::After }).await;
}

#[tokio::test]
async fn rotates_once_despite_five_megabytes_of_json() {
    rotate_once_despite(Action::Oversized { bytes: 5_000_000 }).await;
}

#[tokio::test]
async fn rotates_once_despite_response_without_secret() {
    rotate_once_despite(Action::SecretMissing).await;
}

#[tokio::test]
async fn rotates_once_despite_response_with_empty_secret() {
    rotate_once_despite(Action::SecretEmpty).await;
}

#[tokio::test]
async fn rotates_once_despite_expired_token() {
    rotate_once_despite(Action::ExpiredToken).await;
}

#[tokio::test]
async fn rotates_once_despite_exhausted_rate_limit() {
    rotate_once_despite(Action::RateLimited { reset_in_s: 2, retry_after: true }).await;
}

#[tokio::test]
async fn rotates_once_despite_timeout_after_the_change() {
    // Longer than any deadline of the operator.
    rotate_once_despite(Action::Delay { ms: 20_000, when: When::After }).await;
}

#[tokio::test]
async fn import_retries_until_a_response_is_valid() {
    let mut fixture = Fixture::without_operator().await;
    for action in [
        Action::Html { status: 200, when: When::Before },
        Action::TruncatedJson { when: When::After },
        Action::EmptyBody { when: When::After },
        Action::Oversized { bytes: 5_000_000 },
    ] {
        fixture.simulator.faults().inject(Fault::new(action).on(Operation::GetClient)).unwrap();
    }
    fixture.start_operator();
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.assert_published("shop").await;
    fixture.finish().await;
}

#[tokio::test]
async fn never_publishes_an_empty_secret_that_auth0_returns() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    let empty = Fault::new(Action::SecretEmpty).on(Operation::GetClient).unlimited();
    fixture.simulator.faults().inject(empty).unwrap();
    let tampered = Patch::Merge(json!({ "stringData": { "client_secret": "" } }));
    let secrets = fixture.api::<Secret>();
    secrets.patch("shop-auth0", &PatchParams::default(), &tampered).await.unwrap();
    fixture.wait_for_reason("shop", "Stalled", "SecretUnreadable").await;
    fixture.simulator.faults().clear();
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.assert_published("shop").await;
    fixture.finish().await;
}

/// Without the scope `read:client_keys`, the operator can't read the new secret back either.
#[tokio::test]
async fn rotates_in_a_tenant_whose_responses_omit_the_secret() {
    let simulator = Simulator::builder()
        .rotate_shows_secret(false)
        .propagation(Duration::ZERO..=Duration::ZERO)
        .client(
            ClientSeed::new(MANAGER)
                .scopes(SCOPES.into_iter().filter(|scope| *scope != "read:client_keys")),
        )
        .start()
        .await
        .unwrap();
    let mut fixture = Fixture::with_simulator(simulator).await;
    fixture.start_operator();
    fixture.apply_rotation("shop", json!({ "initial": "Rotate" })).await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.assert_published("shop").await;
    fixture.finish().await;
}

#[tokio::test]
async fn imports_many_resources_under_a_low_rate_limit() {
    let simulator = Simulator::builder()
        .rate_limit(RateLimit::new(4, 4).unwrap())
        .propagation(Duration::ZERO..=Duration::ZERO)
        .client(ClientSeed::new(MANAGER).scopes(SCOPES))
        .start()
        .await
        .unwrap();
    let mut fixture = Fixture::with_simulator(simulator).await;
    fixture.apply_tenant(json!({ "rateLimit": { "requestsPerSecond": 4, "burst": 4 } })).await;
    fixture.start_operator();
    for number in 0..12 {
        fixture.apply_rotation(&format!("shop-{number}"), json!({})).await;
    }
    for number in 0..12 {
        fixture.wait_until_rotated(&format!("shop-{number}"), 1).await;
    }
    fixture.finish().await;
}

#[tokio::test]
async fn keeps_the_previous_secret_while_probes_return_html() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    let page = Action::Html { status: 200, when: When::Before };
    // The negative control before the change gets an answer.
    let page = Fault::new(page).on(Operation::Revoke).skip(1).unlimited();
    fixture.simulator.faults().inject(page).unwrap();
    fixture.request("shop", "rotate/now").await;
    fixture.wait_for_reason("shop", "Reconciling", "InvalidResponse").await;
    // Longer than the grace period.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(fixture.published_values("shop").await.len(), 2, "the previous secret is kept");
    fixture.simulator.faults().clear();
    fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(fixture.published_values("shop").await.len(), 1);
    fixture.finish().await;
}
