//! Shared state of the simulator: tenant, rate limiter, faults, audit log and counters behind one
//! lock, so that a request and its audit entry are atomic.

use std::{sync::Arc, time::SystemTime};

use parking_lot::{Mutex, MutexGuard};
use secrecy::SecretString;

use crate::{
    audit::{AuditEntry, AuditKind, AuditLog},
    client_rate_limit::ClientRateLimiters,
    clock::Clock,
    counters::{Counters, RequestFacts},
    error::SeedError,
    faults::queue::FaultQueue,
    operation::Operation,
    rate_limit::RateLimiter,
    tenant::Tenant,
};

/// All mutable state.
pub(crate) struct State {
    pub(crate) tenant: Tenant,
    pub(crate) rate_limiter: RateLimiter,
    /// Limit of the reads of clients. Without it they count against the other one.
    pub(crate) read_rate_limiter: Option<RateLimiter>,
    pub(crate) client_rate_limiters: ClientRateLimiters,
    pub(crate) faults: FaultQueue,
    pub(crate) audit: AuditLog,
    pub(crate) counters: Counters,
}

/// The state behind its lock, and the clock.
pub(crate) struct SharedState {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
}

impl SharedState {
    pub(crate) fn new(state: State, clock: Arc<dyn Clock>) -> Self {
        Self { state: Mutex::new(state), clock }
    }

    /// Locks the state. Ignores poisoning: a panic only fails the request that caused it, and the
    /// next request must be served.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// Changes a secret as a user of the dashboard would and returns the new value. Generates the
    /// value if none is given.
    pub(crate) fn dashboard_change(
        &self,
        client_id: &str,
        value: Option<SecretString>,
    ) -> Result<SecretString, SeedError> {
        let now = self.now();
        let mut state = self.lock();
        let change = state.tenant.dashboard_change(client_id, value, now)?;
        let mut entry = AuditEntry::new(AuditKind::Dashboard, Operation::Dashboard);
        entry.client_id = Some(client_id.into());
        entry.effect = change.has_changed;
        let facts = RequestFacts {
            is_known_client: true,
            secret_changed: change.has_changed,
            secret_rejected: false,
        };
        state.counters.count(&entry, facts);
        state.audit.push(entry, now);
        Ok(change.value)
    }
}
