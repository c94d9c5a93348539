//! What people ask for, in every phase.

use rotation::{Cause, Outcome, Phase, Purpose, Strategy};

use crate::world::World;

fn phase(world: &World) -> Option<Phase> {
    world.status.rotation.as_ref().map(|rotation| rotation.phase)
}

fn numbers(world: &World) -> Vec<u64> {
    let secret = world.secret.as_ref().unwrap();
    [Some(secret.current), secret.fallback]
        .into_iter()
        .flatten()
        .map(|(number, _)| number)
        .collect()
}

/// A world with a rotation in that phase. Number 1 is imported, the rotation brings number 2.
fn in_phase(strategy: Strategy, wanted: Phase) -> World {
    let mut world = World::imported();
    world.terms.strategy = strategy;
    world.ask("rotate/first");
    match wanted {
        Phase::Started => {
            world.fault = Some((1, crate::world::Fault::CrashBefore));
            world.pass();
            world.restart();
        }
        Phase::Activating => {
            // The call was made, and its outcome is not known.
            let turn = if strategy == Strategy::Rotate { 3 } else { 4 };
            world.fault = Some((turn, crate::world::Fault::CrashAfter));
            world.pass();
            if strategy == Strategy::Staged {
                world.advance(200);
                world.pass();
            }
            world.restart();
        }
        Phase::Staging | Phase::Confirming => {
            world.settle();
            if strategy == Strategy::Staged && wanted == Phase::Confirming {
                world.advance(181);
                world.settle();
            }
        }
        Phase::Grace => world.run(300),
        Phase::Withdrawing => unreachable!("it is over within a pass"),
    }
    assert_eq!(phase(&world), Some(wanted), "{strategy:?}");
    world
}

fn works(world: &World) {
    let secret = world.secret.as_ref().unwrap();
    assert_eq!(secret.current.1, world.auth0, "{:?}", world.status);
    assert!(world.status.rotation.is_none(), "{:?}", world.status);
    assert_eq!(secret.fallback, None);
}

const EVERY: [(Strategy, Phase); 9] = [
    (Strategy::Rotate, Phase::Started),
    (Strategy::Rotate, Phase::Activating),
    (Strategy::Rotate, Phase::Confirming),
    (Strategy::Rotate, Phase::Grace),
    (Strategy::Staged, Phase::Started),
    (Strategy::Staged, Phase::Staging),
    (Strategy::Staged, Phase::Activating),
    (Strategy::Staged, Phase::Confirming),
    (Strategy::Staged, Phase::Grace),
];

fn is_before_activation(phase: Phase) -> bool {
    matches!(phase, Phase::Started | Phase::Staging)
}

#[test]
fn rotate_waits_for_the_rotation_in_progress() {
    for (strategy, phase) in EVERY {
        let mut world = in_phase(strategy, phase);
        world.ask("rotate/second");
        world.run(20_000);
        works(&world);
        let ended: Vec<_> =
            world.status.history.iter().map(|entry| (entry.number, entry.outcome)).collect();
        assert_eq!(
            ended,
            [(3, Outcome::Completed), (2, Outcome::Completed)],
            "{strategy:?} {phase:?}"
        );
    }
}

#[test]
fn revoke_leaves_neither_staging_nor_grace() {
    for (strategy, phase) in EVERY {
        let mut world = in_phase(strategy, phase);
        let compromised = world.secret.as_ref().unwrap().current.1;
        world.ask("revoke/leaked");
        // Auth0 takes five seconds, and a lost answer the propagation window; there is no hour of
        // grace, and no three minutes of staging.
        world.run(80);
        works(&world);
        assert_ne!(world.auth0, compromised, "{strategy:?} {phase:?}");
        let rotations = if matches!(phase, Phase::Confirming | Phase::Grace) { 2 } else { 1 };
        assert_eq!(world.status.history.len(), rotations, "{strategy:?} {phase:?}");
        assert_eq!(world.status.last_handled_request.as_deref(), Some("revoke/leaked"));
    }
}

#[test]
fn revoke_without_a_rotation_starts_one() {
    for strategy in [Strategy::Rotate, Strategy::Staged] {
        let mut world = World::imported();
        world.terms.strategy = strategy;
        world.ask("revoke/leaked");
        world.run(60);
        works(&world);
        assert_eq!((numbers(&world), world.values.len()), (vec![2], 2), "{strategy:?}");
    }
}

#[test]
fn rollback_makes_the_previous_secret_the_current_one() {
    for (strategy, phase) in EVERY {
        let mut world = in_phase(strategy, phase);
        world.ask("rollback/bad");
        world.settle();
        if is_before_activation(phase) {
            let why = world.status.request_rejection.clone().unwrap();
            assert!(why.contains("no previous secret"), "{why}");
            world.run(20_000);
            works(&world);
            assert_eq!(numbers(&world), [2], "the rotation went on");
            continue;
        }
        world.run(20_000);
        works(&world);
        assert_eq!(world.auth0, 1, "{strategy:?} {phase:?}: the first value is back");
        assert_eq!(numbers(&world), [3], "under a number of its own");
        let causes: Vec<_> =
            world.status.history.iter().map(|entry| (entry.cause, entry.outcome)).collect();
        assert_eq!(
            causes,
            [(Cause::Request, Outcome::Completed), (Cause::Request, Outcome::Superseded)]
        );
    }
}

#[test]
fn rollback_keeps_what_it_replaces_as_the_fallback() {
    let mut world = in_phase(Strategy::Rotate, Phase::Grace);
    let replaced = world.auth0;
    world.ask("rollback/bad");
    world.settle();
    let secret = world.secret.clone().unwrap();
    assert_eq!((secret.current, secret.fallback), ((3, 1), Some((2, replaced))));
}

#[test]
fn rollback_at_rest_is_refused_once_and_does_not_come_true_later() {
    let mut world = World::imported();
    world.ask("rollback/nothing");
    world.settle();
    assert!(world.status.request_rejection.is_some());
    let effects = world.effects;
    world.settle();
    assert_eq!(world.effects, effects);
    world.terms.strategy = Strategy::Staged;
    world.generation += 1;
    world.status.next_rotation_time = None;
    world.ask("rotate/now");
    world.run(10_000);
    assert_eq!(numbers(&world), [2]);
    assert_eq!(world.status.request_rejection, None, "a request that is carried out has none");
}

#[test]
fn a_rollback_that_auth0_refuses_leaves_everything_as_it_was() {
    let mut world = in_phase(Strategy::Rotate, Phase::Grace);
    world.refuses_values = true;
    world.ask("rollback/bad");
    world.settle();
    let secret = world.secret.clone().unwrap();
    assert_eq!((secret.current.0, secret.fallback), (2, Some((1, 1))));
    assert_eq!(secret.current.1, world.auth0);
    assert_eq!(world.status.history[0].outcome, Outcome::Rejected);
    world.run(20_000);
    works(&world);
}

#[test]
fn abort_withdraws_what_is_not_active_yet() {
    for (strategy, phase) in EVERY {
        let mut world = in_phase(strategy, phase);
        let before = world.auth0;
        world.ask("abort/wait");
        world.settle();
        if is_before_activation(phase) {
            works(&world);
            assert_eq!((world.auth0, numbers(&world)), (before, vec![1]), "{strategy:?} {phase:?}");
            assert_eq!(world.status.history[0].outcome, Outcome::Aborted);
            assert!(!world.held);
        } else {
            let why = world.status.request_rejection.clone().unwrap();
            assert!(why.contains("too late"), "{why}");
            world.run(20_000);
            works(&world);
            assert_eq!(numbers(&world), [2]);
        }
    }
}

/// What was set at Auth0 before the record was lost is the secret, whatever the new record says.
#[test]
fn abort_after_a_lost_record_withdraws_nothing_that_auth0_may_have() {
    let mut world = in_phase(Strategy::Staged, Phase::Activating);
    world.status = rotation::Status::default();
    world.settle();
    assert_eq!(numbers(&world), [1, 2]);
    world.ask("abort/too-late");
    world.settle();
    assert!(numbers(&world).contains(&2), "Auth0 has number 2: {:?}", world.status);
    assert!(world.status.request_rejection.as_ref().unwrap().contains("too late"));
    world.run(10_000);
    works(&world);
    assert_eq!(numbers(&world), [2]);
}

#[test]
fn abort_without_a_rotation_is_refused() {
    let mut world = World::imported();
    world.ask("abort/what");
    world.settle();
    let why = world.status.request_rejection.clone().unwrap();
    assert!(why.contains("no rotation in progress"), "{why}");
}

#[test]
fn the_same_request_twice_does_nothing() {
    for verb in ["rotate", "revoke", "rollback", "abort"] {
        let mut world = World::imported();
        world.ask(&format!("{verb}/once"));
        world.run(20_000);
        let (status, effects) = (world.status.clone(), world.effects);
        world.ask(&format!("{verb}/once"));
        world.run(20_000);
        assert_eq!((world.status.clone(), world.effects), (status, effects), "{verb}");
    }
}

#[test]
fn while_suspended_nothing_is_started_and_abort_works() {
    for verb in ["rotate", "revoke"] {
        let mut world = World::imported();
        world.terms.suspend = true;
        world.ask(&format!("{verb}/now"));
        world.run(20_000);
        assert_eq!(world.values.len(), 1, "{verb}");
        world.terms.suspend = false;
        world.run(20_000);
        assert_eq!(world.values.len(), 2, "{verb} comes true once it is lifted");
    }
    let mut world = in_phase(Strategy::Staged, Phase::Staging);
    world.terms.suspend = true;
    world.ask("abort/now");
    world.settle();
    assert_eq!((numbers(&world), world.values.len()), (vec![1], 1));
    let mut world = in_phase(Strategy::Rotate, Phase::Grace);
    world.terms.suspend = true;
    world.ask("rollback/now");
    world.settle();
    assert_eq!(numbers(&world), [2, 1], "it waits");
}

#[test]
fn a_value_that_auth0_refuses_is_withdrawn_and_the_current_secret_stays() {
    let mut world = World::imported();
    (world.terms.strategy, world.refuses_values) = (Strategy::Staged, true);
    world.ask("rotate/now");
    world.run(200);
    works(&world);
    assert_eq!((numbers(&world), world.auth0), (vec![1], 1));
    let entry = &world.status.history[0];
    assert_eq!((entry.outcome, entry.number), (Outcome::Rejected, 2));
    assert!(world.publications.contains(&Purpose::Withdraw));
    world.refuses_values = false;
    world.ask("rotate/again");
    world.run(10_000);
    assert_eq!(numbers(&world), [3], "its number is not used again");
}

#[test]
fn a_value_that_auth0_has_is_not_withdrawn_though_it_is_refused_when_it_is_set_again() {
    let mut world = in_phase(Strategy::Staged, Phase::Activating);
    assert_eq!((numbers(&world), world.auth0 == 1), (vec![1, 2], false));
    world.refuses_values = true;
    world.run(200);
    assert_eq!(numbers(&world), [2, 1]);
    world.run(10_000);
    works(&world);
    assert_eq!(numbers(&world), [2]);
    assert_eq!(world.status.history[0].outcome, Outcome::Completed);
}

#[test]
fn a_refusal_from_before_the_window_was_over_gives_nothing_up() {
    let mut world = World::imported();
    world.propagation = chrono::TimeDelta::seconds(30);
    world.ask("rotate/one");
    // The process is stopped right after it was told no, for longer than Auth0 needs.
    world.after = Some((rotation::Step::ProbeSecret, |world| {
        world.ask("rotate/two");
        world.advance(31);
    }));
    world.settle();
    let rotation = world.status.rotation.as_ref().unwrap();
    assert_eq!((rotation.number, rotation.phase), (2, rotation::Phase::Grace));
    assert_eq!(world.rotate_calls, 1, "the second one waits for the end of the first");
}

#[test]
fn a_due_time_is_used_up_by_a_rotation_that_is_withdrawn() {
    for refused in [false, true] {
        let mut world = World::imported().every(86_400);
        world.terms.strategy = rotation::Strategy::Staged;
        world.refuses_values = refused;
        world.advance(86_400);
        world.settle();
        if !refused {
            world.ask("abort/now");
        }
        world.run(80_000);
        assert!(world.status.rotation.is_none(), "{:?}", world.status);
        assert_eq!(world.status.history.len(), 1, "{:?}", world.status.history);
        let next = world.status.next_rotation_time.unwrap();
        assert_eq!(next, world.status.history[0].started_at + chrono::TimeDelta::days(1));
    }
}
