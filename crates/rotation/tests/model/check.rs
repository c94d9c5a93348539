//! One check: the contents of the model, and its bounds.

use rotation::{
    K8sDuration, Policy, PolicyParams, ProbeMethod, Schedule, Strategy, TakenValues, Verb,
    invariants::Settings,
};

use crate::{
    action::Action,
    model::Model,
    mutants::Mutant,
    state::{Probes, TICK, Tick, time},
};

/// Auth0 accepts a new secret within this many ticks.
pub(crate) const PROPAGATION_WINDOW: Tick = 2;

/// Settings of the spec that a user can edit once.
struct Periods {
    staging: Tick,
    grace: Tick,
}

const ORIGINAL: Periods = Periods { staging: 1, grace: 3 };
const EDITED: Periods = Periods { staging: 2, grace: 2 };

/// Parameters of one check.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) strategy: Strategy,
    pub(crate) probes: Probes,
    /// Whether the Management API returns secrets.
    pub(crate) secrets_readable: bool,
    /// Ticks between two due times.
    pub(crate) interval: Option<Tick>,
    /// The resource is new and has `initial: Rotate`.
    pub(crate) rotate_initially: bool,
    /// Values that the Pods of a workload take when they start, if one is restarted in each rotation.
    pub(crate) workload: Option<TakenValues>,
    pub(crate) processes: usize,
    /// Last tick.
    pub(crate) horizon: Tick,
    pub(crate) disruptions: u8,
    pub(crate) disruption_kinds: Vec<Action>,
    pub(crate) requests: u8,
    pub(crate) verbs: Vec<Verb>,
    /// One in this many states is checked for whether the operator settles.
    pub(crate) sample: u64,
    pub(crate) mutant: Option<Mutant>,
}

impl Check {
    pub(crate) fn model(self) -> Model {
        let policies = [self.policy(false), self.policy(true)];
        Model { policies, check: self }
    }

    /// Returns whether the wall clocks can be wrong.
    pub(crate) fn has_wrong_clocks(&self) -> bool {
        self.disruption_kinds.iter().any(|kind| matches!(kind, Action::SetWallClocks(_)))
    }

    fn policy(&self, is_edited: bool) -> Policy {
        let other_strategy = match self.strategy {
            Strategy::Rotate => Strategy::Staged,
            Strategy::Staged => Strategy::Rotate,
        };
        let periods = periods(is_edited);
        let params = PolicyParams {
            strategy: if is_edited { other_strategy } else { self.strategy },
            staging_period: duration(periods.staging),
            grace_period: duration(periods.grace),
            propagation_window: duration(PROPAGATION_WINDOW),
            probe_method: ProbeMethod::Revocation,
            rotate_initially: self.rotate_initially,
            suspend: false,
            restarts: self.workload.is_some(),
            rollout_timeout: duration(4),
            proceeds_after_rollout_timeout: false,
            seed: "uid".into(),
        };
        let schedule = self.interval.map(|interval| {
            Schedule::new(None, None, Some(duration(interval)), None, time(0))
                .expect("an interval is longer than zero")
        });
        let policy = Policy::new(params, Ok(schedule), Ok(Vec::new()), time(0));
        assert_eq!(policy.rejection(), None);
        policy
    }

    pub(crate) fn settings(&self, is_edited: bool) -> Settings {
        let periods = periods(is_edited);
        Settings {
            staging_period: TICK * i32::from(periods.staging),
            grace_period: TICK * i32::from(periods.grace),
            propagation_window: TICK * i32::from(PROPAGATION_WINDOW),
            secrets_readable: self.secrets_readable,
        }
    }
}

fn periods(is_edited: bool) -> Periods {
    if is_edited { EDITED } else { ORIGINAL }
}

fn duration(ticks: Tick) -> K8sDuration {
    K8sDuration::from_secs(u64::from(ticks) * TICK.num_seconds() as u64)
}
