//! Numbers about what was asked and done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::audit::{AuditEntry, AuditKind};
use crate::operation::Operation;

/// The status under which cut connections are counted.
pub const CUT: &str = "cut";

/// The client under which requests about ids that the tenant doesn't have are counted, so that
/// strangers can't grow the table.
pub const UNKNOWN_CLIENT: &str = "(unknown)";

/// Requests of one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OperationCounts {
    /// All of them.
    pub total: u64,
    /// By HTTP status as text; [`CUT`] when no answer was sent.
    pub by_status: BTreeMap<String, u64>,
}

/// What concerns one client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClientCounts {
    /// Requests about the client by operation.
    pub requests: BTreeMap<String, u64>,
    /// Tokens given.
    pub logins_accepted: u64,
    /// Token requests whose secret was not accepted.
    pub logins_refused: u64,
    /// Token requests refused for another reason, such as a missing grant.
    pub logins_failed: u64,
    /// Revocations by the client that were accepted.
    pub revocations_accepted: u64,
    /// Revocations whose secret was not accepted.
    pub revocations_refused: u64,
    /// Effects.
    #[serde(flatten)]
    pub effects: Effects,
}

/// Changes at the tenant, whether or not the one who asked got an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Effects {
    /// Secrets changed by rotate-secret.
    pub rotations: u64,
    /// PATCHes that changed the secret.
    pub secret_patches: u64,
    /// PATCHes that changed anything.
    pub patches: u64,
    /// Secrets changed at the dashboard.
    pub dashboard_changes: u64,
    /// Clients created by POST.
    pub creations: u64,
    /// Clients deleted by DELETE.
    pub deletions: u64,
}

/// What counting needs beside the audit entry.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Notes {
    /// The tenant has, or had before the request, the client.
    pub(crate) known_client: bool,
    /// The secret became another one.
    pub(crate) secret_changed: bool,
    /// Authentication did not accept the secret.
    pub(crate) secret_refused: bool,
}

/// All numbers since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Counters {
    /// By operation's text.
    pub operations: BTreeMap<String, OperationCounts>,
    /// By client id.
    pub clients: BTreeMap<String, ClientCounts>,
    /// All clients together.
    pub effects: Effects,
    /// Faults that struck, by [`crate::Action::name`].
    pub faults: BTreeMap<String, u64>,
}

impl Counters {
    /// Requests of one operation, however answered.
    pub fn requests(&self, operation: Operation) -> u64 {
        self.operations.get(operation.as_str()).map_or(0, |counts| counts.total)
    }

    /// Requests of one operation with this status.
    pub fn with_status(&self, operation: Operation, status: u16) -> u64 {
        let counts = self.operations.get(operation.as_str());
        counts.and_then(|counts| counts.by_status.get(&status.to_string())).copied().unwrap_or(0)
    }

    /// What concerns one client; zeros for one that nothing was asked about.
    pub fn client(&self, client_id: &str) -> ClientCounts {
        self.clients.get(client_id).cloned().unwrap_or_default()
    }

    /// Counts one audit entry.
    pub(crate) fn count(&mut self, entry: &AuditEntry, notes: Notes) {
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
        self.effects.count(entry, notes.secret_changed);
        if let Some(id) = &entry.client_id {
            let id = if notes.known_client { id.as_str() } else { UNKNOWN_CLIENT };
            let client = self.clients.entry(id.into()).or_default();
            *client.requests.entry(operation.into()).or_default() += 1;
            client.effects.count(entry, notes.secret_changed);
            client.count_login(entry.kind, notes.secret_refused);
        }
    }
}

impl ClientCounts {
    fn count_login(&mut self, kind: AuditKind, secret_refused: bool) {
        match kind {
            AuditKind::Login => self.logins_accepted += 1,
            AuditKind::FailedLogin if secret_refused => self.logins_refused += 1,
            AuditKind::FailedLogin => self.logins_failed += 1,
            AuditKind::Revocation => self.revocations_accepted += 1,
            AuditKind::FailedRevocation if secret_refused => self.revocations_refused += 1,
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
