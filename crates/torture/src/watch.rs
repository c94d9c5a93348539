//! Watches what must always hold.
//!
//! What happened at the API server, at Auth0 and to consumers is put in order by time and told to a
//! ledger per client, which the model check uses too. A fact waits a while for those that happened
//! before it and come later.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use auth0_simulator::{AuditKind, Operation};
use chrono::{DateTime, TimeDelta, Utc};
use rotation::invariants::{Actor, History, Settings};
use rotation::{Outcome, Phase, Status, Strategy};
use secrecy::{ExposeSecret as _, SecretString};

use crate::arena::Arena;
use crate::audit::{Tail, What, Written};
use crate::book::{Book, List};
use crate::fleet::{GRACE, Group, Member, STAGING, WINDOW};
use crate::tally::Failure;

/// How long a fact waits for others.
const PATIENCE: TimeDelta = TimeDelta::milliseconds(1_500);

/// A process that was stopped right before it sent a call to Auth0 sends it when it goes on, though
/// another one has finished that rotation meanwhile. Nothing but Auth0 could prevent that, and it
/// has no means to. Such a change is what anyone else's would be, and is counted.
const AFTER_STOP: TimeDelta = TimeDelta::seconds(2);

/// How long after the API server was killed a change may be made for a record that it did not write
/// down: it is away for some seconds, and Auth0 may have to be asked again.
const AFTER_KILL: TimeDelta = TimeDelta::seconds(20);

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Breach {
    pub(crate) promise: &'static str,
    pub(crate) member: usize,
    pub(crate) detail: String,
}

/// Something that happened to a client.
enum Fact {
    Written(Written),
    Changed { by: Actor, value: u32, resumed: bool },
    Accepted,
    Requested(String),
    Refused { list: List, failure: Failure, since_switch: TimeDelta },
}

/// What must always hold, of all clients.
pub(crate) struct Watch(Mutex<Inner>);

struct Inner {
    /// In the order of time, and then of coming.
    facts: BTreeMap<(DateTime<Utc>, u64), (usize, Fact)>,
    told: u64,
    values: Values,
    clients: Vec<Client>,
    breaches: Vec<Breach>,
    /// Writes that were not written down.
    found: u64,
    /// The simulated Auth0's entries that were looked at.
    entries: u64,
    /// When a stopped operator went on last.
    resumed_at: Option<DateTime<Utc>>,
    /// Since when writes may be missing that were stored and not written down.
    held_since: Option<DateTime<Utc>>,
    /// The API server is killed: it can't be asked.
    is_away: bool,
    /// When it was killed last.
    killed_at: Option<DateTime<Utc>>,
}

/// Numbers in the place of values.
#[derive(Default)]
struct Values(HashMap<String, u32>);

impl Values {
    fn number(&mut self, value: &SecretString) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(value.expose_secret().to_owned()).or_insert(next)
    }

    fn numbers(&mut self, list: &[SecretString]) -> Vec<u32> {
        list.iter().map(|value| self.number(value)).collect()
    }
}

/// One client.
struct Client {
    member: Member,
    /// There from the first fact.
    ledger: Option<History<u32>>,
    record: Status,
    /// When it was stored.
    recorded_at: Option<DateTime<Utc>>,
    /// The record as the operator stored it last, whatever somebody did to it since.
    by_operator: Status,
    /// What the Secret has, and what it had until when.
    lists: Vec<(DateTime<Utc>, Vec<u32>)>,
    changes: usize,
    pub(crate) ended: Ended,
}

/// How many rotations ended, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) completed: u64,
    pub(crate) superseded: u64,
    pub(crate) aborted: u64,
    pub(crate) refused: u64,
}

impl Ended {
    pub(crate) fn all(self) -> u64 {
        self.completed + self.superseded + self.aborted + self.refused
    }

    fn count(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Completed => &mut self.completed,
            Outcome::Superseded => &mut self.superseded,
            Outcome::Aborted => &mut self.aborted,
            Outcome::Rejected => &mut self.refused,
        } += 1;
    }

    fn add(self, other: Self) -> Self {
        Self {
            completed: self.completed + other.completed,
            superseded: self.superseded + other.superseded,
            aborted: self.aborted + other.aborted,
            refused: self.refused + other.refused,
        }
    }
}

impl Watch {
    pub(crate) fn new(members: &[Member]) -> Self {
        let client = |member: &Member| Client {
            member: member.clone(),
            ledger: None,
            record: Status::default(),
            recorded_at: None,
            by_operator: Status::default(),
            lists: Vec::new(),
            changes: 0,
            ended: Ended::default(),
        };
        Self(Mutex::new(Inner {
            facts: BTreeMap::new(),
            told: 0,
            values: Values::default(),
            clients: members.iter().map(client).collect(),
            breaches: Vec::new(),
            found: 0,
            entries: 0,
            resumed_at: None,
            held_since: None,
            is_away: false,
            killed_at: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is about to be written.
    pub(crate) fn requested(&self, member: usize, text: &str) {
        self.lock().tell(Utc::now(), member, Fact::Requested(text.to_owned()));
    }

    /// A stopped operator is about to go on.
    pub(crate) fn resumed(&self) {
        self.lock().resumed_at = Some(Utc::now());
    }

    /// The API server is about to be killed. What happens from here on is judged later.
    pub(crate) fn hold(&self) {
        let now = Some(Utc::now());
        let mut inner = self.lock();
        inner.hold(Utc::now());
        (inner.killed_at, inner.is_away) = (now, true);
    }

    /// The API server is back.
    pub(crate) fn release(&self) {
        self.lock().is_away = false;
    }

    /// Writes may be missing, and can be found.
    pub(crate) fn may_miss(&self) -> bool {
        let inner = self.lock();
        inner.held_since.is_some() && !inner.is_away
    }

    /// The API server has this. What it stored and did not write down is made up for.
    pub(crate) fn catch_up(&self, book: &Book, found: impl Fn(DateTime<Utc>) -> Vec<Written>) {
        let mut inner = self.lock();
        if inner.is_away {
            // It was killed while it was asked.
            return;
        }
        let Some(since) = inner.held_since.take() else { return };
        for written in found(since) {
            if let Some(member) = book.missed(&written) {
                book.page(member).note(since, "not written down, and found afterwards:");
                book.write(&written);
                inner.found += 1;
                inner.tell(since, member, Fact::Written(written));
            }
        }
    }

    /// A consumer was refused.
    pub(crate) fn refused(
        &self,
        at: DateTime<Utc>,
        member: usize,
        list: List,
        failure: Failure,
        since_switch: TimeDelta,
    ) {
        self.lock().tell(at, member, Fact::Refused { list, failure, since_switch });
    }

    /// Takes the promises that were broken so far.
    pub(crate) fn breaches(&self) -> Vec<Breach> {
        std::mem::take(&mut self.lock().breaches)
    }

    /// How many writes were not written down, and found out.
    pub(crate) fn found(&self) -> u64 {
        self.lock().found
    }

    /// The rotations of a strategy that ended.
    pub(crate) fn ended(&self, strategy: Strategy) -> Ended {
        let inner = self.lock();
        let of = inner.clients.iter().filter(|client| client.member.strategy == strategy);
        of.fold(Ended::default(), |all, client| all.add(client.ended))
    }

    /// Everything is at rest: whether it is as it should be.
    pub(crate) fn rest(&self, member: usize) -> Result<(), String> {
        let inner = self.lock();
        let client = &inner.clients[member];
        let ledger = client.ledger.as_ref().ok_or("its secret was never published")?;
        ledger.check_settled(Utc::now(), &client.record).map_err(|breach| breach.to_string())
    }

    /// Takes in what was written and what happened at Auth0, and judges what is old enough.
    pub(crate) fn look(&self, arena: &Arena, tail: &mut Tail) -> anyhow::Result<()> {
        let mut inner = self.lock();
        for written in tail.read()? {
            if let Some(member) = arena.book.write(&written) {
                inner.tell(written.asked_at, member, Fact::Written(written));
            }
        }
        if let Some(since) = tail.take_unsure() {
            inner.hold(since);
        }
        inner.look_at_auth0(arena);
        let until = Utc::now() - PATIENCE;
        let until = inner.held_since.map_or(until, |held| held.min(until));
        inner.judge(arena, until);
        Ok(())
    }
}

impl Inner {
    fn tell(&mut self, at: DateTime<Utc>, member: usize, fact: Fact) {
        self.told += 1;
        self.facts.insert((at, self.told), (member, fact));
    }

    fn hold(&mut self, at: DateTime<Utc>) {
        self.held_since = Some(self.held_since.map_or(at, |since| since.min(at)));
    }

    fn look_at_auth0(&mut self, arena: &Arena) {
        for entry in arena.simulator.audit_log(self.entries) {
            self.entries = entry.seq;
            let Some(member) = entry.client_id.as_deref().and_then(|id| arena.book.find(id)) else {
                continue;
            };
            let Ok(at) = entry.time.parse::<DateTime<Utc>>() else { continue };
            let by = match entry.operation {
                Operation::Dashboard => Actor::OtherParty,
                Operation::RotateSecret | Operation::UpdateClient => Actor::Operator,
                _ if entry.kind == AuditKind::Revocation => {
                    self.tell(at, member, Fact::Accepted);
                    continue;
                }
                _ => continue,
            };
            if !entry.effect {
                continue;
            }
            let client = &mut self.clients[member];
            client.changes += 1;
            let ever = arena.simulator.client_secret_history(&client.member.name);
            let Some(value) = ever.get(client.changes) else { continue };
            let value = self.values.number(value);
            let since_resumed = self.resumed_at.map(|resumed_at| at - resumed_at);
            let resumed =
                since_resumed.is_some_and(|since| (TimeDelta::zero()..AFTER_STOP).contains(&since));
            let mut page = arena.book.page(member);
            page.note(at, &format!("Auth0: {} makes value {value} its secret", entry.operation));
            page.switched_at = Some(at);
            drop(page);
            self.tell(at, member, Fact::Changed { by, value, resumed });
        }
    }

    fn judge(&mut self, arena: &Arena, until: DateTime<Utc>) {
        while let Some(first) = self.facts.first_entry().filter(|first| first.key().0 <= until) {
            let ((at, _), (member, fact)) = first.remove_entry();
            let judged =
                self.clients[member].judge(at, fact, &mut self.values, arena, self.killed_at);
            if let Err((promise, detail)) = judged {
                self.breaches.push(Breach { promise, member, detail });
            }
        }
    }
}

type Judged = Result<(), (&'static str, String)>;

fn broken(breach: rotation::invariants::Violation) -> (&'static str, String) {
    (breach.invariant().as_str(), breach.to_string())
}

impl Client {
    fn judge(
        &mut self,
        at: DateTime<Utc>,
        fact: Fact,
        values: &mut Values,
        arena: &Arena,
        killed_at: Option<DateTime<Utc>>,
    ) -> Judged {
        if self.ledger.is_none() {
            let ever = arena.simulator.client_secret_history(&self.member.name);
            let first = ever.first().map(|first| values.number(first));
            self.ledger = first.map(|first| History::new(at, first, lengths()));
        }
        match fact {
            Fact::Written(written) => self.written(at, written, values),
            Fact::Changed { by, value, resumed } => {
                // Somebody may have removed the record after it had served its purpose.
                let wiped = self.member.group == Group::Wiped;
                let record = if wiped { &self.by_operator } else { &self.record };
                let Some(ledger) = &mut self.ledger else { return Ok(()) };
                let activating = record
                    .rotation
                    .as_ref()
                    .is_some_and(|rotation| rotation.phase == Phase::Activating);
                // The record may be what the API server was killed over.
                let lost = killed_at.is_some_and(|killed_at| {
                    (killed_at..killed_at + AFTER_KILL).contains(&at)
                        && self.recorded_at.is_some_and(|stored| stored < killed_at)
                });
                let by = match by {
                    Actor::Operator if !activating && lost => {
                        arena.counts.unproven.up();
                        Actor::OtherParty
                    }
                    Actor::Operator if !activating && resumed => {
                        arena.counts.stale.up();
                        Actor::OtherParty
                    }
                    by => by,
                };
                ledger.record_status_and_change(at, value, by, record).map_err(broken)
            }
            Fact::Accepted => {
                let first = self.lists.last().and_then(|(_, list)| list.first());
                if let (Some(ledger), Some(first)) = (&mut self.ledger, first) {
                    ledger.record_accepted_probe(at, first);
                }
                Ok(())
            }
            Fact::Requested(text) => {
                if let Some(ledger) = &mut self.ledger {
                    ledger.record_request(&text);
                }
                Ok(())
            }
            Fact::Refused { list, failure, since_switch } => {
                let list = values.numbers(&list);
                self.refused(at, &list, failure, since_switch, arena)
            }
        }
    }

    fn written(&mut self, at: DateTime<Utc>, written: Written, values: &mut Values) -> Judged {
        let Written { done_at, by_operator, what, .. } = written;
        match what {
            What::Status(status) => {
                self.count_ended(&status);
                if by_operator {
                    self.by_operator.clone_from(&status);
                }
                self.record = *status;
                self.recorded_at = Some(at);
                let Some(ledger) = &mut self.ledger else { return Ok(()) };
                ledger.record_status(at, &self.record).map_err(broken)
            }
            What::Secret(copy) => {
                let list = values.numbers(&copy.list);
                self.publish(at, done_at, &list, by_operator)
            }
            What::SecretGone => self.publish(at, done_at, &[], by_operator),
        }
    }

    fn publish(
        &mut self,
        at: DateTime<Utc>,
        done_at: DateTime<Utc>,
        list: &[u32],
        by_operator: bool,
    ) -> Judged {
        self.lists.push((done_at, list.to_vec()));
        if self.lists.len() > 64 {
            self.lists.remove(0);
        }
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        if by_operator {
            ledger.record_publication(at, list).map_err(broken)
        } else {
            ledger.record_tampering(list);
            Ok(())
        }
    }

    /// A consumer was refused. One that had a list for longer than a staging period after it was
    /// replaced was late through our own fault, and doesn't count.
    fn refused(
        &mut self,
        at: DateTime<Utc>,
        list: &[u32],
        failure: Failure,
        since_switch: TimeDelta,
        arena: &Arena,
    ) -> Judged {
        if is_too_late(&self.lists, list, at) {
            arena.counts.late.up();
            return Ok(());
        }
        arena.tallies.fail(&self.member, failure, since_switch);
        if failure == Failure::Revoked {
            return Ok(());
        }
        if is_promised(&self.member) {
            let after = since_switch.num_milliseconds();
            let detail = format!(
                "at {at} a consumer was refused with a list of {}, {after} ms after Auth0's switch",
                list.len()
            );
            return Err(("no login fails under Staged", detail));
        }
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        ledger.check_login(at, list, &[]).map_err(broken)
    }

    /// Rotations that came into the history with this record.
    fn count_ended(&mut self, status: &Status) {
        let known = &self.record.history;
        let latest = known.first().map(|entry| (entry.number, entry.started_at));
        let fresh = status
            .history
            .iter()
            .take_while(|entry| Some((entry.number, entry.started_at)) != latest);
        // A history that was removed begins anew.
        for entry in fresh {
            self.ended.count(entry.outcome);
        }
    }
}

/// Whether a consumer had a list for longer than a staging period after it was replaced.
fn is_too_late(lists: &[(DateTime<Utc>, Vec<u32>)], list: &[u32], at: DateTime<Utc>) -> bool {
    let had = lists.iter().rposition(|(_, version)| version == list);
    let replaced = had.and_then(|place| lists.get(place + 1));
    let staging = TimeDelta::from_std(STAGING).unwrap_or_default();
    replaced.is_some_and(|(replaced_at, _)| *replaced_at + staging < at)
}

/// Under Staged no login may fail, whatever the operator, its servers and Auth0 go through; only
/// who changes a secret behind the operator's back can make one fail.
fn is_promised(member: &Member) -> bool {
    member.strategy == Strategy::Staged && member.group == Group::Plain
}

fn lengths() -> Settings {
    let delta = |length| TimeDelta::from_std(length).unwrap_or_default();
    Settings {
        staging_period: delta(STAGING),
        grace_period: delta(GRACE),
        propagation_window: delta(WINDOW),
        secrets_readable: true,
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
