//! What is reconciled when: explicit triggers, the work queue, and the priority of API calls.

mod priority_gate;
mod reconcile_stream;
mod trigger;
mod work_queue;

pub(crate) use priority_gate::{PriorityGate, UrgentGuard};
pub(crate) use reconcile_stream::{reconcile_requests, spawn_reconcile};
pub(crate) use trigger::{NamespaceSenders, Trigger};
pub(crate) use work_queue::{Permit, WorkQueue};
