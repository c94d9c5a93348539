//! The state of the model: one client at Auth0, its resource and target Secret, and the processes
//! that look after it. Values are symbols, times are ticks.

use std::hash::{Hash, Hasher};

use chrono::{DateTime, TimeDelta, Utc};
use rotation::{
    Phase, Publication, Status, Step, Verb,
    invariants::{Breach, By, Ledger},
};

/// A secret's value.
pub(crate) type Symbol = u8;

/// A point in time. One tick is longer than the patience with which a change is sent to Auth0.
pub(crate) type Tick = u8;

/// How long a tick is.
pub(crate) const TICK: TimeDelta = TimeDelta::seconds(60);

pub(crate) fn time(tick: Tick) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TICK * i32::from(tick)
}

pub(crate) fn tick(time: DateTime<Utc>) -> Tick {
    let seconds = (time - DateTime::UNIX_EPOCH).num_seconds();
    Tick::try_from(seconds / TICK.num_seconds()).expect("a time within the horizon")
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// A process reads, or stores a status, or has its next effect.
    Go(usize),
    /// The same, and it goes wrong.
    Fail(usize, Fault),
    /// A process ends, and forgets what it only remembered.
    Crash(usize),
    /// A process lists the tenant's clients, to be compared later.
    List(usize),
    /// A call that was given up for lost reaches Auth0.
    Arrive,
    /// Auth0's authentication switches to the present secret.
    Switch,
    /// Time goes by.
    Tick,
    /// Someone sets another secret in Auth0's dashboard.
    Dashboard,
    /// Someone deletes the target Secret.
    DeleteSecret,
    /// Someone writes a value of theirs into the target Secret.
    EditSecret,
    /// The status is lost.
    LoseStatus,
    /// Someone changes strategy, staging period and grace period in the spec.
    Respecify,
    /// Someone deletes the resource.
    DeleteResource,
    /// Someone asks for something.
    Ask(Verb),
}

/// What goes wrong with an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// Nothing happens, and nobody knows. A change at Auth0 may be on its way for a window.
    Lost,
    /// It happens, and nobody is told.
    Unanswered,
    /// It is refused: nothing happens, and that is known.
    Refused,
    /// Auth0 will never take the value.
    ValueRejected,
}

/// The status, hashed without what has no influence on decisions: conditions, messages, and times
/// that only tell a story.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record(pub(crate) Status);

impl Hash for Record {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let status = &self.0;
        (status.observed_generation, status.current, status.previous).hash(state);
        // An interval is counted from the last rotation.
        let started = status.rotation.as_ref().map(|rotation| rotation.started_at);
        let started = started.or(status.history.first().map(|entry| entry.started_at));
        let last = status.last_rotation_time;
        status.next_rotation_time.map(|next| (next, last, started)).hash(state);
        status.last_handled_request.hash(state);
        let numbers = status.history.iter().map(|entry| entry.number).max();
        (numbers, status.history.is_empty()).hash(state);
        let Some(rotation) = &status.rotation else { return };
        (rotation.number, rotation.cause, rotation.strategy, rotation.phase).hash(state);
        match rotation.phase {
            Phase::Started | Phase::Withdrawing => None,
            Phase::Staging => rotation.staged_at,
            Phase::Activating => rotation.activating_at,
            Phase::Confirming | Phase::Grace => rotation.activated_at,
        }
        .hash(state);
        rotation.confirmed_at.filter(|_| rotation.skip_grace).hash(state);
        (rotation.attempts.min(2), rotation.skip_staging, rotation.skip_grace).hash(state);
        (rotation.rollback, rotation.withdrawn_as.map(|outcome| outcome as u8)).hash(state);
    }
}

/// The `ClientSecretRotation`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Resource {
    pub(crate) record: Record,
    pub(crate) request: Option<String>,
    /// The spec has been changed.
    pub(crate) respecified: bool,
    pub(crate) initialized: bool,
    pub(crate) held: bool,
    pub(crate) deleting: bool,
}

/// The target Secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Secret {
    pub(crate) current: (u64, Symbol),
    pub(crate) fallback: Option<(u64, Symbol)>,
    pub(crate) edited: bool,
}

impl Secret {
    pub(crate) fn list(&self) -> Vec<Symbol> {
        let fallback = self.fallback.map(|(_, value)| value);
        std::iter::once(self.current.1).chain(fallback).collect()
    }
}

/// A change of the secret on its way to Auth0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Call {
    pub(crate) value: Symbol,
    pub(crate) sent: Tick,
    /// The record under which it was sent.
    pub(crate) record: Record,
}

/// A process of the operator, as far as one resource goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) memory: Memory,
    pub(crate) pass: Option<Pass>,
}

/// What a process remembers between passes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Memory {
    pub(crate) answer: Option<Symbol>,
    pub(crate) rejected_at: Option<Tick>,
    pub(crate) ended_attempt: Option<Tick>,
    pub(crate) listed: Option<Symbol>,
}

/// A pass that is under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pass {
    /// The resource as it was read, where it has been changed since.
    pub(crate) resource: Option<Box<Resource>>,
    /// The target Secret as it was read, where it has been changed since.
    pub(crate) secret: Option<Box<Option<Secret>>>,
    /// Both were read in this tick, or a status was stored in it.
    pub(crate) read_now: bool,
    pub(crate) stored_now: bool,
    /// What the Management API told, if it tells, and when.
    pub(crate) client: Option<(Option<Symbol>, Tick)>,
    pub(crate) accepted: Option<bool>,
    pub(crate) secret_set: bool,
    /// The step whose status has been stored.
    pub(crate) step: Option<Step>,
    pub(crate) written: Option<Publication>,
}

impl PartialEq for Pass {
    fn eq(&self, other: &Pass) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Pass {}

impl Hash for Pass {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl Pass {
    fn key(&self) -> impl Hash + PartialEq {
        let step = self.step.as_ref().map(|step| match step {
            Step::Publish(publication) => (10, 0, Some(publication_key(publication))),
            Step::SetSecret(number) => (11, *number, None),
            Step::RotateSecret => (12, 0, None),
            Step::AddFinalizer => (13, 0, None),
            Step::RemoveFinalizer => (14, 0, None),
            Step::ReadClient => (15, 0, None),
            Step::ProbeSecret => (16, 0, None),
            _ => (17, 0, None),
        });
        let seen = (self.resource.clone(), self.secret.clone(), self.read_now, self.stored_now);
        let asked = (self.client, self.accepted, self.secret_set);
        (seen, asked, step, self.written.as_ref().map(publication_key))
    }
}

fn publication_key(publication: &Publication) -> impl Hash + PartialEq {
    (publication.purpose, publication.current, publication.fallback)
}

/// What may still happen that nobody can foresee.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) disturbances: u8,
    pub(crate) requests: u8,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) now: Tick,
    /// `None`: deleted, and let go.
    pub(crate) resource: Option<Resource>,
    pub(crate) secret: Option<Secret>,
    /// Auth0's secret, and since when.
    pub(crate) auth0: Symbol,
    pub(crate) since: Tick,
    /// The value that authentication accepts.
    pub(crate) accepts: Symbol,
    pub(crate) call: Option<Call>,
    pub(crate) processes: Vec<Process>,
    pub(crate) symbols: Symbol,
    pub(crate) budget: Budget,
    pub(crate) ledger: Ledger<Symbol>,
    /// The first promise that was broken.
    pub(crate) breach: Option<Breach>,
}

impl World {
    pub(crate) fn fresh(&mut self) -> Symbol {
        self.symbols += 1;
        self.symbols
    }

    pub(crate) fn hold_against(&mut self, told: Result<(), Breach>) {
        if let Err(breach) = told {
            self.breach.get_or_insert(breach);
        }
    }

    /// Each process but `writer` keeps what it has read; the resource changes.
    pub(crate) fn change_resource(
        &mut self,
        writer: Option<usize>,
        change: impl FnOnce(&mut Resource),
    ) {
        let Some(resource) = &mut self.resource else { return };
        for (_, pass) in passes(&mut self.processes).filter(|(at, _)| Some(*at) != writer) {
            pass.resource.get_or_insert_with(|| Box::new(resource.clone()));
        }
        change(resource);
    }

    pub(crate) fn store(&mut self, writer: Option<usize>, status: Status) {
        let told = self.ledger.recorded(time(self.now), &status);
        self.hold_against(told);
        self.change_resource(writer, |resource| resource.record = Record(status));
    }

    /// A resource that is being deleted goes when nobody holds it.
    pub(crate) fn let_go(&mut self) -> bool {
        let gone = self.resource.as_ref().is_some_and(|it| it.deleting && !it.held);
        if gone {
            let told = self.ledger.gone(time(self.now));
            self.hold_against(told);
            self.change_resource(None, |_| {});
            self.resource = None;
        }
        gone
    }

    pub(crate) fn write_secret(&mut self, writer: Option<usize>, secret: Option<Secret>) {
        for (_, pass) in passes(&mut self.processes).filter(|(at, _)| Some(*at) != writer) {
            pass.secret.get_or_insert_with(|| Box::new(self.secret.clone()));
        }
        let list = secret.as_ref().map(Secret::list).unwrap_or_default();
        self.secret = secret;
        if writer.is_some() {
            let told = self.ledger.published(time(self.now), &list);
            self.hold_against(told);
            self.log_in();
        } else {
            self.ledger.tampered(&list);
        }
    }

    /// Nothing is under way, so that time changes nothing.
    pub(crate) fn is_at_rest(&self) -> bool {
        let idle = |process: &Process| {
            let Memory { answer, ended_attempt, listed, .. } = &process.memory;
            process.pass.is_none() && (answer, ended_attempt, listed) == (&None, &None, &None)
        };
        let resting = |resource: &Resource| {
            let Record(status) = &resource.record;
            status.rotation.is_none()
                && status.next_rotation_time.is_none()
                && status.observed_generation == Some(1 + i64::from(resource.respecified))
                && status.last_handled_request == resource.request
                && !resource.held
        };
        self.processes.iter().all(idle)
            && self.resource.as_ref().is_none_or(resting)
            && self.accepts == self.auth0
            && self.call.is_none()
    }

    /// A change of the secret arrives at Auth0.
    pub(crate) fn set_auth0(&mut self, value: Symbol, by: By, record: &Record) {
        let told = self.ledger.arrived(time(self.now), value, by, &record.0);
        self.hold_against(told);
        if value != self.auth0 {
            (self.auth0, self.since) = (value, self.now);
        }
        self.log_in();
    }

    pub(crate) fn switch(&mut self) {
        self.accepts = self.auth0;
        self.log_in();
    }

    /// Consumers with every list that may be in use try to log in.
    pub(crate) fn log_in(&mut self) {
        let told = self.ledger.logins(time(self.now), &[self.accepts]);
        self.hold_against(told);
    }

    pub(crate) fn tick(&mut self, window: Tick) {
        self.now += 1;
        for (_, pass) in passes(&mut self.processes) {
            (pass.read_now, pass.stored_now) = (false, false);
        }
        if self.now >= self.since + window {
            self.accepts = self.auth0;
        }
        self.call.take_if(|call| self.now >= call.sent + window);
        self.log_in();
    }
}

fn passes(processes: &mut [Process]) -> impl Iterator<Item = (usize, &mut Pass)> {
    let passes = processes.iter_mut().map(|process| process.pass.as_mut());
    passes.enumerate().filter_map(|(at, pass)| Some((at, pass?)))
}
