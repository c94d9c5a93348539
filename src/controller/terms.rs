//! What a resource's spec asks for, in the machine's terms.

use chrono::{DateTime, Utc};
use kube::ResourceExt as _;
use rotation::{K8sDuration, Policy, PolicyParams, Schedule, Strategy, Window};

use super::target::check_template;
use crate::api::{ClientSecretRotation, Initial, WindowSpec};

/// The policy of a resource under the operator's flags.
///
/// `is_own`: it is about what the operator itself signs in with. An answer of `rotate-secret` that
/// is lost could then never be read back, so that its secret is always changed by a value that was
/// published before. The operator reads it live: no time has to pass for that.
pub(super) fn policy(
    resource: &ClientSecretRotation,
    propagation_window: K8sDuration,
    is_own: bool,
    now: DateTime<Utc>,
) -> Policy {
    let spec = &resource.spec;
    let (strategy, staging_period) = match spec.strategy {
        Strategy::Rotate if is_own => (Strategy::Staged, K8sDuration::ZERO),
        strategy => (strategy, spec.staging.period),
    };
    let terms = PolicyParams {
        strategy,
        staging_period,
        grace_period: spec.grace_period,
        propagation_window,
        rotate_initially: spec.initial == Initial::Rotate,
        suspend: spec.suspend,
        restarts: !spec.consumers.restart.is_empty(),
        rollout_timeout: spec.consumers.rollout_timeout,
        seed: resource.uid().unwrap_or_default(),
    };
    let schedule = spec.schedule.as_ref().map(|schedule| {
        Schedule::new(
            schedule.cron.as_deref(),
            schedule.time_zone.as_deref(),
            schedule.every,
            schedule.jitter,
            now,
        )
    });
    let window = |window: &WindowSpec| {
        Window::new(&window.cron, window.time_zone.as_deref(), window.duration, now)
    };
    let windows = spec.windows.iter().map(window).collect();
    Policy::new(terms, schedule.transpose(), windows, now)
        .with_rejection(check_template(&spec.target))
}
