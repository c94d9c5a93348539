//! Answers of Auth0 that are none, and what becomes of the secret.

use std::time::Duration;

use auth0_simulator::{Action, ClientSeed, Fault, Operation, Simulator, When};
use serde_json::json;
use testkit::{
    auth0::{MANAGER, SCOPES},
    fixture::Fixture,
};

/// `rotate-secret` goes wrong once, in a way after which Auth0 has, or hasn't, a new secret.
async fn rotate_with(action: Action) {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    let name = action.name();
    bench.simulator.faults().inject(Fault::new(action).on(Operation::RotateSecret)).unwrap();
    bench.request("shop", "rotate/now").await;
    bench.wait_until_rotated("shop", 2).await;
    bench.assert_published("shop").await;
    assert_eq!(bench.rotation_count("shop"), 1, "{name}: changed once");
    assert_eq!(bench.published_values("shop").await.len(), 1);
    bench.finish().await;
}

#[tokio::test]
async fn a_connection_that_is_cut_after_the_effect() {
    rotate_with(Action::Cut { when: When::After }).await;
}

#[tokio::test]
async fn a_connection_that_is_cut_before_the_effect() {
    rotate_with(Action::Cut { when: When::Before }).await;
}

#[tokio::test]
async fn a_server_error_after_the_effect() {
    rotate_with(Action::Status { status: 503, when: When::After }).await;
}

#[tokio::test]
async fn a_server_error_before_the_effect() {
    rotate_with(Action::Status { status: 500, when: When::Before }).await;
}

#[tokio::test]
async fn malformed_json() {
    rotate_with(Action::MalformedJson { when: When::After }).await;
}

#[tokio::test]
async fn truncated_json() {
    rotate_with(Action::TruncatedJson { when: When::After }).await;
}

#[tokio::test]
async fn html_with_a_status_of_success() {
    rotate_with(Action::Html { status: 200, when: When::After }).await;
}

#[tokio::test]
async fn html_that_forbids() {
    rotate_with(Action::Html { status: 403, when: When::Before }).await;
}

#[tokio::test]
async fn an_empty_body() {
    rotate_with(Action::EmptyBody { when: When::After }).await;
}

#[tokio::test]
async fn five_megabytes_of_json() {
    rotate_with(Action::Oversized { bytes: 5_000_000 }).await;
}

#[tokio::test]
async fn an_answer_without_a_secret() {
    rotate_with(Action::SecretMissing).await;
}

#[tokio::test]
async fn an_answer_with_an_empty_secret() {
    rotate_with(Action::SecretEmpty).await;
}

#[tokio::test]
async fn a_token_that_has_expired() {
    rotate_with(Action::ExpiredToken).await;
}

#[tokio::test]
async fn a_rate_limit_that_is_used_up() {
    rotate_with(Action::RateLimited { reset_in_s: 2, retry_after: true }).await;
}

#[tokio::test]
async fn nothing_at_all() {
    // Later than any deadline, and the effect has happened.
    rotate_with(Action::Delay { ms: 20_000, when: When::After }).await;
}

/// A reading goes wrong: what is published stays as it is.
#[tokio::test]
async fn an_import_waits_for_an_answer_that_can_be_understood() {
    let mut bench = Fixture::without_operator().await;
    for action in [
        Action::Html { status: 200, when: When::Before },
        Action::TruncatedJson { when: When::After },
        Action::EmptyBody { when: When::After },
        Action::Oversized { bytes: 5_000_000 },
    ] {
        bench.simulator.faults().inject(Fault::new(action).on(Operation::GetClient)).unwrap();
    }
    bench.start_operator();
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.assert_published("shop").await;
    bench.finish().await;
}

#[tokio::test]
async fn a_reading_with_an_empty_secret_never_overwrites_what_is_published() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    let empty = Fault::new(Action::SecretEmpty).on(Operation::GetClient).unlimited();
    bench.simulator.faults().inject(empty).unwrap();
    let junk = json!({ "stringData": { "client_secret": "" } });
    let secrets = bench.api::<k8s_openapi::api::core::v1::Secret>();
    let patch = kube::api::Patch::Merge(junk);
    secrets.patch("shop-auth0", &Default::default(), &patch).await.unwrap();
    bench.wait_for_reason("shop", "Stalled", "SecretUnreadable").await;
    bench.simulator.faults().clear();
    bench.request("shop", "rotate/now").await;
    bench.wait_until_rotated("shop", 2).await;
    bench.assert_published("shop").await;
    bench.finish().await;
}

#[tokio::test]
async fn a_tenant_that_hides_the_secret_in_the_answer() {
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
    let mut bench = Fixture::with_simulator(simulator).await;
    bench.start_operator();
    bench.apply_rotation("shop", json!({ "initial": "Rotate" })).await;
    bench.wait_until_rotated("shop", 2).await;
    bench.assert_published("shop").await;
    bench.finish().await;
}

#[tokio::test]
async fn a_rate_limit_is_kept_to() {
    let simulator = Simulator::builder()
        .rate_limit("4/4".parse::<auth0_simulator::RateLimit>().unwrap())
        .propagation(Duration::ZERO..=Duration::ZERO)
        .client(ClientSeed::new(MANAGER).scopes(SCOPES))
        .start()
        .await
        .unwrap();
    let mut bench = Fixture::with_simulator(simulator).await;
    bench.apply_tenant(json!({ "rateLimit": { "requestsPerSecond": 4, "burst": 4 } })).await;
    bench.start_operator();
    for number in 0..12 {
        bench.apply_rotation(&format!("shop-{number}"), json!({})).await;
    }
    for number in 0..12 {
        bench.wait_until_rotated(&format!("shop-{number}"), 1).await;
    }
    bench.finish().await;
}

#[tokio::test]
async fn a_page_for_people_is_no_evidence() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    let page = Action::Html { status: 200, when: When::Before };
    bench.simulator.faults().inject(Fault::new(page).on(Operation::Revoke).unlimited()).unwrap();
    bench.request("shop", "rotate/now").await;
    bench.wait_for_reason("shop", "Reconciling", "InvalidResponse").await;
    // Longer than the grace period.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(bench.published_values("shop").await.len(), 2, "the previous secret is kept");
    bench.simulator.faults().clear();
    bench.wait_until_rotated("shop", 2).await;
    assert_eq!(bench.published_values("shop").await.len(), 1);
    bench.finish().await;
}
