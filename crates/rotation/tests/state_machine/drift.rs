//! Other parties that change the secret at Auth0.

use rotation::{Cause, Phase, Strategy};

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
