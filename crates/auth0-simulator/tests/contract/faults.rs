//! Each fault as seen by an HTTP client, and its effect on the tenant.

use std::time::{Duration, Instant};

use auth0_simulator::{Action, Fault, Operation, When};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{API, APP, APP_SECRET, MANAGER, Response, Tenant, immediate};

async fn start() -> (Tenant, String) {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    (tenant, token)
}

impl Tenant {
    fn inject(&self, fault: Fault) {
        self.simulator.faults().inject(fault).unwrap();
    }

    fn rotations(&self) -> u64 {
        self.simulator.counters().client(APP).effects.rotations
    }

    /// Calls rotate-secret and returns status and body, or the error of the HTTP client.
    async fn rotate_raw(&self, token: &str) -> Result<(u16, String), reqwest::Error> {
        let path = format!("/clients/{APP}/rotate-secret");
        let response = self.api(token, reqwest::Method::POST, &path).send().await?;
        let status = response.status().as_u16();
        Ok((status, response.text().await?))
    }
}

fn parse_json(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text)
}

#[tokio::test]
async fn cut_before_the_effect_prevents_it() {
    let (tenant, token) = start().await;
    tenant.inject(Fault::cut_before().on(Operation::RotateSecret));
    assert!(tenant.rotate_raw(&token).await.is_err());
    assert_eq!((tenant.rotations(), tenant.current(APP).as_str()), (0, APP_SECRET));
    assert_eq!(tenant.rotate(&token, APP).await.status, 200, "the fault must apply only once");
}

#[tokio::test]
async fn cut_after_the_effect_keeps_it() {
    let (tenant, token) = start().await;
    tenant.inject(Fault::cut_after().on(Operation::RotateSecret));
    assert!(tenant.rotate_raw(&token).await.is_err());
    assert_eq!(tenant.rotations(), 1);
    let entry = tenant.simulator.audit_log(0).pop().unwrap();
    assert_eq!((entry.status, entry.effect), (None, true));
    assert_eq!(entry.fault.as_deref(), Some("cut_after"));
    let shown = tenant.get(&token, &format!("/clients/{APP}")).await;
    assert_eq!(shown.body["client_secret"], tenant.current(APP), "the new secret can be read back");
}

/// An HTTP client also reports an error for an invalid response, so this test reads the raw bytes.
#[tokio::test]
async fn cut_closes_the_connection_without_sending_a_byte() {
    let (tenant, _) = start().await;
    for fault in [Fault::cut_before(), Fault::cut_after()] {
        tenant.inject(fault);
        let mut stream = tokio::net::TcpStream::connect(tenant.simulator.addr()).await.unwrap();
        stream.write_all(b"GET /api/v2/clients HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut received = Vec::new();
        // The connection can end with a FIN or a reset.
        let _ = stream.read_to_end(&mut received).await;
        assert_eq!(String::from_utf8_lossy(&received), "");
    }
    assert_eq!(tenant.simulator.counters().operations["clients.list"].by_status["cut"], 2);
}

#[tokio::test]
async fn cut_login_issues_a_token_only_after_the_effect() {
    let (tenant, _) = start().await;
    let before = tenant.simulator.value_history().tokens.len();
    for (fault, issued) in [(Fault::cut_before(), 0), (Fault::cut_after(), 1)] {
        tenant.inject(fault.on(Operation::Token).client(APP));
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", APP),
            ("client_secret", APP_SECRET),
            ("audience", API),
        ];
        let request = tenant.request(reqwest::Method::POST, "/oauth/token").form(&form);
        assert!(request.send().await.is_err());
        assert_eq!(tenant.simulator.value_history().tokens.len(), before + issued);
    }
}

/// Waits until another task makes the condition true.
async fn wait_until(description: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "timed out waiting for {description}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn delay_after_the_effect_only_delays_the_response() {
    let (tenant, token) = start().await;
    tenant.inject(Fault::delay(Duration::from_secs(600)).on(Operation::RotateSecret));
    let request = tenant.api(&token, reqwest::Method::POST, "/clients/app/rotate-secret");
    let waiting = tokio::spawn(request.timeout(Duration::from_secs(600)).send());
    wait_until("the effect", || tenant.rotations() == 1).await;
    assert!(!waiting.is_finished());
    waiting.abort();

    let pause = Duration::from_millis(200);
    tenant.inject(Fault::delay(pause).on(Operation::RotateSecret));
    let started = Instant::now();
    assert_eq!(tenant.rotate(&token, APP).await.status, 200);
    assert!(started.elapsed() >= pause);
}

#[tokio::test]
async fn delayed_request_takes_effect_after_the_client_disconnects() {
    let (tenant, token) = start().await;
    let delay = Action::Delay { ms: 1_000, when: When::Before };
    tenant.inject(Fault::new(delay).on(Operation::RotateSecret).times(2));
    let request = tenant.api(&token, reqwest::Method::POST, "/clients/app/rotate-secret");
    let waiting = tokio::spawn(request.send());
    wait_until("the request", || tenant.simulator.faults().list()[0].applied == 1).await;
    waiting.abort();
    assert_eq!(tenant.rotations(), 0);
    wait_until("the effect", || tenant.rotations() == 1).await;
}

#[tokio::test]
async fn injected_429_has_headers_and_no_effect() {
    let (tenant, token) = start().await;
    let limited = Action::RateLimited { reset_in_s: 7, retry_after: true };
    tenant.inject(Fault::new(limited));
    let response = tenant.rotate(&token, APP).await;
    assert_eq!(response.error(), (429, "too_many_requests"));
    assert_eq!(response.body["statusCode"], 429);
    assert_eq!(response.header("x-ratelimit-remaining"), Some("0"));
    assert_eq!(response.header("retry-after"), Some("7"));
    let reset: i64 = response.header("x-ratelimit-reset").unwrap().parse().unwrap();
    assert!((0..=8).contains(&(reset - chrono::Utc::now().timestamp())), "{reset}");
    assert_eq!(tenant.rotations(), 0);

    tenant.inject(Fault::new(Action::RateLimited { reset_in_s: 1, retry_after: false }));
    let response = tenant.rotate(&token, APP).await;
    assert_eq!((response.status.as_u16(), response.header("retry-after")), (429, None));
    tenant.inject(Fault::rate_limited().on(Operation::Token));
    let response = tenant.login(APP, APP_SECRET, API).await;
    assert_eq!(response.error(), (429, "too_many_requests"));
    assert!(response.body["error_description"].is_string());
}

#[tokio::test]
async fn status_fault_occurs_before_or_after_the_effect() {
    let (tenant, token) = start().await;
    for (status, code) in [(500, "internal_error"), (503, "Service Unavailable"), (599, "Error")] {
        let before = tenant.rotations();
        tenant.inject(Fault::status_before(status));
        assert_eq!(tenant.rotate(&token, APP).await.error(), (status, code));
        assert_eq!(tenant.rotations(), before);
        tenant.inject(Fault::status_after(status));
        let response = tenant.rotate(&token, APP).await;
        assert_eq!(response.error(), (status, code));
        assert!(response.body.get("client_secret").is_none());
        assert_eq!(tenant.rotations(), before + 1);
    }
}

#[tokio::test]
async fn malformed_json_is_complete_but_invalid() {
    let (tenant, token) = start().await;
    tenant.inject(Fault::new(Action::MalformedJson { when: When::After }));
    let (status, text) = tenant.rotate_raw(&token).await.unwrap();
    assert_eq!(status, 200);
    assert!(parse_json(&text).is_err());
    // The secret is in the body, so that a client that logs invalid responses leaks it.
    assert!(text.contains(&tenant.current(APP)));
    assert_eq!(tenant.rotations(), 1);
}

#[tokio::test]
async fn truncated_json_ends_early() {
    let (tenant, token) = start().await;
    tenant.inject(Fault::new(Action::TruncatedJson { when: When::After }).times(2));
    let error = tenant.rotate_raw(&token).await.unwrap_err();
    assert!(error.is_body() || error.is_decode(), "{error:?}");
    assert_eq!(tenant.rotations(), 1);

    let mut stream = tokio::net::TcpStream::connect(tenant.simulator.addr()).await.unwrap();
    let request = format!(
        "POST /api/v2/clients/{APP}/rotate-secret HTTP/1.1\r\nhost: a\r\n\
         authorization: Bearer {token}\r\ncontent-length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received).await;
    let received = String::from_utf8(received).unwrap();
    let (head, body) = received.split_once("\r\n\r\n").unwrap();
    let content_length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"));
    assert!(
        content_length.parse::<usize>().unwrap() > body.len() && !body.is_empty(),
        "{content_length}"
    );
}

#[tokio::test]
async fn html_can_have_any_status() {
    let (tenant, token) = start().await;
    for status in [200, 403, 502] {
        tenant.inject(Fault::new(Action::Html { status, when: When::Before }));
        let response = tenant.rotate(&token, APP).await;
        assert_eq!(response.status, status);
        assert_eq!(response.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(response.body.as_str().unwrap().starts_with("<!DOCTYPE html>"));
    }
    assert_eq!(tenant.rotations(), 0);
    tenant.inject(Fault::new(Action::Html { status: 502, when: When::After }));
    assert_eq!(tenant.rotate(&token, APP).await.status, 502);
    assert_eq!(tenant.rotations(), 1);
}

#[tokio::test]
async fn empty_body_keeps_the_status() {
    let (tenant, token) = start().await;
    tenant.inject(Fault::new(Action::EmptyBody { when: When::After }));
    assert_eq!(tenant.rotate_raw(&token).await.unwrap(), (200, String::new()));
    assert_eq!(tenant.rotations(), 1);
    tenant.inject(Fault::new(Action::EmptyBody { when: When::After }));
    let login = tenant.login(APP, &tenant.current(APP), API).await;
    assert_eq!((login.status.as_u16(), login.body), (200, json!("")));
}

#[tokio::test]
async fn oversized_body_is_valid_json() {
    let (tenant, token) = start().await;
    tenant.inject(Fault::new(Action::Oversized { bytes: 5_000_000 }));
    let (status, text) = tenant.rotate_raw(&token).await.unwrap();
    assert_eq!(status, 200);
    assert!(text.len() > 5_000_000);
    assert_eq!(parse_json(&text).unwrap()["client_secret"], tenant.current(APP));
    tenant.inject(Fault::new(Action::Oversized { bytes: 1_000 }));
    let list = tenant.get(&token, "/clients").await;
    assert_eq!(list.body.as_array().unwrap().len(), 3, "two clients and the padding");
}

#[tokio::test]
async fn response_secret_can_be_missing_or_empty() {
    let (tenant, token) = start().await;
    let is_missing: fn(&Response) -> bool = |response| response.body.get("client_secret").is_none();
    let is_empty: fn(&Response) -> bool = |response| response.body["client_secret"] == "";
    for (action, is_expected) in
        [(Action::SecretMissing, is_missing), (Action::SecretEmpty, is_empty)]
    {
        let before = tenant.current(APP);
        tenant.inject(Fault::new(action.clone()));
        let response = tenant.rotate(&token, APP).await;
        assert!(response.status == 200 && is_expected(&response), "{action:?}");
        assert_eq!(response.body["client_id"], APP);
        assert_ne!(tenant.current(APP), before, "the rotation must take effect");

        tenant.inject(Fault::new(action.clone()));
        let list = tenant.get(&token, "/clients?include_totals=true").await;
        let Value::Array(clients) = &list.body["clients"] else { panic!("{:?}", list.body) };
        for body in clients {
            let response = Response { body: body.clone(), ..tenant.rotate(&token, MANAGER).await };
            assert!(is_expected(&response), "{action:?}");
        }
    }
}

#[tokio::test]
async fn expired_token_stays_expired() {
    let (tenant, token) = start().await;
    tenant.inject(Fault::new(Action::ExpiredToken).on(Operation::RotateSecret));
    for _ in 0..2 {
        let response = tenant.rotate(&token, APP).await;
        assert_eq!(response.status, 401);
        assert!(response.body["message"].as_str().unwrap().starts_with("Expired token"));
    }
    assert_eq!(tenant.rotations(), 0);
    let fresh = tenant.token().await;
    assert_eq!(tenant.rotate(&fresh, APP).await.status, 200);
}

#[tokio::test]
async fn faults_match_by_client() {
    let (tenant, token) = start().await;
    tenant.inject(Fault::status_before(503).client(APP).unlimited());
    assert_eq!(tenant.rotate(&token, APP).await.status, 503);
    assert_eq!(tenant.login(APP, APP_SECRET, API).await.status, 503);
    let form = [("token", "t")];
    let basic = tenant.request(reqwest::Method::POST, "/oauth/revoke").form(&form);
    assert_eq!(tenant.send(basic.basic_auth(APP, Some(APP_SECRET))).await.status, 503);
    assert_eq!(tenant.get(&token, &format!("/clients/{MANAGER}")).await.status, 200);
    assert_eq!(tenant.get(&token, "/clients").await.status, 200);
    assert_eq!(tenant.simulator.counters().faults["status_before"], 3);
    tenant.simulator.faults().clear();
    assert_eq!(tenant.login(APP, APP_SECRET, API).await.status, 200);
}

#[tokio::test]
async fn faults_match_by_path() {
    let (tenant, token) = start().await;
    tenant.inject(Fault::status_before(502).at("POST", "/api/v2/*/rotate-secret"));
    assert_eq!(tenant.get(&token, &format!("/clients/{APP}")).await.status, 200);
    assert_eq!(tenant.rotate(&token, APP).await.status, 502);
}
