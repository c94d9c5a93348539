//! Tenants that can or can't be used, and the conditions that say why.

use std::time::Duration;

use auth0_rotator::api::Auth0Tenant;
use auth0_simulator::{Fault, Operation};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use secrecy::ExposeSecret as _;
use serde_json::json;
use testkit::{
    auth0::{MANAGER, SCOPES},
    fixture::Fixture,
};

use crate::tenant_status::wait_for_tenant_reason;

/// Waits until the condition `Ready` of the tenant `acme` has this reason and a message that contains
/// `text`, which must happen within `limit`.
async fn wait_for_tenant_message(fixture: &Fixture, limit: Duration, reason: &str, text: &str) {
    let has_message = async || wait_for_tenant_reason(fixture, "acme", reason).await.contains(text);
    fixture.wait_within(limit, &format!("acme has {reason} with {text:?}"), has_message).await;
}

/// Changes the spec of the tenant `acme`, so that the operator reconciles it without waiting for the
/// backoff.
pub(crate) async fn trigger_reconcile(fixture: &Fixture) {
    let burst = 500 + u32::from(rand::random::<u8>());
    let patch = Patch::Merge(json!({ "spec": { "rateLimit": { "burst": burst } } }));
    fixture.api::<Auth0Tenant>().patch("acme", &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn usable_tenant_reports_its_scopes() {
    let fixture = Fixture::start().await;
    wait_for_tenant_reason(&fixture, "acme", "Usable").await;
    let tenant = fixture.api::<Auth0Tenant>().get("acme").await.unwrap();
    let scopes = tenant.status.unwrap().scopes.unwrap();
    assert_eq!(scopes.missing, Vec::<String>::new());
    assert_eq!(scopes.granted, ["update:client_keys", "read:clients", "read:client_keys"]);
    fixture.finish().await;
}

#[tokio::test]
async fn missing_tenant_is_used_once_it_is_created() {
    let fixture = Fixture::start().await;
    fixture.api::<Auth0Tenant>().delete("acme", &Default::default()).await.unwrap();
    fixture.apply_rotation("shop", json!({})).await;
    let message = fixture.wait_for_reason("shop", "TenantReady", "TenantMissing").await;
    assert!(message.contains("no Auth0Tenant acme") && message.contains("tenantRef"), "{message}");
    fixture.wait_for_reason("shop", "Ready", "TenantMissing").await;
    fixture.apply_tenant(json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.finish().await;
}

#[tokio::test]
async fn reports_missing_and_incomplete_credentials() {
    let mut fixture = Fixture::without_operator().await;
    fixture.api::<Secret>().delete("auth0-management", &Default::default()).await.unwrap();
    fixture.start_operator();
    fixture.apply_rotation("shop", json!({})).await;
    let message = wait_for_tenant_reason(&fixture, "acme", "CredentialsUnreadable").await;
    assert!(message.contains("auth0-management does not exist"), "{message}");
    fixture.wait_for_reason("shop", "Stalled", "CredentialsUnreadable").await;
    for (data, expected) in [
        (vec![], "has no client_id"),
        (vec![("client_id", " ")], "has no client_id"),
        (vec![("client_id", MANAGER)], "has no secret"),
        (vec![("client_id", MANAGER), ("client_secret", "")], "has no secret"),
        (vec![("client_id", MANAGER), ("client_secrets", "[1]")], "neither a JSON array"),
    ] {
        fixture.write_secret("auth0-management", &data).await;
        trigger_reconcile(&fixture).await;
        wait_for_tenant_message(
            &fixture,
            Duration::from_secs(30),
            "CredentialsUnreadable",
            expected,
        )
        .await;
    }
    fixture.apply_tenant(json!({})).await;
    trigger_reconcile(&fixture).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.finish().await;
}

#[tokio::test]
async fn reports_rejected_credentials() {
    let mut fixture = Fixture::without_operator().await;
    fixture
        .write_secret("auth0-management", &[("client_id", MANAGER), ("client_secret", "wrong")])
        .await;
    fixture.start_operator();
    fixture.apply_rotation("shop", json!({})).await;
    let message = wait_for_tenant_reason(&fixture, "acme", "CredentialsRejected").await;
    assert!(message.contains("its current secret"), "{message}");
    fixture.wait_for_reason("shop", "Stalled", "CredentialsRejected").await;
    let token_requests = fixture.simulator.counters().requests(Operation::Token);
    assert!(token_requests < 10, "{token_requests} token requests with rejected credentials");
    fixture.finish().await;
}

#[tokio::test]
async fn tries_listed_credentials_in_order() {
    let mut fixture = Fixture::without_operator().await;
    let secret = fixture.simulator.client_secret(MANAGER).unwrap();
    let list = serde_json::to_string(&["stale", secret.expose_secret()]).unwrap();
    fixture
        .write_secret("auth0-management", &[("client_id", MANAGER), ("client_secrets", &list)])
        .await;
    fixture.start_operator();
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.finish().await;
}

#[tokio::test]
async fn missing_scope_is_reported_with_its_effect() {
    let mut fixture = Fixture::without_operator().await;
    fixture.simulator.set_scopes(MANAGER, ["read:clients", "read:client_keys"]).unwrap();
    fixture.start_operator();
    let message = wait_for_tenant_reason(&fixture, "acme", "MissingScope").await;
    assert!(message.contains("update:client_keys (rotations)"), "{message}");
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    let message = fixture.wait_for_reason("shop", "Stalled", "MissingScope").await;
    assert!(message.contains("update:client_keys"), "{message}");
    // The operator does not call `rotate-secret` without the scope, and its own status writes do not
    // make it retry.
    let status_writes = "auth0_rotator_status_writes_total";
    let writes_before = fixture.operator().metric(status_writes).await;
    let reads_before = fixture.simulator.counters().requests(Operation::GetClient);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(fixture.operator().metric(status_writes).await <= writes_before + 1.0);
    let counters = fixture.simulator.counters();
    assert!(counters.requests(Operation::GetClient) <= reads_before + 1);
    assert_eq!(counters.requests(Operation::RotateSecret), 0);
    let rotation = fixture.get("shop").await.status.unwrap().rotation.unwrap();
    assert_eq!(rotation.attempts, 0);
    fixture.simulator.set_scopes(MANAGER, SCOPES).unwrap();
    fixture.finish().await;
}

#[tokio::test]
async fn rotates_without_the_scope_to_read_secrets() {
    let mut fixture = Fixture::without_operator().await;
    fixture.simulator.set_scopes(MANAGER, ["read:clients", "update:client_keys"]).unwrap();
    fixture.start_operator();
    let message = wait_for_tenant_reason(&fixture, "acme", "PartiallyUsable").await;
    assert!(message.contains("read:client_keys (import, read-back and drift)"), "{message}");
    fixture.apply_rotation("shop", json!({})).await;
    let message = fixture.wait_for_reason("shop", "Stalled", "SecretUnreadable").await;
    assert!(message.contains("read:client_keys"), "{message}");
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.assert_published("shop").await;
    // A lost response can't be read back, so the operator sets a value that it generates.
    let fault = Fault::cut_after().on(Operation::RotateSecret);
    fixture.simulator.faults().inject(fault).unwrap();
    fixture.request("shop", "rotate/again").await;
    let resource = fixture.wait_until_rotated("shop", 3).await;
    fixture.assert_published("shop").await;
    let message = resource.status.unwrap().history[0].message.clone();
    assert!(message.contains("could not be read back"), "{message}");
    fixture.finish().await;
}

#[tokio::test]
async fn endpoint_without_tls_is_not_called() {
    let mut fixture = Fixture::without_operator().await;
    fixture.start_operator_with(&[]);
    let message = wait_for_tenant_reason(&fixture, "acme", "InvalidTenant").await;
    assert!(
        message.contains("not HTTPS") && message.contains("--allow-http-endpoints"),
        "{message}"
    );
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_for_reason("shop", "Stalled", "InvalidTenant").await;
    assert_eq!(fixture.simulator.audit_log(0).len(), 0, "requests were sent");
    fixture.finish().await;
}

#[tokio::test]
async fn rejects_invalid_endpoints_and_ca_bundles() {
    let fixture = Fixture::start().await;
    for (overrides, expected) in [
        (json!({ "endpoint": "http://user:password@127.0.0.1:1" }), "no user name or password"),
        (json!({ "endpoint": "http://127.0.0.1:1/?a=b" }), "must not have a query"),
        (json!({ "endpoint": "ftp://127.0.0.1" }), "https://"),
        (json!({ "endpoint": "https://127.0.0.1:1", "caBundle": "no certificate" }), "PEM"),
    ] {
        fixture.apply_tenant(overrides).await;
        wait_for_tenant_message(&fixture, Duration::from_secs(20), "InvalidTenant", expected).await;
    }
    fixture.apply_tenant(json!({ "caBundle": null })).await;
    wait_for_tenant_reason(&fixture, "acme", "Usable").await;
    fixture.finish().await;
}

#[tokio::test]
async fn unreachable_endpoint_is_used_once_it_is_corrected() {
    let mut fixture = Fixture::without_operator().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fixture.apply_tenant(json!({ "endpoint": format!("http://127.0.0.1:{port}") })).await;
    fixture.start_operator();
    fixture.apply_rotation("shop", json!({})).await;
    wait_for_tenant_reason(&fixture, "acme", "Unreachable").await;
    fixture.wait_for_reason("shop", "Reconciling", "Unreachable").await;
    fixture.apply_tenant(json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.finish().await;
}
