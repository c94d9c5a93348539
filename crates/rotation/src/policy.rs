//! What the author of a resource wants, checked.

use chrono::{DateTime, Utc};

use crate::{
    reason::Reason,
    schedule::{Schedule, ScheduleError},
    span::K8sDuration,
    status::Strategy,
    trouble::Rejection,
    window::{Window, WindowError, first_open},
};

/// What the spec of a resource and the operator's flags ask for.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) terms: PolicyParams,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) windows: Vec<Window>,
    pub(crate) refusal: Option<Rejection>,
    pub(crate) forbidden: Option<Rejection>,
}

/// The parts of a [`Policy`] that are taken as they are.
#[derive(Clone, Debug)]
pub struct PolicyParams {
    /// How secrets are changed.
    pub strategy: Strategy,
    /// How long the pair of current and next is out before activation.
    pub staging_period: K8sDuration,
    /// How long the previous secret stays after activation.
    pub grace_period: K8sDuration,
    /// How long Auth0 may take to accept a new secret and to refuse the old one.
    pub propagation_window: K8sDuration,
    /// Start a rotation of a resource that is new, instead of importing its present secret.
    pub rotate_initially: bool,
    /// Start no rotation.
    pub suspend: bool,
    /// Consumers are restarted in each rotation.
    pub restarts: bool,
    /// How long their restarts may take before it is said who holds the rotation up.
    pub rollout_timeout: K8sDuration,
    /// What makes this resource's jitter its own: its UID.
    pub seed: String,
}

impl Policy {
    /// Checks what is wanted. What is wrong becomes a refusal to start rotations: one that is in
    /// progress ends by the terms that remain valid.
    pub fn new(
        terms: PolicyParams,
        schedule: Result<Option<Schedule>, ScheduleError>,
        windows: Result<Vec<Window>, WindowError>,
        now: DateTime<Utc>,
    ) -> Policy {
        let (schedule, mut refusal) = match schedule {
            Ok(schedule) => (schedule, None),
            Err(error) => (None, Some(Rejection::new(Reason::InvalidSchedule, error.to_string()))),
        };
        let windows = windows.unwrap_or_else(|error| {
            refusal = Some(Rejection::new(Reason::InvalidWindow, error.to_string()));
            Vec::new()
        });
        if terms.grace_period < terms.propagation_window {
            refusal = Some(Rejection::new(
                Reason::GracePeriodTooShort,
                format!(
                    "spec.gracePeriod is {}, shorter than Auth0's propagation window of {window}, in \
                     which either secret may be the accepted one: set it to {window} or more",
                    terms.grace_period,
                    window = terms.propagation_window,
                ),
            ));
        }
        if let Some(schedule) = schedule.as_ref().filter(|_| refusal.is_none()) {
            refusal = too_tight(&terms, schedule, now);
        }
        let schedule = schedule.filter(|_| refusal.is_none());
        Policy { terms, schedule, windows, refusal, forbidden: None }
    }

    /// The first time at which a scheduled rotation may start: the next due time after `after`, or
    /// when a window opens next after that.
    pub(crate) fn next_start(
        &self,
        after: DateTime<Utc>,
        last: Option<DateTime<Utc>>,
    ) -> Option<DateTime<Utc>> {
        let due = self.schedule.as_ref()?.next(after, last, &self.terms.seed)?;
        first_open(&self.windows, due)
    }

    /// Adds a refusal to start rotations that was found elsewhere.
    #[must_use]
    pub fn refuse(mut self, refusal: Option<Rejection>) -> Policy {
        if let Some(refusal) = refusal {
            self.schedule = None;
            self.refusal.get_or_insert(refusal);
        }
        self
    }

    /// The client may not be touched any more, if there is a refusal: no rotation is started, and one
    /// that has changed nothing at Auth0 yet is withdrawn. One that may have is ended, for what
    /// consumers have could be dead otherwise.
    #[must_use]
    pub fn forbid(self, refusal: Option<Rejection>) -> Policy {
        Policy { forbidden: refusal.clone(), ..self.refuse(refusal) }
    }

    /// Why no rotation can be started under this policy, if so.
    pub fn refusal(&self) -> Option<&Rejection> {
        self.refusal.as_ref()
    }
}

/// A schedule must leave a rotation the time to end before the next one is due.
fn too_tight(terms: &PolicyParams, schedule: &Schedule, now: DateTime<Utc>) -> Option<Rejection> {
    let staging = match terms.strategy {
        Strategy::Rotate => K8sDuration::ZERO,
        Strategy::Staged => terms.staging_period,
    };
    let needed = staging.to_delta() + terms.grace_period.to_delta();
    let gap = schedule.shortest_gap(now);
    (gap <= needed).then(|| {
        Rejection::new(
            Reason::ScheduleTooTight,
            format!(
                "the schedule can fire {}s after the time before (jitter taken off), but a rotation \
                 takes {}s to end (staging period and grace period): rotate less often, or shorten \
                 the grace period",
                gap.num_seconds(),
                needed.num_seconds(),
            ),
        )
    })
}
