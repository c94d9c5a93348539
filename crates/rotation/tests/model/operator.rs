//! One operator process: the state machine as shipped, and a model of its executor.

use chrono::{DateTime, Utc};
use rotation::{
    ClientCheck, ClientObservation, Clock, ControlResult, Decision, ErrorClass, Failure,
    NumberedValue, Observation, OwnedTarget, Phase, Policy, ProbeControl, ProbeMethod, Publication,
    Purpose, Reason, Rejection, Request, SecretMatch, Status, Step, TakenValues, Target,
    UnreachedPods, ValueSource, condition_types, decide, find_condition, has_unrecorded_cause,
    invariants::Actor, must_store_first, record_failure,
};

use crate::{
    action::{Fault, WallClockOffsets},
    mutants::Mutant,
    state::{
        ClientRead, EDITED, LateCall, Memory, Reconcile, Resource, SecretValue, Snapshot,
        StoredStatus, Symbol, SystemState, TICK, TargetSecret, Tick, monotonic, time, wall_time,
    },
    workload::restart_key,
};

/// Result of one step of a process.
pub(crate) enum StepResult {
    /// The reconcile continues.
    Continue,
    /// The reconcile is over; there is nothing to do now.
    Wait,
    /// An object changed since it was read: it is read again, and the reconcile continues.
    Conflict,
    /// The reconcile failed, and the failure is recorded if the resource has not changed.
    Failed { failure: Failure, step: Option<Step> },
    /// The reconcile failed because the status could not be stored, so nothing more is recorded.
    NotStored,
}

/// A reconcile that is over.
struct Ended {
    /// The secret that the process knows Auth0 to have.
    seen: Option<Symbol>,
}

/// One process and the state that it acts on.
pub(crate) struct Operator<'a> {
    pub(crate) state: &'a mut SystemState,
    /// Index of the process.
    pub(crate) process: usize,
    pub(crate) policies: &'a [Policy; 2],
    pub(crate) secrets_readable: bool,
    /// Values that the Pods of the workload take.
    pub(crate) taken: TakenValues,
    pub(crate) mutant: Option<Mutant>,
    /// Whether the wall clocks can be wrong in this check.
    pub(crate) has_wrong_clocks: bool,
    /// Fault of the next effect.
    pub(crate) fault: Option<Fault>,
}

impl Operator<'_> {
    /// Reads the resource, or decides and has one effect. Returns false if there was no effect for
    /// the fault.
    pub(crate) fn run(mut self) -> bool {
        let is_faulty = self.fault.is_some();
        if self.has_wrong_clocks {
            self.compare_clocks();
        }
        let Some(mut reconcile) = self.state.processes[self.process].reconcile.take() else {
            if is_faulty || self.state.resource.is_none() {
                return false;
            }
            self.state.processes[self.process].reconcile =
                Some(Reconcile { has_just_read: true, ..Reconcile::default() });
            return true;
        };
        let result = self.advance(&mut reconcile);
        let ended = self.ended(&result, &reconcile);
        self.forget_finished_attempt();
        if is_faulty && self.fault.is_some() {
            return false;
        }
        self.state.processes[self.process].reconcile = match result {
            StepResult::Continue => Some(reconcile),
            StepResult::Wait => {
                self.memory().listed = None;
                if !reconcile.resource.is_stale() {
                    self.mark_reconciled();
                }
                None
            }
            StepResult::Conflict if self.state.resource.is_none() => None,
            StepResult::Conflict => Some(Reconcile {
                has_just_read: true,
                published: reconcile.published.take(),
                ..Reconcile::default()
            }),
            StepResult::Failed { failure, step } => {
                self.record(&reconcile, step.as_ref(), &failure);
                None
            }
            StepResult::NotStored => None,
        };
        if let Some(ended) = ended {
            self.check_ready(ended);
        }
        true
    }

    fn mark_reconciled(&mut self) {
        if let Some(resource) = &mut self.state.resource
            && resource.is_just_replaced
        {
            resource.is_just_replaced = false;
        }
    }

    /// Returns what the process knows if the reconcile is over and its status is the stored one.
    fn ended(&self, result: &StepResult, reconcile: &Reconcile) -> Option<Ended> {
        let is_over = matches!(result, StepResult::Wait | StepResult::Failed { .. });
        if !is_over || reconcile.resource.is_stale() || reconcile.target.is_stale() {
            return None;
        }
        let read = reconcile.client.and_then(|client| client.secret);
        Some(Ended { seen: read.or(self.state.processes[self.process].memory.response) })
    }

    fn check_ready(&mut self, ended: Ended) {
        let Some(resource) = self.state.resource.as_ref().filter(|resource| !resource.is_deleting)
        else {
            return;
        };
        let StoredStatus(status) = &resource.status;
        let seen = ended.seen.as_ref();
        let result = self.state.history.check_ready(time(self.state.now), status, seen);
        self.state.check(result);
    }

    fn record(&mut self, reconcile: &Reconcile, step: Option<&Step>, failure: &Failure) {
        if reconcile.resource.is_stale() || self.state.resource.is_none() {
            return;
        }
        let clock = self.clock(reconcile);
        let observed = self.observe(reconcile, &clock);
        let mut status = record_failure(&observed, step, failure, clock, self.policy(reconcile));
        if self.mutant == Some(Mutant::ReadyWhileUnknown) {
            keep_ready(&observed.status, &mut status);
        }
        if status != self.resource(reconcile).status.0 {
            self.state.store_status(Some(self.process), status);
        }
    }

    fn advance(&mut self, reconcile: &mut Reconcile) -> StepResult {
        if !reconcile.resource.is_stale() && self.state.resource.is_none() {
            return StepResult::Conflict;
        }
        self.drop_published_response(reconcile);
        if let Some(step) = reconcile.step.take() {
            return self.execute(step, reconcile);
        }
        let clock = self.clock(reconcile);
        let observed = self.observe(reconcile, &clock);
        let Decision { status, step, .. } = self.decide(&observed, clock, reconcile);
        if is_response(&step) {
            return self.execute(step, reconcile);
        }
        let StoredStatus(stored) = &self.resource(reconcile).status;
        if self.mutant != Some(Mutant::StartFromDeferred)
            && has_unrecorded_cause(stored, self.status(reconcile), &status)
        {
            let deferred = self.status(reconcile).clone();
            return self.store(deferred, Step::StoreStatus, reconcile);
        }
        let is_late = self.mutant == Some(Mutant::DeferIntent)
            && matches!(step, Step::RotateSecret | Step::SetSecret(_));
        if !is_late && must_store_first(stored, &status, &step) {
            return self.store(status, step, reconcile);
        }
        reconcile.has_just_stored |= is_late;
        self.defer(status, reconcile);
        self.execute(step, reconcile)
    }

    fn decide(&self, observed: &Observation, clock: Clock, reconcile: &Reconcile) -> Decision {
        let policy = self.policy(reconcile);
        match self.mutant {
            None => decide(observed, clock, policy),
            Some(mutant) => mutant.decide(observed, clock, policy),
        }
    }

    /// Compares the wall clocks, as with each response of the API server.
    fn compare_clocks(&mut self) {
        let (now, WallClockOffsets { server, machine }) = (self.state.now, self.state.wall_clocks);
        let difference = TICK * i32::from(machine) - TICK * i32::from(server);
        let local = wall_time(now, machine);
        self.memory().clocks.wall.record(local, difference, monotonic(now));
    }

    /// Returns the clock of a decision.
    fn clock(&mut self, reconcile: &Reconcile) -> Clock {
        let now = self.state.now;
        if !self.has_wrong_clocks {
            return time(now).into();
        }
        let status = self.status(reconcile).clone();
        let WallClockOffsets { server, machine } = self.state.wall_clocks;
        let mutant = self.mutant;
        let clocks = &mut self.memory().clocks;
        let mut reading = clocks.wall.read(wall_time(now, machine), monotonic(now));
        match mutant {
            Some(Mutant::TrustApiServer) => return wall_time(now, server).into(),
            Some(Mutant::RecordEarliest) => reading.latest = reading.earliest,
            _ => {}
        }
        clocks.sightings.clock(&status, reading)
    }

    /// Takes the fault if it concerns a write to the API server.
    pub(crate) fn take_write_fault(&mut self) -> Option<Fault> {
        self.fault.take_if(|fault| matches!(fault, Fault::RequestLost | Fault::ResponseLost))
    }

    /// Keeps a status that may wait, as the input of the next decision.
    fn defer(&self, status: Status, reconcile: &mut Reconcile) {
        if restart_key(&status) != restart_key(self.status(reconcile)) {
            reconcile.rollouts = None;
        }
        let is_stored = status == self.resource(reconcile).status.0;
        reconcile.deferred = (!is_stored).then_some(StoredStatus(status));
    }

    fn store(&mut self, status: Status, step: Step, reconcile: &mut Reconcile) -> StepResult {
        if restart_key(&status) != restart_key(self.status(reconcile)) {
            reconcile.rollouts = None;
        }
        let is_stale = reconcile.resource.is_stale();
        match self.take_write_fault() {
            Some(Fault::RequestLost) => return failed(Fault::RequestLost, step),
            Some(_) => {
                if !is_stale {
                    self.state.store_status(None, status);
                }
                return StepResult::NotStored;
            }
            None if is_stale => return StepResult::Conflict,
            None => self.state.store_status(Some(self.process), status),
        }
        reconcile.has_just_stored = true;
        reconcile.deferred = None;
        match step {
            Step::Wait => return StepResult::Wait,
            Step::StoreStatus => {}
            step => reconcile.step = Some(step),
        }
        StepResult::Continue
    }

    fn execute(&mut self, step: Step, reconcile: &mut Reconcile) -> StepResult {
        match step {
            Step::Wait => StepResult::Wait,
            Step::ReadClient | Step::ProbeSecret | Step::ProbeFallback
                if self.fault.take_if(|fault| *fault == Fault::ReadFailed).is_some() =>
            {
                failed(Fault::ReadFailed, step)
            }
            Step::CheckClient => {
                reconcile.client_check = Some(self.state.is_suitable);
                StepResult::Continue
            }
            Step::ReadClient => {
                let secret = self.secrets_readable.then_some(self.state.auth0_secret);
                if let Some(secret) = &secret {
                    self.state.history.record_read(time(self.state.now), secret);
                }
                let (is_suitable, at) = (self.state.is_suitable, self.state.now);
                reconcile.client = Some(ClientRead { secret, is_suitable, at });
                StepResult::Continue
            }
            Step::ProbeRandomValue => {
                self.probe_random_value();
                StepResult::Continue
            }
            Step::ProbeSecret => self.probe(reconcile),
            Step::ProbeFallback => self.probe_fallback(reconcile),
            Step::AddFinalizer => self.change_metadata(step, reconcile, |resource| {
                resource.has_finalizer = true;
                resource.initialized = true;
                resource.is_just_replaced = false;
            }),
            Step::RemoveFinalizer => {
                self.change_metadata(step, reconcile, |resource| resource.has_finalizer = false)
            }
            Step::RotateSecret => self.rotate_secret(reconcile),
            Step::SetSecret(number) => self.set_secret(number, reconcile),
            Step::Publish(publication) => self.publish(publication, reconcile),
            Step::ProbeRevoked => unreachable!("the model does not keep revoked secrets"),
            Step::StoreStatus | Step::DryRun | Step::FindUnreachedPods => StepResult::Continue,
            Step::ReadRollouts => self.read_rollouts(reconcile),
            Step::RestartWorkloads => self.restart_workload(reconcile),
        }
    }

    fn probe(&mut self, reconcile: &mut Reconcile) -> StepResult {
        let Some(target) = self.target(reconcile) else { return StepResult::Conflict };
        let symbol = target.current.symbol;
        let Some(accepted) = self.state.probes.answer(symbol == self.state.accepted) else {
            reconcile.accepted = None;
            self.note_control(ControlResult::Forbidden);
            return StepResult::Continue;
        };
        if accepted {
            self.state.history.record_accepted_probe(time(self.state.now), &symbol);
        }
        reconcile.accepted = Some(accepted);
        self.memory().rejected_at = (!accepted).then_some(self.state.now);
        StepResult::Continue
    }

    fn probe_fallback(&mut self, reconcile: &mut Reconcile) -> StepResult {
        let Some(fallback) = self.target(reconcile).and_then(|target| target.fallback) else {
            return StepResult::Conflict;
        };
        match self.state.probes.answer(fallback.symbol == self.state.accepted) {
            None => self.note_control(ControlResult::Forbidden),
            accepted => reconcile.fallback_accepted = accepted,
        }
        StepResult::Continue
    }

    fn probe_random_value(&mut self) {
        let result = self.state.probes.control();
        self.state.history.record_control(result == ControlResult::Rejected);
        self.note_control(result);
    }

    fn note_control(&mut self, result: ControlResult) {
        let probed_at = time(self.state.now);
        let control = ProbeControl { result, probed_at, method: ProbeMethod::Revocation };
        self.memory().probe_control = Some(control);
    }

    fn change_metadata(
        &mut self,
        step: Step,
        reconcile: &Reconcile,
        change: impl FnOnce(&mut Resource),
    ) -> StepResult {
        let is_stale = reconcile.resource.is_stale();
        match self.take_write_fault() {
            Some(Fault::RequestLost) => return failed(Fault::RequestLost, step),
            Some(_) => {
                if !is_stale {
                    self.state.change_resource(None, change);
                    self.state.finish_deletion();
                }
                return StepResult::NotStored;
            }
            None if is_stale => return StepResult::Conflict,
            None => self.state.change_resource(Some(self.process), change),
        }
        if self.state.finish_deletion() { StepResult::Wait } else { StepResult::Continue }
    }

    fn rotate_secret(&mut self, reconcile: &mut Reconcile) -> StepResult {
        if !reconcile.has_just_stored {
            return StepResult::Conflict;
        }
        let attempt = recorded_attempt(&self.resource(reconcile).status);
        let symbol = self.state.new_symbol();
        let result = self.change_secret(Step::RotateSecret, symbol, reconcile);
        if matches!(result, StepResult::Continue) {
            self.memory().finished_attempt = attempt;
            self.memory().response = Some(symbol);
        }
        result
    }

    fn set_secret(&mut self, number: u64, reconcile: &mut Reconcile) -> StepResult {
        // The call is sent within its timeout after the read or write that it depends on.
        if !reconcile.has_just_read && !reconcile.has_just_stored {
            return StepResult::Conflict;
        }
        let Some(symbol) = self.find_symbol(number, reconcile) else {
            return StepResult::Conflict;
        };
        let result = self.change_secret(Step::SetSecret(number), symbol, reconcile);
        reconcile.secret_set = matches!(result, StepResult::Continue);
        result
    }

    fn change_secret(
        &mut self,
        step: Step,
        symbol: Symbol,
        reconcile: &mut Reconcile,
    ) -> StepResult {
        let checked = reconcile.client_check.take();
        let read = reconcile.client.take().map(|client| client.is_suitable);
        let is_suitable = read.or(checked);
        reconcile.accepted = None;
        reconcile.fallback_accepted = None;
        let status = self.resource(reconcile).status.clone();
        let now = time(self.state.now);
        let result = self.state.history.record_request_to_change(now, &status.0, is_suitable);
        self.state.check(result);
        let sets_value = matches!(step, Step::SetSecret(_));
        let is_possible = |fault: &mut Fault| match fault {
            Fault::ValueRejected => sets_value,
            Fault::ReadFailed => false,
            Fault::RequestLost | Fault::ResponseLost | Fault::Rejected | Fault::ChangeRejected => {
                true
            }
        };
        match self.fault.take_if(is_possible) {
            None => {
                self.state.change_secret(symbol, Actor::Operator, &status);
                self.memory().rejected_at = None;
                StepResult::Continue
            }
            Some(Fault::RequestLost) => {
                self.state.late_call = Some(LateCall { symbol, sent_at: self.state.now, status });
                failed(Fault::RequestLost, step)
            }
            Some(Fault::ResponseLost) => {
                self.state.change_secret(symbol, Actor::Operator, &status);
                failed(Fault::ResponseLost, step)
            }
            Some(fault) => failed(fault, step),
        }
    }

    fn publish(&mut self, publication: Publication, reconcile: &mut Reconcile) -> StepResult {
        if reconcile.published.as_ref() == Some(&publication) {
            // Another party reverted the write.
            return failed(Fault::Rejected, Step::Publish(publication));
        }
        let Some(target) = self.resolve(&publication, reconcile) else {
            return StepResult::Conflict;
        };
        let is_stale = reconcile.target.is_stale();
        match self.take_write_fault() {
            Some(Fault::RequestLost) => {
                return failed(Fault::RequestLost, Step::Publish(publication));
            }
            Some(_) | None if is_stale => return StepResult::Conflict,
            Some(_) => {
                self.state.write_target(Some(self.process), Some(target));
                return failed(Fault::ResponseLost, Step::Publish(publication));
            }
            None => self.state.write_target(Some(self.process), Some(target)),
        }
        if publication.purpose == Purpose::Response {
            self.memory().response = None;
        }
        reconcile.published = Some(publication);
        reconcile.accepted = None;
        reconcile.fallback_accepted = None;
        StepResult::Continue
    }

    /// Returns the target Secret to write, or `None` if a value is no longer available.
    fn resolve(
        &mut self,
        publication: &Publication,
        reconcile: &Reconcile,
    ) -> Option<TargetSecret> {
        let current = self.resolve_value(publication.current, reconcile)?;
        let fallback = match publication.fallback {
            None => None,
            Some(fallback) => Some(self.resolve_value(fallback, reconcile)?),
        };
        // A fallback that equals the current value is omitted.
        let fallback = fallback.filter(|fallback| fallback.symbol != current.symbol);
        let write_proven = match publication.purpose {
            Purpose::ProveWrite => {
                self.status(reconcile).rotation.as_ref().map(|rotation| rotation.number)
            }
            _ => self.target(reconcile).and_then(|target| target.write_proven),
        };
        Some(TargetSecret { current, fallback, tampered: false, write_proven })
    }

    fn resolve_value(
        &mut self,
        wanted: NumberedValue,
        reconcile: &Reconcile,
    ) -> Option<SecretValue> {
        let target = self.target(reconcile);
        let symbol = match wanted.value {
            ValueSource::Current => target?.current.symbol,
            ValueSource::Fallback => target?.fallback?.symbol,
            ValueSource::Response => self.memory().response?,
            ValueSource::Auth0 => reconcile.client?.secret?,
            ValueSource::Generated => self.state.new_symbol(),
        };
        Some(SecretValue { number: wanted.number, symbol })
    }

    fn find_symbol(&self, number: u64, reconcile: &Reconcile) -> Option<Symbol> {
        let target = self.target(reconcile)?;
        match target.fallback {
            Some(fallback) if fallback.number == number => Some(fallback.symbol),
            _ if target.current.number == number => Some(target.current.symbol),
            _ => None,
        }
    }

    /// Drops a response whose publication was not acknowledged but did happen.
    fn drop_published_response(&mut self, reconcile: &Reconcile) {
        let published = self.target(reconcile).map(|target| target.current.symbol);
        self.memory().response.take_if(|response| Some(*response) == published);
    }

    /// Drops an attempt that is no longer recorded, which reduces the number of states.
    fn forget_finished_attempt(&mut self) {
        let resource = self.state.resource.as_ref();
        let rotation = resource.and_then(|resource| resource.status.0.rotation.as_ref());
        let attempt = match rotation {
            Some(rotation) if rotation.phase == Phase::Activating => rotation.activating_at,
            _ => None,
        };
        self.memory().finished_attempt.take_if(|finished| Some(*finished) != attempt);
    }

    fn observe(&self, reconcile: &Reconcile, clock: &Clock) -> Observation {
        let resource = self.resource(reconcile);
        let target = self.target(reconcile);
        let Memory {
            response,
            rejected_at,
            finished_attempt,
            listed,
            probe_control,
            restarted,
            ..
        } = &self.state.processes[self.process].memory;
        let on_clock = |at: Tick| clock.now() - TICK * i32::from(self.state.now - at);
        let attempt = recorded_attempt(&resource.status);
        let list = target.map(TargetSecret::list).unwrap_or_default();
        Observation {
            generation: 1 + i64::from(resource.is_edited),
            status: self.status(reconcile).clone(),
            request: resource.request.as_deref().map(Request::parse),
            initialized: resource.initialized,
            was_published: target.is_some(),
            has_finalizer: resource.has_finalizer,
            is_deleting: resource.is_deleting,
            target: match target {
                None => Target::Absent,
                Some(target) => Target::Owned(OwnedTarget {
                    current: Some(target.current.number),
                    fallback: target.fallback.map(|fallback| fallback.number),
                    has_current: target.current.symbol != EDITED,
                    current_is_ours: target.current.symbol != EDITED,
                    fallback_is_ours: target.fallback.is_some_and(|value| value.symbol != EDITED),
                    tampered: target.tampered,
                    is_from_elsewhere: false,
                    in_sync: true,
                    write_proven: target.write_proven,
                }),
            },
            client: match reconcile.client {
                None => ClientObservation::NotRead,
                Some(client) if !client.is_suitable => ClientObservation::Rejected(uses_keys()),
                Some(client) => ClientObservation::Found(compare(client.secret, &list)),
            },
            signs_with_secret: None,
            client_doubt: None,
            client_check: match reconcile.client_check {
                None => ClientCheck::NotMade,
                Some(true) => ClientCheck::Passed,
                Some(false) => ClientCheck::Rejected(uses_keys()),
            },
            client_read_at: reconcile.client.map(|client| on_clock(client.at)),
            accepted: reconcile.accepted,
            fallback_accepted: reconcile.fallback_accepted,
            probe_control: *probe_control,
            rejected_at: rejected_at.map(on_clock),
            has_unpublished_response: response.is_some(),
            attempt_finished: attempt.is_some() && attempt == *finished_attempt,
            // The model has no precondition of a rotation that can fail.
            dry_run_passed: true,
            drift_suspected: listed.is_some_and(|listed| !list.contains(&listed)),
            unreached_pods: UnreachedPods::Pods(Vec::new()),
            revoked: None,
            rollouts: reconcile.rollouts.map(|progress| vec![progress.rollout()]),
            restart_attempted: restarted.is_some()
                && *restarted == restart_key(self.status(reconcile)),
            // The checks of idle resources change nothing.
            consumers_checked_at: Some(clock.now()),
            client_checked_at: Some(clock.now()),
            secret_set: reconcile.secret_set,
            target_hold_off: None,
            contested: None,
            finalizer_contested: false,
        }
    }

    pub(crate) fn policy(&self, reconcile: &Reconcile) -> &Policy {
        &self.policies[usize::from(self.resource(reconcile).is_edited)]
    }

    pub(crate) fn resource<'s>(&'s self, reconcile: &'s Reconcile) -> &'s Resource {
        match &reconcile.resource {
            Snapshot::Stale(resource) => resource,
            Snapshot::Current => self.state.resource.as_ref().expect("the resource exists"),
        }
    }

    /// Returns the status that the reconcile goes by: the one that it has not stored yet, if any.
    pub(crate) fn status<'s>(&'s self, reconcile: &'s Reconcile) -> &'s Status {
        let stored = &self.resource(reconcile).status;
        &reconcile.deferred.as_ref().unwrap_or(stored).0
    }

    fn target<'s>(&'s self, reconcile: &'s Reconcile) -> Option<&'s TargetSecret> {
        match &reconcile.target {
            Snapshot::Stale(target) => target.as_ref().as_ref(),
            Snapshot::Current => self.state.target.as_ref(),
        }
    }

    pub(crate) fn memory(&mut self) -> &mut Memory {
        &mut self.state.processes[self.process].memory
    }
}

/// A response is published regardless of whether the status can be stored.
fn is_response(step: &Step) -> bool {
    matches!(step, Step::Publish(publication) if publication.purpose == Purpose::Response)
}

/// Leaves the condition Ready as it was.
fn keep_ready(before: &Status, status: &mut Status) {
    status.conditions.retain(|condition| condition.type_ != condition_types::READY);
    status.conditions.extend(find_condition(&before.conditions, condition_types::READY).cloned());
}

fn uses_keys() -> Rejection {
    Rejection::new(Reason::ClientUsesKeys, "it uses keys")
}

fn recorded_attempt(status: &StoredStatus) -> Option<DateTime<Utc>> {
    status.0.rotation.as_ref()?.activating_at
}

fn compare(secret: Option<Symbol>, list: &[Symbol]) -> SecretMatch {
    let Some(secret) = secret else { return SecretMatch::Unreadable };
    match list.iter().position(|symbol| *symbol == secret) {
        Some(0) => SecretMatch::Current,
        Some(_) => SecretMatch::Fallback,
        None => SecretMatch::Other,
    }
}

pub(crate) fn failed(fault: Fault, step: Step) -> StepResult {
    let (class, reason) = match fault {
        Fault::ValueRejected => (ErrorClass::Invalid, Reason::ValueRejected),
        Fault::ChangeRejected => (ErrorClass::Invalid, Reason::ChangeRejected),
        _ => (ErrorClass::Retry, Reason::NoResponse),
    };
    let failure = Failure {
        class,
        reason,
        message: "something failed".into(),
        not_applied: matches!(
            fault,
            Fault::Rejected | Fault::ValueRejected | Fault::ChangeRejected
        ),
        concerns_tenant: true,
    };
    StepResult::Failed { failure, step: Some(step) }
}
