//! Restarts of workloads, and Pods that never see updates.

use chrono::TimeDelta;
use rotation::{
    ConditionStatus, Deferral, K8sDuration, Phase, Reason, Strategy, TakenValues, condition_types,
};

use crate::{
    simulation::{Fault, Simulation},
    workload::Workload,
};

fn rotate_with_workloads(strategy: Strategy, workloads: Vec<Workload>) -> Simulation {
    let mut sim = Simulation::imported().with_strategy(strategy);
    sim.params.restarts = true;
    sim.workloads = workloads;
    sim.request("rotate/now");
    sim.settle();
    sim
}

fn workload(completes: bool) -> Workload {
    Workload::new(completes)
}

/// A workload whose Pods take only the current value.
fn current_only(completes: bool) -> Workload {
    let taken = TakenValues { pair: false, current_only: true };
    Workload { taken, ..Workload::new(completes) }
}

#[test]
fn staged_restarts_workloads_once_and_waits_for_their_rollouts() {
    let mut sim = rotate_with_workloads(Strategy::Staged, vec![workload(false), workload(true)]);
    assert_eq!(sim.workload_restarts, 2, "restarted when the pair is published");
    sim.run_for(400);
    let in_progress = (sim.phase(), sim.auth0_secret);
    assert_eq!(in_progress, (Some(Phase::Staging), 1), "one rollout is in progress");
    sim.workloads[0].completes = true;
    sim.run_for(60);
    assert_eq!(sim.phase(), Some(Phase::Grace));
    sim.run_for(10_000);
    assert_eq!((sim.workload_restarts, sim.phase()), (2, None));
}

#[test]
fn stalls_after_the_rollout_timeout_without_activation() {
    let mut sim = rotate_with_workloads(Strategy::Staged, vec![workload(false)]);
    sim.run_for(700);
    let stalled = sim.condition(condition_types::STALLED);
    assert_eq!(
        (stalled.status, stalled.reason.as_str()),
        (ConditionStatus::True, Reason::RolloutInProgress.as_str())
    );
    assert!(stalled.message.contains("Deployment shop"), "{}", stalled.message);
    assert_eq!(sim.auth0_secret, 1);
    assert!(sim.is_ready(), "the published secret is valid");
    sim.workloads[0].completes = true;
    sim.run_for(60);
    assert_ne!(sim.auth0_secret, 1);
}

#[test]
fn stalls_for_a_missing_workload_and_can_be_aborted() {
    let missing = Workload { exists: false, ..workload(false) };
    let mut sim = rotate_with_workloads(Strategy::Staged, vec![missing]);
    sim.run_for(181);
    let stalled = sim.condition(condition_types::STALLED);
    assert!(stalled.message.contains("it does not exist"), "{}", stalled.message);
    assert_eq!(sim.reason(condition_types::CONSUMERS_REACHED), Reason::RestartBlocked);
    sim.request("abort/now");
    sim.settle();
    assert_eq!((sim.phase(), sim.auth0_secret), (None, 1));
}

#[test]
fn rotate_restarts_workloads_when_the_new_secret_is_published() {
    let mut sim = rotate_with_workloads(Strategy::Rotate, vec![workload(false)]);
    assert_eq!((sim.workload_restarts, sim.phase()), (1, Some(Phase::Confirming)));
    sim.run_for(10_000);
    let after = (sim.workload_restarts, sim.phase());
    assert_eq!(after, (1, None), "the rotation does not wait for the rollout");
}

#[test]
fn pods_that_another_party_created_later_count() {
    let mut sim = rotate_with_workloads(Strategy::Staged, vec![workload(false)]);
    sim.workloads[0].created_at = sim.now + TimeDelta::seconds(30);
    sim.workloads[0].restarted_for = None;
    sim.run_for(400);
    assert_eq!(sim.workload_restarts, 1, "a restart that was taken back is not repeated");
    assert_eq!(sim.phase(), Some(Phase::Grace));
}

#[test]
fn workload_that_takes_only_the_current_secret_is_restarted_after_the_promotion() {
    let mut sim = rotate_with_workloads(Strategy::Staged, vec![current_only(true)]);
    assert_eq!((sim.workload_restarts, sim.phase()), (0, Some(Phase::Staging)));
    sim.run_for(400);
    assert_eq!((sim.workload_restarts, sim.phase()), (1, Some(Phase::Grace)));
    assert_eq!(sim.workloads[0].values.first(), Some(&sim.auth0_secret));
    sim.run_for(10_000);
    assert_eq!((sim.workload_restarts, sim.phase()), (1, None));
}

#[test]
fn workload_that_takes_both_is_restarted_before_and_after_activation() {
    let taken = TakenValues { pair: true, current_only: true };
    let both = Workload { taken, ..workload(true) };
    let mut sim = rotate_with_workloads(Strategy::Staged, vec![both]);
    assert_eq!((sim.workload_restarts, sim.phase()), (1, Some(Phase::Staging)));
    sim.run_for(10_000);
    assert_eq!((sim.workload_restarts, sim.phase()), (2, None));
    assert_eq!(sim.workloads[0].values.first(), Some(&sim.auth0_secret));
}

#[test]
fn restarts_that_are_taken_back_are_repeated_after_a_growing_hold_off() {
    let contested = Workload { is_contested: true, ..workload(true) };
    let mut sim = rotate_with_workloads(Strategy::Staged, vec![contested]);
    let mut restarts = vec![(0, 1)];
    let start = sim.now;
    while (sim.now - start).num_seconds() < 4000 {
        sim.run_for(1);
        if restarts.last().is_some_and(|(_, count)| *count != sim.workload_restarts) {
            restarts.push(((sim.now - start).num_seconds(), sim.workload_restarts));
        }
    }
    let times: Vec<i64> = restarts.iter().map(|(time, _)| *time).collect();
    assert_eq!(times, [0, 30, 90, 210, 450, 930, 1890, 3810]);
    let reached = sim.condition(condition_types::CONSUMERS_REACHED);
    assert_eq!(reached.reason, Reason::RestartReverted.as_str());
    assert!(reached.message.contains("argocd-controller"), "{}", reached.message);
    assert_eq!(sim.reason(condition_types::STALLED), Reason::RolloutInProgress);
    assert_eq!(sim.auth0_secret, 1, "not activated");

    sim.workloads[0].is_contested = false;
    sim.run_for(2000);
    assert_eq!((sim.phase(), sim.workload_restarts), (Some(Phase::Grace), 9));
    assert_eq!(sim.reason(condition_types::CONSUMERS_REACHED), Reason::Reached);
}

#[test]
fn rotation_ends_when_its_workloads_are_restarted() {
    let contested = Workload { is_contested: true, ..current_only(true) };
    let mut sim = Simulation::imported().with_strategy(Strategy::Staged);
    sim.params.restarts = true;
    sim.params.grace_period = K8sDuration::from_secs(30);
    sim.workloads = vec![contested.clone()];
    sim.request("rotate/now");
    sim.run_for(250);
    assert_eq!(sim.published().fallback, None, "the previous secret is removed in time");
    assert_eq!((sim.phase(), sim.workload_restarts), (Some(Phase::Grace), 2));
    sim.workloads[0].is_contested = false;
    sim.run_for(200);
    assert_eq!((sim.phase(), sim.workload_restarts), (None, 3));
    assert_eq!(sim.workloads[0].values.first(), Some(&sim.auth0_secret));

    // The timeout ends it in any case.
    sim.workloads[0] = contested;
    sim.request("rotate/again");
    sim.run_for(800);
    assert_eq!(sim.phase(), None);
    assert_eq!(sim.reason(condition_types::CONSUMERS_REACHED), Reason::RolloutInProgress);
}

#[test]
fn restart_that_failed_is_repeated_at_once() {
    for fault in [Fault::OutcomeUnknown, Fault::CrashBefore, Fault::CrashAfter] {
        let mut sim = Simulation::imported().with_strategy(Strategy::Staged);
        sim.params.restarts = true;
        sim.workloads = vec![workload(true)];
        sim.request("rotate/now");
        let mut reference = sim.clone();
        reference.settle();
        // The restart is the last effect.
        sim.fail_effect(reference.effects - 1, fault);
        sim.settle();
        sim.settle();
        assert_eq!(sim.workload_restarts, 1, "{fault:?}");
        sim.run_for(400);
        assert_eq!((sim.workload_restarts, sim.phase()), (1, Some(Phase::Grace)), "{fault:?}");
    }
}

#[test]
fn deferred_restart_is_made_in_time() {
    for (deferral, seconds) in [(Deferral::OthersPending, 20), (Deferral::OtherRestart, 300)] {
        let deferred = Workload { deferral: Some(deferral), ..workload(true) };
        let mut sim = rotate_with_workloads(Strategy::Staged, vec![deferred.clone()]);
        sim.run_for(seconds - 1);
        assert_eq!(sim.workload_restarts, 0, "{deferral:?}");
        sim.run_for(2);
        assert_eq!(sim.workload_restarts, 1, "{deferral:?}");
        // Another restart came first.
        let mut sim = rotate_with_workloads(Strategy::Staged, vec![deferred]);
        sim.workloads[0].created_at = sim.now + TimeDelta::seconds(5);
        sim.run_for(400);
        assert_eq!((sim.workload_restarts, sim.phase()), (0, Some(Phase::Grace)), "{deferral:?}");
    }
}

#[test]
fn proceeds_after_the_rollout_timeout_if_the_spec_says_so() {
    let mut sim = Simulation::imported().with_strategy(Strategy::Staged);
    sim.params.restarts = true;
    sim.params.proceeds_after_rollout_timeout = true;
    sim.workloads = vec![workload(false), Workload { exists: false, ..workload(false) }];
    sim.request("rotate/now");
    sim.run_for(590);
    assert_eq!((sim.phase(), sim.auth0_secret), (Some(Phase::Staging), 1));
    sim.run_for(60);
    assert_eq!(sim.phase(), Some(Phase::Grace));
    assert_eq!(sim.reason(condition_types::CONSUMERS_REACHED), Reason::RestartBlocked);
    sim.workloads.truncate(1);
    sim.run_for(200);
    assert_eq!(sim.reason(condition_types::CONSUMERS_REACHED), Reason::RolloutInProgress);
    sim.run_for(10_000);
    assert_eq!(sim.phase(), None);
    assert_eq!(sim.reason(condition_types::CONSUMERS_REACHED), Reason::RolloutInProgress);
    sim.workloads[0].completes = true;
    sim.run_for(121);
    assert_eq!(sim.reason(condition_types::CONSUMERS_REACHED), Reason::Reached);
}

#[test]
fn problems_of_consumers_clear_within_minutes() {
    let mut sim = Simulation::imported();
    sim.unreached_pods = vec!["shop-0".into()];
    sim.signs_with_secret = true;
    sim.request("rotate/now");
    sim.run_for(10_000);
    assert_eq!(sim.phase(), None);
    let unreached = sim.reason(condition_types::CONSUMERS_REACHED);
    assert_eq!(unreached, Reason::PodsNeverUpdated);
    assert_eq!(sim.reason(condition_types::SIGNS_WITH_SECRET), Reason::HS256);
    let (checks, reads) = (sim.consumer_checks, sim.client_checks);
    sim.run_for(3600);
    assert_eq!(sim.consumer_checks - checks, 30, "once in two minutes");
    assert_eq!(sim.client_checks - reads, 12, "once in five minutes, without the secret");

    sim.unreached_pods.clear();
    sim.signs_with_secret = false;
    sim.run_for(301);
    assert_eq!(sim.reason(condition_types::CONSUMERS_REACHED), Reason::Reached);
    assert_eq!(sim.reason(condition_types::SIGNS_WITH_SECRET), Reason::OtherAlgorithm);
    let (checks, reads) = (sim.consumer_checks, sim.client_checks);
    sim.run_for(3600);
    let quiet = (sim.consumer_checks - checks, sim.client_checks - reads);
    assert_eq!(quiet, (0, 0), "nothing is checked without a problem");
}

#[test]
fn condition_names_pods_that_never_see_updates() {
    let mut sim = Simulation::imported();
    sim.unreached_pods = vec!["shop-0".into(), "shop-1".into()];
    sim.request("rotate/now");
    sim.run_for(60);
    let reached = sim.condition(condition_types::CONSUMERS_REACHED);
    assert_eq!(
        (reached.status, reached.reason.as_str()),
        (ConditionStatus::False, Reason::PodsNeverUpdated.as_str())
    );
    assert!(reached.message.contains("shop-0, shop-1"), "{}", reached.message);
    assert!(sim.is_ready());
}
