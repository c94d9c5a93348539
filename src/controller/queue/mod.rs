//! Scheduling of reconciles: explicit triggers, the work queue, and the priority of API calls.

mod work_queue;
mod run_limit;
mod adaptive_limit;
mod namespace_limit;
mod reconcile_stream;
mod trigger;
mod priority_gate;

pub(crate) use adaptive_limit::{CallKind, CallResult};
pub(crate) use namespace_limit::NamespaceLimit;
pub(crate) use priority_gate::{PriorityGate, UrgentGuard};
pub(crate) use reconcile_stream::{reconcile_requests, spawn_reconcile};
pub(crate) use run_limit::{RunLimit, RunLimitCollector, RunPermit};
pub(crate) use trigger::{NamespaceSenders, Trigger};
pub(crate) use work_queue::{Permit, WorkQueue};
