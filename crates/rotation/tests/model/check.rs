//! The model for the checker: what can happen in which state, and what must be true of each.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use rotation::{
    K8sDuration, Outcome, Policy, PolicyParams, Schedule, Status, Strategy, Verb, condition_types,
    invariants::{By, Ledger, Lengths},
    is_condition_true,
};
use stateright::{Model, Property};

use crate::{
    mutants::Mutant,
    operator::Operator,
    world::{
        Action, Budget, Fault, Memory, Process, Record, Resource, Secret, TICK, Tick, World, time,
    },
};

/// Auth0 switches within so many ticks.
pub(crate) const WINDOW: Tick = 2;
/// Staging and grace period, before and after the spec is changed.
const STAGING: [Tick; 2] = [1, 2];
const GRACE: [Tick; 2] = [3, 2];
/// How long everything may take to come to rest once nothing disturbs it any more.
const REST: Tick = 60;
/// More than the steps that a pass of the operator may have, with what is read first.
const MOST_STEPS: usize = 40;

/// What has to be possible, so that the rest says something.
pub(crate) const COMPLETED: &str = "a rotation is completed";

/// What is checked, and how far.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) strategy: Strategy,
    /// The Management API tells secrets.
    pub(crate) readable: bool,
    /// How many ticks are between two due times.
    pub(crate) every: Option<Tick>,
    /// The resource is new, with `initial: Rotate`.
    pub(crate) initial: bool,
    pub(crate) processes: usize,
    pub(crate) horizon: Tick,
    pub(crate) disturbances: u8,
    /// What disturbs.
    pub(crate) kinds: Vec<Action>,
    pub(crate) requests: u8,
    pub(crate) verbs: Vec<Verb>,
    /// From one in so many states it is seen that things come to rest.
    pub(crate) sample: u64,
    pub(crate) mutant: Option<Mutant>,
}

/// All that disturbs, without what goes wrong with calls.
pub(crate) const PEOPLE: [Action; 6] = [
    Action::Dashboard,
    Action::DeleteSecret,
    Action::EditSecret,
    Action::LoseStatus,
    Action::Respecify,
    Action::DeleteResource,
];

/// What goes wrong with processes and their calls; it stands for that of each process.
pub(crate) const FAULTS: [Action; 6] = [
    Action::Crash(0),
    Action::List(0),
    Action::Fail(0, Fault::Lost),
    Action::Fail(0, Fault::Unanswered),
    Action::Fail(0, Fault::Refused),
    Action::Fail(0, Fault::ValueRejected),
];

impl Check {
    pub(crate) fn model(self) -> Checked {
        let policies = [false, true].map(|respecified| self.policy(respecified));
        Checked { policies, check: self }
    }

    fn policy(&self, respecified: bool) -> Policy {
        let other = match self.strategy {
            Strategy::Rotate => Strategy::Staged,
            Strategy::Staged => Strategy::Rotate,
        };
        let span =
            |ticks: Tick| K8sDuration::from_secs(u64::from(ticks) * TICK.num_seconds() as u64);
        let terms = PolicyParams {
            strategy: if respecified { other } else { self.strategy },
            staging_period: span(STAGING[usize::from(respecified)]),
            grace_period: span(GRACE[usize::from(respecified)]),
            propagation_window: span(WINDOW),
            rotate_initially: self.initial,
            suspend: false,
            restarts: false,
            rollout_timeout: span(1),
            seed: "uid".into(),
        };
        let every = self.every.map(span);
        let schedule = every.map(|every| {
            Schedule::new(None, None, Some(every), None, time(0))
                .expect("an interval is longer than zero")
        });
        let policy = Policy::new(terms, Ok(schedule), Ok(Vec::new()), time(0));
        assert_eq!(policy.refusal(), None);
        policy
    }

    /// The same states each time: the hasher has no random start.
    fn is_sampled(&self, world: &World) -> bool {
        let mut hasher = DefaultHasher::new();
        world.hash(&mut hasher);
        hasher.finish().is_multiple_of(self.sample)
    }

    fn lengths(&self, respecified: bool) -> Lengths {
        Lengths {
            staging: TICK * i32::from(STAGING[usize::from(respecified)]),
            grace: TICK * i32::from(GRACE[usize::from(respecified)]),
            window: TICK * i32::from(WINDOW),
            readable: self.readable,
        }
    }
}

/// A check, ready to be made.
pub(crate) struct Checked {
    pub(crate) check: Check,
    policies: [Policy; 2],
}

impl Checked {
    /// A client with a secret that is as old as the world, and a resource that nobody has seen.
    fn new_world(&self) -> World {
        World {
            now: WINDOW,
            resource: Some(Resource {
                record: Record::default(),
                request: None,
                respecified: false,
                initialized: false,
                held: false,
                deleting: false,
            }),
            secret: None,
            auth0: 1,
            since: 0,
            accepts: 1,
            call: None,
            processes: vec![Process::default(); self.check.processes],
            symbols: 1,
            budget: Budget { disturbances: self.check.disturbances, requests: self.check.requests },
            ledger: Ledger::new(time(0), 1, self.check.lengths(false)),
            breach: None,
        }
    }

    fn go(&self, world: &mut World, me: usize, fault: Option<Fault>, readable: bool) -> bool {
        let mutant = self.check.mutant;
        Operator { world, me, policies: &self.policies, readable, mutant, fault }.go()
    }

    /// A whole pass of one process; false if it has no end.
    fn pass(&self, world: &mut World, readable: bool) -> bool {
        for _ in 0..MOST_STEPS {
            self.go(world, 0, None, readable);
            if world.processes[0].pass.is_none() {
                return true;
            }
        }
        false
    }

    /// Whether, from here on, one process that nothing disturbs brings everything to rest.
    fn comes_to_rest(&self, world: &World) -> bool {
        let mut world = World { call: None, ..world.clone() };
        world.processes.truncate(1);
        loop {
            // It is looked for drift now and then.
            world.processes[0].memory.listed = Some(world.auth0);
            // One that fails is made again, and what came to rest stays at rest.
            if !(0..3).all(|_| self.pass(&mut world, self.check.readable)) {
                return false;
            }
            let Some(resource) = &world.resource else { return true };
            let status = &resource.record.0;
            let stalled = is_condition_true(&status.conditions, condition_types::STALLED);
            if stalled || world.ledger.rest(time(world.now), status).is_ok() {
                return world.breach.is_none();
            }
            if world.now >= self.check.horizon + REST {
                return false;
            }
            world.tick(WINDOW);
        }
    }

    fn disturb(&self, world: &mut World, action: Action) -> bool {
        let now = time(world.now);
        match action {
            Action::Go(_) | Action::Fail(..) | Action::Ask(_) => unreachable!("seen to elsewhere"),
            Action::Arrive | Action::Switch | Action::Tick => unreachable!("seen to elsewhere"),
            Action::Crash(me) => {
                let idle = world.processes[me] == Process::default();
                world.processes[me] = Process::default();
                return !idle;
            }
            Action::List(me) => world.processes[me].memory.listed = Some(world.auth0),
            Action::Dashboard => {
                let value = world.fresh();
                world.set_auth0(value, By::SomeoneElse, &Record::default());
            }
            Action::DeleteSecret => {
                if world.secret.is_none() {
                    return false;
                }
                world.write_secret(None, None);
            }
            Action::EditSecret => {
                let Some(secret) = world.secret.clone().filter(|secret| !secret.edited) else {
                    return false;
                };
                let current = (secret.current.0, 0);
                world.write_secret(None, Some(Secret { current, edited: true, ..secret }));
            }
            Action::LoseStatus => world.store(None, Status::default()),
            Action::Respecify => {
                if world.resource.as_ref().is_none_or(|resource| resource.respecified) {
                    return false;
                }
                world.ledger.lengths_changed(now, self.check.lengths(true));
                world.change_resource(None, |resource| resource.respecified = true);
            }
            Action::DeleteResource => {
                if world.resource.as_ref().is_none_or(|resource| resource.deleting) {
                    return false;
                }
                world.change_resource(None, |resource| resource.deleting = true);
                world.let_go();
            }
        }
        true
    }
}

impl Model for Checked {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let mut world = self.new_world();
        if !self.check.initial {
            // What can't be read can't be imported: that is taken away afterwards.
            assert!(self.pass(&mut world, true));
            let status = &world.resource.as_ref().expect("there is a resource").record.0;
            assert!(
                is_condition_true(&status.conditions, condition_types::READY),
                "its secret is imported"
            );
            world.processes[0].memory = Memory::default();
        }
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.breach.is_some() {
            return;
        }
        let disturbed = world.budget.disturbances > 0;
        for me in 0..world.processes.len() {
            actions.push(Action::Go(me));
            let listed = world.secret.as_ref().map(Secret::list).unwrap_or_default();
            let suspicious = world.processes[me].memory.listed.is_none()
                && !listed.is_empty()
                && !listed.contains(&world.auth0);
            if suspicious {
                actions.push(Action::List(me));
            }
            for kind in self.check.kinds.iter().filter(|_| disturbed) {
                match kind {
                    Action::Crash(_) => actions.push(Action::Crash(me)),
                    Action::List(_) if !suspicious => actions.push(Action::List(me)),
                    Action::Fail(_, fault) => actions.push(Action::Fail(me, *fault)),
                    _ => {}
                }
            }
        }
        let ours = |kind: &&Action| PEOPLE.contains(kind) && disturbed;
        actions.extend(self.check.kinds.iter().filter(ours));
        if world.call.is_some() {
            actions.push(Action::Arrive);
        }
        if world.accepts != world.auth0 {
            actions.push(Action::Switch);
        }
        if world.now < self.check.horizon && !world.is_at_rest() {
            actions.push(Action::Tick);
        }
        if world.budget.requests > 0 && world.resource.is_some() {
            actions.extend(self.check.verbs.iter().copied().map(Action::Ask));
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut world = world.clone();
        let readable = self.check.readable;
        let happened = match action {
            Action::Go(me) => self.go(&mut world, me, None, readable),
            Action::Fail(me, fault) => {
                world.budget.disturbances -= 1;
                self.go(&mut world, me, Some(fault), readable)
            }
            Action::Arrive => {
                let call = world.call.take().expect("one is on its way");
                world.set_auth0(call.value, By::Us, &call.record);
                true
            }
            Action::Switch => {
                world.switch();
                true
            }
            Action::Tick => {
                world.tick(WINDOW);
                true
            }
            Action::Ask(verb) => {
                let text = format!("{}/{}", verb.as_str(), world.budget.requests);
                world.budget.requests -= 1;
                world.ledger.requested(&text);
                world.change_resource(None, |resource| resource.request = Some(text));
                true
            }
            disturbance => {
                world.budget.disturbances = world.budget.disturbances.saturating_sub(1);
                self.disturb(&mut world, disturbance)
            }
        };
        happened.then_some(world)
    }

    fn properties(&self) -> Vec<Property<Checked>> {
        fn kept(world: &World, promise: &str) -> bool {
            world.breach.as_ref().is_none_or(|breach| breach.promise() != promise)
        }
        vec![
            Property::always("no lockout", |_, world: &World| kept(world, "no lockout")),
            Property::always("write-ahead", |_, world: &World| kept(world, "write-ahead")),
            Property::always("one rotation per cause", |_, world: &World| {
                kept(world, "one rotation per cause")
            }),
            Property::always("nothing lost", |_, world: &World| kept(world, "nothing lost")),
            Property::always("evidence before removal", |_, world: &World| {
                kept(world, "evidence before removal")
            }),
            Property::always("it comes to rest", |model: &Checked, world: &World| {
                world.breach.is_some()
                    || !model.check.is_sampled(world)
                    || model.comes_to_rest(world)
            }),
            Property::sometimes(COMPLETED, |_, world: &World| {
                let status = world.resource.as_ref().map(|resource| &resource.record.0);
                status.is_some_and(|status| {
                    status.history.iter().any(|entry| entry.outcome == Outcome::Completed)
                })
            }),
        ]
    }
}
