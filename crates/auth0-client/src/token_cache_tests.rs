//! When tokens are requested, and which one is used. The token endpoint is scripted; time is an
//! argument.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures::future::{BoxFuture, FutureExt as _};
use reqwest::Url;
use rotation::Reason;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::{
    access_token::{READ_CLIENT_KEYS, READ_CLIENTS, UPDATE_CLIENT_KEYS},
    client_secret::ClientSecret,
    credentials::Credentials,
    egress::EgressPolicy,
    rate_limiter::{RateLimit, RateLimiters, TenantLimits},
    transport::{Endpoint, RequestObserver},
};

struct NoObserver;

impl RequestObserver for NoObserver {
    fn request_finished(&self, _: &'static str, _: Duration) {}
}

struct ManagementClient;

impl CredentialsSource for ManagementClient {
    fn load(&self) -> BoxFuture<'_, Result<Credentials, Error>> {
        let secret = ClientSecret::new("the-managers-own-secret".to_owned().into()).unwrap();
        let credentials =
            Credentials::Secrets { client_id: "manager".into(), secrets: vec![secret] };
        async { Ok(credentials) }.boxed()
    }
}

/// Answers of the token endpoint.
#[derive(Clone, Copy)]
enum Answer {
    /// Number, lifetime in seconds and scopes of a token.
    Token(u32, i64, &'static str),
    Status(u16, &'static str),
}

/// A token endpoint, and the cache under test.
struct TokenEndpoint {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    requests: Arc<Mutex<u32>>,
    transport: Transport,
    cache: TokenCache,
}

impl TokenEndpoint {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Arc::new(Mutex::new(VecDeque::new()));
        let requests = Arc::new(Mutex::new(0));
        tokio::spawn(serve(listener, answers.clone(), requests.clone()));
        let url = Url::parse(&format!("http://{address}")).unwrap();
        let rate_limit = RateLimit { requests_per_second: 1000, burst: 1000 };
        let limits =
            TenantLimits { tenant: "acme", caller: "shop", rate_limit, takes_precedence: false };
        let limiter = RateLimiters::default().limiter(&url, limits);
        let endpoint = Endpoint {
            url,
            ca_bundle: None,
            egress: EgressPolicy::new(Vec::new(), true),
            timeout: Duration::from_secs(10),
        };
        let transport = Transport::new(&endpoint, limiter, Arc::new(NoObserver)).unwrap();
        let cache = TokenCache::new("the-audience".into(), Box::new(ManagementClient));
        Self { answers, requests, transport, cache }
    }

    fn answer(&self, answer: Answer) -> &Self {
        self.answers.lock().push_back(answer);
        self
    }

    /// Returns the token in use `seconds` after the start.
    async fn token_at(&self, seconds: i64) -> Result<String, Error> {
        self.token_with_at(seconds, UPDATE_CLIENT_KEYS).await
    }

    /// Returns the token in use for a call that would like to have a scope.
    async fn token_with_at(&self, seconds: i64, scope: &str) -> Result<String, Error> {
        let now = DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap();
        let wanted = |token: &AccessToken| token.has_scope(scope);
        let token = self.cache.get_preferring(&self.transport, now, wanted).await?;
        Ok(token.expose().to_owned())
    }

    fn requests(&self) -> u32 {
        *self.requests.lock()
    }
}

async fn serve(
    listener: TcpListener,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    requests: Arc<Mutex<u32>>,
) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !String::from_utf8_lossy(&request).contains("audience=") {
            let mut chunk = [0; 4096];
            let length = stream.read(&mut chunk).await.unwrap();
            request.extend_from_slice(&chunk[..length]);
        }
        *requests.lock() += 1;
        let answer = answers.lock().pop_front().unwrap_or(Answer::Status(503, ""));
        let (status, headers, body) = match answer {
            Answer::Token(number, lifetime, scope) => {
                let body = serde_json::json!({
                    "access_token": format!("token-{number}"),
                    "expires_in": lifetime,
                    "scope": scope,
                });
                (200, "", body.to_string())
            }
            Answer::Status(status, headers) => (status, headers, "{}".to_owned()),
        };
        let length = body.len();
        let response = format!(
            "HTTP/1.1 {status} Status\r\n{headers}content-length: {length}\r\n\
             connection: close\r\n\r\n{body}"
        );
        stream.write_all(response.as_bytes()).await.unwrap();
    }
}

const ALL: &str = "read:clients read:client_keys update:client_keys";
const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

#[tokio::test]
async fn token_is_used_to_its_last_second_while_the_endpoint_fails() {
    let endpoint = TokenEndpoint::start().await;
    endpoint.answer(Answer::Token(1, DAY, ALL));
    for seconds in [0, 10 * HOUR, DAY * 9 / 10 - 1] {
        assert_eq!(endpoint.token_at(seconds).await.as_deref(), Ok("token-1"));
    }
    assert_eq!(endpoint.requests(), 1);
    // Not so many outages in a row that the circuit opens.
    for status in [503, 503, 403].repeat(20) {
        endpoint.answer(Answer::Status(status, ""));
    }
    for seconds in (DAY * 9 / 10..DAY).step_by(10) {
        assert_eq!(endpoint.token_at(seconds).await.as_deref(), Ok("token-1"), "{seconds}");
    }
    let attempts = endpoint.requests() - 1;
    assert!((10..40).contains(&attempts), "in 2.4 hours: {attempts}");
    endpoint.answers.lock().clear();
    assert_eq!(endpoint.token_at(DAY - 1).await.as_deref(), Ok("token-1"));
    assert_eq!(endpoint.token_at(DAY).await, Err(Error::TokenUnavailable));
    endpoint.answer(Answer::Token(2, DAY, ALL));
    assert_eq!(endpoint.token_at(DAY + 5).await.as_deref(), Ok("token-2"));
}

#[tokio::test]
async fn exceeded_quota_concerns_a_token_only_when_none_is_left() {
    let endpoint = TokenEndpoint::start().await;
    endpoint.answer(Answer::Token(1, DAY, ALL));
    assert_eq!(endpoint.token_at(0).await.as_deref(), Ok("token-1"));
    endpoint.answer(Answer::Status(429, "retry-after: 86400\r\n"));
    for seconds in [DAY * 9 / 10, DAY - 1] {
        assert_eq!(endpoint.token_at(seconds).await.as_deref(), Ok("token-1"));
    }
    let error = endpoint.token_at(DAY).await.unwrap_err();
    assert_eq!(error.reason(), Reason::TokenThrottled);
    assert!(error.concerns_tenant() && error.had_no_effect());
    assert_eq!(endpoint.requests(), 2, "the named time is honored");
}

#[tokio::test]
async fn renewed_token_replaces_the_old_one() {
    let endpoint = TokenEndpoint::start().await;
    endpoint.answer(Answer::Token(1, DAY, ALL)).answer(Answer::Token(2, DAY, ALL));
    assert_eq!(endpoint.token_at(0).await.as_deref(), Ok("token-1"));
    assert_eq!(endpoint.token_at(DAY * 9 / 10).await.as_deref(), Ok("token-2"));
    assert_eq!(endpoint.requests(), 2);
}

#[tokio::test]
async fn missing_scope_requests_tokens_less_and_less_often() {
    let endpoint = TokenEndpoint::start().await;
    let without = "read:clients update:client_keys";
    for number in 1..=100 {
        endpoint.answer(Answer::Token(number, DAY, without));
    }
    for seconds in (0..12 * HOUR).step_by(60) {
        endpoint.token_with_at(seconds, READ_CLIENT_KEYS).await.unwrap();
        endpoint.token_with_at(seconds, READ_CLIENTS).await.unwrap();
    }
    // After 2, 4, 8, 16 and 32 minutes, then every hour.
    assert_eq!(endpoint.requests(), 16);
    endpoint.answers.lock().clear();
    endpoint.answer(Answer::Token(200, DAY, ALL));
    let granted = endpoint.token_with_at(13 * HOUR, READ_CLIENT_KEYS).await;
    assert_eq!(granted.as_deref(), Ok("token-200"), "a grant is used within an hour");
}

#[tokio::test]
async fn token_without_a_scope_is_kept_while_the_endpoint_fails() {
    let endpoint = TokenEndpoint::start().await;
    endpoint.answer(Answer::Token(1, DAY, READ_CLIENTS));
    for seconds in (0..HOUR).step_by(10) {
        let token = endpoint.token_with_at(seconds, READ_CLIENT_KEYS).await;
        assert_eq!(token.as_deref(), Ok("token-1"));
    }
    assert!(endpoint.requests() < 15, "{}", endpoint.requests());
}

#[tokio::test]
async fn rejected_credentials_are_reported_while_the_token_is_used() {
    let endpoint = TokenEndpoint::start().await;
    endpoint.answer(Answer::Token(1, DAY, ALL));
    assert_eq!(endpoint.token_at(0).await.as_deref(), Ok("token-1"));
    assert_eq!(endpoint.cache.rejection(), None);
    let renewal = DAY * 9 / 10;
    endpoint.answer(Answer::Status(403, ""));
    assert_eq!(endpoint.token_at(renewal).await.as_deref(), Ok("token-1"));
    assert_eq!(endpoint.cache.rejection(), Some(Error::TokenForbidden));
    endpoint.answer(Answer::Status(503, "")).answer(Answer::Token(2, DAY, ALL));
    assert_eq!(endpoint.token_at(renewal + 40).await.as_deref(), Ok("token-1"));
    assert_eq!(endpoint.cache.rejection(), Some(Error::TokenForbidden), "nothing disproves it");
    endpoint.cache.clear_failure();
    assert_eq!(endpoint.token_at(renewal + 41).await.as_deref(), Ok("token-2"), "at once");
    assert_eq!(endpoint.cache.rejection(), None);
}

#[tokio::test]
async fn rejected_token_is_not_used_again() {
    let endpoint = TokenEndpoint::start().await;
    endpoint.answer(Answer::Token(1, DAY, ALL)).answer(Answer::Token(2, DAY, ALL));
    let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let token = endpoint.cache.get(&endpoint.transport, now).await.unwrap();
    endpoint.cache.invalidate(&token);
    assert_eq!(endpoint.token_at(1).await.as_deref(), Ok("token-2"));
    endpoint.cache.invalidate(&token);
    assert_eq!(endpoint.token_at(2).await.as_deref(), Ok("token-2"), "another one replaced it");
}
