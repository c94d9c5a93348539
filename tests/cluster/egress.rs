//! Attempts of a user who may write ClientSecretRotations and Auth0Tenants to make the operator call
//! endpoints from its position in the network, or to have another tenant's credentials sent elsewhere.

use std::time::Duration;

use auth0_rotator::api::ENDPOINT_ANNOTATION;
use auth0_simulator::{ClientSeed, Simulator};
use serde_json::{Value, json};
use testkit::{
    auth0::{MANAGER, SCOPES},
    fixture::{Fixture, NamespaceFixture},
    manifests::merge,
};

use crate::{tenant_status::wait_for_tenant_reason, unauthorized_access::CountingServer};

/// Private key that a tenant's owner put into the namespace.
const SIGNING_KEY: &str = include_str!("../../crates/auth0-client/tests/keys/rsa.pkcs8.pem");

/// Returns the spec of an attacker's tenant, with `overrides` merged into it.
fn tenant(overrides: Value) -> Value {
    let mut spec = json!({
        "domain": "acme.eu.auth0.com",
        "credentials": { "clientSecret": { "secretRef": { "name": "credentials" } } },
    });
    merge(&mut spec, overrides);
    spec
}

/// Writes the Secret `credentials`, which allows to be sent to these endpoints.
async fn write_credentials(fixture: &Fixture, endpoints: &[String]) {
    let data = json!({ "client_id": "manager", "client_secret": "stolen" });
    let annotations = json!({ ENDPOINT_ANNOTATION: endpoints.join(" ") });
    fixture.write_annotated_secret("credentials", data, annotations).await;
}

/// Applies a tenant as the user, and returns the message with which it gets this reason.
async fn apply_and_wait(user: &NamespaceFixture, name: &str, spec: Value, reason: &str) -> String {
    user.try_apply_tenant(name, spec).await.unwrap();
    wait_for_tenant_reason(user, name, reason).await
}

#[tokio::test]
async fn calls_only_public_addresses_by_default() {
    let mut fixture = Fixture::without_operator().await;
    let user = fixture.restricted_user("mallory").await;
    let server = CountingServer::start(String::new()).await;
    let port = server.port;
    let endpoints = [
        // Of the loopback interface.
        format!("https://127.0.0.1:{port}"),
        format!("https://127.1.2.3:{port}"),
        format!("https://2130706433:{port}"),
        format!("https://[::1]:{port}"),
        format!("https://[::ffff:127.0.0.1]:{port}"),
        format!("https://[64:ff9b::7f00:1]:{port}"),
        format!("https://0.0.0.0:{port}"),
        format!("https://localhost:{port}"),
        // Names are resolved, and the addresses checked.
        "https://localhost".to_owned(),
        "https://LOCALHOST/".to_owned(),
        // Private networks, metadata services, other ports.
        "https://10.0.0.7".to_owned(),
        "https://100.100.100.200".to_owned(),
        "https://169.254.169.254".to_owned(),
        "https://[fd00:ec2::254]".to_owned(),
        "https://[fe80::1]".to_owned(),
        "https://acme.eu.auth0.com:6443".to_owned(),
    ];
    // Even if the Secret allows it.
    write_credentials(&fixture, &endpoints).await;
    fixture.start_operator_with(&[]);
    for (number, endpoint) in endpoints.iter().enumerate() {
        let spec = tenant(json!({ "endpoint": endpoint }));
        let name = format!("tenant-{number}");
        let message = apply_and_wait(&user, &name, spec, "EndpointNotAllowed").await;
        assert!(message.contains("--allowed-endpoints"), "{endpoint}: {message}");
    }
    let by_domain = tenant(json!({ "domain": "localhost" }));
    write_credentials(&fixture, &["https://localhost".to_owned()]).await;
    apply_and_wait(&user, "domain", by_domain, "EndpointNotAllowed").await;
    let reference = json!({ "tenantRef": { "name": "tenant-0" } });
    user.apply_rotation_of("shop", "shop", reference).await;
    user.wait_until_stalled("shop", "EndpointNotAllowed").await;
    assert_eq!(server.connections(), 0, "the operator called an address that is not public");
    fixture.finish().await;
}

#[tokio::test]
async fn calls_nothing_but_the_allowed_endpoints() {
    let certificate = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let simulator = Simulator::builder()
        .tls(certificate.cert.pem(), certificate.signing_key.serialize_pem())
        .client(ClientSeed::new(MANAGER).scopes(SCOPES))
        .propagation(Duration::ZERO..=Duration::ZERO)
        .start()
        .await
        .unwrap();
    let mut fixture = Fixture::with_simulator(simulator).await;
    let user = fixture.restricted_user("mallory").await;
    let other = CountingServer::start(String::new()).await;
    let other_url = format!("https://127.0.0.1:{}", other.port);
    let own_url = fixture.simulator.url().to_owned();
    fixture.apply_tenant(json!({ "caBundle": certificate.cert.pem() })).await;
    write_credentials(&fixture, std::slice::from_ref(&other_url)).await;
    fixture
        .start_operator_with(&["--allowed-endpoints", own_url.strip_prefix("https://").unwrap()]);
    wait_for_tenant_reason(&fixture, "acme", "Usable").await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    for (name, overrides) in [
        ("port", json!({ "endpoint": other_url })),
        ("auth0", json!({})),
        ("public", json!({ "endpoint": "https://8.8.8.8" })),
    ] {
        let message = apply_and_wait(&user, name, tenant(overrides), "EndpointNotAllowed").await;
        assert!(message.contains("--allowed-endpoints does not include it"), "{message}");
    }
    // The flag alone sends no credentials: their Secret has to allow it, too.
    let requests = fixture.simulator.audit_log(0).len();
    let allowed = tenant(json!({ "endpoint": own_url, "caBundle": certificate.cert.pem() }));
    let message = apply_and_wait(&user, "consent", allowed, "CredentialsUnreadable").await;
    assert!(message.contains(ENDPOINT_ANNOTATION), "{message}");
    assert_eq!(fixture.simulator.audit_log(0).len(), requests);
    assert_eq!(other.connections(), 0);
    fixture.finish().await;
}

#[tokio::test]
async fn credentials_reach_no_other_tenants_host() {
    let mut fixture = Fixture::without_operator().await;
    let user = fixture.restricted_user("mallory").await;
    // All calls would go through the proxy.
    let proxy = CountingServer::start(String::new()).await;
    let proxy_url = format!("http://127.0.0.1:{}", proxy.port);
    let command = fixture.operator_command().env("HTTPS_PROXY", proxy_url);
    fixture.operator = Some(command.env("NO_PROXY", "127.0.0.1").spawn().unwrap());
    write_credentials(&fixture, &[]).await;
    fixture.write_secret("signing-key", &[("tls.key", SIGNING_KEY)]).await;
    let mallory = "https://mallory.eu.auth0.com";
    for (name, endpoint) in [
        ("other", mallory),
        ("root", "https://acme.eu.auth0.com."),
        ("path", "https://acme.eu.auth0.com/mallory"),
    ] {
        let spec = tenant(json!({ "endpoint": endpoint }));
        let message = apply_and_wait(&user, name, spec, "CredentialsUnreadable").await;
        assert!(message.contains(ENDPOINT_ANNOTATION), "{message}");
    }
    let key = json!({
        "clientSecret": null,
        "privateKeyJwt": { "clientId": "manager", "keyRef": { "name": "signing-key" } },
    });
    let assertion = tenant(json!({ "endpoint": mallory, "credentials": key }));
    let message = apply_and_wait(&user, "assertion", assertion, "EndpointNotAllowed").await;
    assert!(message.contains("another tenant's host"), "{message}");
    let audience = json!({
        "domain": "mallory.eu.auth0.com", "audience": "https://acme.eu.auth0.com/api/v2/",
    });
    apply_and_wait(&user, "audience", tenant(audience), "InvalidTenant").await;
    // The proxy resolves names, but literal addresses and ports are checked before.
    for (name, endpoint) in
        [("literal", "https://10.0.0.7"), ("port", "https://acme.eu.auth0.com:6443")]
    {
        let spec = tenant(json!({ "endpoint": endpoint }));
        apply_and_wait(&user, name, spec, "EndpointNotAllowed").await;
    }
    assert_eq!(proxy.connections(), 0, "the operator called another tenant");
    // The control: the tenant itself is called.
    apply_and_wait(&user, "own", tenant(json!({})), "Unreachable").await;
    assert!(proxy.connections() > 0);
    fixture.finish().await;
}

#[tokio::test]
async fn credentials_go_only_to_the_path_that_their_secret_names() {
    let mut fixture = Fixture::without_operator().await;
    let user = fixture.restricted_user("mallory").await;
    let gateway = CountingServer::start(String::new()).await;
    let url = format!("https://127.0.0.1:{}", gateway.port);
    write_credentials(&fixture, &[format!("{url}/auth0")]).await;
    fixture.start_operator_with(&["--allowed-endpoints", "127.0.0.1:*"]);
    for (name, path) in
        [("root", ""), ("other", "/mallory"), ("prefix", "/auth0-mallory"), ("dots", "/auth0/..")]
    {
        let spec = tenant(json!({ "endpoint": format!("{url}{path}") }));
        apply_and_wait(&user, name, spec, "CredentialsUnreadable").await;
    }
    assert_eq!(gateway.connections(), 0);
    let named = tenant(json!({ "endpoint": format!("{url}/auth0/") }));
    apply_and_wait(&user, "named", named, "Unreachable").await;
    assert!(gateway.connections() > 0);
    fixture.finish().await;
}

#[tokio::test]
async fn api_server_rejects_client_ids_that_change_a_path() {
    let fixture = Fixture::without_operator().await;
    let user = fixture.restricted_user("mallory").await;
    for (number, client_id) in [
        ".",
        "..",
        "/",
        "../victim",
        "a/b",
        "..\\victim",
        "%2e",
        "%2E%2e",
        "a%2Fb",
        "a?b",
        "a#b",
        "a\tb",
        ".\n.",
        "ä",
    ]
    .iter()
    .enumerate()
    {
        let name = format!("attempt-{number}");
        let result = user.try_apply_rotation_of(&name, client_id, json!({})).await;
        let error = result.expect_err(client_id).to_string();
        assert!(error.contains("spec.clientId"), "{client_id:?}: {error}");
    }
    // IDs that Auth0 could have issued.
    for (number, client_id) in
        ["2IcXk0Vb7QpRtYwZ", "...", "a.b-c_d~e", "tpc_1=!$&'()*+,;:@"].iter().enumerate()
    {
        user.apply_rotation_of(&format!("valid-{number}"), client_id, json!({})).await;
    }
    fixture.finish().await;
}
