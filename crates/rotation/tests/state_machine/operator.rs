//! The operator process of the simulation: it observes, decides and executes.

use chrono::{DateTime, TimeDelta, Utc};
use rotation::{
    ClientCheck, ClientObservation, ControlResult, Decision, ErrorClass, Failure, Observation,
    OwnedTarget, Phase, ProbeControl, Publication, Purpose, Reason, Rejection, Request,
    RevokedSecret, Rollout, SecretMatch, Status, Step, Target, UnreachedPods, ValueSource, decide,
    has_unrecorded_cause, must_restart, must_store_first, record_failure,
};

use crate::simulation::{Fault, SecretValue, Simulation, Symbol, TargetSecret, value};

/// Result of one reconcile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reconciled {
    /// There is nothing to do until this time.
    Waiting(Option<DateTime<Utc>>),
    Crashed,
    Failed,
}

/// Facts that the process knows only during one reconcile.
#[derive(Default)]
struct Facts {
    client: Option<ReadClient>,
    client_check: ClientCheck,
    accepted: Option<bool>,
    fallback_accepted: Option<bool>,
    secret_set: bool,
    dry_run_passed: bool,
    unreached_pods: UnreachedPods,
    rollouts: Option<Vec<Rollout>>,
    /// The status of the last decision, which waits to be stored.
    deferred: Option<Status>,
}

/// The client, as it was read from Auth0.
struct ReadClient {
    at: DateTime<Utc>,
    /// The secret, unless it is unreadable, or why the client must not be rotated.
    secret: Result<Option<Symbol>, Rejection>,
}

impl Simulation {
    /// Reconciles until there is nothing to do now, and returns when to reconcile again. Retries
    /// after crashes and failures. Time does not advance.
    pub(crate) fn settle(&mut self) -> Option<DateTime<Utc>> {
        for _ in 0..50 {
            match self.reconcile() {
                Reconciled::Waiting(wake) => return wake,
                Reconciled::Crashed => self.restart_process(),
                Reconciled::Failed => {}
            }
        }
        panic!("the operator does not settle: {:?}", self.status);
    }

    /// Runs the operator for this time.
    pub(crate) fn run_for(&mut self, seconds: i64) {
        let end = self.now + TimeDelta::seconds(seconds);
        for _ in 0..500 {
            match self.settle() {
                Some(wake) if wake <= end => {
                    assert!(wake > self.now, "the wake time is in the past: {:?}", self.status);
                    self.now = wake;
                }
                _ => {
                    self.now = end;
                    self.settle();
                    return;
                }
            }
        }
        panic!("the operator wakes too often: {:?}", self.status);
    }

    /// Reconciles once.
    pub(crate) fn reconcile(&mut self) -> Reconciled {
        let mut facts = Facts::default();
        for _ in 0..30 {
            let policy = self.policy();
            self.drop_published_response();
            let observed = self.observe(&facts);
            let Decision { status, step, wake } = decide(&observed, self.now, &policy);
            let key = restart_key(self.status_of(&facts));
            if has_unrecorded_cause(&self.status, self.status_of(&facts), &status) {
                self.status = self.status_of(&facts).clone();
                self.stored_statuses.push(self.status.clone());
                continue;
            }
            facts.rollouts.take_if(|_| restart_key(&status) != key);
            facts.deferred = Some(status.clone());
            if must_store_first(&self.status, &status, &step) {
                match self.effect(|sim| sim.status = status.clone()) {
                    Ok(()) => self.stored_statuses.push(status),
                    Err(Fault::CrashBefore | Fault::CrashAfter) => return Reconciled::Crashed,
                    Err(_) => return Reconciled::Failed,
                }
            }
            if step == Step::Wait {
                return Reconciled::Waiting(wake);
            }
            match self.execute(&step, &mut facts) {
                Ok(()) => self.interfere(&step),
                Err(Fault::CrashBefore | Fault::CrashAfter) => return Reconciled::Crashed,
                Err(fault) => {
                    let observed = self.observe(&facts);
                    let failure = failure(fault);
                    self.status =
                        record_failure(&observed, Some(&step), &failure, self.now, &policy);
                    return Reconciled::Failed;
                }
            }
        }
        panic!("the reconcile does not end: {:?}", self.status);
    }

    /// Lets another party act after a step, if that is planned.
    fn interfere(&mut self, step: &Step) {
        if let Some(planned) = self.interference.take_if(|planned| planned.after == *step) {
            (planned.action)(self);
        }
    }

    /// Drops a response whose publication was not acknowledged but did happen.
    fn drop_published_response(&mut self) {
        let published = self.target.as_ref().map(|target| target.current.symbol);
        if self.response == published {
            self.response = None;
        }
    }

    /// Returns the status that the reconcile goes by: the one that it has not stored yet, if any.
    fn status_of<'s>(&'s self, facts: &'s Facts) -> &'s Status {
        facts.deferred.as_ref().unwrap_or(&self.status)
    }

    fn observe(&self, facts: &Facts) -> Observation {
        let client = facts.client.as_ref();
        let is_read = client.is_some() || facts.client_check != ClientCheck::NotMade;
        Observation {
            generation: self.generation,
            status: self.status_of(facts).clone(),
            request: self.request.as_deref().map(Request::parse),
            initialized: self.initialized,
            was_published: self.target.is_some(),
            has_finalizer: self.has_finalizer,
            is_deleting: self.is_deleting,
            target: self.observe_target(),
            client: match client.map(|client| &client.secret) {
                None => ClientObservation::NotRead,
                Some(Ok(secret)) => ClientObservation::Found(self.compare(*secret)),
                Some(Err(rejection)) => ClientObservation::Rejected(rejection.clone()),
            },
            signs_with_secret: is_read.then_some(self.signs_with_secret),
            client_doubt: None,
            client_check: facts.client_check.clone(),
            client_read_at: client.map(|client| client.at),
            accepted: facts.accepted,
            fallback_accepted: facts.fallback_accepted,
            probe_control: self.probe_control,
            rejected_at: self.rejected_at,
            has_unpublished_response: self.response.is_some(),
            attempt_finished: self.attempt_finished,
            dry_run_passed: facts.dry_run_passed,
            drift_suspected: self.drift_suspected,
            unreached_pods: facts.unreached_pods.clone(),
            rollouts: facts.rollouts.clone(),
            revoked: self.revoked,
            restart_attempted: self.restart_attempted.is_some()
                && self.restart_attempted == restart_key(self.status_of(facts)),
            consumers_checked_at: self.consumers_checked_at,
            client_checked_at: self.client_checked_at,
            secret_set: facts.secret_set,
            target_hold_off: self.target_hold_off.clone(),
            contested: None,
            finalizer_contested: self.finalizer_contested,
        }
    }

    fn observe_target(&self) -> Target {
        if self.target_is_foreign {
            return Target::Rejected(Rejection::new(Reason::TargetNotOwned, "not owned"));
        }
        if self.target_is_from_elsewhere {
            return Target::Owned(OwnedTarget {
                current: None,
                fallback: None,
                has_current: false,
                current_is_ours: false,
                fallback_is_ours: false,
                tampered: true,
                is_from_elsewhere: true,
                in_sync: true,
                write_proven: None,
            });
        }
        match &self.target {
            None => Target::Absent,
            Some(target) => Target::Owned(OwnedTarget {
                current: Some(target.current.number),
                fallback: target.fallback.map(|fallback| fallback.number),
                has_current: is_ours(target.current),
                current_is_ours: is_ours(target.current),
                fallback_is_ours: target.fallback.is_some_and(is_ours),
                tampered: target.tampered,
                is_from_elsewhere: false,
                in_sync: self.is_in_sync,
                write_proven: target.write_proven,
            }),
        }
    }

    fn compare(&self, secret: Option<Symbol>) -> SecretMatch {
        let Some(secret) = secret else { return SecretMatch::Unreadable };
        if self.unpublishable == Some(secret) {
            return SecretMatch::Unpublishable;
        }
        let Some(target) = &self.target else { return SecretMatch::Other };
        if self.target_is_from_elsewhere {
            return SecretMatch::Other;
        }
        if target.current.symbol == secret && is_ours(target.current) {
            SecretMatch::Current
        } else if target.fallback.is_some_and(|fallback| fallback.symbol == secret) {
            SecretMatch::Fallback
        } else {
            SecretMatch::Other
        }
    }

    fn execute(&mut self, step: &Step, facts: &mut Facts) -> Result<(), Fault> {
        if let Some(fault) = self.outage.filter(|_| is_call_to_auth0(step)) {
            return Err(fault);
        }
        match step {
            Step::Wait | Step::StoreStatus => {}
            Step::CheckClient => {
                self.client_checks += 1;
                self.client_checked_at = Some(self.now);
                facts.client_check = match &self.client_rejection {
                    Some(rejection) => ClientCheck::Rejected(rejection.clone()),
                    None => ClientCheck::Passed,
                };
            }
            Step::ReadClient => {
                self.client_reads += 1;
                self.client_checked_at = Some(self.now);
                let secret = match &self.client_rejection {
                    Some(rejection) => Err(rejection.clone()),
                    None => Ok(self.secrets_readable.then_some(self.auth0_secret)),
                };
                facts.client = Some(ReadClient { at: self.now, secret });
            }
            Step::ProbeRandomValue => {
                self.controls += 1;
                self.note_control();
            }
            Step::ProbeSecret => {
                assert!(!self.target_is_from_elsewhere, "probes a value from elsewhere");
                facts.accepted = self.probe(self.published().current.symbol);
                self.rejected_at = (facts.accepted == Some(false)).then_some(self.now);
            }
            Step::ProbeFallback => {
                let fallback = self.published().fallback.expect("the target has a fallback");
                facts.fallback_accepted = self.probe(fallback.symbol);
            }
            Step::ProbeRevoked => {
                self.probes += 1;
                let revoked = self.revoked.as_mut().expect("a secret was revoked");
                revoked.probes += 1;
                revoked.probed_at = Some(self.now);
                revoked.is_accepted = Some(self.now < self.revoked_until);
            }
            Step::FindUnreachedPods => {
                facts.unreached_pods = UnreachedPods::Pods(self.unreached_pods.clone());
                self.consumers_checked_at = Some(self.now);
                self.consumer_checks += 1;
            }
            Step::ReadRollouts => {
                let status = self.status_of(facts);
                let rollouts = self.workloads.iter().map(|workload| workload.rollout(status));
                facts.rollouts = Some(rollouts.collect());
            }
            Step::RestartWorkloads => {
                facts.rollouts = None;
                self.effect(Self::restart_workloads)?;
                self.restart_attempted = restart_key(&self.status);
            }
            Step::DryRun => facts.dry_run_passed = true,
            Step::AddFinalizer => self.effect(|sim| {
                sim.has_finalizer = true;
                sim.initialized = true;
            })?,
            Step::RemoveFinalizer => self.effect(|sim| sim.has_finalizer = false)?,
            Step::RotateSecret => self.execute_rotate_secret(facts)?,
            Step::SetSecret(number) => self.execute_set_secret(*number, facts)?,
            Step::Publish(publication) => self.execute_publish(publication, facts)?,
        }
        Ok(())
    }

    /// Probes a value. Returns `None` if Auth0 does not say whether it accepts the value.
    fn probe(&mut self, symbol: Symbol) -> Option<bool> {
        self.probes += 1;
        match self.control {
            ControlResult::Rejected => {
                Some(symbol == self.auth0_secret && self.now >= self.accepted_from)
            }
            ControlResult::Accepted => Some(true),
            ControlResult::Forbidden => {
                self.note_control();
                None
            }
        }
    }

    fn note_control(&mut self) {
        let (result, method) = (self.control, self.params.probe_method);
        self.probe_control = Some(ProbeControl { result, probed_at: self.now, method });
    }

    fn execute_rotate_secret(&mut self, facts: &mut Facts) -> Result<(), Fault> {
        self.assert_write_ahead();
        facts.client = None;
        facts.client_check = ClientCheck::NotMade;
        facts.accepted = None;
        facts.fallback_accepted = None;
        self.rotate_calls += 1;
        self.attempt_finished = false;
        self.effect(Self::replace_secret)?;
        self.attempt_finished = true;
        self.response = (!self.omits_secret_in_response).then_some(self.auth0_secret);
        Ok(())
    }

    fn execute_set_secret(&mut self, number: u64, facts: &mut Facts) -> Result<(), Fault> {
        self.assert_write_ahead();
        facts.client = None;
        facts.client_check = ClientCheck::NotMade;
        facts.accepted = None;
        facts.fallback_accepted = None;
        let staged = self.published().values().find(|value| value.number == number);
        let symbol = staged.expect("the target Secret has a value with this number").symbol;
        if self.rejects_values {
            return Err(Fault::ValueRejected);
        }
        self.effect(|sim| sim.set_secret(symbol))?;
        facts.secret_set = true;
        Ok(())
    }

    fn execute_publish(
        &mut self,
        publication: &Publication,
        facts: &mut Facts,
    ) -> Result<(), Fault> {
        let purpose = publication.purpose;
        assert!(!self.target_is_foreign, "{purpose:?} writes a foreign Secret");
        let target = self.resolve(publication, facts);
        let is_revoked = self.status.rotation.as_ref().is_some_and(|rotation| rotation.skip_grace);
        if purpose == Purpose::Retire && is_revoked {
            let number = self.published().fallback.expect("a value is retired").number;
            self.revoked = Some(RevokedSecret {
                number,
                removed_at: self.now,
                probed_at: None,
                is_accepted: None,
                probes: 0,
            });
        }
        self.assert_no_lockout(&target, purpose);
        self.effect(|sim| {
            sim.target = Some(target.clone());
            sim.is_in_sync |= !sim.is_normalized;
            sim.target_is_from_elsewhere = false;
        })?;
        if purpose == Purpose::Response {
            self.response = None;
        }
        self.publications.push(purpose);
        facts.accepted = None;
        facts.fallback_accepted = None;
        Ok(())
    }

    fn resolve(&self, publication: &Publication, facts: &Facts) -> TargetSecret {
        let resolve = |wanted: rotation::NumberedValue| -> SecretValue {
            value(wanted.number, self.symbol_of(wanted.value, facts))
        };
        TargetSecret {
            current: resolve(publication.current),
            fallback: publication.fallback.map(resolve),
            tampered: false,
            write_proven: match publication.purpose {
                Purpose::ProveWrite => {
                    self.status_of(facts).rotation.as_ref().map(|rotation| rotation.number)
                }
                _ => self.target.as_ref().and_then(|target| target.write_proven),
            },
        }
    }

    fn symbol_of(&self, source: ValueSource, facts: &Facts) -> Symbol {
        let is_from_target = matches!(source, ValueSource::Current | ValueSource::Fallback);
        assert!(!(is_from_target && self.target_is_from_elsewhere), "{source:?} is from elsewhere");
        match source {
            ValueSource::Current => self.published().current.symbol,
            ValueSource::Fallback => {
                self.published().fallback.expect("the target Secret has a fallback").symbol
            }
            ValueSource::Response => self.response.expect("the process has a response"),
            ValueSource::Auth0 => {
                let client = facts.client.as_ref().expect("the client was read in this reconcile");
                let secret = client.secret.as_ref().expect("the client can be rotated");
                let secret = secret.expect("the secret is readable");
                assert_ne!(self.unpublishable, Some(secret), "publishes an unpublishable value");
                secret
            }
            ValueSource::Generated => self.unused_symbol(),
        }
    }

    /// Invariant 2: nothing changes at Auth0 before a durable record of the intent exists.
    fn assert_write_ahead(&self) {
        let rotation = self.status.rotation.as_ref().expect("a change at Auth0 is recorded");
        assert_eq!(rotation.phase, Phase::Activating);
    }

    /// Invariant 1, when the target Secret is written: the list contains Auth0's secret if the
    /// process could know it.
    fn assert_no_lockout(&self, target: &TargetSecret, purpose: Purpose) {
        let is_listed = target.values().any(|value| value.symbol == self.auth0_secret);
        let is_known = self.secrets_readable || self.response.is_some();
        // Another party may have changed the secret since the operator read it.
        let may_be_outdated = matches!(
            purpose,
            Purpose::Repair | Purpose::Retire | Purpose::Stage | Purpose::ProveWrite
        );
        assert!(
            is_listed || !is_known || may_be_outdated,
            "{purpose:?} is a lockout: {:?}",
            self.status
        );
    }

    fn restart_workloads(&mut self) {
        let rotation = self.status.rotation.as_ref().expect("a restart belongs to a rotation");
        assert!(rotation.restart_at.is_some(), "a restart is recorded before it happens");
        let values: Vec<_> = self.published().values().map(|value| value.symbol).collect();
        for workload in &mut self.workloads {
            let state = workload.rollout(&self.status).state;
            if !must_restart(rotation, &state, self.now, &self.params) {
                continue;
            }
            let need = workload.need(&self.status).expect("a restart is needed");
            self.workload_restarts += 1;
            if !workload.is_contested {
                workload.restarted_for = Some((need.number, need.level));
                workload.values.clone_from(&values);
            }
        }
    }

    /// Executes an effect, unless a fault is planned for it.
    fn effect(&mut self, act: impl Fn(&mut Self)) -> Result<(), Fault> {
        let index = self.effects;
        self.effects += 1;
        let fault = match self.fault {
            Some(planned) if planned.effect == index => planned.fault,
            _ => {
                act(self);
                return Ok(());
            }
        };
        match fault {
            Fault::CrashBefore
            | Fault::Rejected
            | Fault::OutcomeUnknown
            | Fault::ValueRejected
            | Fault::ChangeRejected => {}
            Fault::CrashAfter | Fault::ResponseLost => act(self),
        }
        Err(fault)
    }
}

/// Returns the values that workloads are restarted for now: the number of the rotation, and whether
/// they are promoted.
fn restart_key(status: &Status) -> Option<(u64, bool)> {
    let rotation = status.rotation.as_ref()?;
    match rotation.phase {
        Phase::Staging => Some((rotation.number, false)),
        Phase::Confirming | Phase::Grace => Some((rotation.number, true)),
        Phase::Started | Phase::Activating | Phase::Withdrawing => None,
    }
}

fn is_call_to_auth0(step: &Step) -> bool {
    matches!(
        step,
        Step::ReadClient
            | Step::ProbeSecret
            | Step::ProbeFallback
            | Step::ProbeRandomValue
            | Step::RotateSecret
            | Step::SetSecret(_)
    )
}

/// Returns whether the operator wrote a value. Other parties write symbols from 1000.
fn is_ours(value: SecretValue) -> bool {
    value.symbol < 1000
}

fn failure(fault: Fault) -> Failure {
    let (class, reason) = match fault {
        Fault::ValueRejected => (ErrorClass::Invalid, Reason::ValueRejected),
        Fault::ChangeRejected => (ErrorClass::Invalid, Reason::ChangeRejected),
        _ => (ErrorClass::Retry, Reason::NoResponse),
    };
    Failure {
        class,
        reason,
        message: "something failed".into(),
        not_applied: matches!(fault, Fault::Rejected | Fault::ChangeRejected),
        concerns_tenant: true,
    }
}
