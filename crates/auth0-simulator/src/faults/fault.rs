//! Faults: an action, the requests that it applies to, and how often.

use std::time::Duration;

use hyper::Method;
use serde::{Deserialize, Serialize};

use super::{Action, When};
use crate::operation::Operation;

/// Selects the requests that a fault applies to. An absent field matches every request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// HTTP method, for example `PATCH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Decoded path, for example `/api/v2/clients/*`. `*` matches any number of characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Client that the request is about: the one in the path, or the one that logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}

/// A fault to inject. By default, it applies once, to the next request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Requests that the fault applies to.
    #[serde(default, rename = "match")]
    pub on: Match,
    /// Effect on a matching request.
    pub action: Action,
    /// How many requests it applies to. `None` (in JSON `null`) means no limit. Default 1.
    #[serde(default = "once")]
    pub times: Option<u64>,
    /// How many matching requests it skips first. Default 0.
    #[serde(default)]
    pub skip: u64,
    /// Probability, from 0 to 1, with which it applies to a matching request. Default 1.
    #[serde(default = "certain")]
    pub probability: f64,
}

// serde requires the type of the field.
#[allow(clippy::unnecessary_wraps)]
const fn once() -> Option<u64> {
    Some(1)
}

const fn certain() -> f64 {
    1.0
}

impl Fault {
    /// Creates a fault that applies to the next request of any kind.
    pub fn new(action: Action) -> Self {
        Self { on: Match::default(), action, times: once(), skip: 0, probability: certain() }
    }

    /// Delays the response but not the effect.
    pub fn delay(by: Duration) -> Self {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self::new(Action::Delay { ms, when: When::After })
    }

    /// Closes the connection without a response and without an effect.
    pub fn cut_before() -> Self {
        Self::new(Action::Cut { when: When::Before })
    }

    /// Closes the connection without a response, after the effect.
    pub fn cut_after() -> Self {
        Self::new(Action::Cut { when: When::After })
    }

    /// Responds with 429 and asks the client to retry after one second.
    pub fn rate_limited() -> Self {
        Self::new(Action::RateLimited { reset_in_s: 1, retry_after: true })
    }

    /// Responds with a 5xx, without an effect.
    pub fn status_before(status: u16) -> Self {
        Self::new(Action::Status { status, when: When::Before })
    }

    /// Responds with a 5xx, after the effect.
    pub fn status_after(status: u16) -> Self {
        Self::new(Action::Status { status, when: When::After })
    }

    /// Restricts the fault to one operation.
    #[must_use]
    pub fn on(mut self, operation: Operation) -> Self {
        self.on.operation = Some(operation);
        self
    }

    /// Restricts the fault to requests about one client.
    #[must_use]
    pub fn client(mut self, client_id: impl Into<String>) -> Self {
        self.on.client_id = Some(client_id.into());
        self
    }

    /// Restricts the fault to a method and a path pattern.
    #[must_use]
    pub fn at(mut self, method: impl Into<String>, path: impl Into<String>) -> Self {
        self.on.method = Some(method.into());
        self.on.path = Some(path.into());
        self
    }

    /// Applies the fault to this many requests.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Applies the fault until it is removed.
    #[must_use]
    pub fn unlimited(mut self) -> Self {
        self.times = None;
        self
    }

    /// Skips this many matching requests first.
    #[must_use]
    pub fn skip(mut self, requests: u64) -> Self {
        self.skip = requests;
        self
    }

    /// Applies the fault with this probability, from 0 to 1.
    #[must_use]
    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.probability) {
            let probability = self.probability;
            return Err(format!(
                "invalid probability {probability}: expected a number between 0 and 1"
            ));
        }
        if self.times == Some(0) {
            return Err("invalid times 0: use 1 or more, or null for no limit".into());
        }
        if let Some(method) = &self.on.method
            && Method::from_bytes(method.as_bytes()).is_err()
        {
            return Err(format!("{method:?} is not an HTTP method: use for example PATCH"));
        }
        self.action.validate()
    }
}
