//! How tenants sign in, and credentials that change while the operator runs.

use std::time::{Duration, Instant};

use auth0_rotator::api::Auth0Tenant;
use auth0_simulator::{AuditKind, ClientSeed, KeyAlgorithm, Simulator};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::{
    auth0::{MANAGER, SCOPES},
    fixture::{DEADLINE, Fixture},
};

use crate::tenants::reason_of_tenant;

const PKCS1: &str = include_str!("../../crates/auth0-client/tests/keys/rsa.pkcs1.pem");
const PKCS8: &str = include_str!("../../crates/auth0-client/tests/keys/rsa.pkcs8.pem");
const PUBLIC: &str = include_str!("../../crates/auth0-client/tests/keys/rsa.public.pem");
const OTHER: &str = include_str!("../../crates/auth0-client/tests/keys/other.pkcs8.pem");
const OTHER_PUBLIC: &str = include_str!("../../crates/auth0-client/tests/keys/other.public.pem");
const ENCRYPTED: &str = include_str!("../../crates/auth0-client/tests/keys/encrypted.pkcs8.pem");

/// A corrected Secret has to be seen sooner than any retry comes.
const SOON: Duration = Duration::from_millis(2500);

fn manager(public: &str, algorithm: KeyAlgorithm) -> ClientSeed {
    ClientSeed::new(MANAGER).scopes(SCOPES).public_key(public, algorithm)
}

fn with_key(algorithm: &str) -> Value {
    let key = json!({
        "clientId": MANAGER, "algorithm": algorithm, "keyRef": { "name": "signing-key" },
    });
    json!({ "credentials": { "clientSecret": null, "privateKeyJwt": key } })
}

/// A tenant that signs in with a key, and tokens that are renewed every two seconds.
async fn bench(public: &str) -> Fixture {
    let simulator = Simulator::builder()
        .propagation(Duration::ZERO..=Duration::from_secs(1))
        .token_ttl(Duration::from_secs(4))
        .client(manager(public, KeyAlgorithm::RS256));
    let mut bench = Fixture::with_simulator(simulator.start().await.unwrap()).await;
    for key in [PKCS1, PKCS8, OTHER, ENCRYPTED] {
        let body = key.lines().filter(|line| !line.starts_with('-') && line.len() > 40);
        bench.confidential.extend(body.map(str::to_owned));
    }
    bench.apply_tenant(with_key("RS256")).await;
    bench
}

/// Waits until the next retry of a tenant that fails is further away than `SOON`.
async fn backed_off(bench: &Fixture) {
    let failed_twice = || {
        let log = bench.operator().log();
        let mut of_tenant = log.iter().filter(|line| line["name"] == "acme");
        of_tenant.any(|line| line["failures"].as_u64() >= Some(2))
    };
    bench.wait_until("the tenant fails again", failed_twice).await;
}

async fn seen_soon(bench: &Fixture, reason: &str, corrected: Instant) {
    reason_of_tenant(bench, reason).await;
    let took = corrected.elapsed();
    assert!(took < SOON, "{reason} after {took:?}\n{}", bench.log_tail());
}

/// The tenant resource as its user wrote it.
async fn generation(bench: &Fixture) -> Option<i64> {
    bench.api::<Auth0Tenant>().get("acme").await.unwrap().metadata.generation
}

#[tokio::test]
async fn a_tenant_signs_in_with_each_algorithm_and_each_form_of_a_key() {
    let mut bench = bench(PUBLIC).await;
    bench.start_operator();
    let all = [
        ("RS256", KeyAlgorithm::RS256),
        ("RS384", KeyAlgorithm::RS384),
        ("PS256", KeyAlgorithm::PS256),
    ];
    for (algorithm, registered) in all {
        for (form, pem) in [("pkcs1", PKCS1), ("pkcs8", PKCS8)] {
            bench.simulator.add_client(manager(PUBLIC, registered)).unwrap();
            bench.write_secret("signing-key", &[("tls.key", pem)]).await;
            bench.apply_tenant(with_key(algorithm)).await;
            let name = format!("{form}-{}", algorithm.to_lowercase());
            bench.apply_rotation(&name, json!({})).await;
            bench.wait_until_rotated(&name, 1).await;
            bench.request(&name, "rotate/now").await;
            let rotated = |resource: &auth0_rotator::api::ClientSecretRotation| {
                resource.status.as_ref().and_then(|status| status.current) == Some(2)
            };
            bench.wait_for(&name, "rotated", rotated).await;
            bench.assert_published(&name).await;
        }
    }
    bench.finish().await;
}

#[tokio::test]
async fn a_key_that_auth0_does_not_know_is_refused_until_the_secret_is_corrected() {
    let mut bench = bench(PUBLIC).await;
    bench.write_secret("signing-key", &[("tls.key", OTHER)]).await;
    bench.start_operator();
    bench.apply_rotation("shop", json!({})).await;
    let message = reason_of_tenant(&bench, "CredentialsRejected").await;
    assert!(message.contains("public key") && message.contains("keyId"), "{message}");
    backed_off(&bench).await;
    let before = generation(&bench).await;
    bench.write_secret("signing-key", &[("tls.key", PKCS8)]).await;
    seen_soon(&bench, "Usable", Instant::now()).await;
    bench.wait_until_rotated("shop", 1).await;
    assert_eq!(generation(&bench).await, before);
    bench.finish().await;
}

#[tokio::test]
async fn a_corrected_client_secret_is_seen_at_once() {
    let mut bench = Fixture::without_operator().await;
    let wrong = [("client_id", MANAGER), ("client_secret", "wrong")];
    bench.write_secret("auth0-management", &wrong).await;
    bench.start_operator();
    bench.apply_rotation("shop", json!({})).await;
    reason_of_tenant(&bench, "CredentialsRejected").await;
    backed_off(&bench).await;
    let secret = bench.simulator.client_secret(MANAGER).unwrap();
    let right = [("client_id", MANAGER), ("client_secret", secret.expose_secret())];
    bench.write_secret("auth0-management", &right).await;
    seen_soon(&bench, "Usable", Instant::now()).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.finish().await;
}

#[tokio::test]
async fn a_key_that_can_not_be_used_is_told_as_soon_as_it_is_there() {
    let mut bench = bench(PUBLIC).await;
    bench.start_operator();
    let message = reason_of_tenant(&bench, "CredentialsUnreadable").await;
    assert!(message.contains("signing-key does not exist"), "{message}");
    assert!(message.contains("under the key tls.key"), "{message}");
    for (data, says) in [
        (vec![("key.pem", PKCS8)], "has no key tls.key"),
        (vec![("tls.key", "")], "BEGIN and END lines"),
        (vec![("tls.key", ENCRYPTED)], "it is encrypted: decrypt it"),
        (vec![("tls.key", PUBLIC)], "it is a public key"),
    ] {
        backed_off(&bench).await;
        bench.write_secret("signing-key", &data).await;
        let written = Instant::now();
        loop {
            let message = reason_of_tenant(&bench, "CredentialsUnreadable").await;
            if message.contains(says) {
                break;
            }
            assert!(written.elapsed() < SOON, "{says}: {message}\n{}", bench.log_tail());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    bench.api::<Secret>().delete("signing-key", &Default::default()).await.unwrap();
    bench.write_secret("signing-key", &[("tls.key", PKCS1)]).await;
    seen_soon(&bench, "Usable", Instant::now()).await;
    bench.finish().await;
}

#[tokio::test]
async fn a_key_is_replaced_while_the_operator_runs() {
    let mut bench = bench(PUBLIC).await;
    bench.write_secret("signing-key", &[("tls.key", PKCS8)]).await;
    bench.start_operator();
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.write_secret("signing-key", &[("tls.key", OTHER)]).await;
    bench.simulator.add_client(manager(OTHER_PUBLIC, KeyAlgorithm::RS256)).unwrap();
    let since = bench.simulator.audit_log(0).last().unwrap().seq;
    // The token in use expires.
    tokio::time::sleep(Duration::from_secs(3)).await;
    bench.request("shop", "rotate/now").await;
    bench.wait_until_rotated("shop", 2).await;
    let log = bench.simulator.audit_log(since);
    assert!(log.iter().any(|entry| entry.kind == AuditKind::Login), "the new key was used");
    assert!(!log.iter().any(|entry| entry.kind == AuditKind::FailedLogin), "the old one was not");
    bench.finish().await;
}

#[tokio::test]
async fn credentials_that_are_revoked_in_use_are_told_and_put_right() {
    let mut bench = bench(PUBLIC).await;
    bench.write_secret("signing-key", &[("tls.key", PKCS8)]).await;
    bench.start_operator();
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.simulator.add_client(manager(OTHER_PUBLIC, KeyAlgorithm::RS256)).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    bench.request("shop", "rotate/now").await;
    // Nobody else would have looked at the tenant for ten minutes.
    reason_of_tenant(&bench, "CredentialsRejected").await;
    backed_off(&bench).await;
    bench.write_secret("signing-key", &[("tls.key", OTHER)]).await;
    seen_soon(&bench, "Usable", Instant::now()).await;
    let published = Instant::now() + DEADLINE;
    while bench.rotation_count("shop") == 0 {
        assert!(Instant::now() < published, "never rotated\n{}", bench.log_tail());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bench.wait_until_rotated("shop", 2).await;
    bench.finish().await;
}

#[tokio::test]
async fn a_tenant_has_exactly_one_kind_of_credentials() {
    let bench = Fixture::without_operator().await;
    let api = bench.api::<Auth0Tenant>();
    let tenant = api.get("acme").await.unwrap();
    for over in [
        json!({ "clientSecret": null }),
        json!({ "privateKeyJwt": { "clientId": "c",
        "keyRef": { "name": "signing-key" } } }),
    ] {
        let patch = json!({ "spec": { "credentials": over } });
        let patch = kube::api::Patch::Merge(patch);
        let refused = api.patch(&tenant.name_any(), &Default::default(), &patch).await;
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("exactly one of clientSecret and privateKeyJwt"), "{error}");
    }
    bench.finish().await;
}
