//! Requests by users, in every phase of a rotation.

use chrono::TimeDelta;
use rotation::{
    Cause, Outcome, Phase, Purpose, Reason, Rejection, Status, Step, Strategy, condition_types,
};

use crate::simulation::{Fault, Interference, Simulation, value};

/// A strategy, and a phase of its rotations.
#[derive(Clone, Copy, Debug)]
struct Case {
    strategy: Strategy,
    phase: Phase,
}

impl Case {
    const fn new(strategy: Strategy, phase: Phase) -> Self {
        Self { strategy, phase }
    }

    fn is_before_activation(self) -> bool {
        matches!(self.phase, Phase::Started | Phase::Staging)
    }

    /// Returns a simulation with a rotation in this phase. It replaces number 1 by number 2.
    fn simulate(self) -> Simulation {
        let Self { strategy, phase } = self;
        let mut sim = Simulation::imported().with_strategy(strategy);
        sim.request("rotate/first");
        match phase {
            Phase::Started => {
                // The write of the target Secret fails.
                sim.fail_effect(1, Fault::OutcomeUnknown);
                sim.reconcile();
                sim.restart_process();
            }
            Phase::Activating => {
                // The call was made, but its outcome is unknown.
                let effect = if strategy == Strategy::Rotate { 2 } else { 4 };
                sim.fail_effect(effect, Fault::CrashAfter);
                sim.reconcile();
                if strategy == Strategy::Staged {
                    sim.advance_time(200);
                    sim.reconcile();
                }
                sim.restart_process();
            }
            Phase::Staging | Phase::Confirming => {
                sim.settle();
                if strategy == Strategy::Staged && phase == Phase::Confirming {
                    sim.advance_time(181);
                    sim.settle();
                }
            }
            Phase::Grace => sim.run_for(300),
            Phase::Withdrawing => unreachable!("this phase ends within a reconcile"),
        }
        assert_eq!(sim.phase(), Some(phase), "{strategy:?}");
        sim
    }
}

const CASES: [Case; 9] = [
    Case::new(Strategy::Rotate, Phase::Started),
    Case::new(Strategy::Rotate, Phase::Activating),
    Case::new(Strategy::Rotate, Phase::Confirming),
    Case::new(Strategy::Rotate, Phase::Grace),
    Case::new(Strategy::Staged, Phase::Started),
    Case::new(Strategy::Staged, Phase::Staging),
    Case::new(Strategy::Staged, Phase::Activating),
    Case::new(Strategy::Staged, Phase::Confirming),
    Case::new(Strategy::Staged, Phase::Grace),
];

#[test]
fn rotate_waits_for_the_rotation_in_progress() {
    for case in CASES {
        let mut sim = case.simulate();
        sim.request("rotate/second");
        sim.run_for(20_000);
        sim.assert_complete();
        let ended: Vec<_> =
            sim.status.history.iter().map(|entry| (entry.number, entry.outcome)).collect();
        assert_eq!(ended, [(3, Outcome::Completed), (2, Outcome::Completed)], "{case:?}");
    }
}

#[test]
fn revoke_skips_the_staging_and_grace_periods() {
    for case in CASES {
        let mut sim = case.simulate();
        let compromised = sim.published().current.symbol;
        sim.request("revoke/leaked");
        // Auth0 needs five seconds, and a lost response the propagation window. The staging period
        // would add three minutes, the grace period an hour.
        sim.run_for(80);
        sim.assert_complete();
        assert_ne!(sim.auth0_secret, compromised, "{case:?}");
        let rotations = if matches!(case.phase, Phase::Confirming | Phase::Grace) { 2 } else { 1 };
        assert_eq!(sim.status.history.len(), rotations, "{case:?}");
        assert_eq!(sim.status.last_handled_request.as_deref(), Some("revoke/leaked"));
    }
}

#[test]
fn revoke_starts_a_rotation_if_none_is_in_progress() {
    for strategy in [Strategy::Rotate, Strategy::Staged] {
        let mut sim = Simulation::imported().with_strategy(strategy);
        sim.request("revoke/leaked");
        sim.run_for(60);
        sim.assert_complete();
        assert_eq!((sim.numbers(), sim.secret_history.len()), (vec![2], 2), "{strategy:?}");
    }
}

#[test]
fn rollback_makes_the_previous_secret_current() {
    for case in CASES {
        let mut sim = case.simulate();
        sim.request("rollback/bad");
        sim.settle();
        if case.is_before_activation() {
            let rejection = sim.request_rejection();
            assert!(rejection.contains("no previous secret"), "{rejection}");
            sim.run_for(20_000);
            sim.assert_complete();
            assert_eq!(sim.numbers(), [2], "the rotation continued");
            continue;
        }
        sim.run_for(20_000);
        sim.assert_complete();
        assert_eq!(sim.auth0_secret, 1, "{case:?}: the first value is restored");
        assert_eq!(sim.numbers(), [3], "it gets a new number");
        let causes: Vec<_> =
            sim.status.history.iter().map(|entry| (entry.cause, entry.outcome)).collect();
        assert_eq!(
            causes,
            [(Cause::Request, Outcome::Completed), (Cause::Request, Outcome::Superseded)]
        );
    }
}

#[test]
fn rollback_keeps_the_replaced_secret_as_fallback() {
    let mut sim = Case::new(Strategy::Rotate, Phase::Grace).simulate();
    let replaced = sim.auth0_secret;
    sim.request("rollback/bad");
    sim.settle();
    let target = sim.published();
    assert_eq!((target.current, target.fallback), (value(3, 1), Some(value(2, replaced))));
}

#[test]
fn rollback_without_a_previous_secret_is_rejected_for_good() {
    let mut sim = Simulation::imported();
    sim.request("rollback/nothing");
    sim.settle();
    assert!(sim.status.request_rejection.is_some());
    let effects = sim.effects;
    sim.settle();
    assert_eq!(sim.effects, effects);
    sim.params.strategy = Strategy::Staged;
    sim.generation += 1;
    sim.status.next_rotation_time = None;
    sim.request("rotate/now");
    sim.run_for(10_000);
    assert_eq!(sim.numbers(), [2]);
    assert_eq!(
        sim.status.request_rejection, None,
        "a request that is carried out has no rejection"
    );
}

#[test]
fn rollback_that_auth0_rejects_changes_nothing() {
    let mut sim = Case::new(Strategy::Rotate, Phase::Grace).simulate();
    sim.rejects_values = true;
    sim.request("rollback/bad");
    sim.settle();
    let target = sim.published();
    assert_eq!((target.current.number, target.fallback), (2, Some(value(1, 1))));
    assert_eq!(target.current.symbol, sim.auth0_secret);
    assert_eq!(sim.status.history[0].outcome, Outcome::Rejected);
    sim.run_for(20_000);
    sim.assert_complete();
}

#[test]
fn abort_withdraws_a_secret_before_activation() {
    for case in CASES {
        let mut sim = case.simulate();
        let before = sim.auth0_secret;
        sim.request("abort/wait");
        sim.settle();
        if case.is_before_activation() {
            sim.assert_complete();
            assert_eq!((sim.auth0_secret, sim.numbers()), (before, vec![1]), "{case:?}");
            assert_eq!(sim.status.history[0].outcome, Outcome::Aborted);
            assert!(!sim.has_finalizer);
        } else {
            let rejection = sim.request_rejection();
            assert!(rejection.contains("too late"), "{rejection}");
            sim.run_for(20_000);
            sim.assert_complete();
            assert_eq!(sim.numbers(), [2]);
        }
    }
}

#[test]
fn abort_after_a_lost_status_keeps_a_secret_that_auth0_may_have() {
    let mut sim = Case::new(Strategy::Staged, Phase::Activating).simulate();
    sim.status = Status::default();
    sim.settle();
    assert_eq!(sim.numbers(), [1, 2]);
    sim.request("abort/too-late");
    sim.settle();
    assert!(sim.numbers().contains(&2), "Auth0 has number 2: {:?}", sim.status);
    assert!(sim.request_rejection().contains("too late"));
    sim.run_for(10_000);
    sim.assert_complete();
    assert_eq!(sim.numbers(), [2]);
}

#[test]
fn abort_without_a_rotation_is_rejected() {
    let mut sim = Simulation::imported();
    sim.request("abort/what");
    sim.settle();
    let rejection = sim.request_rejection();
    assert!(rejection.contains("no rotation in progress"), "{rejection}");
}

#[test]
fn repeated_request_has_no_effect() {
    for verb in ["rotate", "revoke", "rollback", "abort"] {
        let mut sim = Simulation::imported();
        sim.request(&format!("{verb}/once"));
        sim.run_for(20_000);
        let (status, effects) = (sim.status.clone(), sim.effects);
        sim.request(&format!("{verb}/once"));
        sim.run_for(20_000);
        assert_eq!((sim.status.clone(), sim.effects), (status, effects), "{verb}");
    }
}

#[test]
fn suspended_resource_aborts_but_starts_no_rotation() {
    for verb in ["rotate", "revoke"] {
        let mut sim = Simulation::imported();
        sim.params.suspend = true;
        sim.request(&format!("{verb}/now"));
        sim.run_for(20_000);
        assert_eq!(sim.secret_history.len(), 1, "{verb}");
        sim.params.suspend = false;
        sim.run_for(20_000);
        assert_eq!(sim.secret_history.len(), 2, "{verb} starts once the resource is resumed");
    }
    let mut sim = Case::new(Strategy::Staged, Phase::Staging).simulate();
    sim.params.suspend = true;
    sim.request("abort/now");
    sim.settle();
    assert_eq!((sim.numbers(), sim.secret_history.len()), (vec![1], 1));
    let mut sim = Case::new(Strategy::Rotate, Phase::Grace).simulate();
    sim.params.suspend = true;
    sim.request("rollback/now");
    sim.settle();
    assert_eq!(sim.numbers(), [2, 1], "the request waits");
}

#[test]
fn value_that_auth0_rejects_is_withdrawn() {
    let mut sim = Simulation::imported().with_strategy(Strategy::Staged);
    sim.rejects_values = true;
    sim.request("rotate/now");
    sim.run_for(200);
    sim.assert_complete();
    assert_eq!((sim.numbers(), sim.auth0_secret), (vec![1], 1));
    let entry = &sim.status.history[0];
    assert_eq!((entry.outcome, entry.number), (Outcome::Rejected, 2));
    assert!(sim.publications.contains(&Purpose::Withdraw));
    sim.rejects_values = false;
    sim.request("rotate/again");
    sim.run_for(10_000);
    assert_eq!(sim.numbers(), [3], "the number is not reused");
}

#[test]
fn rejected_value_that_auth0_already_has_is_promoted() {
    let mut sim = Case::new(Strategy::Staged, Phase::Activating).simulate();
    assert_eq!((sim.numbers(), sim.auth0_secret == 1), (vec![1, 2], false));
    sim.rejects_values = true;
    sim.run_for(200);
    assert_eq!(sim.numbers(), [2, 1]);
    sim.run_for(10_000);
    sim.assert_complete();
    assert_eq!(sim.numbers(), [2]);
    assert_eq!(sim.status.history[0].outcome, Outcome::Completed);
}

#[test]
fn probe_from_within_the_window_does_not_supersede_the_rotation() {
    let mut sim = Simulation::imported();
    sim.propagation_delay = TimeDelta::seconds(30);
    sim.request("rotate/one");
    // After a rejected probe the process is suspended for longer than the propagation takes.
    sim.interference = Some(Interference {
        after: Step::ProbeSecret,
        action: |sim| {
            sim.request("rotate/two");
            sim.advance_time(31);
        },
    });
    sim.settle();
    let rotation = sim.rotation();
    assert_eq!((rotation.number, rotation.phase), (2, Phase::Grace));
    assert_eq!(sim.rotate_calls, 1, "the second rotation waits for the first");
}

#[test]
fn withdrawn_rotation_uses_up_its_due_time() {
    for rejects_values in [false, true] {
        let mut sim = Simulation::imported().every(86_400).with_strategy(Strategy::Staged);
        sim.rejects_values = rejects_values;
        sim.advance_time(86_400);
        sim.settle();
        if !rejects_values {
            sim.request("abort/now");
        }
        sim.run_for(80_000);
        assert!(sim.status.rotation.is_none(), "{:?}", sim.status);
        assert_eq!(sim.status.history.len(), 1, "{:?}", sim.status.history);
        let next = sim.status.next_rotation_time.unwrap();
        assert_eq!(next, sim.status.history[0].started_at + TimeDelta::days(1));
    }
}

#[test]
fn request_of_a_new_resource_is_carried_out() {
    for (secrets_readable, strategy) in
        [(true, Strategy::Rotate), (true, Strategy::Staged), (false, Strategy::Rotate)]
    {
        for text in ["rotate/first", "revoke/first"] {
            let mut sim = Simulation::new().with_strategy(strategy);
            sim.secrets_readable = secrets_readable;
            sim.request(text);
            sim.run_for(20_000);
            sim.assert_complete();
            assert_eq!(sim.status.last_handled_request.as_deref(), Some(text));
            assert_eq!(sim.reason(condition_types::REQUEST_ACCEPTED), Reason::RequestHandled);
            assert_eq!(sim.secret_history.len(), 2, "{text} {strategy:?}");
        }
    }
}

#[test]
fn request_is_refused_aloud_if_only_the_status_is_new() {
    for is_published in [true, false] {
        let mut sim = Simulation::imported();
        sim.request("rotate/first");
        sim.run_for(20_000);
        assert!(sim.initialized);
        let calls = sim.rotate_calls;
        sim.status = Status::default();
        if !is_published {
            sim.target = None;
        }
        sim.run_for(20_000);
        assert_eq!(sim.rotate_calls, calls);
        assert!(sim.request_rejection().contains("lost or restored"));
        assert_eq!(sim.reason(condition_types::REQUEST_ACCEPTED), Reason::RequestRejected);
        sim.request("rotate/second");
        sim.run_for(20_000);
        assert_eq!(sim.rotate_calls, calls + 1);
    }
}

#[test]
fn urgent_request_is_not_blocked_by_a_mistake_in_the_spec() {
    let mistake = Rejection::new(Reason::InvalidSchedule, "spec.schedule: not a schedule");
    let mut sim = Simulation::imported();
    sim.request("rotate/first");
    sim.run_for(300);
    sim.spec_rejection = Some(mistake);
    sim.generation += 1;
    sim.request("rollback/unusable");
    sim.run_for(20_000);
    assert_eq!(sim.auth0_secret, 1);
    assert_eq!(sim.reason(condition_types::STALLED), Reason::InvalidSchedule);
    sim.request("rotate/waits");
    sim.run_for(20_000);
    assert_eq!(sim.reason(condition_types::REQUEST_ACCEPTED), Reason::RequestPending);
    assert_eq!(sim.auth0_secret, 1);
    sim.request("revoke/leaked");
    sim.run_for(120);
    assert_ne!(sim.auth0_secret, 1);
    assert_eq!(sim.published().fallback, None);
    assert_eq!(sim.reason(condition_types::REQUEST_ACCEPTED), Reason::RequestHandled);
    assert_eq!(sim.reason(condition_types::STALLED), Reason::InvalidSchedule);
}

#[test]
fn revoke_does_not_rotate_a_client_that_must_not_be_changed() {
    let mut sim = Simulation::imported();
    sim.is_forbidden = true;
    sim.generation += 1;
    sim.request("revoke/leaked");
    sim.run_for(20_000);
    assert_eq!(sim.secret_history.len(), 1);
}
