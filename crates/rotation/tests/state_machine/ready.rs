//! Condition Ready: whether applications can log in with the published values.

use rotation::{Phase, Reason, Rejection, Status, Strategy, condition_types, is_condition_true};

use crate::{
    operator::Reconciled,
    simulation::{Fault, Simulation},
};

fn reason(sim: &Simulation) -> Reason {
    sim.reason(condition_types::READY)
}

/// Returns a simulation in which a rotation has changed the secret, and the response was lost.
fn lost_response(strategy: Strategy) -> Simulation {
    let mut sim = Simulation::imported().with_strategy(strategy);
    sim.request("rotate/now");
    if strategy == Strategy::Staged {
        sim.settle();
        sim.advance_time(180);
    }
    fail_first(&sim, Fault::ResponseLost, |sim| {
        sim.secret_history.len() == 2 && sim.phase() == Some(Phase::Activating)
    })
}

/// Returns a simulation after a reconcile in which this fault hit the first effect that leads to the
/// expected result.
fn fail_first(sim: &Simulation, fault: Fault, is_met: impl Fn(&Simulation) -> bool) -> Simulation {
    for effect in sim.effects..sim.effects + 16 {
        let mut sim = sim.clone();
        sim.fail_effect(effect, fault);
        if sim.reconcile() == Reconciled::Failed && is_met(&sim) {
            return sim;
        }
    }
    panic!("no {fault:?} leads to the expected result");
}

#[test]
fn is_false_while_an_outcome_is_unknown_after_the_window() {
    for strategy in [Strategy::Rotate, Strategy::Staged] {
        let mut sim = lost_response(strategy);
        sim.outage = Some(Fault::OutcomeUnknown);
        for _ in 0..3 {
            sim.advance_time(9);
            assert_eq!(sim.reconcile(), Reconciled::Failed);
            assert!(sim.is_ready(), "{strategy:?}: in the propagation window");
        }
        for _ in 0..3 {
            sim.advance_time(3);
            assert_eq!(sim.reconcile(), Reconciled::Failed);
            assert_eq!(reason(&sim), Reason::OutcomeUnknown, "{strategy:?}");
        }
        sim.outage = None;
        sim.settle();
        assert!(sim.is_ready(), "{strategy:?}");
        sim.run_for(10_000);
        sim.assert_complete();
    }
}

#[test]
fn stays_true_while_calls_certainly_change_nothing() {
    for strategy in [Strategy::Rotate, Strategy::Staged] {
        let mut sim = Simulation::imported().with_strategy(strategy);
        sim.request("rotate/now");
        if strategy == Strategy::Staged {
            sim.settle();
            sim.advance_time(180);
        }
        for effect in sim.effects..sim.effects + 16 {
            let mut sim = sim.clone();
            sim.fail_effect(effect, Fault::Rejected);
            sim.reconcile();
            if sim.secret_history.len() > 1 {
                continue;
            }
            sim.outage = Some(Fault::Rejected);
            sim.advance_time(600);
            assert_eq!(sim.reconcile(), Reconciled::Failed);
            assert!(sim.is_ready(), "{strategy:?}: {:?}", sim.status);
        }
    }
}

/// A retry that is known to have changed nothing does not show what the first attempt did.
#[test]
fn is_false_after_a_rejected_retry_of_a_lost_change() {
    let mut sim = lost_response(Strategy::Staged);
    sim.outage = Some(Fault::Rejected);
    sim.advance_time(10);
    assert_eq!(sim.reconcile(), Reconciled::Failed);
    assert!(sim.is_ready());
    sim.advance_time(21);
    assert_eq!(sim.reconcile(), Reconciled::Failed);
    assert_eq!(reason(&sim), Reason::OutcomeUnknown);
}

#[test]
fn is_false_as_soon_as_a_response_cannot_be_published() {
    let mut sim = Simulation::imported();
    sim.request("rotate/now");
    let mut sim = fail_first(&sim, Fault::Rejected, |sim| sim.response.is_some());
    assert_eq!(reason(&sim), Reason::ResultUnpublished);
    sim.settle();
    assert!(sim.is_ready());
}

#[test]
fn is_false_while_drift_cannot_be_published() {
    let mut sim = Simulation::imported();
    sim.change_secret_in_dashboard();
    sim.drift_suspected = true;
    sim.fail_effect(1, Fault::Rejected);
    assert_eq!(sim.reconcile(), Reconciled::Failed);
    assert_eq!(reason(&sim), Reason::ResultUnpublished);
    sim.drift_suspected = false;
    sim.outage = Some(Fault::OutcomeUnknown);
    assert_eq!(sim.reconcile(), Reconciled::Failed);
    assert_eq!(reason(&sim), Reason::ResultUnpublished);
    sim.outage = None;
    sim.settle();
    assert!(sim.is_ready());
}

#[test]
fn is_false_while_no_secret_authenticates_the_client() {
    for rejected in [Reason::ClientNotFound, Reason::ClientUsesKeys, Reason::PublicClient] {
        let mut sim = Simulation::imported();
        sim.client_rejection = Some(Rejection::new(rejected, "not this client"));
        sim.drift_suspected = true;
        sim.settle();
        assert_eq!(reason(&sim), rejected);
        // Reconciled for another reason.
        sim.drift_suspected = false;
        sim.generation += 1;
        sim.advance_time(600);
        sim.settle();
        assert_eq!(reason(&sim), rejected);
        sim.client_rejection = None;
        sim.advance_time(600);
        sim.settle();
        assert!(sim.is_ready());
    }
}

/// The probe shows that Auth0 rejects the secret, and then the tenant fails.
#[test]
fn is_false_after_a_rejected_probe_even_if_the_next_call_fails() {
    let mut sim = Simulation::imported();
    sim.request("rotate/now");
    sim.settle();
    sim.run_for(300);
    assert_eq!(sim.phase(), Some(Phase::Grace));
    sim.change_secret_in_dashboard();
    sim.rejected_at = Some(sim.now);
    sim.advance_time(3600);
    sim.outage = Some(Fault::OutcomeUnknown);
    assert_eq!(sim.reconcile(), Reconciled::Failed);
    assert_eq!(reason(&sim), Reason::NotConfirmed);
}

#[test]
fn is_false_while_an_older_target_cannot_be_repaired() {
    let mut sim = Simulation::imported();
    let old = sim.published().clone();
    sim.request("rotate/now");
    sim.run_for(10_000);
    sim.target = Some(old);
    sim.outage = Some(Fault::OutcomeUnknown);
    assert_eq!(sim.reconcile(), Reconciled::Failed);
    assert!(!sim.is_ready());
}

/// kstatus takes a resource for complete if it has no condition Ready.
#[test]
fn is_false_until_something_is_published() {
    for rotate_initially in [false, true] {
        let mut sim = Simulation::new();
        sim.params.rotate_initially = rotate_initially;
        sim.settle();
        sim.run_for(60);
        let is_complete = |status: &Status| {
            is_condition_true(&status.conditions, condition_types::READY)
                && !is_condition_true(&status.conditions, condition_types::RECONCILING)
        };
        for status in &sim.stored_statuses {
            assert!(status.current.is_some() || !is_complete(status), "{status:?}");
            let names: Vec<_> = status.conditions.iter().map(|known| &known.type_).collect();
            assert!(names.iter().any(|name| *name == condition_types::READY), "{names:?}");
        }
        assert!(sim.is_ready());
    }
}

#[test]
fn grace_period_is_not_work_in_progress() {
    let mut sim = Simulation::imported();
    sim.request("rotate/now");
    sim.run_for(300);
    assert_eq!(sim.phase(), Some(Phase::Grace));
    assert_eq!(sim.reason(condition_types::RECONCILING), Reason::Grace);
    assert!(!is_condition_true(&sim.status.conditions, condition_types::RECONCILING));
}
