//! Checks the invariants of one client.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rotation::{
    Phase, Status, Strategy,
    invariants::{self, Actor, History, Settings},
};
use secrecy::SecretString;
use testkit::{login_tally::LoginOutcome, status::phase};

use super::{OutcomeCounts, ValueNumbers};
use crate::{
    audit_log::{Stored, Write},
    clients::{GRACE, Group, PROPAGATION_WINDOW, STAGING, TestClient},
    context::Context,
    history::List,
};

/// A process that is paused just before it sends a request to Auth0 sends it when it is resumed, even
/// if another process has completed that rotation meanwhile. Only Auth0 could prevent that, and it
/// has no means to. Such a change counts as one by another party.
const AFTER_RESUME: TimeDelta = TimeDelta::seconds(2);

/// Time after a kill of the API server in which a change may belong to a status without an audit
/// event: the API server is down for some seconds, and the operator may have to retry.
const AFTER_KILL: TimeDelta = TimeDelta::seconds(20);

/// Number of lists that are kept: more than are written in a staging period.
const MAX_LISTS: usize = 64;

/// Something that happened to a client.
pub(super) enum Observation {
    Write(Write),
    Changed(Change),
    /// Auth0 accepted a probe of the current value.
    Accepted,
    /// The Management API returned the secret.
    Read,
    Request(String),
    FailedLogin(FailedLogin),
}

/// Change of the secret at Auth0.
pub(super) struct Change {
    pub(super) by: Actor,
    pub(super) value: u32,
    pub(super) since_resume: Option<TimeDelta>,
}

/// Login of a consumer that Auth0 rejected.
pub(crate) struct FailedLogin {
    pub(crate) list: List,
    pub(crate) outcome: LoginOutcome,
    /// Time since the secret changed at Auth0.
    pub(crate) since_change: Duration,
}

/// Violation of an invariant of this client.
pub(super) struct Violation {
    pub(super) invariant: &'static str,
    pub(super) detail: String,
}

impl From<invariants::Violation> for Violation {
    fn from(violation: invariants::Violation) -> Self {
        Self { invariant: violation.invariant().as_str(), detail: violation.to_string() }
    }
}

/// List since the time when it was stored.
pub(super) struct DatedList {
    pub(super) since: DateTime<Utc>,
    pub(super) values: Vec<u32>,
}

pub(super) struct ClientChecker {
    client: TestClient,
    /// Created at the first observation.
    history: Option<History<u32>>,
    pub(super) status: Status,
    status_stored_at: Option<DateTime<Utc>>,
    /// The status as the operator last stored it, even if a user has changed it since.
    status_by_operator: Status,
    lists: Vec<DatedList>,
    /// Number of changes at Auth0.
    changes: usize,
    pub(super) outcomes: OutcomeCounts,
}

impl ClientChecker {
    pub(super) fn new(client: &TestClient) -> Self {
        Self {
            client: client.clone(),
            history: None,
            status: Status::default(),
            status_stored_at: None,
            status_by_operator: Status::default(),
            lists: Vec::new(),
            changes: 0,
            outcomes: OutcomeCounts::default(),
        }
    }

    pub(super) fn strategy(&self) -> Strategy {
        self.client.strategy
    }

    /// Returns the value that the next change at Auth0 made the secret.
    pub(super) fn next_value(&mut self, context: &Context) -> Option<SecretString> {
        self.changes += 1;
        let values = context.simulator.client_secret_history(&self.client.name);
        values.get(self.changes).cloned()
    }

    pub(super) fn check_idle(&self) -> Result<(), String> {
        let history = self.history.as_ref().ok_or("its secret was never published")?;
        history.check_settled(Utc::now(), &self.status).map_err(|violation| violation.to_string())
    }

    pub(super) fn ensure_ledger(
        &mut self,
        at: DateTime<Utc>,
        context: &Context,
        values: &mut ValueNumbers,
    ) {
        if self.history.is_none() {
            let ever = context.simulator.client_secret_history(&self.client.name);
            let first = ever.first().map(|first| values.number(first));
            self.history = first.map(|first| {
                let mut history = History::new(at, first, settings());
                // This simulated tenant rejects wrong secrets.
                history.record_control(true);
                history
            });
        }
    }

    pub(super) fn check(
        &mut self,
        at: DateTime<Utc>,
        observation: Observation,
        values: &mut ValueNumbers,
        context: &Context,
        killed_at: Option<DateTime<Utc>>,
    ) -> Result<(), Violation> {
        match observation {
            Observation::Write(write) => return self.check_write(at, write, values),
            Observation::Changed(change) => {
                return self.check_change(at, change, context, killed_at);
            }
            Observation::FailedLogin(login) => {
                let list = values.numbers(&login.list);
                return self.check_failed_login(at, &list, &login, context);
            }
            Observation::Read => {
                let current = self.lists.last().and_then(|list| list.values.first());
                if let (Some(history), Some(current)) = (&mut self.history, current) {
                    history.record_read(at, current);
                }
            }
            Observation::Accepted => {
                let current = self.lists.last().and_then(|list| list.values.first());
                if let (Some(history), Some(current)) = (&mut self.history, current) {
                    history.record_accepted_probe(at, current);
                }
            }
            Observation::Request(request) => {
                if let Some(history) = &mut self.history {
                    history.record_request(&request);
                }
            }
        }
        Ok(())
    }

    fn check_change(
        &mut self,
        at: DateTime<Utc>,
        change: Change,
        context: &Context,
        killed_at: Option<DateTime<Utc>>,
    ) -> Result<(), Violation> {
        // A user may have removed the status after it had served its purpose.
        let status = match self.client.group {
            Group::Wiped => &self.status_by_operator,
            _ => &self.status,
        };
        let Some(history) = &mut self.history else { return Ok(()) };
        let mut by = change.by;
        if by == Actor::Operator && phase(status) != Some(Phase::Activating) {
            let is_status_lost = killed_at.is_some_and(|killed_at| {
                (killed_at..killed_at + AFTER_KILL).contains(&at)
                    && self.status_stored_at.is_some_and(|stored_at| stored_at < killed_at)
            });
            let is_stale = change
                .since_resume
                .is_some_and(|since| (TimeDelta::zero()..AFTER_RESUME).contains(&since));
            if is_status_lost {
                context.counts.unproven_changes.increment();
                by = Actor::OtherParty;
            } else if is_stale {
                context.counts.stale_changes.increment();
                by = Actor::OtherParty;
            }
        }
        Ok(history.record_status_and_change(at, change.value, by, status)?)
    }

    fn check_write(
        &mut self,
        at: DateTime<Utc>,
        write: Write,
        values: &mut ValueNumbers,
    ) -> Result<(), Violation> {
        let Write { completed_at, by_operator, stored, .. } = write;
        let mut write_proven = None;
        let list = match stored {
            Stored::Status(status) => {
                self.count_outcomes(&status);
                if by_operator {
                    self.status_by_operator.clone_from(&status);
                }
                self.status = *status;
                self.status_stored_at = Some(at);
                let Some(history) = &mut self.history else { return Ok(()) };
                return Ok(history.record_status(at, &self.status)?);
            }
            Stored::Secret(target) => {
                write_proven = target.write_proven;
                values.numbers(&target.values)
            }
            Stored::SecretDeleted => Vec::new(),
        };
        let is_unchanged = self.lists.last().is_some_and(|last| last.values == list);
        if is_unchanged && !by_operator {
            // Another controller changed only metadata.
            return Ok(());
        }
        self.lists.push(DatedList { since: completed_at, values: list.clone() });
        if self.lists.len() > MAX_LISTS {
            self.lists.remove(0);
        }
        let Some(history) = &mut self.history else { return Ok(()) };
        if by_operator {
            if let Some(number) = write_proven {
                history.record_write_proof(number);
            }
            return Ok(history.record_publication(at, &list)?);
        }
        history.record_tampering(&list);
        Ok(())
    }

    /// Checks a failed login, unless the test itself provided its list too late.
    fn check_failed_login(
        &mut self,
        at: DateTime<Utc>,
        list: &[u32],
        login: &FailedLogin,
        context: &Context,
    ) -> Result<(), Violation> {
        if is_too_late(&self.lists, list, at) {
            context.counts.late_logins.increment();
            return Ok(());
        }
        context.logins.count_failure(&self.client.name, login.outcome, login.since_change);
        if login.outcome == LoginOutcome::FailedByRevoke {
            return Ok(());
        }
        if may_never_fail(&self.client) {
            let after = login.since_change.as_millis();
            let detail = format!(
                "at {at} a consumer was rejected with a list of {}, {after} ms after Auth0's change",
                list.len()
            );
            return Err(Violation { invariant: "no login fails with Staged", detail });
        }
        let Some(history) = &mut self.history else { return Ok(()) };
        Ok(history.check_login(at, list, &[])?)
    }

    /// Counts the rotations that this status adds to the history. A history that was removed begins
    /// again.
    pub(super) fn count_outcomes(&mut self, status: &Status) {
        let latest = self.status.history.first().map(|entry| (entry.number, entry.started_at));
        for entry in &status.history {
            if Some((entry.number, entry.started_at)) == latest {
                return;
            }
            self.outcomes.count(entry.outcome);
        }
    }
}

/// Returns whether a consumer had a list for longer than a staging period after it was replaced.
pub(super) fn is_too_late(lists: &[DatedList], list: &[u32], at: DateTime<Utc>) -> bool {
    let Some(index) = lists.iter().rposition(|dated| dated.values == list) else { return false };
    let Some(replacement) = lists.get(index + 1) else { return false };
    replacement.since + TimeDelta::from_std(STAGING).unwrap_or_default() < at
}

/// Returns whether no login may ever fail. With Staged this holds in spite of all faults of the
/// operator, its servers and Auth0, unless another party changes the secret.
pub(super) fn may_never_fail(client: &TestClient) -> bool {
    client.strategy == Strategy::Staged && client.group == Group::Plain
}

fn settings() -> Settings {
    let delta = |duration| TimeDelta::from_std(duration).unwrap_or_default();
    Settings {
        staging_period: delta(STAGING),
        grace_period: delta(GRACE),
        propagation_window: delta(PROPAGATION_WINDOW),
        secrets_readable: true,
    }
}
