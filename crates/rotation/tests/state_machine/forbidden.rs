//! A client that the operator must not change anymore, and the warning about HS256.

use rotation::{Outcome, Phase, Strategy, condition_types, is_condition_true};

use crate::simulation::{Fault, Simulation, value};

fn staged() -> Simulation {
    Simulation::imported().with_strategy(Strategy::Staged)
}

#[test]
fn starts_no_rotation_of_a_forbidden_client() {
    for strategy in [Strategy::Rotate, Strategy::Staged] {
        let mut sim = Simulation::imported().every(7200).with_strategy(strategy);
        sim.is_forbidden = true;
        sim.request("rotate/now");
        sim.run_for(20_000);
        assert_eq!((sim.rotate_calls, sim.secret_history.len()), (0, 1), "{strategy:?}");
        assert_eq!(sim.phase(), None);
        assert!(sim.is_ready());
    }
}

#[test]
fn withdraws_a_staged_secret_that_auth0_does_not_have() {
    let mut sim = staged();
    sim.request("rotate/now");
    sim.settle();
    assert_eq!(sim.rotation().phase, Phase::Staging);
    sim.is_forbidden = true;
    sim.run_for(4000);
    assert_eq!(sim.phase(), None, "{:?}", sim.status);
    assert_eq!(sim.secret_history, [1], "nothing changed at Auth0");
    let target = sim.published();
    assert_eq!((target.current, target.fallback), (value(1, 1), None));
    let entry = &sim.status.history[0];
    assert_eq!(entry.outcome, Outcome::Rejected);
    assert!(entry.message.contains("doesn't allow"));
}

/// Auth0's secret is published in the end, no matter where the process crashes.
#[test]
fn completes_a_change_that_may_have_been_made() {
    for strategy in [Strategy::Rotate, Strategy::Staged] {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            for offset in 1..=12 {
                let mut sim = Simulation::imported().with_strategy(strategy);
                sim.request("rotate/now");
                sim.settle();
                sim.advance_time(200);
                sim.fail_effect(sim.effects + offset, fault);
                sim.reconcile();
                sim.is_forbidden = true;
                sim.restart_process();
                sim.run_for(5000);
                let context = format!("{strategy:?}, {fault:?} at {offset}: {:?}", sim.status);
                assert_eq!(sim.phase(), None, "{context}");
                let target = sim.published();
                assert_eq!(
                    (target.current.symbol, target.fallback),
                    (sim.auth0_secret, None),
                    "{context}"
                );
                assert!(sim.secret_history.len() <= 2, "{context}");
            }
        }
    }
}

#[test]
fn rotates_again_once_the_client_is_allowed() {
    let mut sim = staged().every(7200);
    sim.is_forbidden = true;
    sim.generation += 1;
    sim.run_for(8000);
    assert_eq!(sim.secret_history.len(), 1);
    sim.is_forbidden = false;
    sim.run_for(12_000);
    assert!(sim.secret_history.len() > 1);
}

#[test]
fn warns_about_a_client_that_signs_with_its_secret() {
    let is_warned = |sim: &Simulation| {
        is_condition_true(&sim.status.conditions, condition_types::SIGNS_WITH_SECRET)
    };
    let mut sim = Simulation::new();
    sim.signs_with_secret = true;
    sim.settle();
    assert!(is_warned(&sim));
    assert!(sim.is_ready());
    sim.signs_with_secret = false;
    sim.request("rotate/now");
    sim.run_for(5000);
    assert!(!is_warned(&sim));
}
