//! Shared fixtures: a running simulator with a management client, and requests to it.

use std::time::Duration;

use auth0_simulator::{ClientSeed, Simulator, SimulatorBuilder};
use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

pub(crate) const ALL_SCOPES: [&str; 8] = [
    "read:clients",
    "read:client_keys",
    "update:clients",
    "update:client_keys",
    "update:client_credentials",
    "create:clients",
    "create:client_credentials",
    "delete:clients",
];

pub(crate) const MANAGER: &str = "manager";
pub(crate) const MANAGER_SECRET: &str = "the-managers-own-secret";
pub(crate) const APP: &str = "app";
pub(crate) const APP_SECRET: &str = "the-first-secret-of-the-app";
pub(crate) const API: &str = "https://api.example.com";

/// Returns the settings of a simulator without propagation delay, with a manager that has all
/// scopes and an application.
pub(crate) fn immediate() -> SimulatorBuilder {
    Simulator::builder()
        .propagation(Duration::ZERO..=Duration::ZERO)
        .client(ClientSeed::new(MANAGER).secret(MANAGER_SECRET).scopes(ALL_SCOPES))
        .client(ClientSeed::new(APP).secret(APP_SECRET).grant(API, ["read:things"]))
}

/// A running simulator and an HTTP client.
pub(crate) struct Tenant {
    pub(crate) simulator: Simulator,
    pub(crate) http: reqwest::Client,
}

/// A response with its complete body.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Returns the status with `errorCode` or `error`.
    pub(crate) fn error(&self) -> (u16, &str) {
        let code = self.body.get("errorCode").or(self.body.get("error"));
        (self.status.as_u16(), code.and_then(Value::as_str).unwrap_or_default())
    }
}

impl Tenant {
    pub(crate) async fn start(builder: SimulatorBuilder) -> Self {
        let simulator = builder.start().await.unwrap();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        Self { simulator, http }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.simulator.url()))
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Response {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Response { status, headers, body }
    }

    /// Sends a form to one of the OAuth endpoints.
    pub(crate) async fn oauth(&self, path: &str, form: &[(&str, &str)]) -> Response {
        self.send(self.request(Method::POST, path).form(form)).await
    }

    pub(crate) async fn login(&self, client_id: &str, secret: &str, audience: &str) -> Response {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client_id),
            ("client_secret", secret),
            ("audience", audience),
        ];
        self.oauth("/oauth/token", &form).await
    }

    pub(crate) async fn revoke(&self, client_id: &str, secret: &str) -> Response {
        let form = [("client_id", client_id), ("client_secret", secret), ("token", "any")];
        self.oauth("/oauth/revoke", &form).await
    }

    /// Gets a token for the manager.
    pub(crate) async fn token(&self) -> String {
        self.token_of(MANAGER, MANAGER_SECRET).await
    }

    pub(crate) async fn token_of(&self, client_id: &str, secret: &str) -> String {
        let response = self.login(client_id, secret, &self.simulator.audience()).await;
        assert_eq!(response.status, 200, "{:?}", response.body);
        response.body["access_token"].as_str().unwrap().to_string()
    }

    /// Gets a token for a new client that has exactly these scopes.
    pub(crate) async fn token_with(&self, scopes: &[&str]) -> String {
        let client = ClientSeed::default().secret("s").scopes(scopes.iter().copied());
        let id = self.simulator.add_client(client).unwrap();
        self.token_of(&id, "s").await
    }

    pub(crate) fn api(&self, token: &str, method: Method, path: &str) -> RequestBuilder {
        self.request(method, &format!("/api/v2{path}")).bearer_auth(token)
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> Response {
        self.send(self.api(token, Method::GET, path)).await
    }

    pub(crate) async fn patch(&self, token: &str, id: &str, body: Value) -> Response {
        let path = format!("/clients/{id}");
        self.send(self.api(token, Method::PATCH, &path).json(&body)).await
    }

    pub(crate) async fn rotate(&self, token: &str, id: &str) -> Response {
        let path = format!("/clients/{id}/rotate-secret");
        self.send(self.api(token, Method::POST, &path)).await
    }

    pub(crate) fn current(&self, id: &str) -> String {
        self.simulator.client_secret(id).unwrap().expose_secret().to_string()
    }
}

/// Returns the member names of an object, sorted.
pub(crate) fn member_names(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Returns a value for `client_authentication_methods`.
pub(crate) fn key_methods() -> Value {
    json!({"private_key_jwt": {"credentials": [{"id": "cred_1"}]}})
}

/// Merges members into an object. Null removes a member.
pub(crate) fn merge(into: &mut Value, over: Value) {
    let (Value::Object(into), Value::Object(over)) = (into, over) else { return };
    into.extend(over);
    into.retain(|_, value| !value.is_null());
}
