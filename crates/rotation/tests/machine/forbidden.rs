//! A client that may not be touched any more.

use rotation::{Outcome, Phase, Strategy, condition_types, is_condition_true};

use crate::world::{Fault, World};

fn staged() -> World {
    let mut world = World::imported();
    world.terms.strategy = Strategy::Staged;
    world
}

fn rotation_is_over(world: &World) -> bool {
    world.status.rotation.is_none()
}

#[test]
fn nothing_is_started() {
    for strategy in [Strategy::Rotate, Strategy::Staged] {
        let mut world = World::imported().every(7200);
        world.terms.strategy = strategy;
        world.forbidden = true;
        world.ask("rotate/now");
        world.run(20_000);
        assert_eq!((world.rotate_calls, world.values.len()), (0, 1), "{strategy:?}");
        assert!(rotation_is_over(&world));
        assert!(is_condition_true(&world.status.conditions, condition_types::READY));
    }
}

#[test]
fn a_next_secret_that_auth0_was_not_told_is_withdrawn() {
    let mut world = staged();
    world.ask("rotate/now");
    world.settle();
    assert_eq!(world.status.rotation.as_ref().unwrap().phase, Phase::Staging);
    world.forbidden = true;
    world.run(4000);
    assert!(rotation_is_over(&world), "{:?}", world.status);
    assert_eq!(world.values, [1], "Auth0 was told nothing");
    let secret = world.secret.as_ref().unwrap();
    assert_eq!((secret.current, secret.fallback), ((1, 1), None));
    let ended = &world.status.history[0];
    assert_eq!(ended.outcome, Outcome::Rejected);
    assert!(ended.message.contains("doesn't allow"));
}

/// Whatever the crash left behind: what Auth0 has is in the target Secret in the end.
#[test]
fn a_change_that_may_have_been_made_is_ended() {
    for strategy in [Strategy::Rotate, Strategy::Staged] {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            for turn in 1..=12 {
                let mut world = World::imported();
                world.terms.strategy = strategy;
                world.ask("rotate/now");
                world.settle();
                world.advance(200);
                world.fault = Some((world.effects + turn, fault));
                world.pass();
                world.forbidden = true;
                world.restart();
                world.run(5000);
                let what = format!("{strategy:?}, {fault:?} at {turn}: {:?}", world.status);
                assert!(rotation_is_over(&world), "{what}");
                let secret = world.secret.as_ref().unwrap();
                assert_eq!((secret.current.1, secret.fallback), (world.auth0, None), "{what}");
                assert!(world.values.len() <= 2, "{what}");
            }
        }
    }
}

#[test]
fn what_is_allowed_again_goes_on() {
    let mut world = staged().every(7200);
    world.forbidden = true;
    world.generation += 1;
    world.run(8000);
    assert_eq!(world.values.len(), 1);
    world.forbidden = false;
    world.run(12_000);
    assert!(world.values.len() > 1);
}

#[test]
fn a_client_that_signs_with_its_secret_is_warned_of() {
    let mut world = World::new();
    world.signs_with_secret = true;
    world.settle();
    assert!(is_condition_true(&world.status.conditions, condition_types::SIGNS_WITH_SECRET));
    assert!(is_condition_true(&world.status.conditions, condition_types::READY));
    world.signs_with_secret = false;
    world.ask("rotate/now");
    world.run(5000);
    assert!(!is_condition_true(&world.status.conditions, condition_types::SIGNS_WITH_SECRET));
}
