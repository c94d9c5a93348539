//! Fault injection: which requests fail, how and how often.

mod action;
mod fault;
pub(crate) mod queue;

pub use self::action::{Action, When};
pub use self::fault::{Fault, Match};
pub use self::queue::InjectedFault;
