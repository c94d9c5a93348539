//! A process of the operator: the shipped `decide` and `fail`, and what `act` does about them.

use rotation::{
    ClientObservation, Decision, ErrorClass, Failure, Observation, OwnedTarget, Phase, Policy,
    Publication, Purpose, Reason, Request, SecretMatch, Status, Step, Target, UnreachedPods,
    ValueSource, fail, invariants::By,
};

use crate::{
    mutants::Mutant,
    world::{Call, Fault, Memory, Pass, Record, Resource, Secret, Symbol, World, tick, time},
};

/// How a step of a process ended.
enum End {
    /// The pass goes on.
    On,
    /// The pass came to rest.
    Wait,
    /// What was read is out of date: it is read again, and the pass goes on.
    Conflict,
    /// The pass is over. `stored`: what was to be put down of it can be.
    Failed { trouble: Failure, step: Option<Step>, storable: bool },
}

/// One process, at work.
pub(crate) struct Operator<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) me: usize,
    pub(crate) policies: &'a [Policy; 2],
    pub(crate) readable: bool,
    pub(crate) mutant: Option<Mutant>,
    /// What is to go wrong with the next effect.
    pub(crate) fault: Option<Fault>,
}

impl Operator<'_> {
    /// Reads, or decides and has one effect. False when there is nothing that the fault could be
    /// done to.
    pub(crate) fn go(mut self) -> bool {
        let faulty = self.fault.is_some();
        let now = self.world.now;
        let Some(mut pass) = self.world.processes[self.me].pass.take() else {
            if faulty || self.world.resource.is_none() {
                return false;
            }
            self.world.processes[self.me].pass = Some(Pass { read_now: true, ..Pass::default() });
            return true;
        };
        let end = self.one(&mut pass);
        self.forget_ended_attempt();
        if faulty && self.fault.is_some() {
            return false;
        }
        self.world.processes[self.me].pass = match end {
            End::On => Some(pass),
            End::Wait => {
                self.memory().listed = None;
                None
            }
            End::Conflict if self.world.resource.is_none() => None,
            End::Conflict => {
                Some(Pass { read_now: true, written: pass.written.take(), ..Pass::default() })
            }
            End::Failed { trouble, step, storable } => {
                if storable && pass.resource.is_none() && self.world.resource.is_some() {
                    let seen = self.observe(&pass);
                    let policy = self.policy(&pass);
                    let status = fail(&seen, step.as_ref(), &trouble, time(now), policy);
                    if status != seen.status {
                        self.world.store(Some(self.me), status);
                    }
                }
                None
            }
        };
        true
    }

    fn one(&mut self, pass: &mut Pass) -> End {
        if pass.resource.is_none() && self.world.resource.is_none() {
            return End::Conflict;
        }
        self.forget_published_answer(pass);
        let Some(step) = pass.step.take() else {
            let seen = self.observe(pass);
            let Decision { status, step, .. } = self.decide(&seen, pass);
            if status == seen.status {
                return self.take(step, pass);
            }
            return self.store(status, step, pass);
        };
        self.take(step, pass)
    }

    fn decide(&self, seen: &Observation, pass: &Pass) -> Decision {
        let (now, policy) = (time(self.world.now), self.policy(pass));
        match self.mutant {
            None => rotation::decide(seen, now, policy),
            Some(mutant) => mutant.decide(seen, now, policy),
        }
    }

    fn store(&mut self, status: Status, step: Step, pass: &mut Pass) -> End {
        let stale = pass.resource.is_some();
        match self.fault.take_if(|fault| matches!(fault, Fault::Lost | Fault::Unanswered)) {
            Some(Fault::Lost) => return failed(Fault::Lost, Some(step)),
            Some(_) => {
                if !stale {
                    self.world.store(None, status);
                }
                return End::Failed { trouble: trouble(Fault::Lost), step: None, storable: false };
            }
            None if stale => return End::Conflict,
            None => self.world.store(Some(self.me), status),
        }
        pass.stored_now = true;
        match step {
            Step::Wait => return End::Wait,
            Step::StoreStatus => {}
            step => pass.step = Some(step),
        }
        End::On
    }

    fn take(&mut self, step: Step, pass: &mut Pass) -> End {
        match step.clone() {
            Step::Wait => End::Wait,
            Step::ReadClient => {
                pass.client = Some((self.readable.then_some(self.world.auth0), self.world.now));
                End::On
            }
            Step::ProbeSecret => self.ask_accepted(pass),
            Step::AddFinalizer => self.mark(step, pass, |resource| {
                (resource.held, resource.initialized) = (true, true);
            }),
            Step::RemoveFinalizer => self.mark(step, pass, |resource| resource.held = false),
            Step::RotateSecret => {
                if !pass.stored_now {
                    return End::Conflict;
                }
                let attempt = self.resource(pass).record.0.rotation.as_ref();
                let attempt = attempt.and_then(|rotation| rotation.activating_at).map(tick);
                let value = self.world.fresh();
                let end = self.change(step, value, pass);
                if matches!(end, End::On) {
                    self.memory().ended_attempt = attempt;
                    self.memory().answer = Some(value);
                }
                end
            }
            Step::SetSecret(number) => {
                // Sent within its patience after what it goes by was read or stored.
                if !pass.read_now && !pass.stored_now {
                    return End::Conflict;
                }
                let Some(value) = self.value_of(number, pass) else { return End::Conflict };
                let end = self.change(step, value, pass);
                pass.secret_set = matches!(end, End::On);
                end
            }
            Step::Publish(publication) => self.publish(&publication, pass),
            Step::StoreStatus | Step::DryRun | Step::FindUnreachedPods => End::On,
            Step::ReadRollouts | Step::RestartWorkloads => unreachable!("there are no consumers"),
        }
    }

    fn ask_accepted(&mut self, pass: &mut Pass) -> End {
        let Some(secret) = self.secret(pass).clone() else { return End::Conflict };
        let value = secret.current.1;
        let accepted = value == self.world.accepts;
        if accepted {
            self.world.ledger.accepted(time(self.world.now), &value);
        }
        pass.accepted = Some(accepted);
        self.memory().rejected_at = (!accepted).then_some(self.world.now);
        End::On
    }

    fn mark(&mut self, step: Step, pass: &Pass, change: impl FnOnce(&mut Resource)) -> End {
        let stale = pass.resource.is_some();
        match self.fault.take_if(|fault| matches!(fault, Fault::Lost | Fault::Unanswered)) {
            Some(Fault::Lost) => return failed(Fault::Lost, Some(step)),
            Some(_) => {
                if !stale {
                    self.world.change_resource(None, change);
                    self.world.let_go();
                }
                return End::Failed { trouble: trouble(Fault::Lost), step: None, storable: false };
            }
            None if stale => return End::Conflict,
            None => self.world.change_resource(Some(self.me), change),
        }
        if self.world.let_go() { End::Wait } else { End::On }
    }

    /// A change of the secret at Auth0.
    fn change(&mut self, step: Step, value: Symbol, pass: &mut Pass) -> End {
        (pass.client, pass.accepted) = (None, None);
        let record = self.resource(pass).record.clone();
        let set = matches!(step, Step::SetSecret(_));
        match self.fault.take_if(|fault| *fault != Fault::ValueRejected || set) {
            None => {}
            Some(Fault::Lost) => {
                self.world.call = Some(Call { value, sent: self.world.now, record });
                return failed(Fault::Lost, Some(step));
            }
            Some(Fault::Unanswered) => {
                self.world.set_auth0(value, By::Us, &record);
                return failed(Fault::Lost, Some(step));
            }
            Some(fault) => return failed(fault, Some(step)),
        }
        self.world.set_auth0(value, By::Us, &record);
        self.memory().rejected_at = None;
        End::On
    }

    fn publish(&mut self, publication: &Publication, pass: &mut Pass) -> End {
        let step = || Some(Step::Publish(publication.clone()));
        if pass.written.as_ref() == Some(publication) {
            return failed(Fault::Refused, step());
        }
        let Some(secret) = self.contents(publication, pass) else { return End::Conflict };
        let stale = pass.secret.is_some();
        match self.fault.take_if(|fault| matches!(fault, Fault::Lost | Fault::Unanswered)) {
            Some(Fault::Lost) => return failed(Fault::Lost, step()),
            Some(_) if stale => return End::Conflict,
            Some(_) => {
                self.world.write_secret(Some(self.me), Some(secret));
                return failed(Fault::Lost, step());
            }
            None if stale => return End::Conflict,
            None => self.world.write_secret(Some(self.me), Some(secret)),
        }
        if publication.purpose == Purpose::Response {
            self.memory().answer = None;
        }
        pass.written = Some(publication.clone());
        pass.accepted = None;
        End::On
    }

    fn contents(&mut self, publication: &Publication, pass: &Pass) -> Option<Secret> {
        let secret = self.secret(pass).clone();
        let mut resolve = |value| match value {
            ValueSource::Current => secret.as_ref().map(|secret| secret.current.1),
            ValueSource::Fallback => secret.as_ref()?.fallback.map(|(_, value)| value),
            ValueSource::Response => self.memory().answer,
            ValueSource::Auth0 => pass.client.and_then(|(seen, _)| seen),
            ValueSource::Generated => Some(self.world.fresh()),
        };
        let current = (publication.current.number, resolve(publication.current.value)?);
        let fallback = match publication.fallback {
            None => None,
            Some(wanted) => Some((wanted.number, resolve(wanted.value)?)),
        };
        // The same value twice is no fallback.
        let fallback = fallback.filter(|(_, value)| *value != current.1);
        Some(Secret { current, fallback, edited: false })
    }

    fn value_of(&self, number: u64, pass: &Pass) -> Option<Symbol> {
        let secret = self.secret(pass).as_ref()?;
        let all = [secret.fallback, Some(secret.current)];
        all.into_iter().flatten().find(|(known, _)| *known == number).map(|(_, value)| value)
    }

    /// A write whose acknowledgement was lost has happened all the same.
    fn forget_published_answer(&mut self, pass: &Pass) {
        let published = self.secret(pass).as_ref().map(|secret| secret.current.1);
        self.memory().answer.take_if(|answer| Some(*answer) == published);
    }

    /// What no record speaks of any more is of no use: one state less to look at.
    fn forget_ended_attempt(&mut self) {
        let record = self.world.resource.as_ref().map(|resource| &resource.record.0);
        let rotation = record.and_then(|status| status.rotation.as_ref());
        let attempt = rotation
            .filter(|rotation| rotation.phase == Phase::Activating)
            .and_then(|rotation| rotation.activating_at)
            .map(tick);
        self.memory().ended_attempt.take_if(|ended| Some(*ended) != attempt);
    }

    fn observe(&self, pass: &Pass) -> Observation {
        let resource = self.resource(pass);
        let secret = self.secret(pass);
        let Memory { answer, rejected_at, ended_attempt, listed } =
            &self.world.processes[self.me].memory;
        let Record(status) = &resource.record;
        let attempt = status.rotation.as_ref().and_then(|rotation| rotation.activating_at);
        let known = secret.as_ref().map(Secret::list).unwrap_or_default();
        Observation {
            generation: 1 + i64::from(resource.respecified),
            status: status.clone(),
            request: resource.request.as_deref().map(Request::parse),
            initialized: resource.initialized,
            has_finalizer: resource.held,
            is_deleting: resource.deleting,
            target: match secret {
                None => Target::Absent,
                Some(secret) => Target::Owned(OwnedTarget {
                    current: Some(secret.current.0),
                    fallback: secret.fallback.map(|(number, _)| number),
                    has_current: true,
                    tampered: secret.edited,
                    in_sync: true,
                }),
            },
            client: match pass.client {
                None => ClientObservation::NotRead,
                Some((seen, _)) => ClientObservation::Found(compare(seen, &known)),
            },
            signs_with_secret: None,
            client_read_at: pass.client.map(|(_, at)| time(at)),
            accepted: pass.accepted,
            rejected_at: rejected_at.map(time),
            has_unpublished_response: answer.is_some(),
            attempt_finished: attempt.is_some() && attempt.map(tick) == *ended_attempt,
            // Nothing that a rotation needs beforehand is missing here.
            dry_run_passed: true,
            drift_suspected: listed.is_some_and(|listed| !known.contains(&listed)),
            unreached_pods: UnreachedPods::Pods(Vec::new()),
            rollouts: None,
            secret_set: pass.secret_set,
        }
    }

    fn policy(&self, pass: &Pass) -> &Policy {
        &self.policies[usize::from(self.resource(pass).respecified)]
    }

    fn resource<'s>(&'s self, pass: &'s Pass) -> &'s Resource {
        let read = pass.resource.as_deref();
        read.or(self.world.resource.as_ref()).expect("a pass has a resource")
    }

    fn secret<'s>(&'s self, pass: &'s Pass) -> &'s Option<Secret> {
        pass.secret.as_deref().unwrap_or(&self.world.secret)
    }

    fn memory(&mut self) -> &mut Memory {
        &mut self.world.processes[self.me].memory
    }
}

fn compare(seen: Option<Symbol>, known: &[Symbol]) -> SecretMatch {
    match seen.map(|seen| known.iter().position(|value| *value == seen)) {
        None => SecretMatch::Unreadable,
        Some(Some(0)) => SecretMatch::Current,
        Some(Some(_)) => SecretMatch::Fallback,
        Some(None) => SecretMatch::Other,
    }
}

fn failed(fault: Fault, step: Option<Step>) -> End {
    End::Failed { trouble: trouble(fault), step, storable: true }
}

fn trouble(fault: Fault) -> Failure {
    let refused = fault == Fault::ValueRejected;
    Failure {
        class: if refused { ErrorClass::Invalid } else { ErrorClass::Retry },
        reason: if refused { Reason::ValueRejected } else { Reason::NoResponse },
        message: "it went wrong".into(),
        unchanged: matches!(fault, Fault::Refused | Fault::ValueRejected),
        tenant: true,
    }
}
