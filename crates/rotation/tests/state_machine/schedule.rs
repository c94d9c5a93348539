//! Due times of a schedule, and policies that start no rotation.

use chrono::TimeDelta;
use rotation::{K8sDuration, Reason, Schedule, condition_types};

use crate::simulation::Simulation;

#[test]
fn missed_runs_start_one_rotation() {
    let mut sim = Simulation::imported().every(86_400);
    sim.advance_time(86_400 * 10 + 5);
    sim.run_for(7200);
    assert_eq!(sim.rotate_calls, 1);
    let next = sim.status.next_rotation_time.unwrap();
    assert!(next > sim.now);
}

#[test]
fn changed_schedule_is_planned_again_without_a_rotation() {
    let mut sim = Simulation::imported().every(86_400);
    sim.advance_time(80_000);
    let every = Some(K8sDuration::from_secs(90_000));
    sim.schedule = Some(Schedule::new(None, None, every, None, sim.now).unwrap());
    sim.generation += 1;
    sim.settle();
    let next = sim.status.next_rotation_time.unwrap();
    assert_eq!(next, sim.status.last_rotation_time.unwrap() + TimeDelta::seconds(90_000));
    assert_eq!(sim.rotate_calls, 0);
}

#[test]
fn past_due_time_survives_a_changed_schedule() {
    let mut sim = Simulation::imported().every(86_400);
    sim.advance_time(86_401);
    let every = Some(K8sDuration::from_secs(172_800));
    sim.schedule = Some(Schedule::new(None, None, every, None, sim.now).unwrap());
    sim.generation += 1;
    sim.settle();
    assert_eq!(sim.rotate_calls, 1);
}

#[test]
fn invalid_policy_starts_no_rotation() {
    let mut sim = Simulation::imported().every(86_400);
    sim.params.grace_period = K8sDuration::from_secs(10);
    sim.advance_time(86_400);
    sim.settle();
    assert_eq!(
        (sim.reason(condition_types::STALLED), sim.rotate_calls),
        (Reason::GracePeriodTooShort, 0)
    );
    sim.params.grace_period = K8sDuration::from_secs(86_400);
    sim.settle();
    assert_eq!(
        (sim.reason(condition_types::STALLED), sim.rotate_calls),
        (Reason::ScheduleTooTight, 0)
    );
}

#[test]
fn past_due_time_survives_an_invalid_spec() {
    let mut sim = Simulation::imported().every(86_400);
    let due = sim.status.next_rotation_time;
    sim.params.grace_period = K8sDuration::from_secs(1);
    sim.generation += 1;
    sim.advance_time(86_400);
    sim.settle();
    assert_eq!((sim.status.next_rotation_time, sim.rotate_calls), (due, 0));
    sim.params.grace_period = K8sDuration::from_secs(3600);
    sim.generation += 1;
    sim.settle();
    assert_eq!(sim.rotate_calls, 1);
}
