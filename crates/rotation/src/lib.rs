//! What to do next with an Auth0 client secret.
//!
//! This crate is pure: it has no IO, no clock and no randomness, and it never sees the value of a
//! secret. The operator observes, calls [`decide()`], stores the status of the [`Decision`] and
//! takes its [`Step`]; then it observes again.

mod condition;
mod decide;
mod decision;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod invariants;
mod notice;
mod observation;
mod policy;
mod request;
mod schedule;
mod span;
mod status;
mod trouble;
mod window;

pub use condition::{Condition, MESSAGE_LIMIT, Truth, find, is_true, kind, set};
pub use decide::{decide, fail};
pub use decision::{Decision, Numbered, Publication, Purpose, Step, Value};
pub use notice::{Notice, notices};
pub use observation::{
    Held, Observation, Reading, Rollout, RolloutState, SecretSeen, Target, Unreached,
};
pub use policy::{Policy, Terms};
pub use request::{Request, RequestError, TEXT_LIMIT, Verb};
pub use schedule::{Schedule, ScheduleError};
pub use span::{Span, SpanError};
pub use status::{Cause, HISTORY_LIMIT, HistoryEntry, Outcome, Phase, Rotation, Status, Strategy};
pub use trouble::{Class, Refusal, Trouble, VALUE_REFUSED};
pub use window::{Window, WindowError, first_open};
