//! Confirmation, grace period and retirement.

use chrono::TimeDelta;
use rotation::{K8sDuration, Phase, Reason, condition_types};

use crate::simulation::Simulation;

#[test]
fn unconfirmed_secret_is_reported_after_the_window_and_not_retired() {
    let mut sim = Simulation::imported();
    sim.propagation_delay = TimeDelta::hours(3);
    sim.request("rotate/now");
    sim.settle();
    sim.run_for(29);
    assert!(sim.is_ready(), "rejected probes are expected within the window");
    let probes = sim.probes;
    assert!((4..=8).contains(&probes), "{probes} probes within the window");
    sim.run_for(7200);
    assert_eq!(sim.reason(condition_types::READY), Reason::NotConfirmed);
    assert_eq!(
        sim.numbers(),
        [2, 1],
        "the previous secret stays although its grace period is over"
    );
    assert!(sim.probes < 40, "{} probes in two hours", sim.probes);
    sim.run_for(7200);
    assert_eq!((sim.reason(condition_types::READY), sim.numbers()), (Reason::Published, vec![2]));
}

#[test]
fn unconfirmed_secret_is_replaced_only_if_compromised() {
    let mut sim = Simulation::imported();
    sim.propagation_delay = TimeDelta::hours(1);
    sim.request("rotate/now");
    sim.run_for(600);
    assert_eq!(sim.reason(condition_types::READY), Reason::NotConfirmed);
    sim.request("rotate/again");
    sim.run_for(600);
    assert_eq!(sim.numbers(), [2, 1], "only the previous secret works");
    let mut compromised = sim.clone();
    compromised.request("revoke/leaked");
    compromised.run_for(1200);
    assert_eq!(compromised.published().current.number, 3);
    sim.run_for(20_000);
    assert_eq!(sim.numbers(), [3], "the request stayed pending");
}

#[test]
fn secret_rejected_at_the_end_of_the_grace_period_keeps_its_fallback() {
    let mut sim = Simulation::imported();
    sim.request("rotate/now");
    sim.run_for(3000);
    assert_eq!(sim.phase(), Some(Phase::Grace));
    sim.accepted_from = sim.now + TimeDelta::hours(10);
    sim.run_for(3600);
    assert_eq!(sim.numbers(), [2, 1]);
    assert_eq!(sim.reason(condition_types::READY), Reason::NotConfirmed);
}

#[test]
fn changed_grace_period_applies_to_the_rotation_in_progress() {
    let mut sim = Simulation::imported();
    sim.request("rotate/now");
    sim.run_for(60);
    sim.params.grace_period = K8sDuration::from_secs(600);
    sim.run_for(500);
    assert_eq!(sim.numbers(), [2, 1]);
    sim.run_for(60);
    assert_eq!(sim.numbers(), [2]);
}
