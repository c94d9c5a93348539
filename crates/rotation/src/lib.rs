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
mod reason;
mod request;
mod schedule;
mod span;
mod status;
mod trouble;
mod window;

pub use condition::{
    Condition, ConditionStatus, MESSAGE_LIMIT, condition_types, find_condition, is_condition_true,
    set_condition,
};
pub use decide::{decide, fail};
pub use decision::{Decision, NumberedValue, Publication, Purpose, Step, ValueSource};
pub use notice::{EventRecord, event_records};
pub use observation::{
    ClientObservation, Observation, OwnedTarget, Rollout, RolloutState, SecretMatch, Target,
    UnreachedPods,
};
pub use policy::{Policy, PolicyParams};
pub use reason::Reason;
pub use request::{Request, RequestError, TEXT_LIMIT, Verb};
pub use schedule::{Schedule, ScheduleError};
pub use span::{K8sDuration, K8sDurationError};
pub use status::{Cause, HISTORY_LIMIT, HistoryEntry, Outcome, Phase, Rotation, Status, Strategy};
pub use trouble::{ErrorClass, Failure, Rejection};
pub use window::{Window, WindowError, first_open};
