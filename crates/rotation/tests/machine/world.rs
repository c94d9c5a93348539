//! A world for the machine: an Auth0, a resource and a target Secret in symbols, and a process
//! that carries out steps and can be stopped before or after any of them.

use chrono::{DateTime, TimeDelta, Utc};
use rotation::{
    ClientObservation, Decision, ErrorClass, Failure, K8sDuration, Observation, OwnedTarget,
    Policy, PolicyParams, Publication, Purpose, Reason, Rejection, Request, Rollout, RolloutState,
    Schedule, SecretMatch, Status, Step, Strategy, Target, UnreachedPods, ValueSource, Window,
    decide, fail,
};

/// A secret's value, as a symbol.
pub(crate) type Symbol = u32;

/// What can go wrong with an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process ends before the effect.
    CrashBefore,
    /// The process ends after the effect, and has not learned of it.
    CrashAfter,
    /// The effect happens, and its answer is lost.
    AnswerLost,
    /// The call is refused: nothing happens, and that is known.
    Refused,
    /// The call fails: nothing happens, and that is not known.
    FailedUnseen,
    /// Auth0 doesn't take the value.
    ValueRejected,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Secret {
    pub(crate) current: (u64, Symbol),
    pub(crate) fallback: Option<(u64, Symbol)>,
    pub(crate) edited: bool,
}

/// How a pass ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Rested(Option<DateTime<Utc>>),
    Crashed,
    Failed,
}

/// Something that others do.
pub(crate) type Happening = fn(&mut World);

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) now: DateTime<Utc>,
    pub(crate) terms: PolicyParams,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) windows: Vec<Window>,
    pub(crate) generation: i64,
    pub(crate) status: Status,
    pub(crate) initialized: bool,
    pub(crate) held: bool,
    pub(crate) deleting: bool,
    pub(crate) request: Option<String>,
    pub(crate) secret: Option<Secret>,
    /// What the Management API has.
    pub(crate) auth0: Symbol,
    /// When authentication accepts it.
    pub(crate) accepted_from: DateTime<Utc>,
    pub(crate) propagation: TimeDelta,
    pub(crate) readable: bool,
    pub(crate) refusal: Option<Rejection>,
    /// Someone else has put a Secret of their own in the target's place.
    pub(crate) foreign_target: bool,
    /// A list of the tenant's clients showed something else.
    pub(crate) drift_suspected: bool,
    /// The client signs ID tokens with its secret.
    pub(crate) signs_with_secret: bool,
    /// The client may not be touched any more.
    pub(crate) forbidden: bool,
    /// Auth0 takes no value that is set.
    pub(crate) refuses_values: bool,
    /// Pods that are never updated.
    pub(crate) pods: Vec<String>,
    /// Consumers that are restarted: the time of their stamp, and whether their rollout is done.
    pub(crate) consumers: Vec<Consumer>,
    /// Stamps that were put on consumers.
    pub(crate) restarts: usize,
    /// `rotate-secret` doesn't tell the new secret.
    pub(crate) rotate_tells_nothing: bool,
    /// Every value that Auth0 ever had, in order.
    pub(crate) values: Vec<Symbol>,
    pub(crate) rotate_calls: usize,
    pub(crate) questions: usize,
    pub(crate) readings: usize,
    pub(crate) publications: Vec<Purpose>,
    /// Every status that was stored.
    pub(crate) stored: Vec<Status>,
    answer: Option<Symbol>,
    rejected_at: Option<DateTime<Utc>>,
    attempt_finished: bool,
    /// Effects since the world began.
    pub(crate) effects: usize,
    /// What is to go wrong with which effect.
    pub(crate) fault: Option<(usize, Fault)>,
    /// What happens right after a step is taken for the first time.
    pub(crate) after: Option<(Step, Happening)>,
}

impl World {
    pub(crate) fn new() -> World {
        let now = "2026-11-23T10:00:00Z".parse().unwrap();
        World {
            now,
            terms: PolicyParams {
                strategy: Strategy::Rotate,
                staging_period: K8sDuration::from_secs(180),
                grace_period: K8sDuration::from_secs(3600),
                propagation_window: K8sDuration::from_secs(30),
                rotate_initially: false,
                suspend: false,
                restarts: false,
                rollout_timeout: K8sDuration::from_secs(600),
                seed: "uid".into(),
            },
            schedule: None,
            windows: Vec::new(),
            generation: 1,
            status: Status::default(),
            initialized: false,
            held: false,
            deleting: false,
            request: None,
            secret: None,
            auth0: 1,
            accepted_from: now,
            propagation: TimeDelta::seconds(5),
            readable: true,
            refusal: None,
            foreign_target: false,
            drift_suspected: false,
            signs_with_secret: false,
            forbidden: false,
            refuses_values: false,
            pods: Vec::new(),
            consumers: Vec::new(),
            restarts: 0,
            rotate_tells_nothing: false,
            values: vec![1],
            rotate_calls: 0,
            questions: 0,
            readings: 0,
            publications: Vec::new(),
            stored: Vec::new(),
            answer: None,
            rejected_at: None,
            attempt_finished: false,
            effects: 0,
            fault: None,
            after: None,
        }
    }

    /// A world at rest, with number 1 imported.
    pub(crate) fn imported() -> World {
        let mut world = World::new();
        world.settle();
        assert_eq!(world.secret.as_ref().map(|secret| secret.current), Some((1, 1)));
        world.effects = 0;
        world
    }

    pub(crate) fn every(mut self, seconds: u64) -> World {
        let every = Some(K8sDuration::from_secs(seconds));
        self.schedule = Some(Schedule::new(None, None, every, None, self.now).unwrap());
        self.generation += 1;
        self.settle();
        self.effects = 0;
        self
    }

    pub(crate) fn ask(&mut self, request: &str) {
        self.request = Some(request.to_owned());
    }

    pub(crate) fn advance(&mut self, seconds: i64) {
        self.now += TimeDelta::seconds(seconds);
    }

    /// Someone sets another secret in Auth0's dashboard.
    pub(crate) fn dashboard(&mut self) {
        self.change_secret();
    }

    /// The process ends: what it only remembered is gone.
    pub(crate) fn restart(&mut self) {
        self.answer = None;
        self.rejected_at = None;
        self.attempt_finished = false;
    }

    pub(crate) fn policy(&self) -> Policy {
        let (schedule, windows) = (self.schedule.clone(), self.windows.clone());
        let refusal = Rejection::new(Reason::NotAllowed, "the tenant doesn't allow it any more");
        Policy::new(self.terms.clone(), Ok(schedule), Ok(windows), self.now)
            .forbid(self.forbidden.then_some(refusal))
    }

    pub(crate) fn has_unpublished_response(&self) -> bool {
        self.answer.is_some()
    }

    /// Makes passes without letting time go by, until one rests. Failed passes are made again.
    pub(crate) fn settle(&mut self) -> Option<DateTime<Utc>> {
        for _ in 0..50 {
            match self.pass() {
                End::Rested(wake) => return wake,
                End::Crashed => self.restart(),
                End::Failed => {}
            }
        }
        panic!("it does not come to rest: {:?}", self.status);
    }

    /// Lets time go by from wake to wake, for `seconds` in all.
    pub(crate) fn run(&mut self, seconds: i64) {
        let end = self.now + TimeDelta::seconds(seconds);
        for _ in 0..500 {
            match self.settle().filter(|wake| *wake <= end) {
                Some(wake) => {
                    assert!(wake > self.now, "a wake that is not ahead: {:?}", self.status);
                    self.now = wake;
                }
                None => {
                    self.now = end;
                    self.settle();
                    return;
                }
            }
        }
        panic!("it wakes without end: {:?}", self.status);
    }

    /// One pass, as the operator makes it.
    pub(crate) fn pass(&mut self) -> End {
        let mut pass = InPass::default();
        for _ in 0..30 {
            let policy = self.policy();
            self.forget_published_answer();
            let seen = self.observe(&pass);
            let Decision { status, step, wake } = decide(&seen, self.now, &policy);
            if status != self.status {
                match self.effect(|world| world.status = status.clone()) {
                    Ok(()) => self.stored.push(status),
                    Err(Fault::CrashBefore | Fault::CrashAfter) => return End::Crashed,
                    Err(_) => return End::Failed,
                }
            }
            if step == Step::Wait {
                return End::Rested(wake);
            }
            match self.take(&step, &mut pass) {
                Ok(()) => {
                    if let Some((_, happen)) = self.after.take_if(|(after, _)| *after == step) {
                        happen(self);
                    }
                }
                Err(Fault::CrashBefore | Fault::CrashAfter) => return End::Crashed,
                Err(fault) => {
                    let seen = self.observe(&pass);
                    self.status = fail(&seen, Some(&step), &trouble(fault), self.now, &policy);
                    return End::Failed;
                }
            }
        }
        panic!("a pass without end: {:?}", self.status);
    }

    /// A write whose acknowledgement was lost has happened all the same.
    fn forget_published_answer(&mut self) {
        let published = self.secret.as_ref().map(|secret| secret.current.1);
        self.answer = self.answer.filter(|answer| Some(*answer) != published);
    }

    fn observe(&self, pass: &InPass) -> Observation {
        Observation {
            generation: self.generation,
            status: self.status.clone(),
            request: self.request.as_deref().map(Request::parse),
            initialized: self.initialized,
            has_finalizer: self.held,
            is_deleting: self.deleting,
            target: match &self.secret {
                _ if self.foreign_target => {
                    Target::Rejected(Rejection::new(Reason::TargetNotOwned, "someone else's"))
                }
                None => Target::Absent,
                Some(secret) => Target::Owned(OwnedTarget {
                    current: Some(secret.current.0),
                    fallback: secret.fallback.map(|(number, _)| number),
                    has_current: true,
                    tampered: secret.edited,
                    in_sync: true,
                }),
            },
            client: pass.client.clone().map_or(ClientObservation::NotRead, |client| match client {
                Ok(secret) => ClientObservation::Found(self.compare(secret)),
                Err(refusal) => ClientObservation::Rejected(refusal),
            }),
            signs_with_secret: pass.client.is_some().then_some(self.signs_with_secret),
            client_read_at: pass.client_read_at,
            accepted: pass.accepted,
            rejected_at: self.rejected_at,
            has_unpublished_response: self.answer.is_some(),
            attempt_finished: self.attempt_finished,
            dry_run_passed: pass.dry_run_passed,
            drift_suspected: self.drift_suspected,
            unreached_pods: pass.unreached.clone(),
            rollouts: pass.rollouts.clone(),
            secret_set: pass.secret_set,
        }
    }

    fn compare(&self, seen: Option<Symbol>) -> SecretMatch {
        let secret = self.secret.as_ref();
        match seen {
            None => SecretMatch::Unreadable,
            seen if seen == secret.map(|secret| secret.current.1) => SecretMatch::Current,
            seen if seen == secret.and_then(|secret| secret.fallback).map(|(_, value)| value) => {
                SecretMatch::Fallback
            }
            Some(_) => SecretMatch::Other,
        }
    }

    fn take(&mut self, step: &Step, pass: &mut InPass) -> Result<(), Fault> {
        match step {
            Step::Wait | Step::StoreStatus => Ok(()),
            Step::ReadClient => {
                self.readings += 1;
                pass.client_read_at = Some(self.now);
                pass.client = Some(match &self.refusal {
                    Some(refusal) => Err(refusal.clone()),
                    None => Ok(self.readable.then_some(self.auth0)),
                });
                Ok(())
            }
            Step::ProbeSecret => {
                self.questions += 1;
                let current = self.secret.as_ref().expect("there is a value to ask about").current;
                let accepted = current.1 == self.auth0 && self.now >= self.accepted_from;
                pass.accepted = Some(accepted);
                self.rejected_at = (!accepted).then_some(self.now);
                Ok(())
            }
            Step::FindUnreachedPods => {
                pass.unreached = UnreachedPods::Pods(self.pods.clone());
                Ok(())
            }
            Step::ReadRollouts => {
                let restart_at = self.restart_at();
                let rollouts = self.consumers.iter().map(|consumer| consumer.seen(restart_at));
                pass.rollouts = Some(rollouts.collect());
                Ok(())
            }
            Step::RestartWorkloads => {
                pass.rollouts = None;
                self.effect(World::restart_consumers)
            }
            Step::DryRun => {
                pass.dry_run_passed = true;
                Ok(())
            }
            Step::AddFinalizer => {
                self.effect(|world| (world.held, world.initialized) = (true, true))
            }
            Step::RemoveFinalizer => self.effect(|world| world.held = false),
            Step::RotateSecret => {
                self.assert_recorded();
                (pass.client, pass.accepted) = (None, None);
                self.rotate_calls += 1;
                self.attempt_finished = false;
                self.effect(World::change_secret)?;
                self.attempt_finished = true;
                self.answer = (!self.rotate_tells_nothing).then_some(self.auth0);
                Ok(())
            }
            Step::SetSecret(number) => {
                self.assert_recorded();
                (pass.client, pass.accepted) = (None, None);
                let value = self.value_of(*number);
                if self.refuses_values {
                    return Err(Fault::ValueRejected);
                }
                self.effect(|world| world.set_secret(value))?;
                pass.secret_set = true;
                Ok(())
            }
            Step::Publish(publication) => self.publish(publication, pass),
        }
    }

    /// Invariant 2: nothing at Auth0 changes before a durable record of the intent exists.
    fn assert_recorded(&self) {
        let rotation = self.status.rotation.as_ref().expect("a change at Auth0 is recorded");
        assert_eq!(rotation.phase, rotation::Phase::Activating);
    }

    fn publish(&mut self, publication: &Publication, pass: &mut InPass) -> Result<(), Fault> {
        assert!(!self.foreign_target, "{:?} into someone else's Secret", publication.purpose);
        let current = (publication.current.number, self.resolve(publication.current.value, pass));
        let fallback =
            publication.fallback.map(|wanted| (wanted.number, self.resolve(wanted.value, pass)));
        let secret = Secret { current, fallback, edited: false };
        self.assert_no_lockout(&secret, publication.purpose);
        self.effect(|world| world.secret = Some(secret.clone()))?;
        if publication.purpose == Purpose::Response {
            self.answer = None;
        }
        self.publications.push(publication.purpose);
        pass.accepted = None;
        Ok(())
    }

    /// Invariant 1, at the moment of a write: what Auth0 has is in the list, wherever it was known.
    fn assert_no_lockout(&self, secret: &Secret, purpose: Purpose) {
        let listed = secret.current.1 == self.auth0
            || secret.fallback.is_some_and(|(_, value)| value == self.auth0);
        let known = self.readable || self.answer.is_some();
        let changed_behind = matches!(purpose, Purpose::Repair | Purpose::Retire | Purpose::Stage);
        assert!(listed || !known || changed_behind, "{purpose:?} locks out: {:?}", self.status);
    }

    fn resolve(&mut self, value: ValueSource, pass: &InPass) -> Symbol {
        match value {
            ValueSource::Current => {
                self.secret.as_ref().expect("there is a current value").current.1
            }
            ValueSource::Fallback => {
                let fallback = self.secret.as_ref().and_then(|secret| secret.fallback);
                fallback.expect("there is a fallback").1
            }
            ValueSource::Response => self.answer.expect("an answer is in hand"),
            ValueSource::Auth0 => {
                let client = pass.client.clone().expect("Auth0 was asked in this pass");
                client.ok().flatten().expect("and told the secret")
            }
            ValueSource::Generated => self.fresh(),
        }
    }

    fn value_of(&self, number: u64) -> Symbol {
        let secret = self.secret.as_ref().expect("there is a target Secret");
        let all = [Some(secret.current), secret.fallback];
        let found = all.into_iter().flatten().find(|(known, _)| *known == number);
        found.expect("the target Secret has that number").1
    }

    fn restart_at(&self) -> DateTime<Utc> {
        let rotation = self.status.rotation.as_ref().expect("restarts belong to a rotation");
        rotation.restart_at.expect("a restart is recorded before it is made")
    }

    fn restart_consumers(&mut self) {
        let restart_at = self.restart_at();
        for consumer in self.consumers.iter_mut().filter(|consumer| consumer.exists) {
            if consumer.stamp < Some(restart_at) {
                consumer.stamp = Some(restart_at);
                self.restarts += 1;
            }
        }
    }

    fn change_secret(&mut self) {
        let value = self.fresh();
        self.set_secret(value);
    }

    fn set_secret(&mut self, value: Symbol) {
        if self.auth0 != value {
            self.auth0 = value;
            self.values.push(value);
            self.accepted_from = self.now + self.propagation;
        }
    }

    fn fresh(&mut self) -> Symbol {
        let used = self
            .secret
            .iter()
            .flat_map(|secret| [Some(secret.current.1), secret.fallback.map(|(_, value)| value)]);
        let used = used.flatten().max().unwrap_or_default();
        self.values.iter().copied().max().unwrap_or_default().max(used) + 1
    }

    /// Carries out an effect, unless its turn to go wrong has come.
    fn effect(&mut self, act: impl Fn(&mut World)) -> Result<(), Fault> {
        let turn = self.effects;
        self.effects += 1;
        let fault = self.fault.filter(|(at, _)| *at == turn).map(|(_, fault)| fault);
        match fault {
            Some(
                fault @ (Fault::CrashBefore
                | Fault::Refused
                | Fault::FailedUnseen
                | Fault::ValueRejected),
            ) => Err(fault),
            Some(fault @ (Fault::CrashAfter | Fault::AnswerLost)) => {
                act(self);
                Err(fault)
            }
            None => {
                act(self);
                Ok(())
            }
        }
    }
}

/// What is known in one pass only.
#[derive(Default)]
struct InPass {
    client: Option<Result<Option<Symbol>, Rejection>>,
    client_read_at: Option<DateTime<Utc>>,
    accepted: Option<bool>,
    secret_set: bool,
    dry_run_passed: bool,
    unreached: UnreachedPods,
    rollouts: Option<Vec<Rollout>>,
}

/// A workload that is restarted in each rotation.
#[derive(Clone, Debug)]
pub(crate) struct Consumer {
    pub(crate) exists: bool,
    pub(crate) stamp: Option<DateTime<Utc>>,
    pub(crate) done: bool,
}

impl Consumer {
    fn seen(&self, restart_at: DateTime<Utc>) -> Rollout {
        let state = match (self.exists, self.stamp) {
            (false, _) => RolloutState::Blocked("it does not exist".into()),
            (_, stamp) if stamp < Some(restart_at) => RolloutState::NotRestarted,
            _ if self.done => RolloutState::Complete,
            _ => RolloutState::InProgress,
        };
        Rollout { name: "Deployment shop".into(), state }
    }
}

fn trouble(fault: Fault) -> Failure {
    Failure {
        class: if fault == Fault::ValueRejected { ErrorClass::Invalid } else { ErrorClass::Retry },
        reason: if fault == Fault::ValueRejected {
            Reason::ValueRejected
        } else {
            Reason::NoResponse
        },
        message: "something failed".into(),
        unchanged: fault == Fault::Refused,
        tenant: true,
    }
}
