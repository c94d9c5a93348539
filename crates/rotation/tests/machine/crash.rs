//! What the machine does when its process ends, or a call fails, at any effect.

use rotation::{Cause, Phase, Step, Strategy};

use crate::world::{Fault, World};

/// A rotation by request, in a world whose process or call fails at its `turn`-th effect. False
/// when there is no such effect.
fn rotation_with(fault: Fault, turn: usize, prepare: impl Fn(&mut World)) -> Option<World> {
    let mut world = World::imported();
    prepare(&mut world);
    world.ask("rotate/now");
    world.fault = Some((turn, fault));
    world.run(10_000);
    (world.effects > turn).then_some(world)
}

fn whole(world: &World) {
    let secret = world.secret.as_ref().unwrap();
    assert_eq!(secret.current.1, world.auth0, "what Auth0 has is published");
    assert_eq!(secret.fallback, None, "the old value is retired");
    assert!(world.status.rotation.is_none(), "the rotation has ended: {:?}", world.status);
    assert!(!world.held && !world.has_unpublished_response());
}

/// Every effect of a rotation, with every fault.
fn each(prepare: impl Fn(&mut World), check: impl Fn(&World, Fault, usize)) {
    let faults = [
        Fault::CrashBefore,
        Fault::CrashAfter,
        Fault::AnswerLost,
        Fault::Refused,
        Fault::FailedUnseen,
    ];
    for fault in faults {
        let mut turns = 0;
        while let Some(world) = rotation_with(fault, turns, &prepare) {
            check(&world, fault, turns);
            turns += 1;
        }
        assert!(turns >= 8, "a rotation has more effects than {turns}");
    }
}

#[test]
fn a_failure_at_any_effect_loses_nothing_and_rotates_once() {
    each(
        |_| {},
        |world, fault, turn| {
            whole(world);
            assert_eq!(world.values.len(), 2, "changed once: {fault:?} at effect {turn}");
            assert_eq!(
                world.status.history.len(),
                1,
                "{fault:?} at {turn}: {:#?}",
                world.status.history
            );
        },
    );
}

#[test]
fn without_reading_a_failure_at_any_effect_ends_with_a_secret_that_works() {
    each(
        |world| world.readable = false,
        |world, fault, turn| {
            whole(world);
            // What can't be read back is overwritten with a value of our own, once.
            assert!(world.values.len() <= 3, "{fault:?} at effect {turn}: {:?}", world.values);
            assert!(world.rotate_calls <= 2);
        },
    );
}

#[test]
fn an_answer_without_a_secret_is_read_back() {
    each(
        |world| world.rotate_tells_nothing = true,
        |world, _, _| {
            whole(world);
            assert_eq!(world.values.len(), 2);
        },
    );
}

#[test]
fn an_answer_without_a_secret_that_can_not_be_read_is_replaced() {
    each(
        |world| (world.rotate_tells_nothing, world.readable) = (true, false),
        |world, _, _| {
            whole(world);
            let entry = &world.status.history[0];
            assert!(entry.message.contains("could not be read back"), "{}", entry.message);
        },
    );
}

#[test]
fn staged_comes_through_a_failure_at_any_effect() {
    each(
        |world| world.terms.strategy = Strategy::Staged,
        |world, fault, turn| {
            whole(world);
            assert_eq!(world.values.len(), 2, "{fault:?} at effect {turn}");
            assert_eq!(world.rotate_calls, 0);
        },
    );
}

#[test]
fn a_status_that_is_wiped_at_any_effect_is_no_cause_and_loses_nothing() {
    for turn in 0..20 {
        let mut world = World::imported();
        world.ask("rotate/now");
        world.fault = Some((turn, Fault::CrashAfter));
        let crashed = world.pass() == crate::world::End::Crashed;
        world.status = rotation::Status::default();
        world.restart();
        world.run(10_000);
        whole(&world);
        assert!(world.values.len() <= 2, "at effect {turn}: {:?}", world.values);
        if !crashed {
            assert!(turn > 5, "the first pass of a rotation has more effects");
            return;
        }
    }
}

#[test]
fn a_wiped_status_at_rest_is_no_cause() {
    let mut world = World::imported().every(86_400);
    world.ask("rotate/now");
    world.run(10_000);
    world.status = rotation::Status::default();
    world.run(80_000);
    assert_eq!((world.rotate_calls, world.status.current), (1, Some(2)));
    assert!(world.status.next_rotation_time.unwrap() > world.now);
}

#[test]
fn initial_rotate_is_spent_even_if_status_and_secret_are_lost() {
    let mut world = World::new();
    world.terms.rotate_initially = true;
    world.run(10_000);
    world.status = rotation::Status::default();
    world.secret = None;
    world.run(10_000);
    assert_eq!(world.rotate_calls, 1);
    assert_eq!(world.secret.as_ref().unwrap().current.1, world.auth0);
}

#[test]
fn initial_rotate_comes_through_a_failure_at_any_effect() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter] {
        for turn in 0..16 {
            let mut world = World::new();
            world.terms.rotate_initially = true;
            world.fault = Some((turn, fault));
            world.run(10_000);
            whole(&world);
            assert_eq!(world.values.len(), 2, "{fault:?} at effect {turn}");
        }
    }
}

#[test]
fn an_outcome_that_is_not_known_is_never_blindly_repeated() {
    let mut world = World::imported();
    world.ask("rotate/now");
    // The call fails without a trace: nothing was changed, which nobody knows.
    world.fault = Some((3, Fault::FailedUnseen));
    world.pass();
    assert_eq!(world.status.rotation.as_ref().unwrap().phase, Phase::Activating);
    world.run(29);
    assert_eq!(world.rotate_calls, 1, "not before the propagation window is over");
    world.run(5);
    assert_eq!(world.rotate_calls, 2);
}

#[test]
fn a_call_that_certainly_changed_nothing_is_made_again_without_a_wait() {
    let mut world = World::imported();
    world.ask("rotate/now");
    world.fault = Some((3, Fault::Refused));
    world.pass();
    assert_eq!(world.status.rotation.as_ref().unwrap().phase, Phase::Started);
    world.settle();
    assert_eq!((world.rotate_calls, world.values.len()), (2, 2));
}

#[test]
fn a_deleted_resource_is_held_until_the_outcome_is_known() {
    let mut world = World::imported();
    world.ask("rotate/now");
    world.fault = Some((3, Fault::CrashAfter));
    world.pass();
    world.restart();
    world.deleting = true;
    assert!(world.held);
    world.settle();
    assert_eq!(world.secret.as_ref().unwrap().current.1, world.auth0);
    assert!(!world.held, "and not longer");
}

#[test]
fn a_deleted_resource_is_let_go_when_the_outcome_can_not_be_known() {
    let mut world = World::imported();
    world.ask("rotate/now");
    world.fault = Some((3, Fault::CrashBefore));
    world.pass();
    world.restart();
    world.deleting = true;
    world.run(29);
    assert!(world.held, "it may still be on its way");
    world.run(2);
    assert!(!world.held);
    assert_eq!(world.values.len(), 1, "nothing is rotated for a resource that goes");
}

#[test]
fn a_record_that_is_older_than_the_target_is_brought_up_to_date_and_is_no_cause() {
    let mut world = World::imported().every(86_400);
    let old = world.status.clone();
    world.advance(86_400);
    world.run(10_000);
    world.status = old;
    world.run(10_000);
    assert_eq!((world.rotate_calls, world.status.current), (1, Some(2)));
    assert_eq!(world.status.history[0].cause, Cause::Recovery);
}

#[test]
fn a_record_from_before_the_secret_was_published_is_no_second_cause() {
    let mut world = World::imported();
    world.ask("rotate/now");
    world.settle();
    let before = world.stored.iter().find(|status| {
        status.rotation.as_ref().is_some_and(|rotation| rotation.phase == Phase::Started)
    });
    world.status = before.unwrap().clone();
    world.run(10_000);
    whole(&world);
    assert_eq!((world.rotate_calls, world.status.history.len()), (1, 1));
}

#[test]
fn a_call_that_was_told_to_have_changed_nothing_and_did_is_read_back() {
    let mut world = World::imported();
    world.ask("rotate/now");
    world.fault = Some((3, Fault::AnswerLost));
    world.pass();
    // A proxy made an error of it that says: certainly nothing happened.
    let rotation = world.status.rotation.as_mut().unwrap();
    rotation.phase = Phase::Started;
    world.run(10_000);
    whole(&world);
    assert_eq!(world.rotate_calls, 1);
}

#[test]
fn an_outcome_that_can_not_be_read_is_waited_for_when_another_process_may_be_calling() {
    let mut world = World::imported();
    world.readable = false;
    world.ask("rotate/now");
    world.fault = Some((2, Fault::CrashAfter));
    world.pass();
    world.restart();
    assert_eq!(world.status.rotation.as_ref().unwrap().phase, Phase::Activating);
    world.run(29);
    assert_eq!(world.secret.as_ref().unwrap().fallback, None, "nothing is staged yet");
    world.run(10_000);
    whole(&world);
}

#[test]
fn a_deleted_resource_never_writes_into_someone_elses_secret() {
    for answer_lost in [true, false] {
        let mut world = World::imported();
        world.ask("rotate/now");
        let fault = if answer_lost { Fault::CrashAfter } else { Fault::CrashBefore };
        // The answer is in hand, or lost, when the target is taken.
        world.fault = Some((if answer_lost { 3 } else { 4 }, fault));
        world.pass();
        if answer_lost {
            world.restart();
        }
        (world.foreign_target, world.deleting) = (true, true);
        world.settle();
        assert!(!world.held);
    }
}

#[test]
fn a_deleted_resource_does_not_wait_for_ever_for_an_answer_to_be_published() {
    let mut world = World::imported();
    world.ask("rotate/now");
    world.fault = Some((4, Fault::CrashBefore));
    world.pass();
    assert!(world.has_unpublished_response());
    world.deleting = true;
    world.advance(301);
    world.settle();
    assert!(!world.held);
}

#[test]
fn a_clock_that_was_ahead_holds_nothing_up() {
    let mut world = World::imported().every(86_400);
    world.ask("rotate/now");
    world.run(60);
    let days = chrono::TimeDelta::days(400);
    for time in [&mut world.status.next_rotation_time, &mut world.status.last_rotation_time] {
        *time = time.map(|at| at + days);
    }
    let rotation = world.status.rotation.as_mut().unwrap();
    rotation.activated_at = rotation.activated_at.map(|at| at + days);
    world.run(7200);
    assert!(world.status.rotation.is_none(), "{:?}", world.status);
    let next = world.status.next_rotation_time.unwrap();
    assert!(next <= world.now + chrono::TimeDelta::days(1), "{next}");
    assert_eq!(world.rotate_calls, 1);
}

#[test]
fn a_reading_from_before_the_window_was_over_is_no_reason_to_repeat() {
    for deleting in [false, true] {
        let mut world = World::imported();
        world.ask("rotate/now");
        // The call is on its way, and nobody waits for it any more.
        world.fault = Some((3, Fault::FailedUnseen));
        world.pass();
        world.deleting = deleting;
        world.advance(29);
        // The process is stopped right after it has read the client, and the call arrives.
        world.after = Some((Step::ReadClient, |world| {
            world.dashboard();
            world.advance(2);
        }));
        world.run(10_000);
        assert_eq!(world.values.len(), 2, "the first value is not replaced");
        assert_eq!(world.secret.as_ref().unwrap().current.1, world.auth0);
    }
}

#[test]
fn a_call_without_an_answer_may_be_on_its_way_though_its_caller_has_given_it_up() {
    let mut world = World::imported();
    world.readable = false;
    world.ask("rotate/now");
    world.fault = Some((3, Fault::FailedUnseen));
    world.run(29);
    assert_eq!(world.secret.as_ref().unwrap().fallback, None, "nothing is staged yet");
    // It arrives, and what it brings is replaced.
    world.dashboard();
    world.run(10_000);
    whole(&world);
}
