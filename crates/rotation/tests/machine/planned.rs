//! Windows, drift checks and consumers.

use chrono::{DateTime, TimeDelta, Utc};
use rotation::{
    Cause, ConditionStatus, K8sDuration, Phase, Reason, Schedule, Strategy, Window,
    condition_types, find_condition,
};

use crate::world::{Consumer, World};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn phase(world: &World) -> Option<Phase> {
    world.status.rotation.as_ref().map(|rotation| rotation.phase)
}

/// A rotation every day at noon, in a window from 2:00 to 5:00. It is 10:00.
fn windowed() -> World {
    let mut world = World::imported();
    let schedule = Schedule::new(Some("0 12 * * *"), None, None, None, world.now).unwrap();
    world.schedule = Some(schedule);
    world.windows =
        vec![Window::new("0 2 * * *", None, K8sDuration::from_secs(10_800), world.now).unwrap()];
    world.generation += 1;
    world.settle();
    world
}

#[test]
fn what_is_due_outside_of_a_window_waits_for_the_next_one() {
    let mut world = windowed();
    assert_eq!(world.status.next_rotation_time, Some(at("2026-11-24T02:00:00Z")));
    world.run(16 * 3600 - 60);
    assert_eq!(world.rotate_calls, 0);
    world.run(120);
    assert_eq!(world.rotate_calls, 1);
    assert_eq!(world.status.next_rotation_time, Some(at("2026-11-25T02:00:00Z")));
}

#[test]
fn a_window_that_was_slept_through_is_followed_by_the_next() {
    let mut world = windowed();
    world.now = at("2026-11-24T06:00:00Z");
    world.settle();
    assert_eq!(world.rotate_calls, 0);
    assert_eq!(world.status.next_rotation_time, Some(at("2026-11-25T02:00:00Z")));
    world.run(20 * 3600 + 60);
    assert_eq!(world.rotate_calls, 1);
}

#[test]
fn requests_do_not_wait_for_windows() {
    let mut world = windowed();
    world.ask("rotate/now");
    world.settle();
    assert_eq!(world.rotate_calls, 1);
}

#[test]
fn a_suspicion_of_drift_is_looked_into_and_followed() {
    for (strategy, wait) in
        [(Strategy::Rotate, 60), (Strategy::Staged, 60), (Strategy::Staged, 300)]
    {
        let mut world = World::imported();
        world.terms.strategy = strategy;
        world.ask("rotate/now");
        world.run(wait);
        let was = phase(&world);
        world.dashboard();
        world.drift_suspected = true;
        world.settle();
        let secret = world.secret.clone().unwrap();
        assert_eq!(secret.current.1, world.auth0, "{was:?}");
        assert!(secret.fallback.is_some(), "{was:?}: the one before it is the fallback");
        world.drift_suspected = false;
        world.run(20_000);
        assert_eq!(world.secret.as_ref().unwrap().current.1, world.auth0, "{was:?}");
        assert_eq!(world.status.history[0].cause, Cause::Drift, "{was:?}");
    }
}

#[test]
fn drift_at_rest_is_followed_also_while_suspended() {
    let mut world = World::imported();
    world.terms.suspend = true;
    world.dashboard();
    world.drift_suspected = true;
    world.settle();
    let secret = world.secret.clone().unwrap();
    assert_eq!((secret.current, secret.fallback), ((2, 2), Some((1, 1))));
}

#[test]
fn a_suspicion_that_was_overtaken_changes_nothing() {
    let mut world = World::imported();
    world.ask("rotate/now");
    world.run(60);
    let before = (world.status.clone(), world.secret.clone());
    world.drift_suspected = true;
    world.settle();
    assert_eq!((world.status.clone(), world.secret.clone()), before);
}

fn with_consumers(strategy: Strategy, consumers: Vec<Consumer>) -> World {
    let mut world = World::imported();
    (world.terms.strategy, world.terms.restarts) = (strategy, true);
    world.consumers = consumers;
    world.ask("rotate/now");
    world.settle();
    world
}

fn consumer(done: bool) -> Consumer {
    Consumer { exists: true, stamp: None, done }
}

#[test]
fn consumers_are_restarted_once_and_waited_for() {
    let mut world = with_consumers(Strategy::Staged, vec![consumer(false), consumer(true)]);
    assert_eq!(world.restarts, 2, "when the pair is published");
    world.run(400);
    assert_eq!((phase(&world), world.auth0), (Some(Phase::Staging), 1), "one isn't ready");
    world.consumers[0].done = true;
    world.run(60);
    assert_eq!(phase(&world), Some(Phase::Grace));
    world.run(10_000);
    assert_eq!((world.restarts, phase(&world)), (2, None));
}

#[test]
fn past_the_timeout_it_is_said_who_holds_it_up_and_nothing_is_activated() {
    let mut world = with_consumers(Strategy::Staged, vec![consumer(false)]);
    world.run(700);
    let stalled = find_condition(&world.status.conditions, condition_types::STALLED).unwrap();
    assert_eq!(
        (stalled.status, stalled.reason.as_str()),
        (ConditionStatus::True, Reason::RolloutInProgress.as_str())
    );
    assert!(stalled.message.contains("Deployment shop"), "{}", stalled.message);
    assert_eq!(world.auth0, 1);
    assert!(
        rotation::is_condition_true(&world.status.conditions, condition_types::READY),
        "what consumers have works"
    );
    world.consumers[0].done = true;
    world.run(60);
    assert_ne!(world.auth0, 1);
}

#[test]
fn a_consumer_that_does_not_exist_is_said_at_once_and_abort_gets_out() {
    let missing = Consumer { exists: false, stamp: None, done: false };
    let mut world = with_consumers(Strategy::Staged, vec![missing]);
    world.run(181);
    let stalled = find_condition(&world.status.conditions, condition_types::STALLED).unwrap();
    assert!(stalled.message.contains("it does not exist"), "{}", stalled.message);
    let reached =
        find_condition(&world.status.conditions, condition_types::CONSUMERS_REACHED).unwrap();
    assert_eq!(reached.reason, Reason::RestartBlocked.as_str());
    world.ask("abort/now");
    world.settle();
    assert_eq!((phase(&world), world.auth0), (None, 1));
}

#[test]
fn with_the_strategy_rotate_consumers_are_restarted_when_the_new_secret_is_published() {
    let mut world = with_consumers(Strategy::Rotate, vec![consumer(false)]);
    assert_eq!((world.restarts, phase(&world)), (1, Some(Phase::Confirming)));
    world.run(10_000);
    assert_eq!((world.restarts, phase(&world)), (1, None), "and not waited for");
}

#[test]
fn a_later_restart_by_someone_else_counts() {
    let mut world = with_consumers(Strategy::Staged, vec![consumer(true)]);
    world.consumers[0].stamp = Some(world.now + TimeDelta::seconds(30));
    world.run(400);
    assert_eq!(world.restarts, 1);
    assert_eq!(phase(&world), Some(Phase::Grace));
}

#[test]
fn pods_that_are_never_updated_are_named() {
    let mut world = World::imported();
    world.pods = vec!["shop-0".into(), "shop-1".into()];
    world.ask("rotate/now");
    world.run(60);
    let reached =
        find_condition(&world.status.conditions, condition_types::CONSUMERS_REACHED).unwrap();
    assert_eq!(
        (reached.status, reached.reason.as_str()),
        (ConditionStatus::False, Reason::PodsNeverUpdated.as_str())
    );
    assert!(reached.message.contains("shop-0, shop-1"), "{}", reached.message);
    assert!(rotation::is_condition_true(&world.status.conditions, condition_types::READY));
}
