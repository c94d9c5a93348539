//! Fault injection: which requests fail, how and how often.

mod action;
mod fault;
pub(crate) mod queue;

pub use self::{
    action::{Action, When},
    fault::{Fault, Match},
    queue::InjectedFault,
};
