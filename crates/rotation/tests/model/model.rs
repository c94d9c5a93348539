//! Model for the checker: possible actions, their effects, and the properties of all states.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use rotation::{
    ControlResult, Outcome, Policy, ProbeControl, ProbeMethod, Status, condition_types,
    invariants::{Actor, History, Invariant},
    is_condition_true,
};
use stateright::Property;

use crate::{
    action::{Action, Fault, INTERFERENCE, TAMPERING, WORKLOAD_INTERFERENCE, WallClockOffsets},
    check::{Check, PROPAGATION_WINDOW},
    operator::Operator,
    state::{
        EDITED, Memory, Probes, Process, Remaining, Resource, SecretValue, StoredStatus,
        SystemState, TargetSecret, Tick, time,
    },
    workload::Workload,
};

/// Maximum time in ticks until the operator settles without disruptions.
const SETTLE_TIME: Tick = 60;
/// Upper bound of the steps of a reconcile, including its reads.
const MAX_STEPS: usize = 40;

/// Property: without disruptions, the operator settles with the correct result.
pub(crate) const SETTLES: &str = "the operator settles";
/// Property that some state must have. Without it, the other properties would hold trivially.
pub(crate) const COMPLETES: &str = "a rotation completes";

/// Model of a check.
pub(crate) struct Model {
    pub(crate) check: Check,
    /// Policy before and after a user edits the spec.
    pub(crate) policies: [Policy; 2],
}

impl Model {
    /// Returns a client with a secret, and a resource that the operator has not reconciled.
    fn new_state(&self) -> SystemState {
        SystemState {
            now: PROPAGATION_WINDOW,
            wall_clocks: WallClockOffsets::default(),
            resource: Some(Resource {
                status: StoredStatus::default(),
                request: None,
                is_edited: false,
                initialized: false,
                has_finalizer: false,
                is_deleting: false,
                is_just_replaced: false,
            }),
            target: None,
            workload: None,
            auth0_secret: 1,
            changed_at: 0,
            is_suitable: true,
            accepted: 1,
            probes: self.check.probes,
            late_call: None,
            processes: vec![Process::default(); self.check.processes],
            last_symbol: 1,
            older_target: None,
            keeps_older_target: self.check.disruption_kinds.contains(&Action::RestoreOlderTarget),
            remaining: Remaining {
                disruptions: self.check.disruptions,
                requests: self.check.requests,
            },
            history: History::new(time(0), 1, self.check.settings(false)),
            violation: None,
        }
    }

    /// Runs one step of a process. Returns false if nothing happened.
    fn run(&self, state: &mut SystemState, process: usize, fault: Option<Fault>) -> bool {
        let secrets_readable = self.check.secrets_readable;
        self.operator(state, process, fault, secrets_readable).run()
    }

    fn operator<'a>(
        &'a self,
        state: &'a mut SystemState,
        process: usize,
        fault: Option<Fault>,
        secrets_readable: bool,
    ) -> Operator<'a> {
        let (policies, mutant) = (&self.policies, self.check.mutant);
        let has_wrong_clocks = self.check.has_wrong_clocks();
        let taken = self.check.workload.unwrap_or_default();
        Operator {
            state,
            process,
            policies,
            secrets_readable,
            taken,
            mutant,
            has_wrong_clocks,
            fault,
        }
    }

    /// Runs a whole reconcile of process 0. Returns false if it does not end.
    fn reconcile(&self, state: &mut SystemState, secrets_readable: bool) -> bool {
        for _ in 0..MAX_STEPS {
            self.operator(state, 0, None, secrets_readable).run();
            if state.processes[0].reconcile.is_none() {
                return true;
            }
        }
        false
    }

    /// Returns whether one process without disruptions reaches a correct final state from here.
    fn settles(&self, state: &SystemState) -> bool {
        let mut state = SystemState { late_call: None, ..state.clone() };
        state.processes.truncate(1);
        loop {
            // The drift check runs regularly.
            state.processes[0].memory.listed = Some(state.auth0_secret);
            // A failed reconcile is retried, and a settled resource must stay settled.
            for _ in 0..3 {
                if !self.reconcile(&mut state, self.check.secrets_readable) {
                    return false;
                }
                if state.has_rollout() {
                    state.replace_pod();
                }
            }
            let Some(resource) = &state.resource else { return true };
            let status = &resource.status.0;
            let is_stalled = is_condition_true(&status.conditions, condition_types::STALLED);
            if is_stalled || state.history.check_settled(time(state.now), status).is_ok() {
                return state.violation.is_none();
            }
            if state.now >= self.check.horizon + SETTLE_TIME {
                return false;
            }
            state.tick(PROPAGATION_WINDOW);
        }
    }

    /// Returns whether the state belongs to the sample for [`Self::settles`]. The sample is the
    /// same in each run, because the hasher has a fixed seed.
    fn is_sampled(&self, state: &SystemState) -> bool {
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        hasher.finish().is_multiple_of(self.check.sample)
    }

    fn add_process_actions(&self, state: &SystemState, actions: &mut Vec<Action>) {
        let list = state.target.as_ref().map(TargetSecret::list).unwrap_or_default();
        for (index, process) in state.processes.iter().enumerate() {
            actions.push(Action::Run(index));
            // A list that shows drift is no disruption.
            let shows_drift = process.memory.listed.is_none()
                && !list.is_empty()
                && !list.contains(&state.auth0_secret);
            if shows_drift {
                actions.push(Action::ListClients(index));
            }
            if state.remaining.disruptions == 0 {
                continue;
            }
            for kind in &self.check.disruption_kinds {
                match kind {
                    Action::Crash(_) => actions.push(Action::Crash(index)),
                    Action::ListClients(_) if !shows_drift => {
                        actions.push(Action::ListClients(index));
                    }
                    Action::Fail(_, fault) => actions.push(Action::Fail(index, *fault)),
                    _ => {}
                }
            }
        }
    }

    /// Applies a disruption. Returns false if it has no effect in this state.
    fn disrupt(&self, state: &mut SystemState, action: Action) -> bool {
        match action {
            Action::Run(_) | Action::Fail(..) | Action::Request(_) => unreachable!("not here"),
            Action::DeliverLateCall | Action::Propagate | Action::Tick => unreachable!("not here"),
            Action::RollOut => unreachable!("not here"),
            Action::RevertRestart => return state.revert_restart(),
            Action::RestartByOthers => {
                if state.workload.is_none() {
                    return false;
                }
                state.replace_pod();
            }
            Action::Crash(index) => {
                let crashed = std::mem::take(&mut state.processes[index]);
                return crashed != Process::default();
            }
            Action::ListClients(index) => {
                state.processes[index].memory.listed = Some(state.auth0_secret);
            }
            Action::ChangeInDashboard => {
                let symbol = state.new_symbol();
                state.change_secret(symbol, Actor::OtherParty, &StoredStatus::default());
            }
            Action::SwitchClientKind => state.is_suitable = !state.is_suitable,
            Action::DeleteTarget => {
                if state.target.is_none() {
                    return false;
                }
                state.write_target(None, None);
            }
            Action::EditTarget => {
                let Some(mut target) = state.target.clone() else { return false };
                if target.tampered {
                    return false;
                }
                target.current = SecretValue { symbol: EDITED, ..target.current };
                target.tampered = true;
                state.write_target(None, Some(target));
            }
            Action::ForbidProbes => {
                if state.probes == Probes::Forbidden {
                    return false;
                }
                state.probes = Probes::Forbidden;
            }
            Action::EditFallback => {
                let Some(mut target) = state.target.clone() else { return false };
                let Some(fallback) = target.fallback.filter(|value| value.symbol != EDITED) else {
                    return false;
                };
                target.fallback = Some(SecretValue { symbol: EDITED, ..fallback });
                target.tampered = true;
                state.write_target(None, Some(target));
            }
            Action::RestoreOlderTarget => {
                let older = state.older_target.clone();
                if older.is_none() || older == state.target {
                    return false;
                }
                state.write_target(None, older);
            }
            Action::LoseStatus => state.store_status(None, Status::default()),
            Action::EditSpec => {
                if state.resource.as_ref().is_none_or(|resource| resource.is_edited) {
                    return false;
                }
                state.history.record_settings(time(state.now), self.check.settings(true));
                state.change_resource(None, |resource| resource.is_edited = true);
            }
            Action::ReplaceResource => {
                let Some(resource) = &state.resource else { return false };
                if resource.is_deleting || !(resource.has_finalizer || resource.initialized) {
                    return false;
                }
                state.change_resource(None, |resource| {
                    resource.has_finalizer = false;
                    resource.initialized = false;
                    resource.is_just_replaced = true;
                });
            }
            Action::SetWallClocks(offsets) => {
                let before = std::mem::replace(&mut state.wall_clocks, offsets);
                return before != offsets;
            }
            Action::DeleteResource => {
                let Some(resource) = &state.resource else { return false };
                if resource.is_deleting || resource.is_just_replaced {
                    return false;
                }
                state.change_resource(None, |resource| resource.is_deleting = true);
                state.finish_deletion();
            }
        }
        true
    }
}

impl stateright::Model for Model {
    type State = SystemState;
    type Action = Action;

    fn init_states(&self) -> Vec<SystemState> {
        let mut state = self.new_state();
        if !self.check.rotate_initially {
            // The import needs a readable secret, even if the check makes secrets unreadable later.
            assert!(self.reconcile(&mut state, true));
            let status = &state.resource.as_ref().expect("the resource exists").status.0;
            assert!(
                is_condition_true(&status.conditions, condition_types::READY),
                "the secret is imported"
            );
            // The control is a day's work: with a result, the model has fewer states.
            if self.check.probes == Probes::Conclusive {
                state.history.record_control(true);
                let resource = state.resource.as_mut().expect("the resource exists");
                resource.status.0.probe_control = Some(ProbeControl {
                    result: ControlResult::Rejected,
                    probed_at: time(state.now),
                    method: ProbeMethod::Revocation,
                });
            }
            state.processes[0].memory = Memory::default();
            if let Some(taken) = self.check.workload {
                let takes_pair = taken.pair;
                let workload = Workload { template: None, pod: None, created_at: 0, takes_pair };
                state.workload = Some(workload);
                state.replace_pod();
            }
        }
        vec![state]
    }

    fn actions(&self, state: &SystemState, actions: &mut Vec<Action>) {
        if state.violation.is_some() {
            return;
        }
        self.add_process_actions(state, actions);
        if state.remaining.disruptions > 0 {
            let kinds = self.check.disruption_kinds.iter();
            let by_others = |kind: &&Action| {
                INTERFERENCE.contains(kind)
                    || TAMPERING.contains(kind)
                    || WORKLOAD_INTERFERENCE.contains(kind)
                    || matches!(kind, Action::ForbidProbes | Action::SetWallClocks(_))
            };
            actions.extend(kinds.filter(by_others));
        }
        if state.has_rollout() {
            actions.push(Action::RollOut);
        }
        if state.late_call.is_some() {
            actions.push(Action::DeliverLateCall);
        }
        if state.accepted != state.auth0_secret {
            actions.push(Action::Propagate);
        }
        if state.now < self.check.horizon && !state.is_idle() {
            actions.push(Action::Tick);
        }
        if state.remaining.requests > 0 && state.resource.is_some() {
            actions.extend(self.check.verbs.iter().copied().map(Action::Request));
        }
    }

    fn next_state(&self, state: &SystemState, action: Action) -> Option<SystemState> {
        let mut state = state.clone();
        let has_effect = match action {
            Action::Run(process) => self.run(&mut state, process, None),
            Action::Fail(process, fault) => {
                state.remaining.disruptions -= 1;
                self.run(&mut state, process, Some(fault))
            }
            Action::DeliverLateCall => {
                let call = state.late_call.take().expect("a call is in flight");
                state.change_secret(call.symbol, Actor::Operator, &call.status);
                true
            }
            Action::Propagate => {
                state.propagate();
                true
            }
            Action::RollOut => {
                state.replace_pod();
                true
            }
            Action::Tick => {
                state.tick(PROPAGATION_WINDOW);
                true
            }
            Action::Request(verb) => {
                let text = format!("{}/{}", verb.as_str(), state.remaining.requests);
                state.remaining.requests -= 1;
                state.history.record_request(&text);
                state.change_resource(None, |resource| resource.request = Some(text));
                true
            }
            disruption => {
                let remaining = &mut state.remaining.disruptions;
                *remaining = remaining.saturating_sub(1);
                self.disrupt(&mut state, disruption)
            }
        };
        has_effect.then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(Invariant::NoLockout.as_str(), |_, state| {
                holds(state, Invariant::NoLockout)
            }),
            Property::always(Invariant::WriteAhead.as_str(), |_, state| {
                holds(state, Invariant::WriteAhead)
            }),
            Property::always(Invariant::OneRotationPerCause.as_str(), |_, state| {
                holds(state, Invariant::OneRotationPerCause)
            }),
            Property::always(Invariant::NothingLost.as_str(), |_, state| {
                holds(state, Invariant::NothingLost)
            }),
            Property::always(Invariant::EvidenceBeforeRemoval.as_str(), |_, state| {
                holds(state, Invariant::EvidenceBeforeRemoval)
            }),
            Property::always(Invariant::DriftHoldOff.as_str(), |_, state| {
                holds(state, Invariant::DriftHoldOff)
            }),
            Property::always(Invariant::SuitableClient.as_str(), |_, state| {
                holds(state, Invariant::SuitableClient)
            }),
            Property::always(Invariant::ProvenWrite.as_str(), |_, state| {
                holds(state, Invariant::ProvenWrite)
            }),
            Property::always(Invariant::ReadyMeansLogin.as_str(), |_, state| {
                holds(state, Invariant::ReadyMeansLogin)
            }),
            Property::always(Invariant::RestartHoldOff.as_str(), |_, state| {
                holds(state, Invariant::RestartHoldOff)
            }),
            Property::always(SETTLES, |model: &Self, state: &SystemState| {
                state.violation.is_some() || !model.is_sampled(state) || model.settles(state)
            }),
            Property::sometimes(COMPLETES, |_, state| has_completed_rotation(state)),
        ]
    }
}

fn holds(state: &SystemState, invariant: Invariant) -> bool {
    match &state.violation {
        None => true,
        Some(violation) => violation.invariant() != invariant,
    }
}

fn has_completed_rotation(state: &SystemState) -> bool {
    let Some(resource) = &state.resource else { return false };
    let history = &resource.status.0.history;
    history.iter().any(|entry| entry.outcome == Outcome::Completed)
}
