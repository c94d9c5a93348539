//! Other parties that change the target Secret or the status.

use rotation::{Cause, Phase, Purpose, Reason, Schedule, Status, Strategy, condition_types};

use crate::{
    operator::Reconciled,
    simulation::{Fault, Simulation, TargetSecret, value},
};

/// A rotation by request that crashes after the effect with this index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interruption {
    strategy: Strategy,
    effect: usize,
}

pub(crate) fn interruptions() -> impl Iterator<Item = Interruption> {
    [Strategy::Rotate, Strategy::Staged]
        .into_iter()
        .flat_map(|strategy| (0..10).map(move |effect| Interruption { strategy, effect }))
}

/// Interrupts a rotation, lets another party interfere, and runs the operator again.
pub(crate) fn interrupt(
    interruption: Interruption,
    interfere: impl Fn(&mut Simulation),
) -> Simulation {
    let mut sim = Simulation::imported().with_strategy(interruption.strategy);
    sim.request("rotate/now");
    sim.fail_effect(interruption.effect, Fault::CrashAfter);
    for _ in 0..10 {
        match sim.reconcile() {
            Reconciled::Waiting(Some(wake)) => sim.now = wake,
            Reconciled::Waiting(None) => break,
            Reconciled::Crashed | Reconciled::Failed => {
                sim.restart_process();
                interfere(&mut sim);
                break;
            }
        }
    }
    sim.run_for(20_000);
    sim
}

pub(crate) fn assert_restored(sim: &Simulation) {
    sim.assert_complete();
    assert_eq!(sim.status.current, Some(sim.published().current.number));
    assert!(sim.is_ready());
}

#[test]
fn restores_a_target_deleted_at_any_effect() {
    for interruption in interruptions() {
        let sim = interrupt(interruption, |sim| sim.target = None);
        assert_restored(&sim);
        assert!(sim.secret_history.len() <= 3, "{interruption:?}: {:?}", sim.secret_history);
        assert!(sim.rotate_calls <= 1, "{interruption:?}");
    }
}

/// Returns a rotation that was interrupted while the outcome of its change at Auth0 was unknown.
pub(crate) fn unknown_outcome(strategy: Strategy) -> Simulation {
    for effect in 0..10 {
        let mut sim = Simulation::imported().with_strategy(strategy);
        sim.request("rotate/now");
        sim.fail_effect(effect, Fault::OutcomeUnknown);
        while let Reconciled::Waiting(Some(wake)) = sim.reconcile() {
            sim.now = wake;
        }
        let phase = sim.status.rotation.as_ref().map(|rotation| rotation.phase);
        if phase == Some(Phase::Activating) {
            sim.restart_process();
            return sim;
        }
    }
    panic!("no effect leaves the outcome unknown")
}

#[test]
fn is_not_ready_while_a_lost_target_waits_for_an_unknown_outcome() {
    for strategy in [Strategy::Rotate, Strategy::Staged] {
        let edited = TargetSecret {
            current: value(99, 1000),
            fallback: None,
            tampered: true,
            write_proven: None,
        };
        for target in [None, Some(edited)] {
            let mut sim = unknown_outcome(strategy);
            sim.target = target.clone();
            sim.reconcile();
            assert_eq!(sim.target, target, "{strategy:?}");
            assert!(!sim.is_ready(), "{strategy:?}, {target:?}");
            sim.run_for(20_000);
            assert_restored(&sim);
        }
    }
}

/// Auth0 may show the compromised secret, so it is not taken for the new one.
#[test]
fn replaces_a_compromised_secret_if_the_target_is_deleted_at_any_effect() {
    for effect in 0..10 {
        let mut sim = Simulation::imported();
        let compromised = sim.auth0_secret;
        sim.request("revoke/now");
        sim.fail_effect(effect, Fault::OutcomeUnknown);
        sim.reconcile();
        sim.target = None;
        sim.run_for(20_000);
        assert_restored(&sim);
        assert_ne!(sim.auth0_secret, compromised, "effect {effect}");
    }
}

#[test]
fn restores_a_target_edited_at_any_effect() {
    for interruption in interruptions() {
        let sim = interrupt(interruption, |sim| {
            sim.target = Some(TargetSecret {
                current: value(99, 1000),
                fallback: Some(value(7, 1001)),
                tampered: true,
                write_proven: None,
            });
        });
        assert_restored(&sim);
        assert!(sim.rotate_calls <= 1, "{interruption:?}");
    }
}

#[test]
fn restores_the_order_of_values_swapped_at_any_effect() {
    for interruption in interruptions() {
        let sim = interrupt(interruption, |sim| {
            if let Some(TargetSecret { current, fallback: Some(fallback), tampered, .. }) =
                &mut sim.target
            {
                std::mem::swap(current, fallback);
                *tampered = true;
            }
        });
        assert_restored(&sim);
    }
}

#[test]
fn restores_a_target_deleted_while_idle_without_a_rotation() {
    let mut sim = Simulation::imported().every(86_400);
    sim.request("rotate/now");
    sim.run_for(10_000);
    sim.target = None;
    sim.settle();
    assert_eq!(sim.published().current, value(2, sim.auth0_secret));
    assert_eq!(sim.publications.last(), Some(&Purpose::Repair));
    assert_eq!(sim.rotate_calls, 1);
}

#[test]
fn stalls_if_a_deleted_target_is_unreadable_at_auth0() {
    let mut sim = Simulation::imported();
    sim.secrets_readable = false;
    sim.target = None;
    sim.settle();
    assert_eq!(sim.reason(condition_types::STALLED), Reason::SecretUnreadable);
    assert!(!sim.is_ready());
    assert_eq!((sim.target.as_ref(), sim.rotate_calls), (None, 0));
    sim.request("rotate/now");
    sim.run_for(10_000);
    assert_restored(&sim);
}

#[test]
fn reads_back_instead_of_publishing_values_from_another_endpoint() {
    let mut sim = Simulation::imported();
    sim.target_is_from_elsewhere = true;
    sim.settle();
    assert_eq!(sim.published().current, value(1, sim.auth0_secret));
    assert_eq!(sim.publications.last(), Some(&Purpose::Repair));
    assert_eq!((sim.rotate_calls, sim.status.history.len()), (0, 0));
    assert!(sim.is_ready());
}

#[test]
fn stalls_if_values_are_from_another_endpoint_and_unreadable() {
    let mut sim = Simulation::imported();
    sim.secrets_readable = false;
    sim.target_is_from_elsewhere = true;
    sim.settle();
    assert_eq!(sim.reason(condition_types::STALLED), Reason::OriginChanged);
    assert!(!sim.is_ready());
    sim.request("rotate/now");
    sim.run_for(10_000);
    assert_restored(&sim);
    assert!(sim.published().fallback.is_none());
}

#[test]
fn keeps_an_edited_target_that_auth0_accepts_if_secrets_are_unreadable() {
    let mut sim = Simulation::imported();
    sim.secrets_readable = false;
    sim.target.as_mut().unwrap().tampered = true;
    sim.settle();
    assert_eq!(sim.published().current, value(1, 1));
    assert!(!sim.published().tampered);
    assert!(sim.is_ready());
}

#[test]
fn restores_a_target_from_an_older_backup() {
    let mut sim = Simulation::imported();
    let backup = sim.target.clone();
    sim.request("rotate/now");
    sim.run_for(10_000);
    sim.target = backup;
    sim.run_for(10_000);
    assert_restored(&sim);
    assert_eq!((sim.rotate_calls, sim.status.current), (1, Some(2)));
}

#[test]
fn restored_status_does_not_repeat_a_request() {
    for strategy in [Strategy::Rotate, Strategy::Staged] {
        // The status is restored early in the rotation, while the pair is published, or afterward.
        for seconds in [1, 60, 20_000] {
            let mut sim = Simulation::imported().with_strategy(strategy);
            let backup = sim.status.clone();
            sim.request("rotate/now");
            sim.run_for(seconds);
            sim.status = backup;
            sim.run_for(30_000);
            assert_restored(&sim);
            assert_eq!(sim.secret_history.len(), 2, "{strategy:?} after {seconds} s");
            let rejection = sim.request_rejection();
            assert!(rejection.contains("another text"), "{rejection}");
            sim.request("rotate/again");
            sim.run_for(30_000);
            assert_eq!(sim.secret_history.len(), 3, "{strategy:?} after {seconds} s");
        }
    }
}

/// Status and target Secret are restored from a time before the due time was used up.
#[test]
fn restored_backup_does_not_repeat_a_due_time() {
    for restores_target in [false, true] {
        let mut sim = Simulation::imported();
        let now = sim.now;
        sim.schedule = Some(Schedule::new(Some("0 12 * * *"), None, None, None, now).unwrap());
        sim.generation += 1;
        sim.settle();
        let (status, target) = (sim.status.clone(), sim.target.clone());
        sim.run_for(3 * 3600);
        assert_eq!(sim.rotate_calls, 1);
        sim.status = status;
        if restores_target {
            sim.target = target;
            sim.drift_suspected = true;
        }
        sim.restart_process();
        sim.settle();
        sim.drift_suspected = false;
        sim.run_for(6 * 3600);
        assert_restored(&sim);
        assert_eq!(sim.rotate_calls, 1, "restores the target Secret: {restores_target}");
        assert!(sim.status.next_rotation_time.unwrap() > sim.now);
    }
}

#[test]
fn restored_backup_keeps_the_fallback_and_does_not_restart_an_interval() {
    for restores_target in [false, true] {
        let mut sim = Simulation::imported().every(86_400);
        let due = sim.status.next_rotation_time;
        let (status, target) = (sim.status.clone(), sim.target.clone());
        sim.request("rotate/now");
        sim.run_for(20_000);
        assert_eq!(sim.published().current, value(2, 2));
        // The annotation is restored too.
        sim.request = None;
        for _ in 0..2 {
            sim.advance_time(10_000);
            sim.status = status.clone();
            if restores_target {
                sim.target.clone_from(&target);
                sim.drift_suspected = true;
            }
            sim.settle();
            sim.drift_suspected = false;
            assert_eq!(sim.published().current.symbol, 2);
            if restores_target {
                assert_eq!(sim.published().fallback.map(|fallback| fallback.symbol), Some(1));
            }
            assert_eq!(sim.status.next_rotation_time, due);
            sim.run_for(10_000);
        }
        assert_eq!(sim.rotate_calls, 1);
    }
}

#[test]
fn resumes_a_staged_value_after_the_status_is_lost() {
    let mut sim = Simulation::imported().with_strategy(Strategy::Staged);
    sim.request("rotate/now");
    sim.settle();
    assert_eq!(sim.rotation().phase, Phase::Staging);
    sim.status = Status::default();
    sim.settle();
    assert_eq!(sim.rotation().cause, Cause::Recovery);
    sim.run_for(20_000);
    assert_restored(&sim);
    assert_eq!(sim.secret_history.len(), 2);
}
