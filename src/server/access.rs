//! Access to the metrics: the API server authenticates the bearer token by a TokenReview, and a
//! SubjectAccessReview decides whether the user may `get` the path `/metrics`.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::timeout};

use crate::controller::KUBE_DEADLINE;

/// How long a token counts as allowed.
const ALLOWED_TTL: Duration = Duration::from_secs(60);
/// How long a token counts as denied. Short, so that a new permission is soon in effect.
const DENIED_TTL: Duration = Duration::from_secs(10);
/// Most tokens to remember.
const CACHE_SIZE: usize = 256;
/// Most reviews at a time.
const CONCURRENT_REVIEWS: usize = 4;
/// Most reviews of unknown tokens in a second, on average and at once: a client that makes up tokens
/// must not load the API server.
const REVIEWS_PER_SECOND: f64 = 5.0;
const REVIEW_BURST: f64 = 20.0;

/// The API server's review of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Allowed,
    Forbidden,
    Unauthenticated,
}

/// Checks whether a request may read the metrics.
pub struct MetricsAccess {
    client: Client,
    cache: Mutex<Cache>,
    reviews: Semaphore,
}

impl MetricsAccess {
    /// Returns a check that asks this API server.
    pub fn new(client: Client) -> Self {
        let cache = Mutex::new(Cache::new(Instant::now()));
        Self { client, cache, reviews: Semaphore::new(CONCURRENT_REVIEWS) }
    }

    /// Checks the bearer token of a request.
    ///
    /// # Errors
    ///
    /// With the status of the response. Without the API server, no one is allowed.
    pub(super) async fn check(&self, headers: &HeaderMap) -> Result<(), StatusCode> {
        let Some(token) = bearer_token(headers) else { return Err(StatusCode::UNAUTHORIZED) };
        let cached = self.cache.lock().get(token, Instant::now());
        let decision = match cached {
            Lookup::Known(decision) => decision,
            Lookup::Review => self.review(token).await?,
            Lookup::Limited => return Err(StatusCode::TOO_MANY_REQUESTS),
        };
        match decision {
            Decision::Allowed => Ok(()),
            Decision::Forbidden => Err(StatusCode::FORBIDDEN),
            Decision::Unauthenticated => Err(StatusCode::UNAUTHORIZED),
        }
    }

    async fn review(&self, token: &str) -> Result<Decision, StatusCode> {
        let review = async {
            // The semaphore is never closed.
            let _permit = self.reviews.acquire().await.ok();
            self.ask(token).await
        };
        let failure = match timeout(KUBE_DEADLINE, review).await {
            Ok(Ok(decision)) => {
                self.cache.lock().insert(token, decision, Instant::now());
                return Ok(decision);
            }
            Ok(Err(kube::Error::Api(status))) => format!("status {}", status.code),
            Ok(Err(_)) => "the API server can't be reached".to_owned(),
            Err(_) => "the API server did not respond in time".to_owned(),
        };
        tracing::warn!(failure, "failed to check who reads the metrics");
        Err(StatusCode::SERVICE_UNAVAILABLE)
    }

    async fn ask(&self, token: &str) -> Result<Decision, kube::Error> {
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: None };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let status = reviews.create(&PostParams::default(), &review).await?.status;
        let status = status.unwrap_or_default();
        let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else {
            return Ok(Decision::Unauthenticated);
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let review = reviews.create(&PostParams::default(), &access_review(user)).await?;
        let is_allowed = review.status.is_some_and(|status| status.allowed);
        Ok(if is_allowed { Decision::Allowed } else { Decision::Forbidden })
    }
}

fn access_review(user: UserInfo) -> SubjectAccessReview {
    let attributes =
        NonResourceAttributes { path: Some("/metrics".to_owned()), verb: Some("get".to_owned()) };
    let spec = SubjectAccessReviewSpec {
        user: user.username,
        groups: user.groups,
        uid: user.uid,
        extra: user.extra,
        non_resource_attributes: Some(attributes),
        resource_attributes: None,
    };
    SubjectAccessReview { spec, ..SubjectAccessReview::default() }
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Decisions by the hash of the token, so that no token stays in memory.
struct Cache {
    entries: HashMap<[u8; 32], Entry>,
    /// Reviews of unknown tokens that may start now.
    budget: f64,
    refilled_at: Instant,
}

struct Entry {
    decision: Decision,
    expires: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum Lookup {
    Known(Decision),
    /// The API server has to review the token.
    Review,
    /// There were too many unknown tokens.
    Limited,
}

impl Cache {
    fn new(now: Instant) -> Self {
        Self { entries: HashMap::new(), budget: REVIEW_BURST, refilled_at: now }
    }

    fn get(&mut self, token: &str, now: Instant) -> Lookup {
        if let Some(entry) = self.entries.get(&hash(token)) {
            if now < entry.expires {
                return Lookup::Known(entry.decision);
            }
            // A reader must not be kept out by others who make up tokens.
            if entry.decision == Decision::Allowed {
                return Lookup::Review;
            }
        }
        let refill = (now - self.refilled_at).as_secs_f64() * REVIEWS_PER_SECOND;
        self.budget = f64::min(self.budget + refill, REVIEW_BURST);
        self.refilled_at = now;
        if self.budget < 1.0 {
            return Lookup::Limited;
        }
        self.budget -= 1.0;
        Lookup::Review
    }

    /// Remembers a decision. If there are too many, denied ones make room first.
    fn insert(&mut self, token: &str, decision: Decision, now: Instant) {
        let key = hash(token);
        if self.entries.len() >= CACHE_SIZE && !self.entries.contains_key(&key) {
            let rank = |entry: &Entry| (entry.decision == Decision::Allowed, entry.expires);
            let first = self.entries.iter().min_by_key(|(_, entry)| rank(entry));
            if let Some(key) = first.map(|(key, _)| *key) {
                self.entries.remove(&key);
            }
        }
        let ttl = if decision == Decision::Allowed { ALLOWED_TTL } else { DENIED_TTL };
        self.entries.insert(key, Entry { decision, expires: now + ttl });
    }
}

fn hash(token: &str) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_bearer_tokens() {
        let token = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            bearer_token(&headers).map(str::to_owned)
        };
        assert_eq!(token("Bearer abc"), Some("abc".into()));
        assert_eq!(token("bearer abc "), Some("abc".into()));
        for other in ["", "abc", "Basic abc", "Bearer", "Bearer  "] {
            assert_eq!(token(other), None, "{other:?}");
        }
        assert_eq!(bearer_token(&HeaderMap::new()), None);
    }

    #[test]
    fn decisions_expire_and_denied_ones_sooner() {
        let start = Instant::now();
        let mut cache = Cache::new(start);
        cache.insert("a", Decision::Allowed, start);
        cache.insert("d", Decision::Forbidden, start);
        let later = start + DENIED_TTL;
        assert_eq!(cache.get("a", later), Lookup::Known(Decision::Allowed));
        assert_eq!(cache.get("d", later), Lookup::Review);
        assert_eq!(cache.get("a", start + ALLOWED_TTL), Lookup::Review);
    }

    #[test]
    fn made_up_tokens_are_bounded_and_keep_no_reader_out() {
        let start = Instant::now();
        let mut cache = Cache::new(start);
        cache.insert("reader", Decision::Allowed, start);
        let mut reviews = 0;
        for number in 0..1000 {
            let token = format!("made-up-{number}");
            if cache.get(&token, start) == Lookup::Review {
                reviews += 1;
            }
            cache.insert(&token, Decision::Unauthenticated, start);
        }
        assert_eq!(reviews, REVIEW_BURST as usize);
        assert_eq!(cache.entries.len(), CACHE_SIZE);
        assert_eq!(cache.get("another", start), Lookup::Limited);
        assert_eq!(cache.get("reader", start), Lookup::Known(Decision::Allowed));
        assert_eq!(cache.get("reader", start + ALLOWED_TTL), Lookup::Review);
    }
}
