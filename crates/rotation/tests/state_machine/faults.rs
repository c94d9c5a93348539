//! Crashes of the process and failed calls, at every effect of a rotation.

use chrono::TimeDelta;
use rotation::{Cause, Phase, Status, Step, Strategy};

use crate::{
    operator::Reconciled,
    simulation::{Fault, Interference, Simulation},
};

/// Effects of a rotation by request, after the finalizer and the proof that the target Secret can be
/// written: the write of the status, the call of `rotate-secret`, and the publication.
const INTENT: usize = 2;
const CALL: usize = 3;
const PUBLICATION: usize = 4;

/// Returns a simulation in which a fault hits the effect with this index of a rotation by request.
/// `None` if the rotation has no such effect.
fn rotate_with_fault(
    fault: Fault,
    effect: usize,
    prepare: impl Fn(&mut Simulation),
) -> Option<Simulation> {
    let mut sim = Simulation::imported();
    prepare(&mut sim);
    sim.request("rotate/now");
    sim.fail_effect(effect, fault);
    sim.run_for(10_000);
    (sim.effects > effect).then_some(sim)
}

fn assert_complete(sim: &Simulation) {
    sim.assert_complete();
    assert!(!sim.has_finalizer && sim.response.is_none());
}

/// Checks a rotation with each fault at each of its effects.
fn for_each_fault(prepare: impl Fn(&mut Simulation), check: impl Fn(&Simulation, Fault, usize)) {
    let faults = [
        Fault::CrashBefore,
        Fault::CrashAfter,
        Fault::ResponseLost,
        Fault::Rejected,
        Fault::OutcomeUnknown,
    ];
    for fault in faults {
        let mut effect = 0;
        while let Some(sim) = rotate_with_fault(fault, effect, &prepare) {
            check(&sim, fault, effect);
            effect += 1;
        }
        assert!(effect >= 8, "a rotation has more effects than {effect}");
    }
}

#[test]
fn rotates_once_with_a_fault_at_any_effect() {
    for_each_fault(
        |_| {},
        |sim, fault, effect| {
            assert_complete(sim);
            assert_eq!(sim.secret_history.len(), 2, "{fault:?} at effect {effect}");
            let history = &sim.status.history;
            assert_eq!(history.len(), 1, "{fault:?} at effect {effect}: {history:#?}");
        },
    );
}

#[test]
fn completes_with_a_fault_at_any_effect_if_secrets_are_unreadable() {
    for_each_fault(
        |sim| sim.secrets_readable = false,
        |sim, fault, effect| {
            assert_complete(sim);
            // An unreadable value is replaced by a generated one, once.
            let secrets = &sim.secret_history;
            assert!(secrets.len() <= 3, "{fault:?} at effect {effect}: {secrets:?}");
            assert!(sim.rotate_calls <= 2);
        },
    );
}

#[test]
fn reads_back_the_secret_if_the_response_has_none() {
    for_each_fault(
        |sim| sim.omits_secret_in_response = true,
        |sim, _, _| {
            assert_complete(sim);
            assert_eq!(sim.secret_history.len(), 2);
        },
    );
}

#[test]
fn replaces_the_secret_if_neither_response_nor_client_has_it() {
    for_each_fault(
        |sim| {
            sim.omits_secret_in_response = true;
            sim.secrets_readable = false;
        },
        |sim, _, _| {
            assert_complete(sim);
            let entry = &sim.status.history[0];
            assert!(entry.message.contains("could not be read back"), "{}", entry.message);
        },
    );
}

#[test]
fn staged_rotates_once_with_a_fault_at_any_effect() {
    for_each_fault(
        |sim| sim.params.strategy = Strategy::Staged,
        |sim, fault, effect| {
            assert_complete(sim);
            assert_eq!(sim.secret_history.len(), 2, "{fault:?} at effect {effect}");
            assert_eq!(sim.rotate_calls, 0);
        },
    );
}

#[test]
fn status_lost_at_any_effect_loses_no_value_and_causes_no_rotation() {
    for effect in 0..20 {
        let mut sim = Simulation::imported();
        sim.request("rotate/now");
        sim.fail_effect(effect, Fault::CrashAfter);
        let has_crashed = sim.reconcile() == Reconciled::Crashed;
        sim.status = Status::default();
        sim.restart_process();
        sim.run_for(10_000);
        assert_complete(&sim);
        assert!(sim.secret_history.len() <= 2, "at effect {effect}: {:?}", sim.secret_history);
        if !has_crashed {
            assert!(effect > 5, "the first reconcile of a rotation has more effects");
            return;
        }
    }
}

#[test]
fn status_lost_while_idle_causes_no_rotation() {
    let mut sim = Simulation::imported().every(86_400);
    sim.request("rotate/now");
    sim.run_for(10_000);
    sim.status = Status::default();
    sim.run_for(80_000);
    assert_eq!((sim.rotate_calls, sim.status.current), (1, Some(2)));
    assert!(sim.status.next_rotation_time.unwrap() > sim.now);
}

#[test]
fn initial_rotation_does_not_repeat_if_status_and_target_are_lost() {
    let mut sim = Simulation::new();
    sim.params.rotate_initially = true;
    sim.run_for(10_000);
    sim.status = Status::default();
    sim.target = None;
    sim.run_for(10_000);
    assert_eq!(sim.rotate_calls, 1);
    assert_eq!(sim.published().current.symbol, sim.auth0_secret);
}

#[test]
fn initial_rotation_completes_with_a_crash_at_any_effect() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter] {
        for effect in 0..16 {
            let mut sim = Simulation::new();
            sim.params.rotate_initially = true;
            sim.fail_effect(effect, fault);
            sim.run_for(10_000);
            assert_complete(&sim);
            assert_eq!(sim.secret_history.len(), 2, "{fault:?} at effect {effect}");
        }
    }
}

#[test]
fn retries_an_unknown_outcome_only_after_the_propagation_window() {
    let mut sim = Simulation::imported();
    sim.request("rotate/now");
    // The call changes nothing, which the process does not know.
    sim.fail_effect(CALL, Fault::OutcomeUnknown);
    sim.reconcile();
    assert_eq!(sim.rotation().phase, Phase::Activating);
    sim.run_for(29);
    assert_eq!(sim.rotate_calls, 1, "the propagation window is not over");
    sim.run_for(5);
    assert_eq!(sim.rotate_calls, 2);
}

#[test]
fn retries_a_rejected_call_without_delay() {
    let mut sim = Simulation::imported();
    sim.request("rotate/now");
    sim.fail_effect(CALL, Fault::Rejected);
    sim.reconcile();
    assert_eq!(sim.rotation().phase, Phase::Started);
    sim.settle();
    assert_eq!((sim.rotate_calls, sim.secret_history.len()), (2, 2));
}

#[test]
fn deletion_waits_until_an_unknown_outcome_is_resolved() {
    let mut sim = Simulation::imported();
    sim.request("rotate/now");
    sim.fail_effect(CALL, Fault::CrashAfter);
    sim.reconcile();
    sim.restart_process();
    sim.is_deleting = true;
    assert!(sim.has_finalizer);
    sim.settle();
    assert_eq!(sim.published().current.symbol, sim.auth0_secret);
    assert!(!sim.has_finalizer);
}

#[test]
fn deletion_proceeds_after_the_propagation_window_if_nothing_changed() {
    let mut sim = Simulation::imported();
    sim.request("rotate/now");
    sim.fail_effect(CALL, Fault::CrashBefore);
    sim.reconcile();
    sim.restart_process();
    sim.is_deleting = true;
    sim.run_for(29);
    assert!(sim.has_finalizer, "the call may still be in flight");
    sim.run_for(2);
    assert!(!sim.has_finalizer);
    assert_eq!(sim.secret_history.len(), 1, "a deleted resource starts no rotation");
}

#[test]
fn outdated_status_is_updated_and_causes_no_rotation() {
    let mut sim = Simulation::imported().every(86_400);
    let backup = sim.status.clone();
    sim.advance_time(86_400);
    sim.run_for(10_000);
    sim.status = backup;
    sim.run_for(10_000);
    assert_eq!((sim.rotate_calls, sim.status.current), (1, Some(2)));
    assert_eq!(sim.status.history[0].cause, Cause::Recovery);
}

#[test]
fn status_from_before_publication_causes_no_second_rotation() {
    let mut sim = Simulation::imported();
    sim.request("rotate/now");
    sim.settle();
    let activating = sim.stored_statuses.iter().find(|status| {
        status.rotation.as_ref().is_some_and(|rotation| rotation.phase == Phase::Activating)
    });
    sim.status = activating.unwrap().clone();
    sim.status.rotation.as_mut().unwrap().phase = Phase::Started;
    sim.run_for(10_000);
    assert_complete(&sim);
    assert_eq!((sim.rotate_calls, sim.status.history.len()), (1, 1));
}

#[test]
fn reads_back_a_change_that_was_reported_as_not_applied() {
    let mut sim = Simulation::imported();
    sim.request("rotate/now");
    sim.fail_effect(CALL, Fault::ResponseLost);
    sim.reconcile();
    // A proxy replaced the response by an error that guarantees that nothing happened.
    sim.status.rotation.as_mut().unwrap().phase = Phase::Started;
    sim.run_for(10_000);
    assert_complete(&sim);
    assert_eq!(sim.rotate_calls, 1);
}

#[test]
fn stages_nothing_while_the_call_of_another_process_may_be_in_flight() {
    let mut sim = Simulation::imported();
    sim.secrets_readable = false;
    sim.request("rotate/now");
    sim.fail_effect(INTENT, Fault::CrashAfter);
    sim.reconcile();
    sim.restart_process();
    assert_eq!(sim.rotation().phase, Phase::Activating);
    sim.run_for(29);
    assert_eq!(sim.published().fallback, None, "nothing is staged yet");
    sim.run_for(10_000);
    assert_complete(&sim);
}

#[test]
fn deletion_never_writes_a_foreign_secret() {
    for is_response_lost in [true, false] {
        let mut sim = Simulation::imported();
        sim.request("rotate/now");
        // Another party takes the name of the target when the response is lost or unpublished.
        if is_response_lost {
            sim.fail_effect(CALL, Fault::CrashAfter);
            sim.reconcile();
            sim.restart_process();
        } else {
            sim.fail_effect(PUBLICATION, Fault::CrashBefore);
            sim.reconcile();
        }
        sim.target_is_foreign = true;
        sim.is_deleting = true;
        sim.settle();
        assert!(!sim.has_finalizer);
    }
}

#[test]
fn deletion_does_not_wait_forever_for_the_publication_of_a_response() {
    let mut sim = Simulation::imported();
    sim.request("rotate/now");
    sim.fail_effect(PUBLICATION, Fault::CrashBefore);
    sim.reconcile();
    assert!(sim.response.is_some());
    sim.is_deleting = true;
    sim.advance_time(301);
    sim.settle();
    assert!(!sim.has_finalizer);
}

#[test]
fn times_from_a_clock_that_was_ahead_delay_nothing() {
    let mut sim = Simulation::imported().every(86_400);
    sim.request("rotate/now");
    sim.run_for(60);
    let skew = TimeDelta::days(400);
    for time in [&mut sim.status.next_rotation_time, &mut sim.status.last_rotation_time] {
        *time = time.map(|at| at + skew);
    }
    let rotation = sim.status.rotation.as_mut().unwrap();
    rotation.activated_at = rotation.activated_at.map(|at| at + skew);
    sim.run_for(7200);
    assert!(sim.status.rotation.is_none(), "{:?}", sim.status);
    let next = sim.status.next_rotation_time.unwrap();
    assert!(next <= sim.now + TimeDelta::days(1), "{next}");
    assert_eq!(sim.rotate_calls, 1);
}

#[test]
fn end_of_an_unanswered_request_from_a_clock_that_was_ahead_delays_nothing() {
    let mut sim = Simulation::imported();
    sim.status.unanswered_until = Some(sim.now + TimeDelta::days(400));
    sim.request("revoke/now");
    sim.run_for(600);
    sim.assert_complete();
    assert_eq!(sim.rotate_calls, 1);
}

#[test]
fn does_not_retry_after_a_read_from_before_the_end_of_the_propagation_window() {
    for is_deleting in [false, true] {
        let mut sim = Simulation::imported();
        sim.request("rotate/now");
        // The call is in flight, and the process has stopped waiting for it.
        sim.fail_effect(CALL, Fault::OutcomeUnknown);
        sim.reconcile();
        sim.is_deleting = is_deleting;
        sim.advance_time(29);
        // The process is suspended right after it read the client, and the call arrives.
        sim.interference = Some(Interference {
            after: Step::ReadClient,
            action: |sim| {
                sim.change_secret_in_dashboard();
                sim.advance_time(2);
            },
        });
        sim.run_for(10_000);
        assert_eq!(sim.secret_history.len(), 2, "the first value is not replaced");
        assert_eq!(sim.published().current.symbol, sim.auth0_secret);
    }
}

#[test]
fn stages_nothing_while_a_call_that_timed_out_may_be_in_flight() {
    let mut sim = Simulation::imported();
    sim.secrets_readable = false;
    sim.request("rotate/now");
    sim.fail_effect(CALL, Fault::OutcomeUnknown);
    sim.run_for(29);
    assert_eq!(sim.published().fallback, None, "nothing is staged yet");
    // The call arrives, and a generated value replaces its result.
    sim.change_secret_in_dashboard();
    sim.run_for(10_000);
    assert_complete(&sim);
}

/// A deployment tool replaces the resource, which removes the finalizer, and then deletes it.
#[test]
fn finalizer_that_another_party_removed_is_restored_while_the_outcome_is_unknown() {
    let mut sim = Simulation::imported();
    sim.request("rotate/now");
    for effect in 1..20 {
        let mut sim = sim.clone();
        sim.fail_effect(effect, Fault::ResponseLost);
        sim.reconcile();
        if sim.rotate_calls == 0 || sim.phase() != Some(Phase::Activating) {
            continue;
        }
        sim.has_finalizer = false;
        sim.initialized = false;
        sim.restart_process();
        // The read-back fails this time.
        sim.fail_effect(sim.effects + 1, Fault::CrashBefore);
        sim.reconcile();
        assert!(sim.has_finalizer, "{:?}", sim.status);
        sim.is_deleting = true;
        sim.run_for(600);
        assert!(!sim.has_finalizer);
        assert_eq!(sim.published().current.symbol, sim.auth0_secret);
        return;
    }
    panic!("no effect is the call of rotate-secret");
}
