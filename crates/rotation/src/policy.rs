//! Policy of a resource: its validated spec, together with the operator's flags.

use chrono::{DateTime, Utc};

use crate::{
    duration::K8sDuration,
    error::Rejection,
    reason::Reason,
    schedule::{Schedule, ScheduleError},
    status::{ProbeMethod, Strategy},
    window::{Window, WindowError, first_open},
};

/// Policy of one resource, from its spec and the operator's flags.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) params: PolicyParams,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) windows: Vec<Window>,
    /// Why no rotation may start.
    pub(crate) rejection: Option<Rejection>,
    /// Why not even an urgent request may start a rotation. In contrast to `rejection`, it is no mistake
    /// in the spec.
    pub(crate) prohibition: Option<Rejection>,
    /// Why the client must not be changed, which also ends a rotation that has changed nothing.
    pub(crate) forbidden: Option<Rejection>,
}

/// Parameters of a [`Policy`] that need no validation by themselves.
#[derive(Clone, Debug)]
pub struct PolicyParams {
    /// How secrets are changed.
    pub strategy: Strategy,
    /// How long the pair of current and next value is published before activation.
    pub staging_period: K8sDuration,
    /// How long the previous value stays after activation.
    pub grace_period: K8sDuration,
    /// How long Auth0 may take to accept a new value and to reject the old one.
    pub propagation_window: K8sDuration,
    /// How to ask Auth0 whether it accepts a secret.
    pub probe_method: ProbeMethod,
    /// Rotates a new resource instead of importing the client's existing secret.
    pub rotate_initially: bool,
    /// Starts no rotation.
    pub suspend: bool,
    /// Restarts workloads in each rotation.
    pub restarts: bool,
    /// How long the rollouts may take before the resource is stalled.
    pub rollout_timeout: K8sDuration,
    /// After that time, activates the next value without the workloads that are not ready for it.
    pub proceeds_after_rollout_timeout: bool,
    /// Seed of the jitter: the UID of the resource.
    pub seed: String,
}

impl Policy {
    /// Validates the policy. An invalid one starts no rotation, but a rotation in progress ends
    /// under the parameters that remain valid.
    pub fn new(
        params: PolicyParams,
        schedule: Result<Option<Schedule>, ScheduleError>,
        windows: Result<Vec<Window>, WindowError>,
        now: DateTime<Utc>,
    ) -> Self {
        let mut rejection = None;
        let schedule = schedule.unwrap_or_else(|error| {
            let message = format!("spec.schedule: {error}");
            rejection = Some(Rejection::new(Reason::InvalidSchedule, message));
            None
        });
        let windows = windows.unwrap_or_else(|error| {
            rejection = Some(Rejection::new(Reason::InvalidWindow, format!("spec.{error}")));
            Vec::new()
        });
        if params.grace_period < params.propagation_window {
            rejection = Some(grace_period_too_short(&params));
        }
        let policy =
            Self { params, schedule, windows, rejection: None, prohibition: None, forbidden: None };
        let rejection = rejection.or_else(|| policy.check_schedule_gap(now));
        policy.with_spec_rejection(rejection)
    }

    /// Rejects a schedule that leaves a rotation no time to end before the next one is due.
    fn check_schedule_gap(&self, now: DateTime<Utc>) -> Option<Rejection> {
        let schedule = self.schedule.as_ref()?;
        let staging = match self.params.strategy {
            Strategy::Rotate => K8sDuration::ZERO,
            Strategy::Staged => self.params.staging_period,
        };
        let needed = staging.to_delta() + self.params.grace_period.to_delta();
        let gap = schedule.shortest_gap(now);
        if gap > needed {
            return None;
        }
        Some(Rejection::new(
            Reason::ScheduleTooTight,
            format!(
                "spec.schedule can fire again after {}s (interval minus jitter), but a rotation \
                 takes {}s (staging period plus grace period); rotate less often or shorten the \
                 grace period",
                gap.num_seconds(),
                needed.num_seconds(),
            ),
        ))
    }

    /// Returns the first time at which a scheduled rotation may start: the next due time after
    /// `after`, or the first opening of a window from then on.
    pub(crate) fn next_start(
        &self,
        after: DateTime<Utc>,
        last: Option<DateTime<Utc>>,
    ) -> Option<DateTime<Utc>> {
        let due = self.schedule.as_ref()?.next(after, last, &self.params.seed)?;
        first_open(&self.windows, due)
    }

    /// Starts no rotation if the spec has a mistake, except for an urgent request: it can be carried out
    /// with the parts of the spec that are valid. An earlier rejection is kept.
    #[must_use]
    pub fn with_spec_rejection(mut self, rejection: Option<Rejection>) -> Self {
        if let Some(rejection) = rejection {
            self.schedule = None;
            self.rejection.get_or_insert(rejection);
        }
        self
    }

    /// Starts no rotation if there is a rejection. An earlier rejection is kept.
    #[must_use]
    pub fn with_rejection(mut self, rejection: Option<Rejection>) -> Self {
        if self.prohibition.is_none() {
            self.prohibition.clone_from(&rejection);
        }
        self.with_spec_rejection(rejection)
    }

    /// Forbids changes of the client if there is a rejection: no rotation starts, and one that has
    /// changed nothing at Auth0 yet is withdrawn. One that may have changed something continues,
    /// because otherwise the published values could be invalid.
    #[must_use]
    pub fn with_forbidden(self, rejection: Option<Rejection>) -> Self {
        Self { forbidden: rejection.clone(), ..self.with_rejection(rejection) }
    }

    /// Returns the parameters of the policy.
    pub fn params(&self) -> &PolicyParams {
        &self.params
    }

    /// Returns why no rotation can start under this policy.
    pub fn rejection(&self) -> Option<&Rejection> {
        self.rejection.as_ref()
    }
}

fn grace_period_too_short(params: &PolicyParams) -> Rejection {
    Rejection::new(
        Reason::GracePeriodTooShort,
        format!(
            "spec.gracePeriod is {}, shorter than Auth0's propagation window of {window}, in which \
             Auth0 may accept either secret; set it to {window} or more",
            params.grace_period,
            window = params.propagation_window,
        ),
    )
}
