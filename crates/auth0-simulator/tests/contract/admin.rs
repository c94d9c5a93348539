//! Admin interface.

use auth0_simulator::Operation;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{API, APP, APP_SECRET, Response, Tenant, immediate, member_names};

impl Tenant {
    async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let request = self.http.request(method, format!("{}{path}", self.simulator.admin_url()));
        self.send(body.into_iter().fold(request, |request, body| request.json(&body))).await
    }
}

#[tokio::test]
async fn is_separate_from_auth0_paths() {
    let tenant = Tenant::start(immediate()).await;
    let health = tenant.admin(Method::GET, "/healthz", None).await;
    assert_eq!((health.status.as_u16(), health.body), (200, json!({"status": "ok"})));
    for path in ["/healthz", "/values", "/clients", "/audit"] {
        assert_eq!(tenant.send(tenant.request(Method::GET, path)).await.status, 404, "{path}");
    }
    let token = tenant.admin(Method::POST, "/oauth/token", None).await;
    assert_eq!(token.status, 404);
    assert!(token.body["error"].as_str().unwrap().contains("/faults"));
    assert_eq!(tenant.simulator.counters().requests(Operation::Token), 0);
}

#[tokio::test]
async fn seeds_replaces_lists_and_deletes_clients() {
    let tenant = Tenant::start(immediate()).await;
    let seed = json!({"client_secret": "given", "scopes": ["read:clients"], "name": "Shop"});
    let put = tenant.admin(Method::PUT, "/clients/shop", Some(seed)).await;
    assert_eq!(put.status, 200, "{:?}", put.body);
    assert_eq!(put.body["client_secret"], "given");
    assert_eq!(put.body["client"]["name"], "Shop");
    assert!(tenant.simulator.accepts("shop", "given"));
    let token = tenant.token_of("shop", "given").await;
    assert_eq!(tenant.get(&token, "/clients").await.status, 200);

    let generated = tenant.admin(Method::POST, "/clients", Some(json!({}))).await;
    assert_eq!(generated.body["client_id"].as_str().unwrap().len(), 32);
    let replaced = tenant.admin(Method::PUT, "/clients/shop", Some(json!({}))).await;
    assert_ne!(replaced.body["client_secret"], "given");
    assert!(!tenant.simulator.accepts("shop", "given"));

    let list = tenant.admin(Method::GET, "/clients", None).await;
    assert_eq!(list.body["clients"].as_array().unwrap().len(), 4);
    assert_eq!(tenant.admin(Method::DELETE, "/clients/shop", None).await.status, 204);
    let gone = tenant.admin(Method::GET, "/clients/shop", None).await;
    assert_eq!(gone.status, 404);
    assert!(gone.body["error"].as_str().unwrap().contains("\"shop\""));
}

#[tokio::test]
async fn rejects_invalid_seeds_with_a_reason() {
    let tenant = Tenant::start(immediate()).await;
    for (body, hint) in [
        (json!({"fields": {"color": "red"}}), "color"),
        (json!({"client_secret": ""}), "empty"),
        (json!({"client_id": "other"}), "path"),
        (json!({"secret": "x"}), "unknown field `secret`"),
    ] {
        let response = tenant.admin(Method::PUT, "/clients/a", Some(body.clone())).await;
        assert!(response.status.is_client_error(), "{body}");
        assert!(response.body["error"].as_str().unwrap().contains(hint), "{:?}", response.body);
    }
}

#[tokio::test]
async fn dashboard_rotates_to_a_generated_or_given_value() {
    let tenant = Tenant::start(immediate()).await;
    let path = format!("/clients/{APP}/rotate");
    let rotated = tenant.admin(Method::POST, &path, None).await;
    assert_eq!(rotated.body["client_secret"].as_str().unwrap().len(), 64);
    assert_eq!(rotated.body["secret_changes"], 1);
    let body = json!({"client_secret": "given"});
    let given = tenant.admin(Method::POST, &path, Some(body.clone())).await;
    assert_eq!(given.body["client_secret"], "given");
    let accepts = |value: &'static str| {
        let path = format!("/clients/{APP}/accepts");
        let body = json!({"client_secret": value});
        let tenant = &tenant;
        async move { tenant.admin(Method::POST, &path, Some(body)).await.body }
    };
    assert_eq!(accepts("given").await, json!({"accepted": true}));
    assert_eq!(accepts(APP_SECRET).await, json!({"accepted": false}));
    assert_eq!(tenant.simulator.counters().client(APP).effects.dashboard_changes, 2);
    let unknown = tenant.admin(Method::POST, "/clients/unknown/rotate", Some(body)).await;
    assert_eq!(unknown.status, 404);
    let wrong = tenant.admin(Method::POST, &path, Some(json!({"value": "hush-hush"}))).await;
    assert_eq!(wrong.status, 400);
    assert!(!wrong.body.to_string().contains("hush"));
}

#[tokio::test]
async fn replaces_scopes() {
    let tenant = Tenant::start(immediate()).await;
    let path = format!("/clients/{APP}/scopes");
    let body = json!({"scopes": ["read:clients"]});
    assert_eq!(tenant.admin(Method::PUT, &path, Some(body)).await.status, 204);
    let token = tenant.token_of(APP, APP_SECRET).await;
    assert_eq!(tenant.rotate(&token, APP).await.status, 403);
}

#[tokio::test]
async fn limits_one_client() {
    let tenant = Tenant::start(immediate()).await;
    let path = format!("/clients/{APP}/rate-limit");
    let blocked = json!({"requests": 0, "window_s": 5, "retry_after": "http_date"});
    assert_eq!(tenant.admin(Method::PUT, &path, Some(blocked)).await.status, 204);
    assert_eq!(tenant.revoke(APP, APP_SECRET).await.status, 429);
    assert_eq!(tenant.admin(Method::DELETE, &path, None).await.status, 204);
    assert_eq!(tenant.revoke(APP, APP_SECRET).await.status, 200);
    let invalid = json!({"requests": 1, "window_s": 0});
    assert_eq!(tenant.admin(Method::PUT, &path, Some(invalid)).await.status, 400);
}

#[tokio::test]
async fn injects_lists_and_removes_faults() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    let fault = json!({
        "match": {"operation": "clients.rotate_secret", "client_id": APP},
        "action": {"kind": "status", "status": 503},
        "times": 2,
    });
    let injected = tenant.admin(Method::POST, "/faults", Some(fault.clone())).await;
    assert_eq!((injected.status.as_u16(), &injected.body), (201, &json!({"id": 1})));
    assert_eq!(tenant.rotate(&token, APP).await.status, 503);
    let remaining = tenant.admin(Method::GET, "/faults", None).await.body["faults"][0].clone();
    assert_eq!((&remaining["applied"], &remaining["times"]), (&json!(1), &json!(1)));
    assert_eq!(remaining["match"], fault["match"]);
    assert_eq!(tenant.admin(Method::DELETE, "/faults/1", None).await.status, 204);
    assert_eq!(tenant.admin(Method::DELETE, "/faults/1", None).await.status, 404);
    assert_eq!(tenant.rotate(&token, APP).await.status, 200);
    tenant.admin(Method::POST, "/faults", Some(fault)).await;
    assert_eq!(tenant.admin(Method::DELETE, "/faults", None).await.status, 204);
    assert_eq!(tenant.rotate(&token, APP).await.status, 200);

    for (bad, hint) in [
        (json!({"action": {"kind": "status", "status": 404}}), "500 to 599"),
        (json!({"action": {"kind": "explode"}}), "cut"),
        (json!({"match": {"operation": "rotate"}, "action": {"kind": "secret_empty"}}), "use one"),
    ] {
        let response = tenant.admin(Method::POST, "/faults", Some(bad)).await;
        assert!(response.status.is_client_error());
        assert!(response.body["error"].as_str().unwrap().contains(hint), "{:?}", response.body);
    }
}

#[tokio::test]
async fn returns_counters_audit_log_and_values() {
    let tenant = Tenant::start(immediate()).await;
    tenant.login(APP, APP_SECRET, API).await;
    tenant.login(APP, "wrong", API).await;
    let counters = tenant.admin(Method::GET, "/counters", None).await.body;
    assert_eq!(member_names(&counters), ["clients", "effects", "faults", "operations"]);
    assert_eq!(counters["clients"][APP]["logins_rejected"], 1);
    assert_eq!(counters["operations"]["token"]["by_status"], json!({"200": 1, "401": 1}));

    let audit = tenant.admin(Method::GET, "/audit?since=1", None).await.body;
    assert_eq!(audit["last"], 2);
    assert_eq!(audit["entries"][0]["kind"], "failed_login");
    assert_eq!(audit["entries"][0]["seq"], 2);
    let bad = tenant.admin(Method::GET, "/audit?since=yesterday", None).await;
    assert_eq!(bad.status, 400);
    assert!(bad.body["error"].is_string());

    let values = tenant.admin(Method::GET, "/values", None).await.body;
    assert!(values["secrets"].as_array().unwrap().contains(&json!(APP_SECRET)));
    assert_eq!(values["tokens"].as_array().unwrap().len(), 1);
}
