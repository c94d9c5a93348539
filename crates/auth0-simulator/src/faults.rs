//! Faults to order: what goes wrong, for which requests, how often. [`queue`] has them in order.

pub(crate) mod queue;

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use crate::operation::Operation;

/// Whether the fault comes before the request has its effect (so it has none) or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Nothing happens at the tenant, except that a delayed request is still carried out.
    Before,
    /// The request has its effect, and then the answer goes wrong.
    After,
}

const fn before() -> When {
    When::Before
}

const fn after() -> When {
    When::After
}

/// What goes wrong. In JSON: `{"kind": "cut", "when": "after"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Action {
    /// Waits. `before`: the effect is late too, and happens even if the client has hung up.
    Delay {
        /// How long, in milliseconds.
        ms: u64,
        /// Default `after`.
        #[serde(default = "after")]
        when: When,
    },
    /// Closes the TCP connection without an HTTP answer.
    Cut {
        /// Before or after the effect.
        when: When,
    },
    /// 429 with rate limit headers, before any effect.
    RateLimited {
        /// `x-ratelimit-reset` and `retry-after` are this many seconds ahead. Default 1.
        #[serde(default = "one")]
        reset_in_s: u64,
        /// Whether `retry-after` is sent. Default true.
        #[serde(default = "yes")]
        retry_after: bool,
    },
    /// A 5xx with Auth0's JSON error.
    Status {
        /// 500 to 599.
        status: u16,
        /// Default `before`.
        #[serde(default = "before")]
        when: When,
    },
    /// The answer's JSON, broken at its end.
    MalformedJson {
        /// Default `after`.
        #[serde(default = "after")]
        when: When,
    },
    /// Part of the answer's JSON under a `content-length` of the whole, then a closed connection.
    TruncatedJson {
        /// Default `after`.
        #[serde(default = "after")]
        when: When,
    },
    /// An HTML page, as a proxy or an access-control list in front of the tenant sends.
    Html {
        /// The status, for example 200, 403 or 502.
        status: u16,
        /// Default `before`.
        #[serde(default = "before")]
        when: When,
    },
    /// The answer's status without a body.
    EmptyBody {
        /// Default `after`.
        #[serde(default = "after")]
        when: When,
    },
    /// The answer's JSON with a member `padding` that makes it larger by this many bytes.
    Oversized {
        /// At most 64 MiB. Default 5 MB.
        #[serde(default = "five_megabytes")]
        bytes: usize,
    },
    /// The answer without `client_secret`, after the effect.
    SecretMissing,
    /// The answer with an empty `client_secret`, after the effect.
    SecretEmpty,
    /// 400 `invalid_body`, as if Auth0 didn't take a value, before any effect.
    InvalidBody,
    /// The bearer token expires before the request is looked at: 401.
    ExpiredToken,
}

const fn one() -> u64 {
    1
}

const fn yes() -> bool {
    true
}

const fn five_megabytes() -> usize {
    5_000_000
}

impl Action {
    /// The kind's name with its moment, as audit log and counters have it.
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
            Self::InvalidBody => "invalid_body",
            Self::ExpiredToken => "expired_token",
        }
    }

    /// When it strikes, for those that have a choice or can only be one.
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
            Self::Oversized { .. } | Self::SecretMissing | Self::SecretEmpty => When::After,
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Status { status, .. } if !(500..=599).contains(status) => Err(format!(
                "a status fault takes 500 to 599, not {status}: use rate_limited, html or \
                 expired_token for others"
            )),
            Self::Html { status, .. }
                if StatusCode::from_u16(*status).is_err() || *status < 200 =>
            {
                Err(format!("{status} can't be the status of an HTML answer: use 200 to 599"))
            }
            Self::Delay { ms, .. } if *ms > 3_600_000 => {
                Err(format!("a delay of {ms} ms is longer than an hour"))
            }
            Self::RateLimited { reset_in_s, .. } if *reset_in_s > 86_400 => {
                Err(format!("a reset in {reset_in_s} s is more than a day ahead"))
            }
            Self::Oversized { bytes } if *bytes > 64 * 1024 * 1024 => {
                Err(format!("{bytes} bytes are more than 64 MiB"))
            }
            _ => Ok(()),
        }
    }
}

/// Which requests a fault is for; what is left out matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// By operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// By method, for example `PATCH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// By decoded path, for example `/api/v2/clients/*`; `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// By the client that the request is about: the one in the path, or the one that logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}

/// A fault to order. Without more it strikes the next request, once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which requests it is for.
    #[serde(default, rename = "match")]
    pub on: Match,
    /// What goes wrong.
    pub action: Action,
    /// How often; `None` (in JSON `null`) is without end. Default 1.
    #[serde(default = "once")]
    pub times: Option<u64>,
    /// How many matching requests are left alone first. Default 0.
    #[serde(default)]
    pub skip: u64,
    /// The probability, 0 to 1, with which a matching request is struck. Default 1.
    #[serde(default = "certain")]
    pub probability: f64,
}

// serde wants the field's own type.
#[allow(clippy::unnecessary_wraps)]
const fn once() -> Option<u64> {
    Some(1)
}

const fn certain() -> f64 {
    1.0
}

impl Fault {
    /// A fault for the next request of any kind.
    pub fn new(action: Action) -> Self {
        Self { on: Match::default(), action, times: once(), skip: 0, probability: 1.0 }
    }

    /// The answer comes late; the effect doesn't.
    pub fn delay(by: Duration) -> Self {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self::new(Action::Delay { ms, when: When::After })
    }

    /// The connection closes without an answer and without an effect.
    pub fn cut_before() -> Self {
        Self::new(Action::Cut { when: When::Before })
    }

    /// The effect happens, then the connection closes without an answer.
    pub fn cut_after() -> Self {
        Self::new(Action::Cut { when: When::After })
    }

    /// 429, to be tried again in a second.
    pub fn rate_limited() -> Self {
        Self::new(Action::RateLimited { reset_in_s: 1, retry_after: true })
    }

    /// A 5xx without an effect.
    pub fn status_before(status: u16) -> Self {
        Self::new(Action::Status { status, when: When::Before })
    }

    /// The effect happens, the answer is a 5xx.
    pub fn status_after(status: u16) -> Self {
        Self::new(Action::Status { status, when: When::After })
    }

    /// For one operation.
    #[must_use]
    pub fn on(mut self, operation: Operation) -> Self {
        self.on.operation = Some(operation);
        self
    }

    /// For requests about one client.
    #[must_use]
    pub fn client(mut self, client_id: impl Into<String>) -> Self {
        self.on.client_id = Some(client_id.into());
        self
    }

    /// For a method and a path pattern.
    #[must_use]
    pub fn at(mut self, method: impl Into<String>, path: impl Into<String>) -> Self {
        self.on.method = Some(method.into());
        self.on.path = Some(path.into());
        self
    }

    /// Strikes so many times.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Strikes until it is taken back.
    #[must_use]
    pub fn unlimited(mut self) -> Self {
        self.times = None;
        self
    }

    /// Leaves so many matching requests alone first.
    #[must_use]
    pub fn skip(mut self, requests: u64) -> Self {
        self.skip = requests;
        self
    }

    /// Strikes with this probability, 0 to 1.
    #[must_use]
    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.probability) {
            return Err(format!("a probability is between 0 and 1, not {}", self.probability));
        }
        if self.times == Some(0) {
            return Err("times: 0 would never strike: use 1 or more, or null for no end".into());
        }
        if let Some(method) = &self.on.method
            && Method::from_bytes(method.as_bytes()).is_err()
        {
            return Err(format!("{method:?} is not an HTTP method"));
        }
        self.action.check()
    }
}
