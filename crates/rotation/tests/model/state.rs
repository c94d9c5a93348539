//! State of the model: one client at Auth0, its resource and target Secret, and operator processes.
//! Secret values are symbols, times are ticks.

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use rotation::{
    ControlResult, Phase, ProbeControl, Publication, Sightings, Status, Step, WallClocks,
    invariants::{Actor, History, Violation},
    is_unresolved,
};

use crate::{
    action::WallClockOffsets,
    workload::{Progress, Workload},
};

/// Symbol for the value of a secret.
pub(crate) type Symbol = u8;

/// Symbol for a value that another party wrote into the target Secret. Auth0 never has it.
pub(crate) const EDITED: Symbol = 0;

/// Point in time. One tick is longer than the operator's timeout for a change at Auth0.
pub(crate) type Tick = u8;

/// Time of a wall clock that is this many ticks ahead.
pub(crate) fn wall_time(now: Tick, ahead: i8) -> DateTime<Utc> {
    time(now) + TICK * i32::from(ahead)
}

/// Returns the monotonic clock of every process.
pub(crate) fn monotonic(now: Tick) -> Duration {
    Duration::from_secs(u64::from(now) * TICK.num_seconds().unsigned_abs())
}

/// Duration of one tick.
pub(crate) const TICK: TimeDelta = TimeDelta::seconds(60);

pub(crate) fn time(tick: Tick) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TICK * i32::from(tick)
}

/// Status whose hash ignores what does not influence decisions: conditions, messages, and times
/// that are only informational.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoredStatus(pub(crate) Status);

impl Hash for StoredStatus {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let status = &self.0;
        (status.observed_generation, status.current, status.previous).hash(state);
        // An interval counts from the last rotation.
        let started = status.rotation.as_ref().map(|rotation| rotation.started_at);
        let started = started.or(status.history.first().map(|entry| entry.started_at));
        let last = status.last_rotation_time;
        status.next_rotation_time.map(|next| (next, last, started)).hash(state);
        status.last_handled_request.hash(state);
        status.drift_hold_off.hash(state);
        status.unanswered_until.hash(state);
        status.probe_control.map(|control| control.result).hash(state);
        let highest = status.history.iter().map(|entry| entry.number).max();
        (highest, status.history.is_empty()).hash(state);
        let Some(rotation) = &status.rotation else { return };
        (rotation.number, rotation.cause, rotation.strategy, rotation.phase).hash(state);
        match rotation.phase {
            Phase::Started | Phase::Withdrawing if rotation.attempts == 0 => None,
            Phase::Started | Phase::Withdrawing => rotation.activating_at,
            Phase::Staging => rotation.staged_at,
            Phase::Activating => rotation.activating_at,
            Phase::Confirming | Phase::Grace => rotation.activated_at,
        }
        .hash(state);
        rotation.confirmed_at.filter(|_| rotation.skip_grace).hash(state);
        // Ready depends on it.
        rotation.unresolved_since.filter(|_| is_unresolved(rotation)).hash(state);
        (rotation.attempts.min(2), rotation.skip_staging, rotation.skip_grace).hash(state);
        (rotation.rollback, rotation.withdrawn_as.map(|outcome| outcome as u8)).hash(state);
        (rotation.restart_at, rotation.restart_attempted_at).hash(state);
        if rotation.restart_attempts > 0 {
            (rotation.restart_attempts.min(7), rotation.staged_at).hash(state);
        }
    }
}

/// The `ClientSecretRotation`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Resource {
    pub(crate) status: StoredStatus,
    pub(crate) request: Option<String>,
    /// A user has edited the spec.
    pub(crate) is_edited: bool,
    pub(crate) initialized: bool,
    pub(crate) has_finalizer: bool,
    pub(crate) is_deleting: bool,
    /// It was replaced, and no process has reconciled it since: a deletion at this moment could not be
    /// prevented.
    pub(crate) is_just_replaced: bool,
}

/// A value in the target Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SecretValue {
    pub(crate) number: u64,
    pub(crate) symbol: Symbol,
}

/// The target Secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TargetSecret {
    pub(crate) current: SecretValue,
    pub(crate) fallback: Option<SecretValue>,
    pub(crate) tampered: bool,
    /// Number of the last rotation that wrote it before `rotate-secret`.
    pub(crate) write_proven: Option<u64>,
}

impl TargetSecret {
    pub(crate) fn values(&self) -> impl Iterator<Item = SecretValue> {
        std::iter::once(self.current).chain(self.fallback)
    }

    /// Returns the list that consumers try.
    pub(crate) fn list(&self) -> Vec<Symbol> {
        self.values().map(|value| value.symbol).collect()
    }
}

/// A call that the operator took for lost, but that may still change the secret at Auth0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LateCall {
    pub(crate) symbol: Symbol,
    pub(crate) sent_at: Tick,
    /// Status that was stored when the call was sent.
    pub(crate) status: StoredStatus,
}

/// An operator process, as far as one resource is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) memory: Memory,
    pub(crate) reconcile: Option<Reconcile>,
}

/// Auth0's response to probes of this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Probes {
    /// Whether it accepts the secret.
    Conclusive,
    /// It accepts any value.
    AcceptAny,
    /// Status 403.
    Forbidden,
}

impl Probes {
    /// Returns whether Auth0 accepts a value, or `None` if it does not say.
    pub(crate) fn answer(self, is_accepted: bool) -> Option<bool> {
        match self {
            Self::Conclusive => Some(is_accepted),
            Self::AcceptAny => Some(true),
            Self::Forbidden => None,
        }
    }

    /// Returns the result of a negative control.
    pub(crate) fn control(self) -> ControlResult {
        match self.answer(false) {
            Some(false) => ControlResult::Rejected,
            Some(true) => ControlResult::Accepted,
            None => ControlResult::Forbidden,
        }
    }
}

/// Memory of a process between reconciles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Memory {
    pub(crate) response: Option<Symbol>,
    pub(crate) rejected_at: Option<Tick>,
    pub(crate) finished_attempt: Option<DateTime<Utc>>,
    /// Secret of the client in the last list of the tenant's clients.
    pub(crate) listed: Option<Symbol>,
    pub(crate) probe_control: Option<ProbeControl>,
    /// State of the clocks as the process knows it, in checks in which they can be wrong.
    pub(crate) clocks: ProcessClocks,
    /// The values for which the process last restarted the workload.
    pub(crate) restarted: Option<(u64, bool)>,
}

/// State of the clocks as a process knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ProcessClocks {
    pub(crate) wall: WallClocks,
    pub(crate) sightings: Sightings,
}

/// An object as a reconcile has read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Snapshot<T> {
    /// The object has not changed since.
    #[default]
    Current,
    /// The object has changed since; this is the version that was read.
    Stale(Box<T>),
}

impl<T: Clone> Snapshot<T> {
    pub(crate) fn is_stale(&self) -> bool {
        matches!(self, Self::Stale(_))
    }

    /// Keeps the version that was read, because the object is about to change.
    fn keep(&mut self, object: &T) {
        if !self.is_stale() {
            *self = Self::Stale(Box::new(object.clone()));
        }
    }
}

/// The client, as a reconcile has read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientRead {
    /// Its secret, unless secrets are unreadable.
    pub(crate) secret: Option<Symbol>,
    /// Whether it may be rotated.
    pub(crate) is_suitable: bool,
    pub(crate) at: Tick,
}

/// A reconcile in progress.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reconcile {
    pub(crate) resource: Snapshot<Resource>,
    pub(crate) target: Snapshot<Option<TargetSecret>>,
    /// Resource and target Secret were read in this tick.
    pub(crate) has_just_read: bool,
    /// A status was stored in this tick.
    pub(crate) has_just_stored: bool,
    pub(crate) client: Option<ClientRead>,
    /// Whether the client may be rotated, as a read without its secret showed.
    pub(crate) client_check: Option<bool>,
    pub(crate) accepted: Option<bool>,
    pub(crate) fallback_accepted: Option<bool>,
    pub(crate) secret_set: bool,
    pub(crate) rollouts: Option<Progress>,
    /// The step whose status is stored.
    pub(crate) step: Option<Step>,
    /// The status of the last decision, which waits to be stored.
    pub(crate) deferred: Option<StoredStatus>,
    pub(crate) published: Option<Publication>,
}

impl PartialEq for Reconcile {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Reconcile {}

impl Hash for Reconcile {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl Reconcile {
    fn key(&self) -> impl Hash + PartialEq {
        let read = (&self.resource, &self.target, self.has_just_read, self.has_just_stored);
        let asked = (
            self.client,
            self.client_check,
            self.accepted,
            self.fallback_accepted,
            self.secret_set,
        );
        let published = self.published.as_ref().map(publication_key);
        let asked = (asked, self.rollouts, &self.deferred);
        (read, asked, self.step.as_ref().map(step_key), published)
    }
}

fn step_key(step: &Step) -> impl Hash + PartialEq {
    match step {
        Step::Publish(publication) => (10, 0, Some(publication_key(publication))),
        Step::SetSecret(number) => (11, *number, None),
        Step::RotateSecret => (12, 0, None),
        Step::AddFinalizer => (13, 0, None),
        Step::RemoveFinalizer => (14, 0, None),
        Step::ReadClient => (15, 0, None),
        Step::CheckClient => (19, 0, None),
        Step::ProbeSecret => (16, 0, None),
        Step::ProbeFallback => (17, 0, None),
        Step::ProbeRandomValue => (19, 0, None),
        Step::RestartWorkloads => (20, 0, None),
        _ => (18, 0, None),
    }
}

fn publication_key(publication: &Publication) -> impl Hash + PartialEq + use<> {
    (publication.purpose, publication.current, publication.fallback)
}

/// How many disruptions and requests may still happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Remaining {
    pub(crate) disruptions: u8,
    pub(crate) requests: u8,
}

/// State of the whole model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SystemState {
    pub(crate) now: Tick,
    pub(crate) wall_clocks: WallClockOffsets,
    /// `None` once it is deleted.
    pub(crate) resource: Option<Resource>,
    pub(crate) target: Option<TargetSecret>,
    /// A workload that is restarted in each rotation.
    pub(crate) workload: Option<Workload>,
    /// Auth0's secret.
    pub(crate) auth0_secret: Symbol,
    pub(crate) changed_at: Tick,
    /// The client may be rotated: it is neither public nor key-based.
    pub(crate) is_suitable: bool,
    /// The value that authentication accepts.
    pub(crate) accepted: Symbol,
    pub(crate) probes: Probes,
    pub(crate) late_call: Option<LateCall>,
    pub(crate) processes: Vec<Process>,
    pub(crate) last_symbol: Symbol,
    pub(crate) remaining: Remaining,
    /// The target Secret before the operator's last write, if the check restores it.
    pub(crate) older_target: Option<TargetSecret>,
    pub(crate) keeps_older_target: bool,
    pub(crate) history: History<Symbol>,
    /// The first violation of an invariant.
    pub(crate) violation: Option<Violation>,
}

impl SystemState {
    pub(crate) fn new_symbol(&mut self) -> Symbol {
        self.last_symbol += 1;
        self.last_symbol
    }

    pub(crate) fn check(&mut self, result: Result<(), Violation>) {
        if let Err(violation) = result {
            self.violation.get_or_insert(violation);
        }
    }

    /// Changes the resource. Every process except the writer keeps what it has read.
    pub(crate) fn change_resource(
        &mut self,
        writer: Option<usize>,
        change: impl FnOnce(&mut Resource),
    ) {
        let Some(resource) = &mut self.resource else { return };
        for reconcile in reconciles_except(&mut self.processes, writer) {
            reconcile.resource.keep(resource);
        }
        change(resource);
    }

    pub(crate) fn store_status(&mut self, writer: Option<usize>, status: Status) {
        let result = self.history.record_status(time(self.now), &status);
        self.check(result);
        self.change_resource(writer, |resource| resource.status = StoredStatus(status));
    }

    /// Deletes a resource that is being deleted and has no finalizer. Returns whether it did.
    pub(crate) fn finish_deletion(&mut self) -> bool {
        let is_deleted = self
            .resource
            .as_ref()
            .is_some_and(|resource| resource.is_deleting && !resource.has_finalizer);
        if is_deleted {
            let result = self.history.record_deletion(time(self.now));
            self.check(result);
            self.change_resource(None, |_| {});
            self.resource = None;
        }
        is_deleted
    }

    /// Writes the target Secret. Without a writer, another party does.
    pub(crate) fn write_target(&mut self, writer: Option<usize>, target: Option<TargetSecret>) {
        for reconcile in reconciles_except(&mut self.processes, writer) {
            reconcile.target.keep(&self.target);
        }
        let list = target.as_ref().map(TargetSecret::list).unwrap_or_default();
        let write_proven = target.as_ref().and_then(|target| target.write_proven);
        let replaced = std::mem::replace(&mut self.target, target);
        if self.keeps_older_target && writer.is_some() {
            self.older_target = replaced.filter(|replaced| !replaced.tampered);
        }
        if writer.is_some() {
            if let Some(number) = write_proven {
                self.history.record_write_proof(number);
            }
            let result = self.history.record_publication(time(self.now), &list);
            self.check(result);
            self.log_in();
        } else {
            self.history.record_tampering(&list);
        }
    }

    /// Returns whether nothing is in progress or planned, so that time changes nothing.
    pub(crate) fn is_idle(&self) -> bool {
        let is_resource_idle = match &self.resource {
            None => true,
            Some(resource) => {
                let StoredStatus(status) = &resource.status;
                status.rotation.is_none()
                    && status.next_rotation_time.is_none()
                    && status.observed_generation == Some(1 + i64::from(resource.is_edited))
                    && status.last_handled_request == resource.request
                    && !resource.has_finalizer
                    && status.drift_hold_off.is_none_or(|hold_off| !hold_off.pending)
            }
        };
        let is_process_idle = |process: &Process| {
            let Memory { response, finished_attempt, listed, .. } = &process.memory;
            let is_memory_empty =
                response.is_none() && finished_attempt.is_none() && listed.is_none();
            process.reconcile.is_none() && is_memory_empty
        };
        self.processes.iter().all(is_process_idle)
            && is_resource_idle
            && self.accepted == self.auth0_secret
            && self.late_call.is_none()
            && !self.has_rollout()
    }

    /// Applies a change of the secret at Auth0.
    pub(crate) fn change_secret(&mut self, symbol: Symbol, actor: Actor, status: &StoredStatus) {
        let result = self.history.record_change(time(self.now), symbol, actor, &status.0);
        self.check(result);
        if symbol != self.auth0_secret {
            self.auth0_secret = symbol;
            self.changed_at = self.now;
        }
        self.log_in();
    }

    /// Makes authentication accept Auth0's secret.
    pub(crate) fn propagate(&mut self) {
        self.accepted = self.auth0_secret;
        self.log_in();
    }

    /// Checks a login with every list that consumers may have.
    pub(crate) fn log_in(&mut self) {
        let result = self.history.check_logins(time(self.now), &[self.accepted]);
        self.check(result);
    }

    pub(crate) fn tick(&mut self, propagation_window: Tick) {
        self.now += 1;
        for reconcile in reconciles_except(&mut self.processes, None) {
            reconcile.has_just_read = false;
            reconcile.has_just_stored = false;
        }
        if self.now >= self.changed_at + propagation_window {
            self.accepted = self.auth0_secret;
        }
        self.late_call.take_if(|call| self.now >= call.sent_at + propagation_window);
        self.log_in();
    }
}

fn reconciles_except(
    processes: &mut [Process],
    excluded: Option<usize>,
) -> impl Iterator<Item = &mut Reconcile> {
    processes
        .iter_mut()
        .enumerate()
        .filter(move |(index, _)| Some(*index) != excluded)
        .filter_map(|(_, process)| process.reconcile.as_mut())
}
