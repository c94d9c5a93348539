//! Other parties that change the secret at Auth0.

use chrono::TimeDelta;
use rotation::{Cause, Phase, Strategy, condition_types, find_condition};

use crate::{
    simulation::{Simulation, value},
    tampering::{assert_restored, interrupt, interruptions},
};

#[test]
fn publishes_a_secret_changed_in_the_dashboard_at_any_effect() {
    for interruption in interruptions() {
        let mut sim = interrupt(interruption, Simulation::change_secret_in_dashboard);
        // If the operator had no reason to read the client, the next request makes it.
        sim.request("rotate/again");
        sim.run_for(20_000);
        assert_restored(&sim);
    }
}

#[test]
fn publishes_drift_before_it_handles_a_request() {
    let mut sim = Simulation::imported();
    sim.change_secret_in_dashboard();
    sim.request("rotate/now");
    sim.settle();
    let target = sim.published();
    assert_eq!((target.current, target.fallback), (value(2, 2), Some(value(1, 1))));
    assert_eq!(sim.rotation().cause, Cause::Drift);
    assert_eq!(sim.rotate_calls, 0, "the request stays pending");
    sim.run_for(20_000);
    assert_eq!(sim.rotate_calls, 1);
    let causes: Vec<_> = sim.status.history.iter().map(|entry| entry.cause).collect();
    assert_eq!(causes, [Cause::Request, Cause::Drift]);
}

#[test]
fn previous_secret_that_is_set_again_becomes_current() {
    let mut sim = Simulation::imported();
    sim.request("rotate/now");
    sim.run_for(60);
    assert_eq!(sim.rotation().phase, Phase::Grace);
    sim.auth0_secret = 1;
    sim.run_for(20_000);
    assert_restored(&sim);
    assert_eq!(sim.published().current, value(3, 1));
    assert_eq!(sim.status.history[0].cause, Cause::Drift);
}

#[test]
fn request_replaces_a_rejected_secret_that_is_unreadable() {
    let mut sim = Simulation::imported();
    sim.request("rotate/now");
    sim.run_for(60);
    sim.secrets_readable = false;
    sim.change_secret_in_dashboard();
    sim.run_for(7200);
    assert!(!sim.is_ready());
    sim.request("rotate/again");
    sim.run_for(20_000);
    assert_restored(&sim);
}

#[test]
fn suspected_drift_is_read_and_published() {
    for (strategy, seconds) in
        [(Strategy::Rotate, 60), (Strategy::Staged, 60), (Strategy::Staged, 300)]
    {
        let mut sim = Simulation::imported().with_strategy(strategy);
        sim.request("rotate/now");
        sim.run_for(seconds);
        let phase = sim.phase();
        sim.change_secret_in_dashboard();
        sim.drift_suspected = true;
        sim.settle();
        let target = sim.published();
        assert_eq!(target.current.symbol, sim.auth0_secret, "{phase:?}");
        assert!(target.fallback.is_some(), "{phase:?}: the previous value is the fallback");
        sim.drift_suspected = false;
        sim.run_for(20_000);
        assert_eq!(sim.published().current.symbol, sim.auth0_secret, "{phase:?}");
        assert_eq!(sim.status.history[0].cause, Cause::Drift, "{phase:?}");
    }
}

#[test]
fn drift_is_published_while_suspended() {
    let mut sim = Simulation::imported();
    sim.params.suspend = true;
    sim.change_secret_in_dashboard();
    sim.drift_suspected = true;
    sim.settle();
    let target = sim.published();
    assert_eq!((target.current, target.fallback), (value(2, 2), Some(value(1, 1))));
}

#[test]
fn outdated_suspicion_of_drift_changes_nothing() {
    let mut sim = Simulation::imported();
    sim.request("rotate/now");
    sim.run_for(60);
    let before = (sim.status.clone(), sim.target.clone());
    sim.drift_suspected = true;
    sim.settle();
    assert_eq!((sim.status.clone(), sim.target.clone()), before);
}

/// Changes the secret and lets the operator find it out.
fn change_and_check(sim: &mut Simulation) {
    sim.change_secret_in_dashboard();
    sim.drift_suspected = true;
    sim.settle();
    sim.drift_suspected = false;
}

#[test]
fn recurring_drift_is_followed_at_longer_and_longer_intervals() {
    let mut sim = Simulation::imported();
    let started = sim.now;
    let mut followed = Vec::new();
    let mut last = sim.status.current;
    while sim.now < started + TimeDelta::hours(8) {
        let status_writes = sim.stored_statuses.len();
        change_and_check(&mut sim);
        assert!(sim.stored_statuses.len() <= status_writes + 4, "{:?}", sim.status);
        if sim.status.current != last {
            last = sim.status.current;
            followed.push((sim.now - started).num_minutes());
        }
        sim.now += TimeDelta::seconds(30);
    }
    assert_eq!(followed, [0, 0, 2, 10, 42, 102, 162, 222, 282, 342, 402, 462]);
    assert!(!sim.is_ready());
}

#[test]
fn drift_that_is_held_off_is_reported_once_and_followed_in_the_end() {
    let mut sim = Simulation::imported();
    for _ in 0..3 {
        change_and_check(&mut sim);
    }
    assert_eq!(sim.status.current, Some(3));
    let ready = find_condition(&sim.status.conditions, condition_types::READY).unwrap();
    assert_eq!(ready.reason, "DriftRecurs");
    let before = sim.stored_statuses.len();
    for _ in 0..5 {
        change_and_check(&mut sim);
    }
    assert_eq!(sim.stored_statuses.len(), before, "no write while it is held off");
    sim.run_for(20_000);
    assert_restored(&sim);
    assert!(sim.is_ready());
    assert_eq!(sim.status.current, Some(4));
}

#[test]
fn drift_after_a_quiet_period_is_followed_at_once() {
    let mut sim = Simulation::imported();
    for number in 2..6 {
        change_and_check(&mut sim);
        assert_eq!(sim.status.current, Some(number));
        sim.run_for(20_000);
        assert_restored(&sim);
    }
}

#[test]
fn reverted_drift_ends_the_hold_off_report() {
    let mut sim = Simulation::imported();
    for _ in 0..2 {
        change_and_check(&mut sim);
    }
    let published = sim.auth0_secret;
    change_and_check(&mut sim);
    assert!(!sim.is_ready());
    sim.auth0_secret = published;
    sim.run_for(200);
    assert!(sim.is_ready());
    assert_eq!(sim.status.current, Some(3), "nothing was published");
}

#[test]
fn request_and_due_time_replace_a_secret_that_is_held_off() {
    for strategy in [Strategy::Rotate, Strategy::Staged] {
        let mut sim = Simulation::imported().with_strategy(strategy);
        for _ in 0..3 {
            change_and_check(&mut sim);
        }
        assert!(!sim.is_ready());
        sim.request("revoke/now");
        sim.run_for(600);
        assert!(sim.is_ready(), "{strategy:?}: {:?}", sim.status);
        assert_eq!(sim.published().current.symbol, sim.auth0_secret);
        let revoked = sim.status.history.iter().any(|entry| entry.cause == Cause::Request);
        let is_requested = sim.status.rotation.as_ref().map(|rotation| rotation.cause);
        assert!(revoked || is_requested == Some(Cause::Request), "{:?}", sim.status);
    }
}

#[test]
fn hold_off_that_lies_far_in_the_future_is_not_believed() {
    let mut sim = Simulation::imported();
    for _ in 0..3 {
        change_and_check(&mut sim);
    }
    let hold_off = sim.status.drift_hold_off.as_mut().unwrap();
    hold_off.until += TimeDelta::days(1000);
    sim.settle();
    assert_eq!(sim.published().current.symbol, sim.auth0_secret);
}
