//! Regular operation: import, rotation, requests.

use rotation::{
    Cause, ConditionStatus, Outcome, Phase, Purpose, Reason, Rejection, Status, Strategy,
    condition_types, event_records,
};

use crate::{operator::Reconciled, simulation::Simulation};

#[test]
fn new_resource_imports_the_existing_secret_without_a_rotation() {
    let sim = Simulation::imported();
    assert_eq!(sim.publications, [Purpose::Import]);
    assert_eq!((sim.rotate_calls, sim.status.current), (0, Some(1)));
    assert!(sim.is_ready());
    assert!(sim.status.rotation.is_none() && sim.status.history.is_empty());
}

#[test]
fn rotation_runs_from_start_to_retirement() {
    let mut sim = Simulation::imported().every(86_400);
    sim.advance_time(86_400);
    sim.settle();
    // The secret is published but not accepted yet.
    assert_eq!(sim.phase(), Some(Phase::Confirming));
    assert_eq!(sim.numbers(), [2, 1]);
    assert_eq!(sim.published().current.symbol, sim.auth0_secret);
    assert!(!sim.has_finalizer, "the response is published");
    sim.run_for(9);
    assert_eq!(sim.phase(), Some(Phase::Grace));
    sim.run_for(3590);
    assert_eq!(sim.numbers(), [2, 1], "the grace period ends in a second");
    sim.run_for(10);
    assert_eq!(sim.numbers(), [2]);
    assert_eq!(sim.phase(), None);
    let entry = &sim.status.history[0];
    assert_eq!(
        (entry.number, entry.cause, entry.outcome),
        (2, Cause::Schedule, Outcome::Completed)
    );
    assert_eq!(sim.rotate_calls, 1);
    let expected = [Purpose::Import, Purpose::ProveWrite, Purpose::Response, Purpose::Retire];
    assert_eq!(sim.publications, expected);
}

#[test]
fn ready_stays_true_through_a_healthy_rotation() {
    let mut sim = Simulation::imported().every(86_400);
    sim.advance_time(86_400);
    let since = sim.condition(condition_types::READY).last_transition_time;
    for _ in 0..20 {
        let wake = sim.settle();
        let ready = sim.condition(condition_types::READY);
        assert_eq!((ready.status, ready.last_transition_time), (ConditionStatus::True, since));
        if sim.phase().is_none() {
            return;
        }
        sim.now = wake.unwrap();
    }
    panic!("the rotation does not end");
}

#[test]
fn reconcile_without_changes_writes_and_reads_nothing() {
    let mut sim = Simulation::imported().every(86_400);
    for seconds in [0, 86_400, 10, 3600] {
        sim.advance_time(seconds);
        sim.settle();
        let before = (sim.effects, sim.client_reads);
        for _ in 0..3 {
            sim.advance_time(1);
            if sim.phase() == Some(Phase::Confirming) {
                break;
            }
            assert!(matches!(sim.reconcile(), Reconciled::Waiting(_)));
        }
        assert_eq!((sim.effects, sim.client_reads), before, "after {seconds} s");
    }
}

#[test]
fn request_is_handled_once() {
    let mut sim = Simulation::imported();
    sim.request("rotate/one");
    sim.run_for(7200);
    assert_eq!(sim.rotate_calls, 1);
    assert_eq!(sim.status.history[0].cause, Cause::Request);
    sim.generation += 1;
    sim.run_for(7200);
    assert_eq!(sim.rotate_calls, 1, "the same text is handled already");
    sim.request("rotate/two");
    sim.run_for(7200);
    assert_eq!(sim.rotate_calls, 2);
}

#[test]
fn request_during_a_rotation_waits_for_its_end() {
    let mut sim = Simulation::imported();
    sim.request("rotate/one");
    sim.settle();
    sim.request("rotate/two");
    sim.run_for(3500);
    assert_eq!(sim.rotate_calls, 1);
    sim.run_for(7200);
    assert_eq!(sim.rotate_calls, 2);
}

#[test]
fn invalid_request_is_reported_and_blocks_nothing() {
    let mut sim = Simulation::imported().every(86_400);
    sim.request("dance/now");
    sim.settle();
    assert_eq!(sim.reason(condition_types::REQUEST_ACCEPTED), Reason::InvalidRequest);
    assert_eq!(sim.reason(condition_types::STALLED), Reason::Progressing);
    assert!(sim.is_ready());
    sim.advance_time(86_400);
    sim.settle();
    assert_eq!(sim.rotate_calls, 1);
}

#[test]
fn suspended_resource_starts_no_rotation_but_completes_one() {
    let mut sim = Simulation::imported().every(86_400);
    sim.params.suspend = true;
    sim.request("rotate/now");
    sim.run_for(86_400 * 3);
    assert_eq!(sim.rotate_calls, 0);
    assert_eq!(sim.reason(condition_types::RECONCILING), Reason::Suspended);
    sim.params.suspend = false;
    sim.settle();
    assert_eq!(sim.rotate_calls, 1);
    sim.params.suspend = true;
    sim.run_for(7200);
    assert_eq!((sim.numbers(), sim.phase()), (vec![2], None));
}

#[test]
fn initial_rotation_keeps_the_existing_secret_as_fallback() {
    let mut sim = Simulation::new();
    sim.params.rotate_initially = true;
    sim.settle();
    assert_eq!((sim.rotate_calls, sim.numbers()), (1, vec![2, 1]));
    sim.run_for(86_400);
    assert_eq!(sim.rotate_calls, 1);
    assert_eq!(sim.status.history[0].cause, Cause::Initial);
}

#[test]
fn initial_rotation_works_if_secrets_are_unreadable() {
    let mut sim = Simulation::new();
    sim.params.rotate_initially = true;
    sim.secrets_readable = false;
    sim.settle();
    assert_eq!((sim.rotate_calls, sim.numbers()), (1, vec![2]));
    assert_eq!(sim.published().current.symbol, sim.auth0_secret);
}

#[test]
fn import_stalls_with_a_remedy_if_secrets_are_unreadable() {
    let mut sim = Simulation::new();
    sim.secrets_readable = false;
    sim.settle();
    assert_eq!(sim.reason(condition_types::STALLED), Reason::SecretUnreadable);
    let message = &sim.condition(condition_types::STALLED).message;
    assert!(message.contains("read:client_keys") && message.contains("rotate/"), "{message}");
    assert_eq!((sim.target.as_ref(), sim.rotate_calls), (None, 0));
    sim.request("rotate/now");
    sim.settle();
    assert_eq!((sim.rotate_calls, sim.numbers()), (1, vec![2]));
}

#[test]
fn rejected_client_does_not_use_up_the_request() {
    let mut sim = Simulation::imported();
    sim.client_rejection = Some(Rejection::new(Reason::PublicClient, "the client is public"));
    sim.request("rotate/now");
    sim.settle();
    assert_eq!((sim.reason(condition_types::STALLED), sim.rotate_calls), (Reason::PublicClient, 0));
    sim.client_rejection = None;
    sim.settle();
    assert_eq!((sim.reason(condition_types::STALLED), sim.rotate_calls), (Reason::Progressing, 1));
}

#[test]
fn staged_publishes_the_next_secret_before_activation() {
    let mut sim = Simulation::imported().with_strategy(Strategy::Staged);
    sim.request("rotate/now");
    sim.settle();
    assert_eq!((sim.numbers(), sim.auth0_secret), (vec![1, 2], 1), "published but not active");
    sim.run_for(179);
    assert_eq!(sim.auth0_secret, 1);
    sim.run_for(2);
    assert_eq!(sim.numbers(), [2, 1]);
    assert_eq!(sim.published().current.symbol, sim.auth0_secret);
    sim.run_for(7200);
    assert_eq!((sim.numbers(), sim.rotate_calls), (vec![2], 0));
    let expected = [Purpose::Import, Purpose::Stage, Purpose::Promote, Purpose::Retire];
    assert_eq!(sim.publications, expected);
}

#[test]
fn history_keeps_the_last_ten_rotations() {
    let mut sim = Simulation::imported();
    for index in 0..13 {
        sim.request(&format!("rotate/{index}"));
        sim.run_for(7200);
    }
    let numbers: Vec<_> = sim.status.history.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, (5..=14).rev().collect::<Vec<u64>>());
}

#[test]
fn each_transition_is_logged_once_and_a_rotation_publishes_two_events() {
    let mut sim = Simulation::imported();
    sim.request("rotate/now");
    sim.run_for(10_000);
    let statuses: Vec<_> =
        std::iter::once(Status::default()).chain(sim.stored_statuses.clone()).collect();
    let reasons: Vec<_> = statuses
        .windows(2)
        .flat_map(|pair| event_records(&pair[0], &pair[1]))
        .map(|event| (event.reason, event.is_routine))
        .collect();
    // Auth0 accepts the secret some seconds after its publication.
    let expected = [
        (Reason::Imported, false),
        (Reason::Started, true),
        (Reason::Activated, true),
        (Reason::Confirmed, false),
        (Reason::Retired, false),
    ];
    assert_eq!(reasons, expected);
}
