//! Checks the invariants that always hold.
//!
//! It merges by time what happened at the API server, at Auth0 and to consumers, and passes it to one
//! ledger per client, which the model check uses too. An observation waits until those that happened
//! before it have arrived.

mod client;
mod outcomes;

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use auth0_simulator::{AuditEntry, AuditKind, Operation};
use chrono::{DateTime, TimeDelta, Utc};
pub(crate) use client::FailedLogin;
use client::{Change, ClientChecker, Observation};
pub(crate) use outcomes::OutcomeCounts;
use parking_lot::{Mutex, MutexGuard};
use rotation::{Strategy, invariants::Actor};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    audit_log::{AuditLog, Stored, Write},
    clients::TestClient,
    context::Context,
};

/// How long an observation waits for earlier ones.
const REORDER_WINDOW: TimeDelta = TimeDelta::milliseconds(1_500);

/// Invariant that was violated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) invariant: &'static str,
    pub(crate) client: usize,
    pub(crate) detail: String,
}

/// Checks the invariants of all clients.
pub(crate) struct Checker(Mutex<State>);

/// Position of an observation: its time, and a number that makes it unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    at: DateTime<Utc>,
    number: u64,
}

struct Pending {
    client: usize,
    observation: Observation,
}

struct State {
    pending: BTreeMap<Position, Pending>,
    /// Number of observations so far.
    count: u64,
    values: ValueNumbers,
    clients: Vec<ClientChecker>,
    violations: Vec<Violation>,
    /// Number of writes without an audit event.
    missed_writes: u64,
    /// Number of the last entry of Auth0's audit log that was read.
    auth0_sequence: u64,
    /// When a paused operator was last resumed.
    resumed_at: Option<DateTime<Utc>>,
    /// Since when stored writes may lack an audit event. Later observations wait until these have
    /// been found.
    uncertain_since: Option<DateTime<Utc>>,
    is_api_server_down: bool,
    /// When the API server was last killed.
    killed_at: Option<DateTime<Utc>>,
}

/// Numbers in place of secret values.
#[derive(Default)]
struct ValueNumbers(HashMap<String, u32>);

impl ValueNumbers {
    fn number(&mut self, value: &SecretString) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(value.expose_secret().to_owned()).or_insert(next)
    }

    fn numbers(&mut self, list: &[SecretString]) -> Vec<u32> {
        list.iter().map(|value| self.number(value)).collect()
    }
}

impl Checker {
    pub(crate) fn new(clients: &[TestClient]) -> Self {
        Self(Mutex::new(State {
            pending: BTreeMap::new(),
            count: 0,
            values: ValueNumbers::default(),
            clients: clients.iter().map(ClientChecker::new).collect(),
            violations: Vec::new(),
            missed_writes: 0,
            auth0_sequence: 0,
            resumed_at: None,
            uncertain_since: None,
            is_api_server_down: false,
            killed_at: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Records that a request annotation is about to be written.
    pub(crate) fn record_request(&self, client: usize, request: &str) {
        self.lock().push(Utc::now(), client, Observation::Request(request.to_owned()));
    }

    /// Records a failed login.
    pub(crate) fn record_failed_login(&self, at: DateTime<Utc>, client: usize, login: FailedLogin) {
        self.lock().push(at, client, Observation::FailedLogin(login));
    }

    /// Records that a paused operator is about to be resumed.
    pub(crate) fn record_resume(&self) {
        self.lock().resumed_at = Some(Utc::now());
    }

    /// Records that the API server is about to be killed. Later observations wait until the writes
    /// without an audit event have been found.
    pub(crate) fn record_api_server_kill(&self) {
        let mut state = self.lock();
        state.mark_uncertain(Utc::now());
        state.killed_at = Some(Utc::now());
        state.is_api_server_down = true;
    }

    /// Records that the API server is ready again.
    pub(crate) fn record_api_server_start(&self) {
        self.lock().is_api_server_down = false;
    }

    /// Returns whether writes may lack an audit event, and can be found.
    pub(crate) fn needs_reconcile(&self) -> bool {
        let state = self.lock();
        state.uncertain_since.is_some() && !state.is_api_server_down
    }

    /// Compares the history with the objects that the API server has, and records the writes that
    /// lack an audit event. `read` returns the objects as writes at the given time.
    pub(crate) fn reconcile(
        &self,
        context: &Context,
        read: impl FnOnce(DateTime<Utc>) -> Vec<Write>,
    ) {
        let mut state = self.lock();
        if state.is_api_server_down {
            // It was killed while the objects were read.
            return;
        }
        let Some(since) = state.uncertain_since.take() else { return };
        for write in read(since) {
            let Some(client) = context.history.find_missed(&write) else { continue };
            let at = earliest_time(context, client, &write, since);
            let event = "the next write has no audit event and was read afterwards:";
            context.history.of(client).record_event(at, event);
            context.history.record(&write);
            state.missed_writes += 1;
            state.push(at, client, Observation::Write(write));
        }
    }

    /// Takes the violations so far.
    pub(crate) fn take_violations(&self) -> Vec<Violation> {
        std::mem::take(&mut self.lock().violations)
    }

    /// Returns the number of writes without an audit event.
    pub(crate) fn missed_writes(&self) -> u64 {
        self.lock().missed_writes
    }

    /// Returns the outcomes of a strategy's rotations.
    pub(crate) fn outcomes(&self, strategy: Strategy) -> OutcomeCounts {
        let state = self.lock();
        let clients = state.clients.iter().filter(|client| client.strategy() == strategy);
        clients.map(|client| client.outcomes).sum()
    }

    /// Checks an idle client.
    pub(crate) fn check_idle(&self, client: usize) -> Result<(), String> {
        self.lock().clients[client].check_idle()
    }

    /// Reads the audit logs of the API server and of Auth0, and checks the observations that are old
    /// enough.
    pub(crate) fn update(&self, context: &Context, audit_log: &mut AuditLog) -> Result<()> {
        let mut state = self.lock();
        for write in audit_log.read()? {
            if let Some(client) = context.history.record(&write) {
                state.push(write.requested_at, client, Observation::Write(write));
            }
        }
        if let Some(since) = audit_log.take_uncertain_since() {
            state.mark_uncertain(since);
        }
        for entry in context.simulator.audit_log(state.auth0_sequence) {
            state.auth0_sequence = entry.seq;
            state.handle_auth0_entry(context, &entry);
        }
        let until = Utc::now() - REORDER_WINDOW;
        let until = state.uncertain_since.map_or(until, |since| since.min(until));
        state.check(context, until);
        Ok(())
    }
}

impl State {
    fn push(&mut self, at: DateTime<Utc>, client: usize, observation: Observation) {
        self.count += 1;
        let position = Position { at, number: self.count };
        self.pending.insert(position, Pending { client, observation });
    }

    fn mark_uncertain(&mut self, at: DateTime<Utc>) {
        self.uncertain_since = Some(self.uncertain_since.map_or(at, |since| since.min(at)));
    }

    fn handle_auth0_entry(&mut self, context: &Context, entry: &AuditEntry) {
        if entry.operation == Operation::ListClients
            && entry.shows_secret
            && let Ok(at) = entry.time.parse()
        {
            for client in 0..self.clients.len() {
                self.push(at, client, Observation::Read);
            }
            return;
        }
        let client = entry.client_id.as_deref().and_then(|id| context.history.find(id));
        let (Some(client), Ok(at)) = (client, entry.time.parse::<DateTime<Utc>>()) else { return };
        let by = match entry.operation {
            Operation::Dashboard => Actor::OtherParty,
            Operation::RotateSecret | Operation::UpdateClient => Actor::Operator,
            Operation::GetClient if entry.shows_secret => {
                self.push(at, client, Observation::Read);
                return;
            }
            _ if entry.kind == AuditKind::Revocation => {
                self.push(at, client, Observation::Accepted);
                return;
            }
            _ => return,
        };
        if !entry.effect {
            return;
        }
        let Some(value) = self.clients[client].next_value(context) else { return };
        let value = self.values.number(&value);
        let text = format!("Auth0: {} makes value {value} the secret", entry.operation);
        let mut history = context.history.of(client);
        history.record_event(at, &text);
        history.changed_at = Some(at);
        drop(history);
        let since_resume = self.resumed_at.map(|resumed_at| at - resumed_at);
        self.push(at, client, Observation::Changed(Change { by, value, since_resume }));
    }

    /// Checks the observations up to a time.
    fn check(&mut self, context: &Context, until: DateTime<Utc>) {
        while let Some(first) = self.pending.first_entry()
            && first.key().at <= until
        {
            let (Position { at, .. }, Pending { client, observation }) = first.remove_entry();
            let checker = &mut self.clients[client];
            checker.ensure_ledger(at, context, &mut self.values);
            let result = checker.check(at, observation, &mut self.values, context, self.killed_at);
            if let Err(client::Violation { invariant, detail }) = result {
                self.violations.push(Violation { invariant, client, detail });
            }
        }
    }
}

/// Returns the earliest time at which a write without an audit event can have been made: a Secret with
/// a value of `rotate-secret` is written after Auth0 has made the value.
fn earliest_time(
    context: &Context,
    client: usize,
    write: &Write,
    since: DateTime<Utc>,
) -> DateTime<Utc> {
    let TestClient { name, strategy, .. } = &context.clients()[client];
    let (Stored::Secret(target), Strategy::Rotate) = (&write.stored, strategy) else {
        return since;
    };
    let at_auth0 = context.simulator.client_secret(name);
    let has_value = at_auth0.is_some_and(|at_auth0| {
        target.values.iter().any(|value| value.expose_secret() == at_auth0.expose_secret())
    });
    match context.history.of(client).changed_at {
        Some(changed_at) if has_value => since.max(changed_at),
        _ => since,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
