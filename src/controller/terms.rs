//! What a resource's spec asks for, in the machine's terms.

use chrono::{DateTime, Utc};
use kube::ResourceExt as _;
use rotation::{Policy, Schedule, Span, Terms};

use super::target::check_template;
use crate::api::{ClientSecretRotation, Initial};

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
        restarts: false,
        rollout_timeout: Span::ZERO,
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
    Policy::new(terms, schedule.transpose(), Ok(Vec::new()), now).refuse(check_template(&spec.target))
}
