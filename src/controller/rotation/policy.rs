//! From a resource's spec and the operator's flags to the state machine's policy.

use chrono::{DateTime, Utc};
use kube::ResourceExt as _;
use rotation::{K8sDuration, Policy, PolicyParams, Reason, Rejection, Schedule, Strategy, Window};

use crate::{
    api::{ClientSecretRotation, ClientSecretRotationSpec, Initial, OnRolloutTimeout, WindowSpec},
    controller::{context::Settings, target_secret::check_templates},
};

/// Returns the policy of a resource.
///
/// `is_own_credentials`: the operator itself authenticates with the target. A lost response
/// of `rotate-secret` could then never be read back, so such a secret is always changed to a value
/// that was published before. The operator reads it live, so no staging period is needed.
pub(super) fn policy(
    resource: &ClientSecretRotation,
    settings: &Settings,
    is_own_credentials: bool,
    now: DateTime<Utc>,
) -> Policy {
    let spec = &resource.spec;
    let (strategy, staging_period) = match spec.strategy {
        Strategy::Rotate if is_own_credentials => (Strategy::Staged, K8sDuration::ZERO),
        strategy => (strategy, spec.staging.period),
    };
    let params = PolicyParams {
        strategy,
        staging_period,
        grace_period: spec.grace_period,
        propagation_window: settings.propagation_window,
        probe_method: spec.probe.method,
        rotate_initially: spec.initial == Initial::Rotate,
        suspend: spec.suspend,
        restarts: !spec.consumers.restart.is_empty(),
        rollout_timeout: spec.consumers.rollout_timeout,
        proceeds_after_rollout_timeout: spec.consumers.on_rollout_timeout
            == OnRolloutTimeout::Proceed,
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
    Policy::new(params, schedule.transpose(), windows, now)
        .with_spec_rejection(check_templates(&spec.target))
        .with_spec_rejection(check_restarts(spec, settings))
}

/// Rejects restarts that the operator may not make: without them, consumers could miss the new
/// secret.
fn check_restarts(spec: &ClientSecretRotationSpec, settings: &Settings) -> Option<Rejection> {
    if settings.restarts || spec.consumers.restart.is_empty() {
        return None;
    }
    Some(Rejection::new(
        Reason::RestartsDisabled,
        "this operator may not restart workloads, so no rotation starts. Remove \
         spec.consumers.restart and restart them yourself, or ask its administrator to enable \
         restarts",
    ))
}
