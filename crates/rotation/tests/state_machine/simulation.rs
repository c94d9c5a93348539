//! A simulation with symbols for secret values: an Auth0, a resource, a target Secret, and an
//! operator process that can fail before or after any effect.

use chrono::{DateTime, TimeDelta, Utc};
use rotation::{
    ControlResult, K8sDuration, Policy, PolicyParams, ProbeControl, ProbeMethod, Purpose, Reason,
    Rejection, RevokedSecret, Schedule, Status, Step, Strategy, TargetHoldOff, Window,
};

use crate::workload::Workload;

/// Symbol for the value of a secret.
pub(crate) type Symbol = u32;

/// Fault of one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process crashes before the effect.
    CrashBefore,
    /// The process crashes after the effect, before it learns of the result.
    CrashAfter,
    /// The effect happens, but its response is lost.
    ResponseLost,
    /// The request is rejected: nothing happens, and the process knows.
    Rejected,
    /// The request fails: nothing happens, but the process does not know.
    OutcomeUnknown,
    /// Auth0 rejects the value as a client secret.
    ValueRejected,
    /// Auth0 rejects every change of the client's secret.
    ChangeRejected,
}

/// The fault of the effect with this index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlannedFault {
    pub(crate) effect: usize,
    pub(crate) fault: Fault,
}

/// An action of another party right after the operator executed a step for the first time.
#[derive(Clone)]
pub(crate) struct Interference {
    pub(crate) after: Step,
    pub(crate) action: fn(&mut Simulation),
}

/// A value in the target Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SecretValue {
    pub(crate) number: u64,
    pub(crate) symbol: Symbol,
}

pub(crate) fn value(number: u64, symbol: Symbol) -> SecretValue {
    SecretValue { number, symbol }
}

/// Contents of the target Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

#[derive(Clone)]
pub(crate) struct Simulation {
    pub(crate) now: DateTime<Utc>,

    // The resource.
    pub(crate) params: PolicyParams,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) windows: Vec<Window>,
    pub(crate) generation: i64,
    pub(crate) status: Status,
    pub(crate) initialized: bool,
    pub(crate) has_finalizer: bool,
    pub(crate) is_deleting: bool,
    pub(crate) request: Option<String>,
    /// The tenant does not allow the client anymore.
    pub(crate) is_forbidden: bool,

    // The target Secret and its consumers.
    pub(crate) target: Option<TargetSecret>,
    /// Another party created the Secret with the name of the target.
    pub(crate) target_is_foreign: bool,
    /// The values in the target Secret came from another Auth0 endpoint.
    pub(crate) target_is_from_elsewhere: bool,
    /// Labels and annotations are as the operator renders them.
    pub(crate) is_in_sync: bool,
    /// An admission policy changes them in each write.
    pub(crate) is_normalized: bool,
    pub(crate) target_hold_off: Option<TargetHoldOff>,
    /// Another party keeps removing the finalizer.
    pub(crate) finalizer_contested: bool,
    /// Pods that never see updates.
    pub(crate) unreached_pods: Vec<String>,
    /// Workloads to restart in each rotation.
    pub(crate) workloads: Vec<Workload>,

    // The client at Auth0.
    /// Secret that the Management API has.
    pub(crate) auth0_secret: Symbol,
    /// Every secret that Auth0 has had, in order.
    pub(crate) secret_history: Vec<Symbol>,
    /// When authentication accepts the secret.
    pub(crate) accepted_from: DateTime<Utc>,
    pub(crate) propagation_delay: TimeDelta,
    pub(crate) secrets_readable: bool,
    pub(crate) client_rejection: Option<Rejection>,
    pub(crate) signs_with_secret: bool,
    /// Auth0 rejects every value that the operator sets.
    pub(crate) rejects_values: bool,
    /// A value that cannot be published.
    pub(crate) unpublishable: Option<Symbol>,
    /// Auth0's response to a probe with a random value.
    pub(crate) control: ControlResult,
    /// Until when Auth0 accepts a revoked secret.
    pub(crate) revoked_until: DateTime<Utc>,
    /// Every call to Auth0 fails in this way.
    pub(crate) outage: Option<Fault>,
    /// A mistake in the spec.
    pub(crate) spec_rejection: Option<Rejection>,
    /// The response of `rotate-secret` contains no secret.
    pub(crate) omits_secret_in_response: bool,

    // The operator process.
    pub(crate) drift_suspected: bool,
    pub(crate) response: Option<Symbol>,
    pub(crate) rejected_at: Option<DateTime<Utc>>,
    pub(crate) probe_control: Option<ProbeControl>,
    pub(crate) revoked: Option<RevokedSecret>,
    pub(crate) attempt_finished: bool,
    /// The values for which the process last restarted the workloads.
    pub(crate) restart_attempted: Option<(u64, bool)>,
    pub(crate) consumers_checked_at: Option<DateTime<Utc>>,
    pub(crate) client_checked_at: Option<DateTime<Utc>>,
    pub(crate) fault: Option<PlannedFault>,
    pub(crate) interference: Option<Interference>,

    // Actions of the operator so far.
    pub(crate) effects: usize,
    pub(crate) rotate_calls: usize,
    pub(crate) probes: usize,
    /// Negative controls.
    pub(crate) controls: usize,
    pub(crate) client_reads: usize,
    /// Number of reads of the client without its secret.
    pub(crate) client_checks: usize,
    pub(crate) workload_restarts: usize,
    pub(crate) consumer_checks: usize,
    pub(crate) publications: Vec<Purpose>,
    pub(crate) stored_statuses: Vec<Status>,
}

impl Simulation {
    /// A new resource, which the operator has not reconciled.
    pub(crate) fn new() -> Self {
        let now = "2026-11-23T10:00:00Z".parse().unwrap();
        Self {
            now,
            params: PolicyParams {
                strategy: Strategy::Rotate,
                staging_period: K8sDuration::from_secs(180),
                grace_period: K8sDuration::from_secs(3600),
                propagation_window: K8sDuration::from_secs(30),
                probe_method: ProbeMethod::Revocation,
                rotate_initially: false,
                suspend: false,
                restarts: false,
                rollout_timeout: K8sDuration::from_secs(600),
                proceeds_after_rollout_timeout: false,
                seed: "uid".into(),
            },
            schedule: None,
            windows: Vec::new(),
            generation: 1,
            status: Status::default(),
            initialized: false,
            has_finalizer: false,
            is_deleting: false,
            request: None,
            is_forbidden: false,
            target: None,
            target_is_foreign: false,
            target_is_from_elsewhere: false,
            is_in_sync: true,
            is_normalized: false,
            target_hold_off: None,
            finalizer_contested: false,
            unreached_pods: Vec::new(),
            workloads: Vec::new(),
            auth0_secret: 1,
            secret_history: vec![1],
            accepted_from: now,
            propagation_delay: TimeDelta::seconds(5),
            secrets_readable: true,
            client_rejection: None,
            signs_with_secret: false,
            rejects_values: false,
            unpublishable: None,
            control: ControlResult::Rejected,
            revoked_until: now,
            outage: None,
            spec_rejection: None,
            omits_secret_in_response: false,
            drift_suspected: false,
            response: None,
            rejected_at: None,
            probe_control: None,
            revoked: None,
            attempt_finished: false,
            restart_attempted: None,
            consumers_checked_at: None,
            client_checked_at: None,
            fault: None,
            interference: None,
            effects: 0,
            rotate_calls: 0,
            probes: 0,
            controls: 0,
            client_reads: 0,
            client_checks: 0,
            workload_restarts: 0,
            consumer_checks: 0,
            publications: Vec::new(),
            stored_statuses: Vec::new(),
        }
    }

    /// An idle operator that has imported the client's secret as number 1.
    pub(crate) fn imported() -> Self {
        let mut sim = Self::new();
        sim.settle();
        assert_eq!(sim.target.as_ref().map(|target| target.current), Some(value(1, 1)));
        sim.effects = 0;
        sim
    }

    /// Adds a schedule with an interval.
    pub(crate) fn every(mut self, seconds: u64) -> Self {
        let every = Some(K8sDuration::from_secs(seconds));
        self.schedule = Some(Schedule::new(None, None, every, None, self.now).unwrap());
        self.generation += 1;
        self.settle();
        self.effects = 0;
        self
    }

    pub(crate) fn with_strategy(mut self, strategy: Strategy) -> Self {
        self.params.strategy = strategy;
        self
    }

    /// Plans a fault for an effect.
    pub(crate) fn fail_effect(&mut self, effect: usize, fault: Fault) {
        self.fault = Some(PlannedFault { effect, fault });
    }

    /// Sets the request annotation.
    pub(crate) fn request(&mut self, text: &str) {
        self.request = Some(text.to_owned());
    }

    pub(crate) fn advance_time(&mut self, seconds: i64) {
        self.now += TimeDelta::seconds(seconds);
    }

    /// Sets another secret in the Auth0 dashboard.
    pub(crate) fn change_secret_in_dashboard(&mut self) {
        self.replace_secret();
    }

    /// Restarts the operator process, which drops what it keeps in memory.
    pub(crate) fn restart_process(&mut self) {
        self.response = None;
        self.rejected_at = None;
        self.probe_control = None;
        self.revoked = None;
        self.attempt_finished = false;
        self.restart_attempted = None;
        self.consumers_checked_at = None;
        self.client_checked_at = None;
    }

    /// Returns the contents of the target Secret, which must exist.
    pub(crate) fn published(&self) -> &TargetSecret {
        self.target.as_ref().expect("the target Secret exists")
    }

    pub(crate) fn policy(&self) -> Policy {
        let (schedule, windows) = (self.schedule.clone(), self.windows.clone());
        let rejection = Rejection::new(Reason::NotAllowed, "the tenant doesn't allow it any more");
        Policy::new(self.params.clone(), Ok(schedule), Ok(windows), self.now)
            .with_spec_rejection(self.spec_rejection.clone())
            .with_forbidden(self.is_forbidden.then_some(rejection))
    }

    /// Replaces the secret at Auth0 with a new one, as `rotate-secret` does.
    pub(crate) fn replace_secret(&mut self) {
        let symbol = self.unused_symbol();
        self.set_secret(symbol);
    }

    pub(crate) fn set_secret(&mut self, symbol: Symbol) {
        if self.auth0_secret != symbol {
            self.auth0_secret = symbol;
            self.secret_history.push(symbol);
            self.accepted_from = self.now + self.propagation_delay;
        }
    }

    pub(crate) fn unused_symbol(&self) -> Symbol {
        let published = self.target.iter().flat_map(TargetSecret::values);
        let used = published.map(|value| value.symbol).chain(self.secret_history.iter().copied());
        used.filter(|symbol| *symbol < 1000).max().unwrap_or_default() + 1
    }
}
