//! Rate limits of single clients at the Authentication API.
//!
//! Two documented limits belong to one client and say nothing about the tenant:
//!
//! - **Custom rate limit policies**: a ceiling for the requests of one application to the
//!   Authentication API, above which Auth0 responds to that application with 429. A ceiling of 0
//!   blocks the application.
//! - **M2M token quotas**: how many tokens a client may get per hour or day. Above it the token
//!   endpoint responds with 429 "Client quota exceeded", and says until when in `Retry-After`.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use hyper::{
    StatusCode,
    header::{HeaderMap, HeaderValue, RETRY_AFTER},
};
use serde::{Deserialize, Serialize};

use crate::{clock::unix_seconds_ceil, error::OAuthError, operation::Operation};

const MAX_WINDOW_S: u64 = 7 * 86_400;

/// Maximum number of clients with a limit.
const MAX_CLIENTS: usize = 100_000;

/// Which of Auth0's limits of one client applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientLimitKind {
    /// A custom rate limit policy: limits `/oauth/token` and `/oauth/revoke` together. Responses
    /// have the headers `x-ratelimit-*` of the client.
    #[default]
    Policy,
    /// An M2M token quota: limits `/oauth/token`. Responses have `auth0-client-quota-limit`.
    TokenQuota,
}

/// Format of the `Retry-After` header of a 429.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfterFormat {
    /// Number of seconds.
    #[default]
    Seconds,
    /// HTTP date.
    HttpDate,
    /// No header.
    Absent,
}

/// Rate limit of one client. In JSON: `{"requests": 0, "window_s": 60}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientRateLimit {
    /// Number of requests in each window. 0 blocks the client.
    pub requests: u32,
    /// Length of the window in seconds, at most 7 days. The first one starts with the first
    /// request. Default 60.
    #[serde(default = "one_minute")]
    pub window_s: u64,
    /// Kind of limit. Default [`ClientLimitKind::Policy`].
    #[serde(default)]
    pub kind: ClientLimitKind,
    /// Format of `Retry-After`. Default [`RetryAfterFormat::Seconds`].
    #[serde(default)]
    pub retry_after: RetryAfterFormat,
}

const fn one_minute() -> u64 {
    60
}

impl ClientRateLimit {
    /// Creates a custom rate limit policy of this many requests per minute.
    pub fn per_minute(requests: u32) -> Self {
        Self {
            requests,
            window_s: one_minute(),
            kind: ClientLimitKind::default(),
            retry_after: RetryAfterFormat::default(),
        }
    }

    /// Creates a custom rate limit policy that blocks the client: every request gets a 429.
    pub fn blocked() -> Self {
        Self::per_minute(0)
    }

    /// Creates a quota of this many tokens per day.
    pub fn token_quota(tokens: u32) -> Self {
        Self { window_s: 86_400, kind: ClientLimitKind::TokenQuota, ..Self::per_minute(tokens) }
    }

    /// Sets the length of the window in seconds.
    #[must_use]
    pub fn window_s(mut self, seconds: u64) -> Self {
        self.window_s = seconds;
        self
    }

    /// Sets the format of `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, format: RetryAfterFormat) -> Self {
        self.retry_after = format;
        self
    }

    fn applies_to(self, operation: Operation) -> bool {
        match self.kind {
            ClientLimitKind::Policy => matches!(operation, Operation::Token | Operation::Revoke),
            ClientLimitKind::TokenQuota => operation == Operation::Token,
        }
    }

    fn validate(self) -> Result<(), String> {
        let window = self.window_s;
        if window == 0 || window > MAX_WINDOW_S {
            return Err(format!("invalid window_s {window}: use 1 to {MAX_WINDOW_S} (7 days)"));
        }
        Ok(())
    }
}

/// The limits of all clients that have one.
#[derive(Default)]
pub(crate) struct ClientRateLimiters {
    clients: HashMap<String, Window>,
}

/// Requests of one client in the present window.
struct Window {
    limit: ClientRateLimit,
    ends_at: SystemTime,
    used: u32,
}

/// Decision about one request of a client with a limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientAdmission {
    pub(crate) is_admitted: bool,
    limit: ClientRateLimit,
    remaining: u32,
    ends_at: SystemTime,
    now: SystemTime,
}

impl ClientRateLimiters {
    /// Sets or removes the limit of a client. A new limit starts a new window.
    ///
    /// # Errors
    ///
    /// A message that says which value of the limit is invalid, or that too many clients have one.
    pub(crate) fn set(
        &mut self,
        client_id: &str,
        limit: Option<ClientRateLimit>,
    ) -> Result<(), String> {
        let Some(limit) = limit else {
            self.clients.remove(client_id);
            return Ok(());
        };
        limit.validate()?;
        if self.clients.len() >= MAX_CLIENTS && !self.clients.contains_key(client_id) {
            return Err(format!("{MAX_CLIENTS} clients have a limit: remove some first"));
        }
        let window = Window { limit, ends_at: SystemTime::UNIX_EPOCH, used: 0 };
        self.clients.insert(client_id.to_owned(), window);
        Ok(())
    }

    /// Counts a request. Returns `None` if no limit applies to it.
    pub(crate) fn acquire(
        &mut self,
        client_id: &str,
        operation: Operation,
        now: SystemTime,
    ) -> Option<ClientAdmission> {
        let window = self.clients.get_mut(client_id)?;
        let limit = window.limit;
        if !limit.applies_to(operation) {
            return None;
        }
        if window.ends_at <= now {
            window.ends_at = now + Duration::from_secs(limit.window_s);
            window.used = 0;
        }
        let is_admitted = window.used < limit.requests;
        if is_admitted {
            window.used += 1;
        }
        let remaining = limit.requests - window.used;
        Some(ClientAdmission { is_admitted, limit, remaining, ends_at: window.ends_at, now })
    }
}

impl ClientAdmission {
    /// Returns the error of a request that was not admitted.
    pub(crate) fn error(&self) -> OAuthError {
        let description = match self.limit.kind {
            ClientLimitKind::Policy => "Rate limit exceeded. Please retry after some time.",
            ClientLimitKind::TokenQuota => "Client quota exceeded",
        };
        OAuthError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", description)
    }

    /// Adds the headers that describe the limit to a response.
    pub(crate) fn add_headers(&self, headers: &mut HeaderMap) {
        let until_end = self.ends_at.duration_since(self.now).unwrap_or_default();
        let seconds = until_end.as_secs() + u64::from(until_end.subsec_nanos() > 0);
        match self.limit.kind {
            ClientLimitKind::Policy => {
                headers.insert("x-ratelimit-limit", self.limit.requests.into());
                headers.insert("x-ratelimit-remaining", self.remaining.into());
                headers.insert("x-ratelimit-reset", unix_seconds_ceil(self.ends_at).into());
            }
            ClientLimitKind::TokenQuota => {
                let bucket = if self.limit.window_s > 3_600 { "per_day" } else { "per_hour" };
                let (quota, remaining) = (self.limit.requests, self.remaining);
                let text = format!("b={bucket};q={quota};r={remaining};t={seconds}");
                if let Ok(value) = HeaderValue::from_str(&text) {
                    headers.insert("auth0-client-quota-limit", value);
                }
            }
        }
        if self.is_admitted {
            return;
        }
        match self.limit.retry_after {
            RetryAfterFormat::Seconds => {
                headers.insert(RETRY_AFTER, seconds.into());
            }
            RetryAfterFormat::HttpDate => {
                // An HTTP date has whole seconds: rounded up, as the number of seconds is.
                let end =
                    SystemTime::UNIX_EPOCH + Duration::from_secs(unix_seconds_ceil(self.ends_at));
                if let Ok(value) = HeaderValue::from_str(&httpdate::fmt_http_date(end)) {
                    headers.insert(RETRY_AFTER, value);
                }
            }
            RetryAfterFormat::Absent => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
    }

    fn limiters(client_id: &str, limit: ClientRateLimit) -> ClientRateLimiters {
        let mut limiters = ClientRateLimiters::default();
        limiters.set(client_id, Some(limit)).unwrap();
        limiters
    }

    fn header(admission: ClientAdmission, name: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        admission.add_headers(&mut headers);
        headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn admits_the_requests_of_each_window() {
        let mut limiters = limiters("shop", ClientRateLimit::per_minute(2));
        let mut admitted =
            |seconds| limiters.acquire("shop", Operation::Revoke, at(seconds)).unwrap().is_admitted;
        assert_eq!([0, 1, 2, 59].map(&mut admitted), [true, true, false, false]);
        assert!(admitted(60), "the next window");
        assert!(limiters.acquire("cart", Operation::Revoke, at(0)).is_none(), "another client");
    }

    #[test]
    fn says_until_when_in_seconds_or_as_a_date() {
        let blocked = |format| {
            let limit = ClientRateLimit::blocked().retry_after(format);
            let admission = limiters("shop", limit).acquire("shop", Operation::Token, at(0));
            let admission = admission.unwrap();
            assert!(!admission.is_admitted);
            assert_eq!(header(admission, "x-ratelimit-remaining").as_deref(), Some("0"));
            header(admission, "retry-after")
        };
        assert_eq!(blocked(RetryAfterFormat::Seconds).as_deref(), Some("60"));
        let date = blocked(RetryAfterFormat::HttpDate);
        assert_eq!(date.as_deref(), Some("Tue, 14 Nov 2023 22:14:20 GMT"));
        assert_eq!(blocked(RetryAfterFormat::Absent), None);
    }

    #[test]
    fn token_quota_limits_only_the_token_endpoint() {
        let mut limiters = limiters("manager", ClientRateLimit::token_quota(0));
        assert!(limiters.acquire("manager", Operation::Revoke, at(0)).is_none());
        let admission = limiters.acquire("manager", Operation::Token, at(0)).unwrap();
        assert_eq!(admission.error().description, "Client quota exceeded");
        assert_eq!(header(admission, "retry-after").as_deref(), Some("86400"));
        let quota = header(admission, "auth0-client-quota-limit");
        assert_eq!(quota.as_deref(), Some("b=per_day;q=0;r=0;t=86400"));
        assert_eq!(header(admission, "x-ratelimit-limit"), None);
    }

    #[test]
    fn rejects_windows_out_of_bounds() {
        for window in [0, u64::MAX] {
            let limit = ClientRateLimit::blocked().window_s(window);
            assert!(ClientRateLimiters::default().set("shop", Some(limit)).is_err());
        }
    }
}
