//! Each fault, as an HTTP client meets it, and what it does to the tenant.

use std::time::{Duration, Instant};

use auth0_simulator::{Action, Fault, Operation, When};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{API, APP, APP_SECRET, Answer, MANAGER, Tenant, immediate};

async fn started() -> (Tenant, String) {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    (tenant, token)
}

impl Tenant {
    fn order(&self, fault: Fault) {
        self.simulator.faults().order(fault).unwrap();
    }

    fn rotations(&self) -> u64 {
        self.simulator.counters().client(APP).effects.rotations
    }

    /// rotate-secret as the HTTP client sees it, to the last byte of the body.
    async fn rotate_raw(&self, token: &str) -> Result<(u16, String), reqwest::Error> {
        let path = format!("/clients/{APP}/rotate-secret");
        let response = self.api(token, reqwest::Method::POST, &path).send().await?;
        let status = response.status().as_u16();
        Ok((status, response.text().await?))
    }
}

fn json_of(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text)
}

#[tokio::test]
async fn a_cut_before_the_effect_has_none() {
    let (tenant, token) = started().await;
    tenant.order(Fault::cut_before().on(Operation::RotateSecret));
    assert!(tenant.rotate_raw(&token).await.is_err());
    assert_eq!((tenant.rotations(), tenant.current(APP).as_str()), (0, APP_SECRET));
    assert_eq!(tenant.rotate(&token, APP).await.status, 200, "once, and then no more");
}

#[tokio::test]
async fn a_cut_after_the_effect_leaves_it() {
    let (tenant, token) = started().await;
    tenant.order(Fault::cut_after().on(Operation::RotateSecret));
    assert!(tenant.rotate_raw(&token).await.is_err());
    assert_eq!(tenant.rotations(), 1);
    let entry = tenant.simulator.audit_log(0).pop().unwrap();
    assert_eq!((entry.status, entry.effect), (None, true));
    assert_eq!(entry.fault.as_deref(), Some("cut_after"));
    let shown = tenant.get(&token, &format!("/clients/{APP}")).await;
    assert_eq!(shown.body["client_secret"], tenant.current(APP), "it can be read back");
}

/// Not a single byte is answered: what an HTTP client calls an error can't be one that was sent.
#[tokio::test]
async fn a_cut_closes_the_connection_without_a_byte() {
    let (tenant, _) = started().await;
    for fault in [Fault::cut_before(), Fault::cut_after()] {
        tenant.order(fault);
        let mut stream = tokio::net::TcpStream::connect(tenant.simulator.addr()).await.unwrap();
        stream.write_all(b"GET /api/v2/clients HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut answered = Vec::new();
        // The end may come as an end or as a reset.
        let _ = stream.read_to_end(&mut answered).await;
        assert_eq!(String::from_utf8_lossy(&answered), "");
    }
    assert_eq!(tenant.simulator.counters().operations["clients.list"].by_status["cut"], 2);
}

#[tokio::test]
async fn cut_logins_have_minted_their_token_or_not() {
    let (tenant, _) = started().await;
    let before = tenant.simulator.values_ever().tokens.len();
    for (fault, minted) in [(Fault::cut_before(), 0), (Fault::cut_after(), 1)] {
        tenant.order(fault.on(Operation::Token).client(APP));
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", APP),
            ("client_secret", APP_SECRET),
            ("audience", API),
        ];
        let request = tenant.request(reqwest::Method::POST, "/oauth/token").form(&form);
        assert!(request.send().await.is_err());
        assert_eq!(tenant.simulator.values_ever().tokens.len(), before + minted);
    }
}

/// Waits for what another task brings about.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_delayed_answer_is_late_and_its_effect_is_not() {
    let (tenant, token) = started().await;
    tenant.order(Fault::delay(Duration::from_secs(600)).on(Operation::RotateSecret));
    let request = tenant.api(&token, reqwest::Method::POST, "/clients/app/rotate-secret");
    let waiting = tokio::spawn(request.timeout(Duration::from_secs(600)).send());
    eventually("the effect", || tenant.rotations() == 1).await;
    assert!(!waiting.is_finished());
    waiting.abort();

    let pause = Duration::from_millis(200);
    tenant.order(Fault::delay(pause).on(Operation::RotateSecret));
    let started = Instant::now();
    assert_eq!(tenant.rotate(&token, APP).await.status, 200);
    assert!(started.elapsed() >= pause);
}

#[tokio::test]
async fn a_delay_before_the_effect_outlives_a_client_that_hangs_up() {
    let (tenant, token) = started().await;
    let delay = Action::Delay { ms: 1_000, when: When::Before };
    tenant.order(Fault::new(delay).on(Operation::RotateSecret).times(2));
    let request = tenant.api(&token, reqwest::Method::POST, "/clients/app/rotate-secret");
    let waiting = tokio::spawn(request.send());
    eventually("the request", || tenant.simulator.faults().list()[0].struck == 1).await;
    waiting.abort();
    assert_eq!(tenant.rotations(), 0);
    eventually("the effect", || tenant.rotations() == 1).await;
}

#[tokio::test]
async fn an_ordered_429_has_headers_and_no_effect() {
    let (tenant, token) = started().await;
    let limited = Action::RateLimited { reset_in_s: 7, retry_after: true };
    tenant.order(Fault::new(limited));
    let answer = tenant.rotate(&token, APP).await;
    assert_eq!(answer.refusal(), (429, "too_many_requests"));
    assert_eq!(answer.body["statusCode"], 429);
    assert_eq!(answer.header("x-ratelimit-remaining"), Some("0"));
    assert_eq!(answer.header("retry-after"), Some("7"));
    let reset: i64 = answer.header("x-ratelimit-reset").unwrap().parse().unwrap();
    assert!((0..=8).contains(&(reset - chrono::Utc::now().timestamp())), "{reset}");
    assert_eq!(tenant.rotations(), 0);

    tenant.order(Fault::new(Action::RateLimited { reset_in_s: 1, retry_after: false }));
    let answer = tenant.rotate(&token, APP).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, None));
    tenant.order(Fault::rate_limited().on(Operation::Token));
    let answer = tenant.login(APP, APP_SECRET, API).await;
    assert_eq!(answer.refusal(), (429, "too_many_requests"));
    assert!(answer.body["error_description"].is_string());
}

#[tokio::test]
async fn a_5xx_comes_before_or_after_the_effect() {
    let (tenant, token) = started().await;
    for (status, code) in [(500, "internal_error"), (503, "Service Unavailable"), (599, "Error")] {
        let before = tenant.rotations();
        tenant.order(Fault::status_before(status));
        assert_eq!(tenant.rotate(&token, APP).await.refusal(), (status, code));
        assert_eq!(tenant.rotations(), before);
        tenant.order(Fault::status_after(status));
        let answer = tenant.rotate(&token, APP).await;
        assert_eq!(answer.refusal(), (status, code));
        assert!(answer.body.get("client_secret").is_none());
        assert_eq!(tenant.rotations(), before + 1);
    }
}

#[tokio::test]
async fn malformed_json_is_whole_but_wrong() {
    let (tenant, token) = started().await;
    tenant.order(Fault::new(Action::MalformedJson { when: When::After }));
    let (status, text) = tenant.rotate_raw(&token).await.unwrap();
    assert_eq!(status, 200);
    assert!(json_of(&text).is_err());
    // A client that logs what it can't read would leak it.
    assert!(text.contains(&tenant.current(APP)));
    assert_eq!(tenant.rotations(), 1);
}

#[tokio::test]
async fn truncated_json_breaks_off() {
    let (tenant, token) = started().await;
    tenant.order(Fault::new(Action::TruncatedJson { when: When::After }).times(2));
    let error = tenant.rotate_raw(&token).await.unwrap_err();
    assert!(error.is_body() || error.is_decode(), "{error:?}");
    assert_eq!(tenant.rotations(), 1);

    let mut stream = tokio::net::TcpStream::connect(tenant.simulator.addr()).await.unwrap();
    let request = format!(
        "POST /api/v2/clients/{APP}/rotate-secret HTTP/1.1\r\nhost: a\r\n\
         authorization: Bearer {token}\r\ncontent-length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answered = Vec::new();
    let _ = stream.read_to_end(&mut answered).await;
    let answered = String::from_utf8(answered).unwrap();
    let (head, body) = answered.split_once("\r\n\r\n").unwrap();
    let promised = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"));
    assert!(promised.parse::<usize>().unwrap() > body.len() && !body.is_empty(), "{promised}");
}

#[tokio::test]
async fn html_comes_with_any_status() {
    let (tenant, token) = started().await;
    for status in [200, 403, 502] {
        tenant.order(Fault::new(Action::Html { status, when: When::Before }));
        let answer = tenant.rotate(&token, APP).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(answer.body.as_str().unwrap().starts_with("<!DOCTYPE html>"));
    }
    assert_eq!(tenant.rotations(), 0);
    tenant.order(Fault::new(Action::Html { status: 502, when: When::After }));
    assert_eq!(tenant.rotate(&token, APP).await.status, 502);
    assert_eq!(tenant.rotations(), 1);
}

#[tokio::test]
async fn an_empty_body_keeps_its_status() {
    let (tenant, token) = started().await;
    tenant.order(Fault::new(Action::EmptyBody { when: When::After }));
    assert_eq!(tenant.rotate_raw(&token).await.unwrap(), (200, String::new()));
    assert_eq!(tenant.rotations(), 1);
    tenant.order(Fault::new(Action::EmptyBody { when: When::After }));
    let login = tenant.login(APP, &tenant.current(APP), API).await;
    assert_eq!((login.status.as_u16(), login.body), (200, json!("")));
}

#[tokio::test]
async fn an_oversized_body_is_valid_json() {
    let (tenant, token) = started().await;
    tenant.order(Fault::new(Action::Oversized { bytes: 5_000_000 }));
    let (status, text) = tenant.rotate_raw(&token).await.unwrap();
    assert_eq!(status, 200);
    assert!(text.len() > 5_000_000);
    assert_eq!(json_of(&text).unwrap()["client_secret"], tenant.current(APP));
    tenant.order(Fault::new(Action::Oversized { bytes: 1_000 }));
    let list = tenant.get(&token, "/clients").await;
    assert_eq!(list.body.as_array().unwrap().len(), 3, "two clients and the padding");
}

#[tokio::test]
async fn a_secret_can_be_kept_back_or_emptied() {
    let (tenant, token) = started().await;
    let without: fn(&Answer) -> bool = |answer| answer.body.get("client_secret").is_none();
    let empty: fn(&Answer) -> bool = |answer| answer.body["client_secret"] == "";
    for (action, holds) in [(Action::SecretMissing, without), (Action::SecretEmpty, empty)] {
        let before = tenant.current(APP);
        tenant.order(Fault::new(action.clone()));
        let answer = tenant.rotate(&token, APP).await;
        assert!(answer.status == 200 && holds(&answer), "{action:?}");
        assert_eq!(answer.body["client_id"], APP);
        assert_ne!(tenant.current(APP), before, "it rotated all the same");

        tenant.order(Fault::new(action.clone()));
        let list = tenant.get(&token, "/clients?include_totals=true").await;
        let Value::Array(clients) = &list.body["clients"] else { panic!("{:?}", list.body) };
        for body in clients {
            let answer = Answer { body: body.clone(), ..tenant.rotate(&token, MANAGER).await };
            assert!(holds(&answer), "{action:?}");
        }
    }
}

#[tokio::test]
async fn an_expired_token_stays_expired() {
    let (tenant, token) = started().await;
    tenant.order(Fault::new(Action::ExpiredToken).on(Operation::RotateSecret));
    for _ in 0..2 {
        let answer = tenant.rotate(&token, APP).await;
        assert_eq!(answer.status, 401);
        assert!(answer.body["message"].as_str().unwrap().starts_with("Expired token"));
    }
    assert_eq!(tenant.rotations(), 0);
    let fresh = tenant.token().await;
    assert_eq!(tenant.rotate(&fresh, APP).await.status, 200);
}

#[tokio::test]
async fn faults_find_the_client_they_are_meant_for() {
    let (tenant, token) = started().await;
    tenant.order(Fault::status_before(503).client(APP).unlimited());
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
async fn faults_find_their_path() {
    let (tenant, token) = started().await;
    tenant.order(Fault::status_before(502).at("POST", "/api/v2/*/rotate-secret"));
    assert_eq!(tenant.get(&token, &format!("/clients/{APP}")).await.status, 200);
    assert_eq!(tenant.rotate(&token, APP).await.status, 502);
}
