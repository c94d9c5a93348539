//! Negative controls, and clients for which a probe proves nothing.

use chrono::TimeDelta;
use rotation::{
    Cause, ConditionStatus, ControlResult, Outcome, Phase, ProbeMethod, Reason, Status, Strategy,
    condition_types, find_condition, is_condition_true,
};

use crate::simulation::{Simulation, value};

fn is_inconclusive(sim: &Simulation) -> bool {
    is_condition_true(&sim.status.conditions, condition_types::PROBE_INCONCLUSIVE)
}

#[test]
fn control_is_made_before_the_change_and_at_most_once_a_day() {
    let mut sim = Simulation::imported();
    sim.request("rotate/now");
    sim.settle();
    assert_eq!((sim.controls, sim.rotate_calls), (1, 1));
    for hour in 1..12 {
        sim.run_for(2 * 3600);
        sim.restart_process();
        sim.request(&format!("rotate/{hour}"));
    }
    sim.run_for(3600);
    assert_eq!((sim.controls, sim.rotate_calls), (1, 12), "once a day, regardless of restarts");
    sim.run_for(3600 * 24);
    sim.request("rotate/tomorrow");
    sim.run_for(7200);
    assert_eq!((sim.controls, sim.rotate_calls), (2, 13));
    assert_eq!(find_condition(&sim.status.conditions, condition_types::PROBE_INCONCLUSIVE), None);
}

#[test]
fn inconclusive_probe_waits_out_the_window_and_reads_the_client() {
    for strategy in [Strategy::Rotate, Strategy::Staged] {
        let mut sim = Simulation::imported().with_strategy(strategy);
        sim.control = ControlResult::Accepted;
        sim.request("revoke/leaked");
        sim.settle();
        let reads = sim.client_reads;
        sim.run_for(29);
        assert_eq!(sim.numbers(), [2, 1], "a probe that accepts anything is no evidence");
        sim.run_for(1);
        assert_eq!(sim.numbers(), [2]);
        assert_eq!((sim.client_reads, sim.probes), (reads + 1, 0));
        assert!(is_inconclusive(&sim) && sim.is_ready());
        assert_eq!(sim.reason(condition_types::PROBE_INCONCLUSIVE), Reason::AnySecretAccepted);
        sim.run_for(7200);
        assert_eq!(sim.controls, 1);
    }
}

#[test]
fn inconclusive_probe_keeps_the_fallback_for_the_grace_period() {
    let mut sim = Simulation::imported();
    sim.control = ControlResult::Accepted;
    sim.request("rotate/now");
    sim.run_for(3599);
    assert_eq!((sim.phase(), sim.numbers()), (Some(Phase::Grace), vec![2, 1]));
    sim.change_secret_in_dashboard();
    sim.run_for(2);
    assert_eq!(sim.numbers(), [3, 2], "the read before the removal shows the change");
}

#[test]
fn acknowledgment_is_the_evidence_if_secrets_are_unreadable_too() {
    for strategy in [Strategy::Rotate, Strategy::Staged] {
        let mut sim = Simulation::imported().with_strategy(strategy);
        (sim.control, sim.secrets_readable) = (ControlResult::Accepted, false);
        sim.request("rotate/now");
        sim.run_for(7200);
        assert_eq!(sim.numbers(), [2], "{strategy:?}");
    }
}

/// With a lost status, nothing shows that Auth0 has acknowledged the published value.
#[test]
fn nothing_is_removed_without_evidence() {
    let mut sim = Simulation::imported().with_strategy(Strategy::Staged);
    (sim.control, sim.secrets_readable) = (ControlResult::Accepted, false);
    sim.request("rotate/now");
    sim.run_for(200);
    assert_eq!(sim.numbers(), [2, 1]);
    sim.status = Status::default();
    sim.run_for(20_000);
    assert_eq!(sim.numbers(), [2, 1]);
    assert_eq!(sim.reason(condition_types::STALLED), Reason::ProbeInconclusive);
    sim.request("rotate/again");
    sim.run_for(20_000);
    assert_eq!(sim.numbers(), [3]);
}

#[test]
fn blocked_probe_is_found_before_anything_changes() {
    for strategy in [Strategy::Rotate, Strategy::Staged] {
        let mut sim = Simulation::imported().with_strategy(strategy);
        sim.control = ControlResult::Forbidden;
        sim.request("rotate/now");
        sim.run_for(3600);
        assert_eq!(sim.secret_history.len(), 1, "{strategy:?}");
        assert!(sim.status.rotation.is_none() && sim.is_ready() && is_inconclusive(&sim));
        assert_eq!(sim.reason(condition_types::STALLED), Reason::ProbeBlocked);
        assert!(sim.controls <= 7, "{} controls in an hour", sim.controls);
        sim.control = ControlResult::Rejected;
        sim.run_for(7200);
        assert_eq!(sim.numbers(), [2], "the request was not lost");
        assert!(!is_inconclusive(&sim));
    }
}

#[test]
fn blocked_probe_does_not_stop_a_revocation_or_a_rollback() {
    let mut sim = Simulation::imported().with_strategy(Strategy::Staged);
    sim.control = ControlResult::Forbidden;
    sim.request("revoke/leaked");
    sim.settle();
    assert_eq!(sim.auth0_secret, 2);
    assert_eq!(sim.numbers(), [2, 1]);
    sim.run_for(30);
    assert_eq!(sim.numbers(), [2], "the window is waited out");
    assert!(is_inconclusive(&sim));

    let mut sim = Simulation::imported().with_strategy(Strategy::Staged);
    sim.request("rotate/now");
    sim.run_for(200);
    sim.control = ControlResult::Forbidden;
    sim.probe_control = None;
    sim.status.probe_control = None;
    sim.request("rollback/bad");
    sim.run_for(10);
    assert_eq!(sim.published().current, value(3, 1));
}

#[test]
fn blocked_probe_stops_a_staged_rotation_before_activation() {
    let mut sim = Simulation::imported().with_strategy(Strategy::Staged);
    sim.params.staging_period = rotation::K8sDuration::from_secs(25 * 3600);
    sim.request("rotate/now");
    sim.settle();
    sim.control = ControlResult::Forbidden;
    sim.run_for(30 * 3600);
    assert_eq!((sim.phase(), sim.secret_history.len()), (Some(Phase::Staging), 1));
    sim.request("abort/blocked");
    sim.settle();
    assert_eq!(sim.status.history[0].outcome, Outcome::Aborted);
}

#[test]
fn another_method_needs_its_own_control() {
    let mut sim = Simulation::imported();
    sim.control = ControlResult::Accepted;
    sim.request("rotate/now");
    sim.run_for(7200);
    sim.control = ControlResult::Rejected;
    sim.params.probe_method = ProbeMethod::ClientCredentials;
    sim.request("rotate/again");
    sim.run_for(7200);
    assert_eq!((sim.controls, is_inconclusive(&sim)), (2, false));
    assert_eq!(sim.numbers(), [3]);
}

#[test]
fn drift_is_confirmed_without_a_probe_too() {
    let mut sim = Simulation::imported();
    sim.control = ControlResult::Accepted;
    sim.change_secret_in_dashboard();
    sim.drift_suspected = true;
    sim.settle();
    sim.drift_suspected = false;
    sim.run_for(7200);
    assert_eq!(sim.numbers(), [2]);
    assert_eq!(sim.status.history[0].cause, Cause::Drift);
}

/// A retry is rejected after a lost response, and neither a read nor a probe shows the outcome.
#[test]
fn value_without_proof_is_neither_withdrawn_nor_promoted() {
    let mut sim = Simulation::imported().with_strategy(Strategy::Staged);
    (sim.control, sim.secrets_readable) = (ControlResult::Accepted, false);
    sim.request("rotate/now");
    sim.settle();
    sim.fail_effect(sim.effects + 1, crate::simulation::Fault::ResponseLost);
    sim.advance_time(181);
    sim.reconcile();
    sim.rejects_values = true;
    sim.run_for(3600);
    assert_eq!((sim.phase(), sim.numbers()), (Some(Phase::Withdrawing), vec![1, 2]));
    assert_eq!(sim.reason(condition_types::STALLED), Reason::ProbeInconclusive);
    sim.rejects_values = false;
    sim.request("revoke/unknown");
    sim.run_for(3600);
    assert_eq!(sim.numbers(), [3]);
}

#[test]
fn revoked_secret_is_probed_until_it_is_rejected() {
    let mut sim = Simulation::imported();
    sim.revoked_until = sim.now + TimeDelta::seconds(20);
    sim.request("revoke/leaked");
    sim.run_for(10);
    assert_eq!(sim.numbers(), [2], "the compromised secret is not published anymore");
    let condition = sim.condition(condition_types::REVOKED_SECRET_REJECTED);
    assert_eq!(condition.status, ConditionStatus::Unknown);
    sim.run_for(60);
    let condition = sim.condition(condition_types::REVOKED_SECRET_REJECTED);
    assert_eq!(condition.status, ConditionStatus::True, "{condition:?}");
    assert!(condition.message.contains("secret 1"));
    let probes = sim.probes;
    sim.run_for(24 * 3600);
    assert_eq!(sim.probes, probes, "a dead secret is not probed again");
    sim.restart_process();
    sim.run_for(600);
    let condition = sim.condition(condition_types::REVOKED_SECRET_REJECTED);
    assert_eq!(condition.status, ConditionStatus::True);
}

#[test]
fn revoked_secret_that_stays_accepted_is_reported_after_a_bounded_number_of_probes() {
    let mut sim = Simulation::imported();
    sim.revoked_until = sim.now + TimeDelta::days(300);
    sim.request("revoke/leaked");
    sim.run_for(29);
    let condition = sim.condition(condition_types::REVOKED_SECRET_REJECTED);
    assert_eq!(condition.status, ConditionStatus::Unknown, "{condition:?}");
    sim.run_for(24 * 3600);
    assert_eq!(sim.reason(condition_types::REVOKED_SECRET_REJECTED), Reason::RevokedSecretAccepted);
    assert!(sim.is_ready() && sim.probes <= 17, "{} probes", sim.probes);
}

#[test]
fn restart_ends_the_probes_of_a_revoked_secret() {
    let mut sim = Simulation::imported();
    sim.revoked_until = sim.now + TimeDelta::seconds(25);
    sim.request("revoke/leaked");
    sim.run_for(10);
    sim.restart_process();
    sim.run_for(600);
    let condition = sim.condition(condition_types::REVOKED_SECRET_REJECTED);
    assert_eq!(condition.status, ConditionStatus::Unknown);
    assert!(condition.message.contains("restarted"), "{condition:?}");
}

#[test]
fn inconclusive_probe_says_nothing_about_a_revoked_secret() {
    let mut sim = Simulation::imported();
    sim.control = ControlResult::Accepted;
    sim.request("revoke/leaked");
    sim.run_for(3600);
    assert_eq!((sim.numbers(), sim.probes), (vec![2], 0));
    let reason = sim.reason(condition_types::REVOKED_SECRET_REJECTED);
    assert_eq!(reason, Reason::ProbeInconclusive);
}
