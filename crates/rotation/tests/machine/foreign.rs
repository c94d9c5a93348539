//! What the machine does when others change things: the target Secret, or the secret at Auth0.

use rotation::{Cause, Phase, Purpose, Reason, Strategy, condition_types};

use crate::world::{End, Fault, Secret, World};

const PHASES: [(Strategy, usize); 20] = {
    let mut all = [(Strategy::Rotate, 0); 20];
    let mut turn = 0;
    while turn < 10 {
        all[turn] = (Strategy::Rotate, turn);
        all[turn + 10] = (Strategy::Staged, turn);
        turn += 1;
    }
    all
};

/// A rotation that is stopped after its `turn`-th effect, at which something foreign happens.
fn interrupted(
    (strategy, turn): (Strategy, usize),
    readable: bool,
    happen: impl Fn(&mut World),
) -> World {
    let mut world = World::imported();
    (world.terms.strategy, world.readable) = (strategy, readable);
    world.ask("rotate/now");
    world.fault = Some((turn, Fault::CrashAfter));
    for _ in 0..10 {
        match world.pass() {
            End::Rested(Some(wake)) => world.now = wake,
            End::Rested(None) => break,
            End::Crashed | End::Failed => {
                world.restart();
                happen(&mut world);
                break;
            }
        }
    }
    world.run(20_000);
    world
}

fn works(world: &World) {
    let secret = world.secret.as_ref().unwrap();
    assert_eq!(secret.current.1, world.auth0, "{:?}", world.status);
    assert_eq!(secret.fallback, None);
    assert!(world.status.rotation.is_none(), "{:?}", world.status);
    assert_eq!(world.status.current, Some(secret.current.0));
    assert!(rotation::is_condition_true(&world.status.conditions, condition_types::READY));
}

#[test]
fn a_target_that_is_deleted_at_any_effect_is_put_right() {
    for at in PHASES {
        let world = interrupted(at, true, |world| world.secret = None);
        works(&world);
        assert!(world.values.len() <= 3, "{at:?}: {:?}", world.values);
        assert!(world.rotate_calls <= 1, "{at:?}");
    }
}

#[test]
fn a_target_that_is_edited_at_any_effect_is_put_right() {
    let junk = |world: &mut World| {
        world.secret =
            Some(Secret { current: (99, 1000), fallback: Some((7, 1001)), edited: true });
    };
    for at in PHASES {
        let world = interrupted(at, true, junk);
        works(&world);
        assert!(world.rotate_calls <= 1, "{at:?}");
    }
}

#[test]
fn values_that_are_swapped_by_hand_are_put_in_order() {
    let swap = |world: &mut World| {
        if let Some(Secret { current, fallback: Some(fallback), edited }) = &mut world.secret {
            std::mem::swap(current, fallback);
            *edited = true;
        }
    };
    for at in PHASES {
        works(&interrupted(at, true, swap));
    }
}

#[test]
fn a_secret_that_is_changed_in_the_dashboard_at_any_effect_is_followed() {
    for at in PHASES {
        let mut world = interrupted(at, true, World::dashboard);
        // Where the machine had no reason to look, the next cause makes it look.
        world.ask("rotate/again");
        world.run(20_000);
        works(&world);
    }
}

#[test]
fn drift_is_published_with_the_old_value_as_fallback_before_anything_else_is_done() {
    let mut world = World::imported();
    world.dashboard();
    world.ask("rotate/now");
    world.settle();
    let secret = world.secret.clone().unwrap();
    assert_eq!((secret.current, secret.fallback), ((2, 2), Some((1, 1))));
    assert_eq!(world.status.rotation.as_ref().unwrap().cause, Cause::Drift);
    assert_eq!(world.rotate_calls, 0, "the request waits, and is not spent");
    world.run(20_000);
    assert_eq!(world.rotate_calls, 1);
    let causes: Vec<_> = world.status.history.iter().map(|entry| entry.cause).collect();
    assert_eq!(causes, [Cause::Request, Cause::Drift]);
}

#[test]
fn a_deleted_target_at_rest_is_restored_under_its_number_and_is_no_cause() {
    let mut world = World::imported().every(86_400);
    world.ask("rotate/now");
    world.run(10_000);
    world.secret = None;
    world.settle();
    assert_eq!(world.secret.as_ref().unwrap().current, (2, world.auth0));
    assert_eq!(world.publications.last(), Some(&Purpose::Repair));
    assert_eq!(world.rotate_calls, 1);
}

#[test]
fn without_reading_a_deleted_target_is_said_and_not_invented() {
    let mut world = World::imported();
    world.readable = false;
    world.secret = None;
    world.settle();
    let stalled =
        rotation::find_condition(&world.status.conditions, condition_types::STALLED).unwrap();
    assert_eq!(stalled.reason, Reason::SecretUnreadable.as_str());
    assert!(!rotation::is_condition_true(&world.status.conditions, condition_types::READY));
    assert_eq!((world.secret.as_ref(), world.rotate_calls), (None, 0));
    world.ask("rotate/now");
    world.run(10_000);
    works(&world);
}

#[test]
fn without_reading_an_edited_target_that_still_works_is_kept() {
    let mut world = World::imported();
    world.readable = false;
    world.secret.as_mut().unwrap().edited = true;
    world.settle();
    assert_eq!(world.secret.as_ref().unwrap().current, (1, 1));
    assert!(!world.secret.as_ref().unwrap().edited);
    assert!(rotation::is_condition_true(&world.status.conditions, condition_types::READY));
}

#[test]
fn an_older_target_from_a_backup_is_put_right() {
    let mut world = World::imported();
    let backup = world.secret.clone();
    world.ask("rotate/now");
    world.run(10_000);
    world.secret = backup;
    world.run(10_000);
    works(&world);
    assert_eq!((world.rotate_calls, world.status.current), (1, Some(2)));
}

#[test]
fn a_request_that_an_older_record_does_not_know_is_not_carried_out_again() {
    for strategy in [Strategy::Rotate, Strategy::Staged] {
        // When the record is taken back: in the middle, with the pair out, and after the end.
        for seconds in [1, 60, 20_000] {
            let mut world = World::imported();
            world.terms.strategy = strategy;
            let backup = world.status.clone();
            world.ask("rotate/now");
            world.run(seconds);
            world.status = backup;
            world.run(30_000);
            works(&world);
            assert_eq!(world.values.len(), 2, "{strategy:?} after {seconds} s");
            let said = world.status.request_rejection.clone().unwrap_or_default();
            assert!(said.contains("another text"), "{said}");
            world.ask("rotate/again");
            world.run(30_000);
            assert_eq!(world.values.len(), 3, "{strategy:?} after {seconds} s");
        }
    }
}

#[test]
fn a_next_value_without_a_record_is_gone_on_with() {
    let mut world = World::imported();
    world.terms.strategy = Strategy::Staged;
    world.ask("rotate/now");
    world.settle();
    assert_eq!(world.status.rotation.as_ref().unwrap().phase, Phase::Staging);
    world.status = rotation::Status::default();
    world.settle();
    assert_eq!(world.status.rotation.as_ref().unwrap().cause, Cause::Recovery);
    world.run(20_000);
    works(&world);
    assert_eq!(world.values.len(), 2);
}

#[test]
fn a_previous_secret_that_someone_sets_again_becomes_the_current_one() {
    let mut world = World::imported();
    world.ask("rotate/now");
    world.run(60);
    assert_eq!(world.status.rotation.as_ref().unwrap().phase, Phase::Grace);
    world.auth0 = 1;
    world.run(20_000);
    works(&world);
    assert_eq!(world.secret.as_ref().unwrap().current, (3, 1));
    assert_eq!(world.status.history[0].cause, Cause::Drift);
}

#[test]
fn a_request_gets_out_of_a_secret_that_is_refused_and_can_not_be_read() {
    let mut world = World::imported();
    world.ask("rotate/now");
    world.run(60);
    world.readable = false;
    world.dashboard();
    world.run(7200);
    assert!(!rotation::is_condition_true(&world.status.conditions, condition_types::READY));
    world.ask("rotate/again");
    world.run(20_000);
    works(&world);
}
