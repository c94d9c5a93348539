//! Actions of faults: the ways in which a request can fail.

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

const MAX_DELAY_MS: u64 = 3_600_000;
const MAX_RESET_IN_S: u64 = 86_400;
const MAX_OVERSIZED_BYTES: usize = 64 * 1024 * 1024;

/// Whether a fault occurs before or after the request takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// The request has no effect. The exception is a delayed request, which still takes effect.
    Before,
    /// The request takes effect, then its response fails.
    After,
}

const fn before() -> When {
    When::Before
}

const fn after() -> When {
    When::After
}

/// Action of a fault. In JSON: `{"kind": "cut", "when": "after"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Action {
    /// Waits. `before` also delays the effect, which happens even if the client disconnects.
    Delay {
        /// Duration in milliseconds, at most one hour.
        ms: u64,
        /// Default `after`.
        #[serde(default = "after")]
        when: When,
    },
    /// Closes the TCP connection without an HTTP response.
    Cut {
        /// Before or after the effect.
        when: When,
    },
    /// Responds with 429 and rate limit headers, before any effect.
    RateLimited {
        /// Seconds from now for `x-ratelimit-reset` and `retry-after`. Default 1.
        #[serde(default = "default_reset_in_s")]
        reset_in_s: u64,
        /// Whether to send `retry-after`. Default true.
        #[serde(default = "default_retry_after")]
        retry_after: bool,
    },
    /// Responds with a 5xx and Auth0's JSON error.
    Status {
        /// 500 to 599.
        status: u16,
        /// Default `before`.
        #[serde(default = "before")]
        when: When,
    },
    /// Sends the response's JSON with a syntax error at its end.
    MalformedJson {
        /// Default `after`.
        #[serde(default = "after")]
        when: When,
    },
    /// Sends part of the response's JSON with the `content-length` of the whole, then closes the
    /// connection.
    TruncatedJson {
        /// Default `after`.
        #[serde(default = "after")]
        when: When,
    },
    /// Sends an HTML page, like a proxy or an access control list in front of the tenant.
    Html {
        /// The status, for example 200, 403 or 502.
        status: u16,
        /// Default `before`.
        #[serde(default = "before")]
        when: When,
    },
    /// Sends the response's status without a body.
    EmptyBody {
        /// Default `after`.
        #[serde(default = "after")]
        when: When,
    },
    /// Adds a member `padding` of this many bytes to the response's JSON.
    Oversized {
        /// At most 64 MiB. Default 5 MB.
        #[serde(default = "default_oversized_bytes")]
        bytes: usize,
    },
    /// Removes `client_secret` from the response, after the effect.
    SecretMissing,
    /// Empties `client_secret` in the response, after the effect.
    SecretEmpty,
    /// Adds a `next` to each page of a list by checkpoints, after which the same page follows.
    RepeatedNext,
    /// Responds with 400 `invalid_body`, as if Auth0 rejected a value, before any effect.
    InvalidBody,
    /// Expires the bearer token before the request is processed: 401.
    ExpiredToken,
}

const fn default_reset_in_s() -> u64 {
    1
}

const fn default_retry_after() -> bool {
    true
}

const fn default_oversized_bytes() -> usize {
    5_000_000
}

impl Action {
    /// Returns the name of the kind, with its time where that can be chosen, as used by the audit
    /// log and the counters.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Delay { when: When::Before, .. } => "delay_before",
            Self::Delay { when: When::After, .. } => "delay_after",
            Self::Cut { when: When::Before } => "cut_before",
            Self::Cut { when: When::After } => "cut_after",
            Self::RateLimited { .. } => "rate_limited",
            Self::Status { when: When::Before, .. } => "status_before",
            Self::Status { when: When::After, .. } => "status_after",
            Self::MalformedJson { .. } => "malformed_json",
            Self::TruncatedJson { .. } => "truncated_json",
            Self::Html { .. } => "html",
            Self::EmptyBody { .. } => "empty_body",
            Self::Oversized { .. } => "oversized",
            Self::SecretMissing => "secret_missing",
            Self::SecretEmpty => "secret_empty",
            Self::RepeatedNext => "repeated_next",
            Self::InvalidBody => "invalid_body",
            Self::ExpiredToken => "expired_token",
        }
    }

    /// Returns whether the action occurs before or after the effect.
    pub(crate) fn when(&self) -> When {
        match self {
            Self::Delay { when, .. }
            | Self::Cut { when }
            | Self::Status { when, .. }
            | Self::MalformedJson { when }
            | Self::TruncatedJson { when }
            | Self::Html { when, .. }
            | Self::EmptyBody { when } => *when,
            Self::RateLimited { .. } | Self::InvalidBody | Self::ExpiredToken => When::Before,
            Self::Oversized { .. }
            | Self::SecretMissing
            | Self::SecretEmpty
            | Self::RepeatedNext => When::After,
        }
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        match *self {
            Self::Status { status, .. } if !(500..=599).contains(&status) => Err(format!(
                "invalid status {status}: a status fault accepts 500 to 599; for other statuses, \
                 use rate_limited, html or expired_token"
            )),
            Self::Html { status, .. } if StatusCode::from_u16(status).is_err() || status < 200 => {
                Err(format!("invalid status {status} for an HTML response: use 200 to 599"))
            }
            Self::Delay { ms, .. } if ms > MAX_DELAY_MS => {
                Err(format!("invalid delay of {ms} ms: the maximum is {MAX_DELAY_MS} (one hour)"))
            }
            Self::RateLimited { reset_in_s, .. } if reset_in_s > MAX_RESET_IN_S => Err(format!(
                "invalid reset_in_s {reset_in_s}: the maximum is {MAX_RESET_IN_S} (one day)"
            )),
            Self::Oversized { bytes } if bytes > MAX_OVERSIZED_BYTES => Err(format!(
                "invalid size of {bytes} bytes: the maximum is {MAX_OVERSIZED_BYTES} (64 MiB)"
            )),
            _ => Ok(()),
        }
    }
}
