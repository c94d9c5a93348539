//! What can go wrong, in the terms that drive what happens next.

use chrono::{DateTime, Utc};

use crate::reason::Reason;

/// What a failure means for what happens next. The class alone drives requeue, condition, Event
/// and metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// It may pass by itself: try again, with backoff.
    Retry,
    /// The other side named a time before which trying again is pointless.
    Throttled {
        /// That time.
        until: DateTime<Utc>,
    },
    /// A person has to change something.
    Invalid,
    /// What was read is out of date: read again at once.
    Conflict,
    /// It can't be helped from here; a person has to look.
    Fatal,
}

/// A failure on the way of a pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Failure {
    /// What it means for what happens next.
    pub class: ErrorClass,
    /// A word for programs.
    pub reason: Reason,
    /// A sentence for people: what happened and, when they have to act, what to do. It is stable
    /// over repetitions, so that a retry writes no new status.
    pub message: String,
    /// The call that failed certainly changed nothing at the other side.
    pub unchanged: bool,
    /// The tenant, and not this resource, is what fails.
    pub tenant: bool,
}

/// Why something is not done, and what a person can change about that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// A word for programs.
    pub reason: Reason,
    /// A sentence for people.
    pub message: String,
}

impl Rejection {
    /// A refusal.
    pub fn new(reason: Reason, message: impl Into<String>) -> Rejection {
        Rejection { reason, message: message.into() }
    }
}
