//! Criterion benchmarks of the parts of a reconcile that make no call: a decision, the arithmetic of
//! schedules, and the rendering of the target Secret.
//!
//! Times depend on the machine. The tests in crates/rotation/tests/state_machine/instructions.rs guard
//! the number of instructions.

#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use auth0_rotator::fuzzing::SampleSecret;
use chrono::{DateTime, TimeDelta, Utc};
use criterion::{Criterion, criterion_group, criterion_main};
use rotation::{
    ClientCheck, ClientObservation, K8sDuration, Observation, OwnedTarget, Policy, PolicyParams,
    ProbeMethod, Schedule, Status, Step, Strategy, Target, UnreachedPods, Window, decide,
};

fn now() -> DateTime<Utc> {
    "2026-11-23T10:00:00Z".parse().unwrap()
}

fn policy() -> Policy {
    let params = PolicyParams {
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
    };
    let every = Some(K8sDuration::from_secs(86_400));
    let schedule = Schedule::new(None, None, every, None, now()).unwrap();
    Policy::new(params, Ok(Some(schedule)), Ok(Vec::new()), now())
}

/// An imported resource with nothing to do.
fn idle(policy: &Policy) -> Observation {
    let target = OwnedTarget {
        current: Some(1),
        fallback: None,
        has_current: true,
        current_is_ours: true,
        fallback_is_ours: false,
        tampered: false,
        is_from_elsewhere: false,
        in_sync: true,
        write_proven: None,
    };
    let mut observation = Observation {
        generation: 1,
        status: Status { current: Some(1), ..Status::default() },
        request: None,
        initialized: true,
        was_published: true,
        has_finalizer: false,
        is_deleting: false,
        target: Target::Owned(target),
        client: ClientObservation::NotRead,
        signs_with_secret: None,
        client_check: ClientCheck::Passed,
        client_doubt: None,
        client_read_at: None,
        accepted: None,
        fallback_accepted: None,
        probe_control: None,
        rejected_at: None,
        has_unpublished_response: false,
        attempt_finished: false,
        dry_run_passed: false,
        drift_suspected: false,
        unreached_pods: UnreachedPods::Disabled,
        rollouts: None,
        revoked: None,
        restart_attempted: false,
        consumers_checked_at: Some(now()),
        client_checked_at: Some(now()),
        secret_set: false,
        target_hold_off: None,
        contested: None,
        finalizer_contested: false,
    };
    for _ in 0..8 {
        let decision = decide(&observation, now(), policy);
        observation.status = decision.status;
        if decision.step == Step::Wait {
            break;
        }
    }
    observation
}

fn decisions(criterion: &mut Criterion) {
    let policy = policy();
    let idle = idle(&policy);
    criterion.bench_function("decide/idle", |bencher| {
        bencher.iter(|| decide(black_box(&idle), now(), &policy));
    });
    let due = now() + TimeDelta::days(2);
    criterion.bench_function("decide/due", |bencher| {
        bencher.iter(|| decide(black_box(&idle), due, &policy));
    });
}

fn schedules(criterion: &mut Criterion) {
    let (last, jitter) = (Some(now()), Some(K8sDuration::from_secs(1800)));
    let zone = Some("Europe/Berlin");
    let every = Some(K8sDuration::from_secs(2_592_000));
    let interval = Schedule::new(None, None, every, jitter, now()).unwrap();
    criterion.bench_function("schedule/interval", |bencher| {
        bencher.iter(|| interval.next(black_box(now()), last, "uid"));
    });
    let cron = Schedule::new(Some("0 3 1 * *"), zone, None, jitter, now()).unwrap();
    criterion.bench_function("schedule/cron", |bencher| {
        bencher.iter(|| cron.next(black_box(now()), last, "uid"));
    });
    let hours = K8sDuration::from_secs(10_800);
    let windows = [Window::new("0 2 * * 1-5", zone, hours, now()).unwrap()];
    criterion.bench_function("schedule/window", |bencher| {
        bencher.iter(|| rotation::first_open(black_box(&windows), now()));
    });
}

fn rendering(criterion: &mut Criterion) {
    let sample = SampleSecret::new();
    criterion
        .bench_function("render/secret", |bencher| bencher.iter(|| black_box(sample.render())));
}

criterion_group!(micro, decisions, schedules, rendering);
criterion_main!(micro);
