//! Counters of requests, logins, effects and faults.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    audit::{AuditEntry, AuditKind},
    operation::Operation,
};

/// Status under which cut connections are counted.
pub const CUT: &str = "cut";

/// Client id under which requests about unknown clients are counted, so that requests with
/// arbitrary ids can't grow the table without bound.
pub const UNKNOWN_CLIENT: &str = "(unknown)";

/// Request counts of one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OperationCounts {
    /// All requests.
    pub total: u64,
    /// Requests by HTTP status as text, or [`CUT`] if no response was sent.
    pub by_status: BTreeMap<String, u64>,
}

/// Counters of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClientCounts {
    /// Requests about the client, by operation.
    pub requests: BTreeMap<String, u64>,
    /// Token requests that succeeded.
    pub logins_accepted: u64,
    /// Token requests whose secret or assertion was rejected.
    pub logins_rejected: u64,
    /// Token requests that failed for another reason, such as a missing grant.
    pub logins_failed: u64,
    /// Revocations whose secret was accepted.
    pub revocations_accepted: u64,
    /// Revocations whose secret was rejected.
    pub revocations_rejected: u64,
    /// Changes to the client.
    #[serde(flatten)]
    pub effects: Effects,
}

/// Changes in the tenant, whether or not the caller received a response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Effects {
    /// Secrets changed by rotate-secret.
    pub rotations: u64,
    /// PATCH requests that changed the secret.
    pub secret_patches: u64,
    /// PATCH requests that changed anything.
    pub patches: u64,
    /// Secrets changed at the dashboard.
    pub dashboard_changes: u64,
    /// Clients created by POST.
    pub creations: u64,
    /// Clients deleted by DELETE.
    pub deletions: u64,
}

/// Facts about a request that are counted but not part of its audit entry.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RequestFacts {
    /// The client exists in the tenant or did so before the request.
    pub(crate) is_known_client: bool,
    /// The request changed the client's secret.
    pub(crate) secret_changed: bool,
    /// Authentication rejected the client's secret or assertion.
    pub(crate) secret_rejected: bool,
}

/// All counters since the simulator started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Counters {
    /// By operation, for example `clients.rotate_secret`.
    pub operations: BTreeMap<String, OperationCounts>,
    /// By client id.
    pub clients: BTreeMap<String, ClientCounts>,
    /// Sum over all clients.
    pub effects: Effects,
    /// Injected faults, by [`crate::Action::name`].
    pub faults: BTreeMap<String, u64>,
}

impl Counters {
    /// Returns the number of requests of one operation, with any status.
    pub fn requests(&self, operation: Operation) -> u64 {
        self.operations.get(operation.as_str()).map_or(0, |counts| counts.total)
    }

    /// Returns the number of requests of one operation that got this status.
    pub fn with_status(&self, operation: Operation, status: u16) -> u64 {
        let Some(counts) = self.operations.get(operation.as_str()) else {
            return 0;
        };
        counts.by_status.get(&status.to_string()).copied().unwrap_or(0)
    }

    /// Returns the counters of one client; all zero if it received no request.
    pub fn client(&self, client_id: &str) -> ClientCounts {
        self.clients.get(client_id).cloned().unwrap_or_default()
    }

    /// Counts one audit entry.
    pub(crate) fn count(&mut self, entry: &AuditEntry, facts: RequestFacts) {
        let operation = entry.operation.as_str();
        if entry.kind != AuditKind::Dashboard {
            let counts = self.operations.entry(operation.into()).or_default();
            counts.total += 1;
            let status = entry.status.map_or_else(|| CUT.into(), |status| status.to_string());
            *counts.by_status.entry(status).or_default() += 1;
        }
        for fault in entry.fault.iter().flat_map(|faults| faults.split('+')) {
            *self.faults.entry(fault.into()).or_default() += 1;
        }
        self.effects.count(entry, facts.secret_changed);
        if let Some(id) = &entry.client_id {
            let id = if facts.is_known_client { id.as_str() } else { UNKNOWN_CLIENT };
            let client = self.clients.entry(id.into()).or_default();
            *client.requests.entry(operation.into()).or_default() += 1;
            client.effects.count(entry, facts.secret_changed);
            client.count_login(entry.kind, facts.secret_rejected);
        }
    }
}

impl ClientCounts {
    fn count_login(&mut self, kind: AuditKind, secret_rejected: bool) {
        match kind {
            AuditKind::Login => self.logins_accepted += 1,
            AuditKind::FailedLogin if secret_rejected => self.logins_rejected += 1,
            AuditKind::FailedLogin => self.logins_failed += 1,
            AuditKind::Revocation => self.revocations_accepted += 1,
            AuditKind::FailedRevocation if secret_rejected => self.revocations_rejected += 1,
            _ => {}
        }
    }
}

impl Effects {
    fn count(&mut self, entry: &AuditEntry, secret_changed: bool) {
        if !entry.effect {
            return;
        }
        match entry.operation {
            Operation::RotateSecret => self.rotations += 1,
            Operation::UpdateClient => {
                self.patches += 1;
                self.secret_patches += u64::from(secret_changed);
            }
            Operation::Dashboard => self.dashboard_changes += u64::from(secret_changed),
            Operation::CreateClient => self.creations += 1,
            Operation::DeleteClient => self.deletions += 1,
            _ => {}
        }
    }
}
