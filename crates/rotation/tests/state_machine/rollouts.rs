//! Restarts of workloads, and Pods that never see updates.

use chrono::TimeDelta;
use rotation::{ConditionStatus, Phase, Reason, Strategy, condition_types};

use crate::{simulation::Simulation, workload::Workload};

fn rotate_with_workloads(strategy: Strategy, workloads: Vec<Workload>) -> Simulation {
    let mut sim = Simulation::imported().with_strategy(strategy);
    sim.params.restarts = true;
    sim.workloads = workloads;
    sim.request("rotate/now");
    sim.settle();
    sim
}

fn workload(completes: bool) -> Workload {
    Workload { exists: true, restarted_at: None, completes }
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
    let missing = Workload { exists: false, restarted_at: None, completes: false };
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
fn later_restart_by_another_party_counts() {
    let mut sim = rotate_with_workloads(Strategy::Staged, vec![workload(true)]);
    sim.workloads[0].restarted_at = Some(sim.now + TimeDelta::seconds(30));
    sim.run_for(400);
    assert_eq!(sim.workload_restarts, 1);
    assert_eq!(sim.phase(), Some(Phase::Grace));
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
