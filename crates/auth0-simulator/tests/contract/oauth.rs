//! The token and revocation endpoints.

use std::time::Duration;

use auth0_simulator::{ClientSeed, ManualClock, WrongSecret};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::json;

use crate::support::{API, APP, APP_SECRET, MANAGER, MANAGER_SECRET, Tenant, immediate};

#[tokio::test]
async fn issues_tokens_for_forms_and_json() {
    let tenant = Tenant::start(immediate()).await;
    let audience = tenant.simulator.audience();
    assert_eq!(audience, "https://acme.eu.auth0.com/api/v2/");
    let form = tenant.login(MANAGER, MANAGER_SECRET, &audience).await;
    assert_eq!(form.status, 200);
    assert_eq!(form.body["token_type"], "Bearer");
    assert_eq!(form.body["expires_in"], 86_400);
    let scopes: Vec<&str> = form.body["scope"].as_str().unwrap().split(' ').collect();
    assert!(scopes.contains(&"update:client_keys") && scopes.contains(&"read:clients"));
    assert_eq!(form.header("cache-control"), Some("no-store"));
    let body = json!({
        "grant_type": "client_credentials", "client_id": MANAGER,
        "client_secret": MANAGER_SECRET, "audience": audience, "organization": null,
    });
    let json = tenant.send(tenant.request(Method::POST, "/oauth/token").json(&body)).await;
    assert_eq!(json.body["scope"], form.body["scope"]);
    assert_ne!(json.body["access_token"], form.body["access_token"]);
}

#[tokio::test]
async fn accepts_http_basic_credentials() {
    let tenant = Tenant::start(immediate()).await;
    let form = [("grant_type", "client_credentials"), ("audience", API)];
    let request = tenant.request(Method::POST, "/oauth/token").form(&form);
    let response = tenant.send(request.basic_auth(APP, Some(APP_SECRET))).await;
    assert_eq!((response.status.as_u16(), &response.body["scope"]), (200, &json!("read:things")));
    let revoke = |value: &'static str| {
        let request = tenant.request(Method::POST, "/oauth/revoke").form(&[("token", "t")]);
        tenant.send(request.basic_auth(APP, Some(value)))
    };
    assert_eq!(revoke(APP_SECRET).await.status, 200);
    assert_eq!(revoke("wrong").await.error(), (401, "invalid_client"));
}

#[tokio::test]
async fn percent_decodes_basic_credentials() {
    let tenant = Tenant::start(immediate()).await;
    tenant.simulator.add_client(ClientSeed::new("odd").secret("a:b c")).unwrap();
    let request = tenant.request(Method::POST, "/oauth/revoke").form(&[("token", "t")]);
    let basic = format!("Basic {}", STANDARD.encode("odd:a%3Ab%20c"));
    assert_eq!(tenant.send(request.header("authorization", basic)).await.status, 200);
}

#[tokio::test]
async fn rejects_a_wrong_secret_with_the_configured_error() {
    for (wrong_secret, error, text) in [
        (WrongSecret::AccessDenied, "access_denied", "Unauthorized"),
        (WrongSecret::InvalidClient, "invalid_client", "Client authentication failed"),
    ] {
        let tenant = Tenant::start(immediate().wrong_secret(wrong_secret)).await;
        for (id, secret) in [(APP, "wrong"), ("unknown", APP_SECRET)] {
            let response = tenant.login(id, secret, API).await;
            assert_eq!(response.error(), (401, error));
            assert_eq!(response.body, json!({"error": error, "error_description": text}));
        }
        assert_eq!(tenant.revoke(APP, "wrong").await.error(), (401, "invalid_client"));
    }
}

#[tokio::test]
async fn missing_grants_are_forbidden_not_unauthorized() {
    let tenant = Tenant::start(immediate()).await;
    let audience = tenant.simulator.audience();
    let no_grant = tenant.login(APP, APP_SECRET, &audience).await;
    assert_eq!(no_grant.error(), (403, "access_denied"));
    let off = ClientSeed::new("off").secret("s").field("grant_types", json!([]));
    tenant.simulator.add_client(off).unwrap();
    let not_allowed = tenant.login("off", "s", API).await;
    assert_eq!(not_allowed.error(), (403, "unauthorized_client"));
    let form = [("grant_type", "telepathy"), ("client_id", APP), ("client_secret", APP_SECRET)];
    let unknown = tenant.oauth("/oauth/token", &form).await;
    assert_eq!(unknown.error(), (403, "unsupported_grant_type"));
    let counts = tenant.simulator.counters();
    assert_eq!(counts.client(APP).logins_rejected, 0, "the secret was correct");
    assert_eq!(counts.client(APP).logins_failed, 2);
}

#[tokio::test]
async fn error_names_the_missing_parameter() {
    let tenant = Tenant::start(immediate()).await;
    for (path, form, missing) in [
        ("/oauth/token", vec![("client_id", APP), ("client_secret", APP_SECRET)], "grant_type"),
        ("/oauth/token", vec![("grant_type", "client_credentials")], "client_id"),
        ("/oauth/revoke", vec![("client_id", APP), ("client_secret", APP_SECRET)], "token"),
        ("/oauth/revoke", vec![("token", "t"), ("client_secret", APP_SECRET)], "client_id"),
        ("/oauth/revoke", vec![], "client_id"),
    ] {
        let response = tenant.oauth(path, &form).await;
        assert_eq!(response.error(), (400, "invalid_request"), "{path} {form:?}");
        let text = response.body["error_description"].as_str().unwrap();
        assert_eq!(text, format!("Missing required parameter: {missing}"));
    }
    for body in ["{", "[]", r#"{"grant_type": 1}"#] {
        let request = tenant.request(Method::POST, "/oauth/token").body(body);
        let response = tenant.send(request.header("content-type", "application/json")).await;
        assert_eq!(response.error(), (400, "invalid_request"), "{body}");
    }
}

#[tokio::test]
async fn revocation_checks_the_secret_and_issues_no_token() {
    let tenant = Tenant::start(immediate()).await;
    let response = tenant.revoke(APP, APP_SECRET).await;
    assert_eq!((response.status.as_u16(), &response.body), (200, &json!("")));
    let body = json!({"client_id": APP, "client_secret": APP_SECRET, "token": "t"});
    let json = tenant.send(tenant.request(Method::POST, "/oauth/revoke").json(&body)).await;
    assert_eq!(json.status, 200);
    let without = tenant.oauth("/oauth/revoke", &[("client_id", APP), ("token", "t")]).await;
    assert_eq!(without.error(), (401, "invalid_client"));
    assert_eq!(tenant.revoke(APP, "wrong").await.status, 401);
    assert!(tenant.simulator.value_history().tokens.is_empty());
    let counts = tenant.simulator.counters().client(APP);
    assert_eq!((counts.revocations_accepted, counts.revocations_rejected), (2, 2));
}

#[tokio::test]
async fn tokens_expire() {
    let clock = ManualClock::default();
    let ttl = Duration::from_secs(60);
    let tenant = Tenant::start(immediate().clock(clock.clone()).token_ttl(ttl)).await;
    let login = tenant.login(MANAGER, MANAGER_SECRET, &tenant.simulator.audience()).await;
    assert_eq!(login.body["expires_in"], 60);
    let token = login.body["access_token"].as_str().unwrap();
    let path = format!("/clients/{APP}");
    clock.advance(Duration::from_secs(59));
    assert_eq!(tenant.get(token, &path).await.status, 200);
    clock.advance(Duration::from_secs(1));
    let expired = tenant.get(token, &path).await;
    assert_eq!(expired.status, 401);
    assert_eq!(expired.body["message"], "Expired token received for JSON Web Token validation");
}
