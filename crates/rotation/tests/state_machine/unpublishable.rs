//! Secrets at Auth0 that cannot be published.

use rotation::{Reason, Strategy, condition_types};

use crate::simulation::Simulation;

const STRATEGIES: [Strategy; 2] = [Strategy::Rotate, Strategy::Staged];

#[test]
fn import_is_stalled_and_a_request_replaces_the_secret() {
    for strategy in STRATEGIES {
        let mut sim = Simulation::new().with_strategy(strategy);
        sim.unpublishable = Some(1);
        sim.run_for(3600);
        assert_eq!(sim.reason(condition_types::STALLED), Reason::SecretUnpublishable);
        assert_eq!(sim.reason(condition_types::READY), Reason::SecretUnpublishable);
        assert!(sim.target.is_none() && sim.client_reads < 10, "{} reads", sim.client_reads);
        sim.request("rotate/now");
        sim.run_for(7200);
        sim.assert_complete();
        assert!(sim.is_ready(), "{strategy:?}");
    }
}

#[test]
fn initial_rotation_replaces_the_secret() {
    for strategy in STRATEGIES {
        let mut sim = Simulation::new().with_strategy(strategy);
        sim.unpublishable = Some(1);
        sim.params.rotate_initially = true;
        sim.run_for(7200);
        sim.assert_complete();
        assert!(sim.is_ready(), "{strategy:?}");
    }
}

#[test]
fn change_that_cannot_be_published_is_reported_until_it_is_replaced() {
    for strategy in STRATEGIES {
        let mut sim = Simulation::imported().with_strategy(strategy);
        sim.change_secret_in_dashboard();
        sim.unpublishable = Some(2);
        sim.drift_suspected = true;
        sim.settle();
        sim.drift_suspected = false;
        for _ in 0..3 {
            assert_eq!(sim.reason(condition_types::READY), Reason::SecretUnpublishable);
            assert_eq!(sim.reason(condition_types::STALLED), Reason::SecretUnpublishable);
            sim.run_for(1800);
        }
        assert_eq!(sim.numbers(), [1], "the published values are kept");
        let mut followed = sim.clone();
        sim.request("rotate/now");
        sim.run_for(7200);
        sim.assert_complete();
        assert!(sim.is_ready(), "{strategy:?}");

        followed.change_secret_in_dashboard();
        followed.run_for(7200);
        followed.assert_complete();
        assert!(followed.is_ready(), "{strategy:?}");
    }
}

/// Auth0 may return a secret from `rotate-secret` that cannot be published.
#[test]
fn new_secret_that_cannot_be_published_is_replaced() {
    let mut sim = Simulation::imported();
    sim.unpublishable = Some(2);
    sim.omits_secret_in_response = true;
    sim.request("rotate/now");
    sim.run_for(7200);
    sim.assert_complete();
    assert!(sim.is_ready());
}
