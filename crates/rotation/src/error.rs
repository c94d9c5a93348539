//! Errors: the class that decides what happens next, failures, and permanent rejections.

use chrono::{DateTime, Utc};

use crate::reason::Reason;

/// Consequence of an error for the next attempt. The class alone drives requeue, condition, Event
/// and metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Transient: retried with backoff.
    Retry,
    /// Throttled by the server: a retry before `until` is pointless.
    Throttled {
        /// Earliest time of the next attempt.
        until: DateTime<Utc>,
    },
    /// Invalid input: a user must change the resource, an object that it refers to, or Auth0.
    Invalid,
    /// Denied by the cluster, such as by RBAC, a quota or admission control: a user must act, and
    /// nothing shows the operator when that happened, so it retries within a minute.
    Denied,
    /// An object changed since it was read: it is read again at once.
    Conflict,
    /// Permanent: the installation itself requires user action.
    Fatal,
}

/// Failure of one step, or of the reads before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Failure {
    /// Decides what happens next.
    pub class: ErrorClass,
    /// Machine-readable reason.
    pub reason: Reason,
    /// Human-readable cause and, if users must act, the remedy. The text is the same for each retry,
    /// so that a retry writes no new status.
    pub message: String,
    /// The failed call certainly changed nothing on the server.
    pub not_applied: bool,
    /// The tenant failed, not this resource.
    pub concerns_tenant: bool,
}

/// Reason why the operator does not do something, and how a user can change that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Machine-readable reason.
    pub reason: Reason,
    /// Human-readable explanation with the remedy.
    pub message: String,
}

impl Rejection {
    /// Returns a rejection with this reason and message.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}
