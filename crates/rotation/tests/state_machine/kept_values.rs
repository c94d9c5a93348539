//! Repairs of a tampered target Secret keep the values that may still be needed.

use rotation::{Phase, Strategy};

use crate::{
    operator::Reconciled,
    simulation::{Simulation, Symbol, TargetSecret, value},
    tampering::unknown_outcome,
};

/// A change of the target Secret by another party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tamper {
    EditCurrent,
    EditFallback,
    RemoveFallback,
    EditBoth,
    /// Edits labels, annotations or keys that hold no value of their own.
    EditRest,
    /// Restores the Secret from before the last write.
    RestoreOlder,
    Delete,
}

const TAMPERS: [Tamper; 7] = [
    Tamper::EditCurrent,
    Tamper::EditFallback,
    Tamper::RemoveFallback,
    Tamper::EditBoth,
    Tamper::EditRest,
    Tamper::RestoreOlder,
    Tamper::Delete,
];

/// Runs a rotation until it waits in this phase. Returns it with the target Secret from before the last
/// write.
fn rotation_in(phase: Phase, strategy: Strategy) -> (Simulation, Option<TargetSecret>) {
    let mut sim = Simulation::imported().with_strategy(strategy);
    let mut older = None;
    let mut present = sim.target.clone();
    sim.request("rotate/now");
    for _ in 0..20 {
        let Reconciled::Waiting(wake) = sim.reconcile() else { panic!("no fault is planned") };
        if sim.target != present {
            older = std::mem::replace(&mut present, sim.target.clone());
        }
        if sim.phase() == Some(phase) {
            return (sim, older);
        }
        sim.now = wake.expect("the rotation is in progress");
    }
    panic!("the rotation is never in phase {phase:?}");
}

fn tamper(sim: &mut Simulation, tamper: Tamper, older: Option<TargetSecret>) {
    let Some(target) = &mut sim.target else { return };
    let edited = |number| value(number, 1000 + number as Symbol);
    target.tampered = true;
    match tamper {
        Tamper::EditCurrent => target.current = edited(target.current.number),
        Tamper::EditFallback => {
            target.fallback = target.fallback.map(|fallback| edited(fallback.number));
        }
        Tamper::RemoveFallback => target.fallback = None,
        Tamper::EditBoth => {
            target.current = edited(target.current.number);
            target.fallback = target.fallback.map(|fallback| edited(fallback.number));
        }
        Tamper::EditRest => {}
        Tamper::RestoreOlder => sim.target = older,
        Tamper::Delete => sim.target = None,
    }
}

/// Returns whether Auth0 accepts a published value. It accepts the previous one until it has
/// propagated the new one.
fn can_log_in(sim: &Simulation) -> bool {
    let is_propagated = sim.now >= sim.accepted_from;
    let index = sim.secret_history.len() - if is_propagated { 1 } else { 2 };
    let accepted = sim.secret_history[index];
    sim.target.iter().flat_map(TargetSecret::values).any(|value| value.symbol == accepted)
}

#[test]
fn repair_keeps_every_known_value_in_every_phase() {
    for strategy in [Strategy::Rotate, Strategy::Staged] {
        for phase in [Phase::Staging, Phase::Confirming, Phase::Grace] {
            if phase == Phase::Staging && strategy == Strategy::Rotate {
                continue;
            }
            for kind in TAMPERS {
                for secrets_readable in [true, false] {
                    check_repair(strategy, phase, kind, secrets_readable);
                }
            }
        }
    }
}

fn check_repair(strategy: Strategy, phase: Phase, kind: Tamper, secrets_readable: bool) {
    let case = format!("{strategy:?}, {phase:?}, {kind:?}, readable: {secrets_readable}");
    let (mut sim, older) = rotation_in(phase, strategy);
    sim.secrets_readable = secrets_readable;
    let before: Vec<_> = sim.published().values().collect();
    tamper(&mut sim, kind, older);
    let left: Vec<_> = sim.target.iter().flat_map(TargetSecret::values).collect();
    let is_known = |symbol| left.iter().any(|value| value.symbol == symbol);
    let auth0_secret = sim.auth0_secret;
    sim.settle();
    let published: Vec<_> = sim.target.iter().flat_map(TargetSecret::values).collect();
    for value in before {
        let is_readable = secrets_readable && value.symbol == auth0_secret;
        if is_known(value.symbol) || is_readable {
            let is_kept = published.iter().any(|kept| kept.symbol == value.symbol);
            assert!(is_kept, "{case}: {value:?} is not in {published:?}");
        }
    }
    // The secret that Auth0 accepts is lost only if nothing that is left shows it.
    let is_lost = !secrets_readable && !is_known(auth0_secret);
    for _ in 0..20 {
        let is_previous_lost = sim.now < sim.accepted_from && !can_log_in(&sim);
        assert!(can_log_in(&sim) || is_lost || is_previous_lost, "{case}");
        if can_log_in(&sim) && !is_lost {
            assert!(sim.is_ready(), "{case}: {:?}", sim.status.conditions);
        }
        match sim.settle() {
            Some(wake) => sim.now = wake,
            None => break,
        }
    }
    if is_lost && phase != Phase::Staging {
        assert!(!sim.is_ready(), "{case}");
        return;
    }
    sim.assert_complete();
    assert!(sim.is_ready(), "{case}");
    assert_eq!((sim.secret_history.len(), sim.status.current), (2, Some(2)), "{case}");
}

/// Values that another party left are published again before Auth0 accepts the new one.
#[test]
fn edited_current_value_leaves_the_previous_one_within_the_propagation_window() {
    for strategy in [Strategy::Rotate, Strategy::Staged] {
        let (mut sim, _) = rotation_in(Phase::Confirming, strategy);
        assert!(sim.now < sim.accepted_from);
        tamper(&mut sim, Tamper::EditCurrent, None);
        sim.settle();
        assert_eq!(sim.numbers(), [2, 1], "{strategy:?}");
        assert!(can_log_in(&sim), "{strategy:?}");
    }
}

#[test]
fn repair_after_the_grace_period_keeps_no_previous_value() {
    let (mut sim, _) = rotation_in(Phase::Grace, Strategy::Staged);
    sim.advance_time(4000);
    tamper(&mut sim, Tamper::EditCurrent, None);
    sim.settle();
    sim.assert_complete();
}

#[test]
fn edited_value_during_drift_keeps_the_known_one() {
    let mut sim = Simulation::imported();
    sim.change_secret_in_dashboard();
    let target = sim.target.as_mut().unwrap();
    target.fallback = Some(value(7, 1007));
    target.tampered = true;
    sim.settle();
    assert_eq!(sim.numbers(), [8, 1]);
    assert_eq!(sim.published().current.symbol, sim.auth0_secret);
}

/// The value that Auth0 has is published at once, not only when the outcome is known.
#[test]
fn unknown_outcome_with_an_edited_value_keeps_the_other_one_at_once() {
    for kind in [Tamper::EditCurrent, Tamper::EditFallback] {
        let mut sim = unknown_outcome(Strategy::Staged);
        tamper(&mut sim, kind, None);
        sim.reconcile();
        let is_published = sim.published().values().any(|value| value.symbol == sim.auth0_secret);
        assert!(is_published, "{kind:?}: {:?}", sim.target);
        assert_eq!(sim.numbers().contains(&2), kind == Tamper::EditCurrent, "{kind:?}");
        sim.run_for(20_000);
        sim.assert_complete();
    }
}
