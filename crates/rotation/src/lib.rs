//! State machine that decides what to do next with an Auth0 client secret.
//!
//! # Architecture invariants
//!
//! - The crate is pure: it has no IO, no clock and no randomness. Time is an argument.
//! - It never sees the value of a secret. An observation says which value is which.
//!
//! The operator observes, calls [`decide()`], stores the status of the [`Decision`] and executes
//! its [`Step`]; then it observes again. A status may wait unless [`must_store_first()`]. After a failure it stores the result of
//! [`record_failure()`].

// Input, output and function of the state machine.
mod observation;
mod policy;
mod status;

mod decision;
mod write_ahead;

mod decide;

// Time.
mod clock;
mod stored_times;
mod wall_clocks;

// Output for users.
mod condition;
mod error;
mod event;
mod reason;
mod text;

// Input by users.
mod duration;
mod request;
mod schedule;
mod window;

// Tests only.
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
#[cfg(any(test, feature = "invariants"))]
pub mod invariants;

pub use clock::{Clock, ClockReading, Sightings};
pub use condition::{
    Condition, ConditionStatus, MESSAGE_LIMIT, condition_types, find_condition, is_condition_true,
    set_condition,
};
pub use decide::{RestartLevel, RestartNeed, decide, must_restart, record_failure};
pub use decision::{Decision, NumberedValue, Publication, Purpose, Step, ValueSource};
pub use duration::{K8sDuration, K8sDurationError};
pub use error::{ErrorClass, Failure, Rejection};
pub use event::{EVENT_MESSAGE_LIMIT, EventRecord, event_records};
pub use observation::{
    ClientCheck, ClientDoubt, ClientObservation, Contested, Deferral, Observation, OwnedTarget,
    RevokedSecret, Rollout, RolloutState, SecretMatch, TakenValues, Target, TargetHoldOff,
    UnreachedPods,
};
pub use policy::{Policy, PolicyParams};
pub use reason::Reason;
pub use request::{Request, RequestError, TEXT_LIMIT, Verb};
pub use schedule::{Schedule, ScheduleError};
pub use status::{
    Cause, ControlResult, DriftHoldOff, HISTORY_LIMIT, HistoryEntry, Outcome, Phase, ProbeControl,
    ProbeMethod, Rotation, Settled, Status, Strategy, is_unresolved,
};
pub use text::{bounded, bounded_bytes};
pub use wall_clocks::{MAX_DIFFERENCE, WallClocks};
pub use window::{Window, WindowError, first_open};
pub use write_ahead::{has_unrecorded_cause, must_store_first};
