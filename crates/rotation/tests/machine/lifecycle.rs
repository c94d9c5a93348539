//! What the machine does when all is well.

use rotation::{
    Cause, ConditionStatus, K8sDuration, Outcome, Phase, Purpose, Reason, Rejection, Schedule,
    Strategy, condition_types, event_records, find_condition, is_condition_true,
};

use crate::world::{End, World};

fn phase(world: &World) -> Option<Phase> {
    world.status.rotation.as_ref().map(|rotation| rotation.phase)
}

fn reason(world: &World, kind: &str) -> Reason {
    let condition = find_condition(&world.status.conditions, kind).expect("the condition is set");
    Reason::parse(&condition.reason).expect("a known reason")
}

fn numbers(world: &World) -> Vec<u64> {
    let secret = world.secret.as_ref().unwrap();
    [Some(secret.current), secret.fallback]
        .into_iter()
        .flatten()
        .map(|(number, _)| number)
        .collect()
}

#[test]
fn a_new_resource_imports_the_present_secret_and_rotates_nothing() {
    let world = World::imported();
    assert_eq!(world.publications, [Purpose::Import]);
    assert_eq!((world.rotate_calls, world.status.current), (0, Some(1)));
    assert!(is_condition_true(&world.status.conditions, condition_types::READY));
    assert!(world.status.rotation.is_none() && world.status.history.is_empty());
}

#[test]
fn a_rotation_goes_from_start_to_retirement() {
    let mut world = World::imported().every(86_400);
    world.advance(86_400);
    world.settle();
    // Published, and not yet accepted.
    assert_eq!(phase(&world), Some(Phase::Confirming));
    assert_eq!(numbers(&world), [2, 1]);
    assert_eq!(world.secret.as_ref().unwrap().current.1, world.auth0);
    assert!(!world.held, "the finalizer is off once the answer is published");
    world.run(9);
    assert_eq!(phase(&world), Some(Phase::Grace));
    world.run(3590);
    assert_eq!(numbers(&world), [2, 1], "a second before the grace period is over");
    world.run(10);
    assert_eq!(numbers(&world), [2]);
    assert_eq!(phase(&world), None);
    let entry = &world.status.history[0];
    assert_eq!(
        (entry.number, entry.cause, entry.outcome),
        (2, Cause::Schedule, Outcome::Completed)
    );
    assert_eq!(world.rotate_calls, 1);
    assert_eq!(world.publications, [Purpose::Import, Purpose::Response, Purpose::Retire]);
}

#[test]
fn ready_stays_true_through_a_healthy_rotation() {
    let mut world = World::imported().every(86_400);
    world.advance(86_400);
    let since = find_condition(&world.status.conditions, condition_types::READY)
        .unwrap()
        .last_transition_time;
    for _ in 0..20 {
        let wake = world.settle();
        let ready = find_condition(&world.status.conditions, condition_types::READY).unwrap();
        assert_eq!((ready.status, ready.last_transition_time), (ConditionStatus::True, since));
        if phase(&world).is_none() {
            return;
        }
        world.now = wake.unwrap();
    }
    panic!("the rotation does not end");
}

#[test]
fn at_rest_nothing_is_written_however_often_it_is_looked_at() {
    let mut world = World::imported().every(86_400);
    for seconds in [0, 86_400, 10, 3600] {
        world.advance(seconds);
        world.settle();
        let (effects, readings) = (world.effects, world.readings);
        for _ in 0..3 {
            world.advance(1);
            if phase(&world) == Some(Phase::Confirming) {
                break;
            }
            assert!(matches!(world.pass(), End::Rested(_)));
        }
        assert_eq!((world.effects, world.readings), (effects, readings), "after {seconds}s");
    }
}

#[test]
fn missed_runs_make_one_rotation() {
    let mut world = World::imported().every(86_400);
    world.advance(86_400 * 10 + 5);
    world.run(7200);
    assert_eq!(world.rotate_calls, 1);
    let next = world.status.next_rotation_time.unwrap();
    assert!(next > world.now);
}

#[test]
fn a_request_is_acted_upon_once() {
    let mut world = World::imported();
    world.ask("rotate/one");
    world.run(7200);
    assert_eq!(world.rotate_calls, 1);
    assert_eq!(world.status.history[0].cause, Cause::Request);
    world.generation += 1;
    world.run(7200);
    assert_eq!(world.rotate_calls, 1, "the same text again");
    world.ask("rotate/two");
    world.run(7200);
    assert_eq!(world.rotate_calls, 2);
}

#[test]
fn a_request_in_the_middle_of_a_rotation_waits_for_its_end() {
    let mut world = World::imported();
    world.ask("rotate/one");
    world.settle();
    world.ask("rotate/two");
    world.run(3500);
    assert_eq!(world.rotate_calls, 1);
    world.run(7200);
    assert_eq!(world.rotate_calls, 2);
}

#[test]
fn a_request_that_is_not_understood_is_shown_and_stops_nothing() {
    let mut world = World::imported().every(86_400);
    world.ask("dance/now");
    world.settle();
    assert_eq!(reason(&world, condition_types::STALLED), Reason::InvalidRequest);
    assert!(is_condition_true(&world.status.conditions, condition_types::READY));
    world.advance(86_400);
    world.settle();
    assert_eq!(world.rotate_calls, 1);
}

#[test]
fn suspended_it_starts_nothing_and_finishes_what_it_started() {
    let mut world = World::imported().every(86_400);
    world.terms.suspend = true;
    world.ask("rotate/now");
    world.run(86_400 * 3);
    assert_eq!(world.rotate_calls, 0);
    assert_eq!(reason(&world, condition_types::RECONCILING), Reason::Suspended);
    world.terms.suspend = false;
    world.settle();
    assert_eq!(world.rotate_calls, 1);
    world.terms.suspend = true;
    world.run(7200);
    assert_eq!((numbers(&world), phase(&world)), (vec![2], None));
}

#[test]
fn initial_rotate_rotates_once_with_the_old_secret_as_fallback() {
    let mut world = World::new();
    world.terms.rotate_initially = true;
    world.settle();
    assert_eq!((world.rotate_calls, numbers(&world)), (1, vec![2, 1]));
    world.run(86_400);
    assert_eq!(world.rotate_calls, 1);
    assert_eq!(world.status.history[0].cause, Cause::Initial);
}

#[test]
fn initial_rotate_needs_no_reading() {
    let mut world = World::new();
    (world.terms.rotate_initially, world.readable) = (true, false);
    world.settle();
    assert_eq!((world.rotate_calls, numbers(&world)), (1, vec![2]));
    assert_eq!(world.secret.as_ref().unwrap().current.1, world.auth0);
}

#[test]
fn without_reading_import_says_what_to_do() {
    let mut world = World::new();
    world.readable = false;
    world.settle();
    assert_eq!(reason(&world, condition_types::STALLED), Reason::SecretUnreadable);
    let message =
        &find_condition(&world.status.conditions, condition_types::STALLED).unwrap().message;
    assert!(message.contains("read:client_keys") && message.contains("rotate/"), "{message}");
    assert_eq!((world.secret.as_ref(), world.rotate_calls), (None, 0));
    world.ask("rotate/now");
    world.settle();
    assert_eq!((world.rotate_calls, numbers(&world)), (1, vec![2]));
}

#[test]
fn a_client_that_is_not_to_be_rotated_is_refused_and_keeps_its_cause() {
    let mut world = World::imported();
    world.refusal = Some(Rejection::new(Reason::PublicClient, "the client is public"));
    world.ask("rotate/now");
    world.settle();
    assert_eq!(
        (reason(&world, condition_types::STALLED), world.rotate_calls),
        (Reason::PublicClient, 0)
    );
    world.refusal = None;
    world.settle();
    assert_eq!(
        (reason(&world, condition_types::STALLED), world.rotate_calls),
        (Reason::Progressing, 1)
    );
}

#[test]
fn past_the_window_an_unconfirmed_secret_is_said_and_nothing_is_retired() {
    let mut world = World::imported();
    world.propagation = chrono::TimeDelta::hours(3);
    world.ask("rotate/now");
    world.settle();
    world.run(29);
    assert!(
        is_condition_true(&world.status.conditions, condition_types::READY),
        "within the window it is expected"
    );
    let asked = world.questions;
    assert!((4..=8).contains(&asked), "a handful of questions in the window: {asked}");
    world.run(7200);
    assert_eq!(reason(&world, condition_types::READY), Reason::NotConfirmed);
    assert_eq!(numbers(&world), [2, 1], "kept, although its grace period is over");
    assert!(world.questions < 40, "{} questions in two hours", world.questions);
    world.run(7200);
    assert_eq!(
        (reason(&world, condition_types::READY), numbers(&world)),
        (Reason::Published, vec![2])
    );
}

#[test]
fn what_auth0_has_and_does_not_accept_yet_is_waited_for_unless_it_is_compromised() {
    let mut world = World::imported();
    world.propagation = chrono::TimeDelta::hours(1);
    world.ask("rotate/now");
    world.run(600);
    assert_eq!(reason(&world, condition_types::READY), Reason::NotConfirmed);
    world.ask("rotate/again");
    world.run(600);
    assert_eq!(numbers(&world), [2, 1], "the previous secret is all that works");
    let mut compromised = world.clone();
    compromised.ask("revoke/leaked");
    compromised.run(1200);
    assert_eq!(compromised.secret.as_ref().unwrap().current.0, 3);
    world.run(20_000);
    assert_eq!(numbers(&world), [3], "the request has waited");
}

#[test]
fn a_secret_that_stops_being_accepted_in_its_grace_period_is_not_left_alone() {
    let mut world = World::imported();
    world.ask("rotate/now");
    world.run(3000);
    assert_eq!(phase(&world), Some(Phase::Grace));
    world.accepted_from = world.now + chrono::TimeDelta::hours(10);
    world.run(3600);
    assert_eq!(numbers(&world), [2, 1]);
    assert_eq!(reason(&world, condition_types::READY), Reason::NotConfirmed);
}

#[test]
fn the_grace_period_is_what_the_spec_says_now() {
    let mut world = World::imported();
    world.ask("rotate/now");
    world.run(60);
    world.terms.grace_period = K8sDuration::from_secs(600);
    world.run(500);
    assert_eq!(numbers(&world), [2, 1]);
    world.run(60);
    assert_eq!(numbers(&world), [2]);
}

#[test]
fn a_schedule_is_planned_anew_when_the_spec_changes_and_is_no_cause_by_itself() {
    let mut world = World::imported().every(86_400);
    world.advance(80_000);
    let every = Some(K8sDuration::from_secs(90_000));
    world.schedule = Some(Schedule::new(None, None, every, None, world.now).unwrap());
    world.generation += 1;
    world.settle();
    let next = world.status.next_rotation_time.unwrap();
    assert_eq!(next, world.status.last_rotation_time.unwrap() + chrono::TimeDelta::seconds(90_000));
    assert_eq!(world.rotate_calls, 0);
}

#[test]
fn a_due_time_that_came_outlives_an_edit_of_the_spec() {
    let mut world = World::imported().every(86_400);
    world.advance(86_401);
    let every = Some(K8sDuration::from_secs(172_800));
    world.schedule = Some(Schedule::new(None, None, every, None, world.now).unwrap());
    world.generation += 1;
    world.settle();
    assert_eq!(world.rotate_calls, 1);
}

#[test]
fn terms_that_can_not_work_are_refused_and_say_what_to_change() {
    let mut world = World::imported().every(86_400);
    world.terms.grace_period = K8sDuration::from_secs(10);
    world.advance(86_400);
    world.settle();
    assert_eq!(
        (reason(&world, condition_types::STALLED), world.rotate_calls),
        (Reason::GracePeriodTooShort, 0)
    );
    world.terms.grace_period = K8sDuration::from_secs(86_400);
    world.settle();
    assert_eq!(
        (reason(&world, condition_types::STALLED), world.rotate_calls),
        (Reason::ScheduleTooTight, 0)
    );
}

#[test]
fn staged_publishes_the_next_secret_before_it_is_active() {
    let mut world = World::imported();
    world.terms.strategy = Strategy::Staged;
    world.ask("rotate/now");
    world.settle();
    assert_eq!((numbers(&world), world.auth0), (vec![1, 2], 1), "published, not active");
    world.run(179);
    assert_eq!(world.auth0, 1);
    world.run(2);
    assert_eq!(numbers(&world), [2, 1]);
    assert_eq!(world.secret.as_ref().unwrap().current.1, world.auth0);
    world.run(7200);
    assert_eq!((numbers(&world), world.rotate_calls), (vec![2], 0));
    let expected = [Purpose::Import, Purpose::Stage, Purpose::Promote, Purpose::Retire];
    assert_eq!(world.publications, expected);
}

#[test]
fn history_keeps_the_last_ten() {
    let mut world = World::imported();
    for turn in 0..13 {
        world.ask(&format!("rotate/{turn}"));
        world.run(7200);
    }
    let numbers: Vec<_> = world.status.history.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, (5..=14).rev().collect::<Vec<u64>>());
}

#[test]
fn each_transition_is_told_once() {
    let mut world = World::imported();
    world.ask("rotate/now");
    world.run(10_000);
    let told: Vec<_> = world
        .stored
        .windows(2)
        .flat_map(|pair| event_records(&pair[0], &pair[1]))
        .map(|notice| notice.reason)
        .collect();
    assert_eq!(
        told,
        [Reason::Imported, Reason::Started, Reason::Activated, Reason::Confirmed, Reason::Retired]
    );
}

#[test]
fn a_due_time_outlives_a_slip_in_the_spec() {
    let mut world = World::imported().every(86_400);
    let due = world.status.next_rotation_time;
    world.terms.grace_period = K8sDuration::from_secs(1);
    world.generation += 1;
    world.advance(86_400);
    world.settle();
    assert_eq!((world.status.next_rotation_time, world.rotate_calls), (due, 0));
    world.terms.grace_period = K8sDuration::from_secs(3600);
    world.generation += 1;
    world.settle();
    assert_eq!(world.rotate_calls, 1);
}
