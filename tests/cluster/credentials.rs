//! Credentials of tenants, and changes to them while the operator runs.

use std::time::{Duration, Instant};

use auth0_rotator::api::Auth0Tenant;
use auth0_simulator::{AuditKind, ClientSeed, KeyAlgorithm, Simulator};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::{
    auth0::{MANAGER, SCOPES},
    fixture::Fixture,
};

use crate::tenant_status::wait_for_tenant_reason;

const PKCS1: &str = include_str!("../../crates/auth0-client/tests/keys/rsa.pkcs1.pem");
const PKCS8: &str = include_str!("../../crates/auth0-client/tests/keys/rsa.pkcs8.pem");
const PUBLIC: &str = include_str!("../../crates/auth0-client/tests/keys/rsa.public.pem");
const OTHER: &str = include_str!("../../crates/auth0-client/tests/keys/other.pkcs8.pem");
const OTHER_PUBLIC: &str = include_str!("../../crates/auth0-client/tests/keys/other.public.pem");
const ENCRYPTED: &str = include_str!("../../crates/auth0-client/tests/keys/encrypted.pkcs8.pem");

/// Time in which the operator must notice a corrected Secret. Shorter than the wait for a retry.
const REACTION_TIME: Duration = Duration::from_millis(2500);

fn manager(public_key: &str, algorithm: KeyAlgorithm) -> ClientSeed {
    ClientSeed::new(MANAGER).scopes(SCOPES).public_key(public_key, algorithm)
}

/// Returns the spec of a tenant that signs in with a private key.
fn private_key_tenant(algorithm: &str) -> Value {
    let key = json!({
        "clientId": MANAGER, "algorithm": algorithm, "keyRef": { "name": "signing-key" },
    });
    json!({ "credentials": { "clientSecret": null, "privateKeyJwt": key } })
}

/// Returns a fixture whose tenant signs in with a private key, and whose tokens are renewed every two
/// seconds.
async fn private_key_fixture(public_key: &str) -> Fixture {
    let simulator = Simulator::builder()
        .propagation(Duration::ZERO..=Duration::from_secs(1))
        .token_ttl(Duration::from_secs(4))
        .client(manager(public_key, KeyAlgorithm::RS256));
    let mut fixture = Fixture::with_simulator(simulator.start().await.unwrap()).await;
    for key in [PKCS1, PKCS8, OTHER, ENCRYPTED] {
        let body = key.lines().filter(|line| !line.starts_with('-') && line.len() > 40);
        fixture.confidential.extend(body.map(str::to_owned));
    }
    fixture.apply_tenant(private_key_tenant("RS256")).await;
    fixture
}

/// Waits until a failing tenant is retried later than after [`REACTION_TIME`].
async fn wait_for_backoff(fixture: &Fixture) {
    let has_failed_twice = || {
        let log = fixture.operator().log();
        log.iter().any(|line| line["name"] == "acme" && line["failures"].as_u64() >= Some(2))
    };
    fixture.wait_until("the tenant has failed twice", has_failed_twice).await;
}

async fn assert_noticed(fixture: &Fixture, reason: &str, corrected_at: Instant) {
    wait_for_tenant_reason(fixture, "acme", reason).await;
    let took = corrected_at.elapsed();
    assert!(took < REACTION_TIME, "{reason} after {took:?}\n{}", fixture.log_tail());
}

/// Returns the generation of the tenant, which changes with its spec.
async fn generation(fixture: &Fixture) -> Option<i64> {
    fixture.api::<Auth0Tenant>().get("acme").await.unwrap().metadata.generation
}

#[tokio::test]
async fn signs_in_with_each_algorithm_and_key_format() {
    let mut fixture = private_key_fixture(PUBLIC).await;
    fixture.start_operator();
    let algorithms = [
        ("RS256", KeyAlgorithm::RS256),
        ("RS384", KeyAlgorithm::RS384),
        ("PS256", KeyAlgorithm::PS256),
    ];
    for (algorithm, registered) in algorithms {
        for (format, pem) in [("pkcs1", PKCS1), ("pkcs8", PKCS8)] {
            fixture.simulator.add_client(manager(PUBLIC, registered)).unwrap();
            fixture.write_secret("signing-key", &[("tls.key", pem)]).await;
            fixture.apply_tenant(private_key_tenant(algorithm)).await;
            let name = format!("{format}-{}", algorithm.to_lowercase());
            fixture.apply_rotation(&name, json!({})).await;
            fixture.wait_until_rotated(&name, 1).await;
            fixture.request(&name, "rotate/now").await;
            let rotated = |resource: &auth0_rotator::api::ClientSecretRotation| {
                resource.status.as_ref().and_then(|status| status.current) == Some(2)
            };
            fixture.wait_for(&name, "rotated", rotated).await;
            fixture.assert_published(&name).await;
        }
    }
    fixture.finish().await;
}

#[tokio::test]
async fn recovers_as_soon_as_an_unregistered_key_is_corrected() {
    let mut fixture = private_key_fixture(PUBLIC).await;
    fixture.write_secret("signing-key", &[("tls.key", OTHER)]).await;
    fixture.start_operator();
    fixture.apply_rotation("shop", json!({})).await;
    let message = wait_for_tenant_reason(&fixture, "acme", "CredentialsRejected").await;
    assert!(message.contains("public key") && message.contains("keyId"), "{message}");
    wait_for_backoff(&fixture).await;
    let before = generation(&fixture).await;
    fixture.write_secret("signing-key", &[("tls.key", PKCS8)]).await;
    assert_noticed(&fixture, "Usable", Instant::now()).await;
    fixture.wait_until_rotated("shop", 1).await;
    assert_eq!(generation(&fixture).await, before);
    fixture.finish().await;
}

#[tokio::test]
async fn recovers_as_soon_as_a_client_secret_is_corrected() {
    let mut fixture = Fixture::without_operator().await;
    let wrong = [("client_id", MANAGER), ("client_secret", "wrong")];
    fixture.write_secret("auth0-management", &wrong).await;
    fixture.start_operator();
    fixture.apply_rotation("shop", json!({})).await;
    wait_for_tenant_reason(&fixture, "acme", "CredentialsRejected").await;
    wait_for_backoff(&fixture).await;
    let secret = fixture.simulator.client_secret(MANAGER).unwrap();
    let right = [("client_id", MANAGER), ("client_secret", secret.expose_secret())];
    fixture.write_secret("auth0-management", &right).await;
    assert_noticed(&fixture, "Usable", Instant::now()).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.finish().await;
}

#[tokio::test]
async fn reports_an_unusable_key_as_soon_as_it_is_written() {
    let mut fixture = private_key_fixture(PUBLIC).await;
    fixture.start_operator();
    let message = wait_for_tenant_reason(&fixture, "acme", "CredentialsUnreadable").await;
    assert!(message.contains("signing-key does not exist"), "{message}");
    assert!(message.contains("under the key tls.key"), "{message}");
    for (data, expected) in [
        (vec![("key.pem", PKCS8)], "has no key tls.key"),
        (vec![("tls.key", "")], "BEGIN and END lines"),
        (vec![("tls.key", ENCRYPTED)], "it is encrypted: decrypt it"),
        (vec![("tls.key", PUBLIC)], "it is a public key"),
    ] {
        wait_for_backoff(&fixture).await;
        fixture.write_secret("signing-key", &data).await;
        let written_at = Instant::now();
        loop {
            let message = wait_for_tenant_reason(&fixture, "acme", "CredentialsUnreadable").await;
            if message.contains(expected) {
                break;
            }
            let took = written_at.elapsed();
            assert!(took < REACTION_TIME, "{expected}: {message}\n{}", fixture.log_tail());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    fixture.api::<Secret>().delete("signing-key", &Default::default()).await.unwrap();
    fixture.write_secret("signing-key", &[("tls.key", PKCS1)]).await;
    assert_noticed(&fixture, "Usable", Instant::now()).await;
    fixture.finish().await;
}

#[tokio::test]
async fn signs_in_with_a_key_that_was_replaced_while_it_runs() {
    let mut fixture = private_key_fixture(PUBLIC).await;
    fixture.write_secret("signing-key", &[("tls.key", PKCS8)]).await;
    fixture.start_operator();
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.write_secret("signing-key", &[("tls.key", OTHER)]).await;
    fixture.simulator.add_client(manager(OTHER_PUBLIC, KeyAlgorithm::RS256)).unwrap();
    let audit_start = fixture.simulator.audit_log(0).last().unwrap().seq;
    // The access token in use expires.
    tokio::time::sleep(Duration::from_secs(3)).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    let log = fixture.simulator.audit_log(audit_start);
    assert!(log.iter().any(|entry| entry.kind == AuditKind::Login), "no login");
    assert!(!log.iter().any(|entry| entry.kind == AuditKind::FailedLogin), "used the old key");
    fixture.finish().await;
}

#[tokio::test]
async fn reports_revoked_credentials_and_recovers_as_soon_as_they_are_corrected() {
    let mut fixture = private_key_fixture(PUBLIC).await;
    fixture.write_secret("signing-key", &[("tls.key", PKCS8)]).await;
    fixture.start_operator();
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.simulator.add_client(manager(OTHER_PUBLIC, KeyAlgorithm::RS256)).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    fixture.request("shop", "rotate/now").await;
    // Without the rotation, the tenant would be checked only after ten minutes.
    wait_for_tenant_reason(&fixture, "acme", "CredentialsRejected").await;
    wait_for_backoff(&fixture).await;
    fixture.write_secret("signing-key", &[("tls.key", OTHER)]).await;
    assert_noticed(&fixture, "Usable", Instant::now()).await;
    fixture.wait_until("Auth0 has rotated", || fixture.rotation_count("shop") > 0).await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.finish().await;
}

#[tokio::test]
async fn api_server_requires_exactly_one_kind_of_credentials() {
    let fixture = Fixture::without_operator().await;
    let api = fixture.api::<Auth0Tenant>();
    let key = json!({ "clientId": "c", "keyRef": { "name": "signing-key" } });
    for credentials in [json!({ "clientSecret": null }), json!({ "privateKeyJwt": key })] {
        let patch = Patch::Merge(json!({ "spec": { "credentials": credentials } }));
        let patched = api.patch("acme", &PatchParams::default(), &patch).await;
        let error = patched.unwrap_err().to_string();
        assert!(error.contains("exactly one of clientSecret and privateKeyJwt"), "{error}");
    }
    fixture.finish().await;
}
