//! Tenants that can't be used, and how the resource says why.

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

pub(crate) async fn reason_of_tenant(bench: &Fixture, reason: &str) -> String {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let tenant = bench.api::<Auth0Tenant>().get("acme").await.unwrap();
        let ready = tenant
            .status
            .as_ref()
            .and_then(|status| rotation::find_condition(&status.conditions, "Ready"));
        if let Some(ready) = ready.filter(|ready| ready.reason == reason) {
            return ready.message.clone();
        }
        assert!(std::time::Instant::now() < deadline, "never {reason}: {:?}", tenant.status);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_tenant_that_works_says_so_with_its_scopes() {
    let bench = Fixture::start().await;
    reason_of_tenant(&bench, "Usable").await;
    let tenant = bench.api::<Auth0Tenant>().get("acme").await.unwrap();
    let scopes = tenant.status.unwrap().scopes.unwrap();
    assert_eq!(scopes.missing, Vec::<String>::new());
    assert_eq!(scopes.granted, ["update:client_keys", "read:clients", "read:client_keys"]);
    bench.finish().await;
}

#[tokio::test]
async fn a_tenant_that_is_missing_and_then_made() {
    let bench = Fixture::start().await;
    bench.api::<Auth0Tenant>().delete("acme", &Default::default()).await.unwrap();
    bench.apply_rotation("shop", json!({})).await;
    let message = bench.wait_for_reason("shop", "TenantReady", "TenantMissing").await;
    assert!(message.contains("no Auth0Tenant acme") && message.contains("tenantRef"), "{message}");
    bench.wait_for_reason("shop", "Ready", "TenantMissing").await;
    bench.apply_tenant(json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.finish().await;
}

#[tokio::test]
async fn credentials_that_are_missing_empty_or_lack_a_key() {
    let bench = Fixture::without_operator().await;
    bench.api::<Secret>().delete("auth0-management", &Default::default()).await.unwrap();
    let mut bench = bench;
    bench.start_operator();
    bench.apply_rotation("shop", json!({})).await;
    let message = reason_of_tenant(&bench, "CredentialsUnreadable").await;
    assert!(message.contains("auth0-management does not exist"), "{message}");
    bench.wait_for_reason("shop", "Stalled", "CredentialsUnreadable").await;
    for (data, says) in [
        (vec![], "has no client_id"),
        (vec![("client_id", " ")], "has no client_id"),
        (vec![("client_id", MANAGER)], "has no secret"),
        (vec![("client_id", MANAGER), ("client_secret", "")], "has no secret"),
        (vec![("client_id", MANAGER), ("client_secrets", "[1]")], "neither a JSON array"),
    ] {
        bench.write_secret("auth0-management", &data).await;
        touch(&bench).await;
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            let message = reason_of_tenant(&bench, "CredentialsUnreadable").await;
            if message.contains(says) {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{says}: {message}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    bench.apply_tenant(json!({})).await;
    touch(&bench).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.finish().await;
}

/// Changes the tenant's spec, so that it is looked at without waiting for the backoff.
pub(crate) async fn touch(bench: &Fixture) {
    let burst = 500 + rand::random::<u8>() as u32;
    let patch = Patch::Merge(json!({ "spec": { "rateLimit": { "burst": burst } } }));
    bench.api::<Auth0Tenant>().patch("acme", &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn wrong_credentials() {
    let mut bench = Fixture::without_operator().await;
    bench
        .write_secret("auth0-management", &[("client_id", MANAGER), ("client_secret", "wrong")])
        .await;
    bench.start_operator();
    bench.apply_rotation("shop", json!({})).await;
    let message = reason_of_tenant(&bench, "CredentialsRejected").await;
    assert!(message.contains("its current secret"), "{message}");
    bench.wait_for_reason("shop", "Stalled", "CredentialsRejected").await;
    let asked = bench.simulator.counters().requests(Operation::Token);
    assert!(asked < 10, "no storm of refused log-ins: {asked}");
    bench.finish().await;
}

#[tokio::test]
async fn credentials_are_a_list_that_is_tried_in_order() {
    let mut bench = Fixture::without_operator().await;
    let secret = bench.simulator.client_secret(MANAGER).unwrap();
    let list = serde_json::to_string(&["stale", secret.expose_secret()]).unwrap();
    bench
        .write_secret("auth0-management", &[("client_id", MANAGER), ("client_secrets", &list)])
        .await;
    bench.start_operator();
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.finish().await;
}

#[tokio::test]
async fn a_missing_scope_is_named_with_what_does_not_work() {
    let mut bench = Fixture::without_operator().await;
    bench.simulator.set_scopes(MANAGER, ["read:clients", "read:client_keys"]).unwrap();
    bench.start_operator();
    let message = reason_of_tenant(&bench, "MissingScope").await;
    assert!(message.contains("update:client_keys (rotations)"), "{message}");
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    let message = bench.wait_for_reason("shop", "Stalled", "MissingScope").await;
    assert!(message.contains("update:client_keys"), "{message}");
    // What is known to fail is not tried, and the operator's own writes are no reason to try again.
    let writes = "auth0_rotator_status_writes_total";
    let before = (bench.operator().metric(writes).await, bench.simulator.counters());
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(bench.operator().metric(writes).await <= before.0 + 1.0);
    let read = bench.simulator.counters().requests(Operation::GetClient);
    assert!(read <= before.1.requests(Operation::GetClient) + 1);
    assert_eq!(bench.simulator.counters().requests(Operation::RotateSecret), 0);
    let rotation = bench.get("shop").await.status.unwrap().rotation.unwrap();
    assert_eq!(rotation.attempts, 0);
    bench.simulator.set_scopes(MANAGER, SCOPES).unwrap();
    bench.finish().await;
}

#[tokio::test]
async fn without_reading_secrets_everything_but_import_and_read_back_works() {
    let mut bench = Fixture::without_operator().await;
    bench.simulator.set_scopes(MANAGER, ["read:clients", "update:client_keys"]).unwrap();
    bench.start_operator();
    let message = reason_of_tenant(&bench, "PartiallyUsable").await;
    assert!(message.contains("read:client_keys (import, read-back and drift)"), "{message}");
    bench.apply_rotation("shop", json!({})).await;
    let message = bench.wait_for_reason("shop", "Stalled", "SecretUnreadable").await;
    assert!(message.contains("read:client_keys"), "{message}");
    bench.request("shop", "rotate/now").await;
    bench.wait_until_rotated("shop", 2).await;
    bench.assert_published("shop").await;
    // An answer that is lost and can't be read back is replaced by a value of our own.
    let lost = Fault::cut_after().on(Operation::RotateSecret);
    bench.simulator.faults().inject(lost).unwrap();
    bench.request("shop", "rotate/again").await;
    let resource = bench.wait_until_rotated("shop", 3).await;
    bench.assert_published("shop").await;
    let message = resource.status.unwrap().history[0].message.clone();
    assert!(message.contains("could not be read back"), "{message}");
    bench.finish().await;
}

#[tokio::test]
async fn an_endpoint_without_tls_is_not_called() {
    let mut bench = Fixture::without_operator().await;
    bench.start_operator_with(&[]);
    let message = reason_of_tenant(&bench, "InvalidTenant").await;
    assert!(
        message.contains("not HTTPS") && message.contains("--allow-http-endpoints"),
        "{message}"
    );
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_for_reason("shop", "Stalled", "InvalidTenant").await;
    assert_eq!(bench.simulator.audit_log(0).len(), 0, "nothing was sent");
    bench.finish().await;
}

#[tokio::test]
async fn endpoints_and_bundles_that_can_not_be_used() {
    let bench = Fixture::start().await;
    for (over, says) in [
        (json!({ "endpoint": "http://user:password@127.0.0.1:1" }), "no user name or password"),
        (json!({ "endpoint": "http://127.0.0.1:1/?a=b" }), "must not have a query"),
        (json!({ "endpoint": "ftp://127.0.0.1" }), "https://"),
        (json!({ "endpoint": "https://127.0.0.1:1", "caBundle": "no certificate" }), "PEM"),
    ] {
        bench.apply_tenant(over.clone()).await;
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            let message = reason_of_tenant(&bench, "InvalidTenant").await;
            if message.contains(says) {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{over}: {message}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    bench.apply_tenant(json!({ "caBundle": null })).await;
    reason_of_tenant(&bench, "Usable").await;
    bench.finish().await;
}

#[tokio::test]
async fn an_auth0_that_can_not_be_reached_and_comes_back() {
    let mut bench = Fixture::without_operator().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    bench.apply_tenant(json!({ "endpoint": format!("http://127.0.0.1:{port}") })).await;
    bench.start_operator();
    bench.apply_rotation("shop", json!({})).await;
    reason_of_tenant(&bench, "Unreachable").await;
    bench.wait_for_reason("shop", "Reconciling", "Unreachable").await;
    bench.apply_tenant(json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.finish().await;
}
