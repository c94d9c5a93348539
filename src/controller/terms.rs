//! What a resource's spec asks for, in the machine's terms.

use chrono::{DateTime, Utc};
use kube::ResourceExt as _;
use rotation::{Policy, Schedule, Span, Terms, Window};

use super::target::check_template;
use crate::api::{ClientSecretRotation, Initial, WindowSpec};

/// The policy of a resource under the operator's flags.
pub(super) fn policy(
    resource: &ClientSecretRotation,
    propagation_window: Span,
    now: DateTime<Utc>,
) -> Policy {
    let spec = &resource.spec;
    let terms = Terms {
        strategy: spec.strategy,
        staging_period: spec.staging.period,
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
    Policy::new(terms, schedule.transpose(), windows, now).refuse(check_template(&spec.target))
}
