//! Model check of the state machine as shipped, with crashes, lost responses, several leaders and
//! interference by users. `docs/model-check.md` describes the model and how to read a
//! counterexample.

mod state;

mod action;

mod operator;
mod workload;

mod model;

mod check;
mod mutants;

use std::time::Instant;

use action::{
    Action, FAULTS, Fault, INTERFERENCE, TAMPERING, WORKLOAD_INTERFERENCE, WallClockOffsets,
};
use check::Check;
use model::{COMPLETES, SETTLES};
use mutants::Mutant;
use rotation::{Strategy, TakenValues, Verb};
use state::{Probes, SecretValue, SystemState, TargetSecret};
use stateright::{Checker as _, HasDiscoveries, Model as _, Path};
use workload::{CURRENT_ONLY, PAIR};

const STRATEGIES: [Strategy; 2] = [Strategy::Staged, Strategy::Rotate];

/// One process, one request, one disruption of any kind.
fn base_check(strategy: Strategy) -> Check {
    Check {
        name: "disruptions",
        strategy,
        probes: Probes::Conclusive,
        secrets_readable: true,
        interval: None,
        rotate_initially: false,
        workload: None,
        processes: 1,
        horizon: if has_wide_bounds() { 9 } else { 8 },
        disruptions: 1,
        disruption_kinds: [&FAULTS[..], &INTERFERENCE[..]].concat(),
        requests: 1,
        verbs: vec![Verb::Rotate],
        sample: if has_wide_bounds() { 1 } else { 16 },
        mutant: None,
    }
}

/// `make model` sets this variable.
fn has_wide_bounds() -> bool {
    std::env::var_os("MODEL_DEEP").is_some()
}

/// Checks every state within the bounds and prints their number.
#[expect(clippy::print_stdout, reason = "the numbers are for the documentation")]
fn run(check: Check) {
    let started = Instant::now();
    let bounds = format!(
        "{} {:?}: {} processes, {} ticks, {} disruptions, {} requests",
        check.name,
        check.strategy,
        check.processes,
        check.horizon,
        check.disruptions,
        check.requests
    );
    let checker = check.model().checker().threads(2);
    let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{bounds}: {states} states, depth {depth}, {:.1?}", started.elapsed());
    for (property, path) in checker.discoveries() {
        assert!(property == COMPLETES, "{bounds}: {property}\n{}", describe(path));
    }
    checker.assert_properties();
}

/// Describes a counterexample: one line for each action, with the state before it.
fn describe(path: Path<SystemState, Action>) -> String {
    let violation = path.last_state().violation.clone();
    let mut lines = String::new();
    for (state, action) in path.into_vec() {
        let action = action.map_or("end".to_owned(), |action| format!("{action:?}"));
        lines += &format!("{}: {action}\n", describe_state(&state));
    }
    match violation {
        Some(violation) => format!("{lines}{violation}"),
        None => format!("{lines}the operator does not settle from here"),
    }
}

fn describe_state(state: &SystemState) -> String {
    let status = state.resource.as_ref().map(|resource| &resource.status.0);
    let rotation = match status.and_then(|status| status.rotation.as_ref()) {
        None => "no rotation".to_owned(),
        Some(rotation) => format!("rotation {} {:?}", rotation.number, rotation.phase),
    };
    let values = state.target.iter().flat_map(TargetSecret::values);
    let values: Vec<String> =
        values.map(|SecretValue { number, symbol }| format!("{number}={symbol}")).collect();
    let SystemState { now, auth0_secret, accepted, .. } = state;
    let target = values.join(" ");
    format!("tick {now}, {rotation}, target [{target}], Auth0 {auth0_secret} (accepts {accepted})")
}

#[test]
fn invariants_hold_with_disruptions() {
    for strategy in STRATEGIES {
        run(base_check(strategy));
    }
}

/// Two faults of one rotation, such as a lost response and a retry that Auth0 rejects.
#[test]
fn invariants_hold_with_two_faults_of_changes() {
    for strategy in STRATEGIES {
        let faults = [Fault::RequestLost, Fault::ResponseLost, Fault::ValueRejected];
        run(Check {
            name: "two faults",
            disruptions: 2,
            disruption_kinds: faults.map(|fault| Action::Fail(0, fault)).to_vec(),
            ..base_check(strategy)
        });
    }
}

/// A lost call, and a target Secret that another party deletes before the outcome is known.
#[test]
fn invariants_hold_with_a_lost_call_and_a_deleted_target() {
    for strategy in STRATEGIES {
        let mut faults = vec![Action::DeleteTarget];
        faults
            .extend([Fault::RequestLost, Fault::ResponseLost].map(|fault| Action::Fail(0, fault)));
        run(Check {
            name: "lost call and deleted target",
            disruptions: 2,
            disruption_kinds: faults,
            ..base_check(strategy)
        });
    }
}

/// A resource that is replaced while the outcome of a change is unknown, and then deleted.
#[test]
fn invariants_hold_with_a_replaced_and_deleted_resource() {
    for strategy in STRATEGIES {
        run(replaced_resource(strategy));
    }
}

fn replaced_resource(strategy: Strategy) -> Check {
    Check {
        name: "replaced resource",
        disruptions: 3,
        disruption_kinds: vec![
            Action::ReplaceResource,
            Action::DeleteResource,
            Action::Fail(0, Fault::ResponseLost),
        ],
        horizon: if has_wide_bounds() { 8 } else { 7 },
        ..base_check(strategy)
    }
}

/// A change without a response, whose outcome can't be read from Auth0.
#[test]
fn invariants_hold_with_an_outcome_that_cannot_be_read() {
    for strategy in STRATEGIES {
        run(unreadable_outcome(strategy));
    }
}

/// Two failures after a lost response: one in the propagation window, and one after it.
fn unreadable_outcome(strategy: Strategy) -> Check {
    let faults = [Fault::ResponseLost, Fault::ReadFailed, Fault::Rejected];
    Check {
        name: "unreadable outcome",
        disruptions: if has_wide_bounds() { 3 } else { 2 },
        disruption_kinds: faults.map(|fault| Action::Fail(0, fault)).to_vec(),
        horizon: 7,
        sample: if has_wide_bounds() { 16 } else { u64::MAX },
        ..base_check(strategy)
    }
}

/// A client that becomes public or key-based, and changes that Auth0 rejects or whose response is lost.
#[test]
fn invariants_hold_with_a_client_that_becomes_unsuitable() {
    for strategy in STRATEGIES {
        let mut disruption_kinds = vec![Action::SwitchClientKind];
        let faults = [Fault::RequestLost, Fault::ChangeRejected];
        disruption_kinds.extend(faults.map(|fault| Action::Fail(0, fault)));
        run(Check {
            name: "unsuitable client",
            disruptions: 2,
            disruption_kinds,
            horizon: if has_wide_bounds() { 8 } else { 7 },
            ..base_check(strategy)
        });
    }
}

/// Another party edits one value of the target Secret, or restores an older one, during a rotation
/// whose call may be lost.
#[test]
fn invariants_hold_with_a_lost_call_and_a_tampered_target() {
    for strategy in STRATEGIES {
        let mut kinds = TAMPERING.to_vec();
        kinds.extend([Fault::RequestLost, Fault::ResponseLost].map(|fault| Action::Fail(0, fault)));
        run(Check {
            name: "lost call and tampered target",
            disruptions: 2,
            disruption_kinds: kinds,
            horizon: if has_wide_bounds() { 8 } else { 6 },
            ..base_check(strategy)
        });
    }
}

/// The same, while Auth0 does not return secrets.
#[test]
fn invariants_hold_with_an_unreadable_and_tampered_target() {
    for strategy in STRATEGIES {
        run(Check {
            name: "unreadable and tampered target",
            secrets_readable: false,
            disruptions: 2,
            disruption_kinds: TAMPERING.to_vec(),
            horizon: if has_wide_bounds() { 8 } else { 7 },
            ..base_check(strategy)
        });
    }
}

/// A call that is late, and a second secret that replaces the one that it sets.
#[test]
fn invariants_hold_with_a_late_call_and_a_revocation() {
    for strategy in STRATEGIES {
        run(Check {
            name: "late call and revocation",
            requests: 2,
            verbs: if has_wide_bounds() {
                vec![Verb::Rotate, Verb::Revoke]
            } else {
                vec![Verb::Revoke]
            },
            disruption_kinds: vec![Action::Fail(0, Fault::RequestLost)],
            horizon: if has_wide_bounds() { 8 } else { 7 },
            sample: if has_wide_bounds() { 16 } else { u64::MAX },
            ..base_check(strategy)
        });
    }
}

#[test]
fn invariants_hold_with_two_leaders() {
    for strategy in STRATEGIES {
        run(Check {
            name: "two leaders",
            processes: 2,
            disruptions: 0,
            horizon: if has_wide_bounds() { 7 } else { 6 },
            ..base_check(strategy)
        });
    }
}

#[test]
fn invariants_hold_with_requests_of_any_kind() {
    for strategy in STRATEGIES {
        run(Check {
            name: "requests",
            requests: if has_wide_bounds() { 1 } else { 2 },
            verbs: Verb::ALL.to_vec(),
            disruptions: u8::from(has_wide_bounds()),
            ..base_check(strategy)
        });
    }
}

#[test]
fn invariants_hold_if_secrets_are_unreadable() {
    for strategy in STRATEGIES {
        let mut check =
            Check { name: "unreadable", secrets_readable: false, ..base_check(strategy) };
        // The operator cannot see a secret that another party sets.
        check.disruption_kinds.retain(|kind| *kind != Action::ChangeInDashboard);
        run(check);
    }
}

#[test]
fn invariants_hold_with_a_schedule() {
    for strategy in STRATEGIES {
        run(Check {
            name: "scheduled",
            interval: Some(6),
            requests: 0,
            horizon: if has_wide_bounds() { 16 } else { 12 },
            ..base_check(strategy)
        });
    }
}

#[test]
fn invariants_hold_with_an_initial_rotation() {
    for strategy in STRATEGIES {
        run(Check {
            name: "initial",
            rotate_initially: true,
            requests: 0,
            horizon: if has_wide_bounds() { 9 } else { 7 },
            ..base_check(strategy)
        });
    }
}

/// Another party changes the secret again and again. Without a request, the strategy plays no part.
#[test]
fn invariants_hold_with_recurring_drift() {
    let strategies = if has_wide_bounds() { &STRATEGIES[..] } else { &STRATEGIES[..1] };
    for strategy in strategies {
        run(recurring_drift(*strategy));
    }
}

/// Auth0 accepts any value in a probe.
#[test]
fn invariants_hold_if_probes_accept_any_value() {
    for strategy in STRATEGIES {
        for secrets_readable in [true, false] {
            run(Check { secrets_readable, ..probes_that_accept_any_value(strategy) });
        }
    }
}

fn probes_that_accept_any_value(strategy: Strategy) -> Check {
    Check {
        name: "probes accept any value",
        probes: Probes::AcceptAny,
        disruption_kinds: vec![
            Action::Crash(0),
            Action::Fail(0, Fault::ResponseLost),
            Action::Fail(0, Fault::ValueRejected),
            Action::LoseStatus,
            Action::EditTarget,
        ],
        verbs: vec![Verb::Rotate, Verb::Revoke],
        ..base_check(strategy)
    }
}

/// An access control list forbids probes at any time.
#[test]
fn invariants_hold_if_probes_are_forbidden() {
    for strategy in STRATEGIES {
        run(Check {
            name: "probes are forbidden",
            disruptions: 2,
            disruption_kinds: vec![
                Action::ForbidProbes,
                Action::Fail(0, Fault::ResponseLost),
                Action::LoseStatus,
            ],
            verbs: vec![Verb::Rotate, Verb::Revoke],
            horizon: 7,
            ..base_check(strategy)
        });
    }
}

/// Three changes: the first two are followed at once, and each list that shows one counts.
fn recurring_drift(strategy: Strategy) -> Check {
    Check {
        name: "recurring drift",
        disruptions: 5,
        disruption_kinds: vec![Action::ChangeInDashboard],
        requests: u8::from(has_wide_bounds()),
        horizon: 6,
        ..base_check(strategy)
    }
}

/// One wall clock is wrong, and the process may crash meanwhile. A process that starts while the clocks
/// disagree does not know which one is wrong.
#[test]
fn invariants_hold_if_one_wall_clock_jumps() {
    for strategy in STRATEGIES {
        run(one_clock_jumps(strategy));
    }
}

#[test]
fn invariants_hold_if_one_wall_clock_jumps_when_a_rotation_is_due() {
    for strategy in STRATEGIES {
        run(Check {
            name: "clock jump and due time",
            interval: Some(5),
            requests: 0,
            horizon: 12,
            ..one_clock_jumps(strategy)
        });
    }
}

fn one_clock_jumps(strategy: Strategy) -> Check {
    let offsets = [(40, 0), (-1, 0), (0, -2), (0, 0)];
    let mut kinds: Vec<Action> = offsets.map(set_wall_clocks).to_vec();
    kinds.push(Action::Crash(0));
    Check {
        name: "one clock jumps",
        disruptions: if has_wide_bounds() { 3 } else { 2 },
        disruption_kinds: kinds,
        sample: u64::MAX,
        horizon: if has_wide_bounds() { 8 } else { 6 },
        ..base_check(strategy)
    }
}

/// Pods that take values only when they start, among faults and other parties that restart them or take
/// restarts back.
#[test]
fn invariants_hold_with_restarts() {
    for strategy in STRATEGIES {
        for taken in [PAIR, CURRENT_ONLY] {
            run(with_workload(strategy, taken));
        }
    }
}

/// Another party takes restarts back again and again.
#[test]
fn invariants_hold_with_reverted_restarts() {
    run(reverted_restarts());
}

fn with_workload(strategy: Strategy, taken: TakenValues) -> Check {
    let faults = [Action::Crash(0), Action::Fail(0, Fault::RequestLost)];
    let response_lost = [Action::Fail(0, Fault::ResponseLost), Action::LoseStatus];
    let mut disruption_kinds = [&faults[..], &response_lost, &WORKLOAD_INTERFERENCE].concat();
    // After activation, a restart can be taken back when the rotation has ended.
    if strategy == Strategy::Rotate || !taken.pair {
        disruption_kinds.retain(|kind| *kind != Action::RevertRestart);
    }
    Check {
        name: "restarts",
        workload: Some(taken),
        disruption_kinds,
        horizon: if has_wide_bounds() { 8 } else { 6 },
        ..base_check(strategy)
    }
}

/// Both wall clocks jump by the same time, which a process believes after some minutes.
#[test]
fn invariants_hold_if_both_wall_clocks_jump() {
    for strategy in STRATEGIES {
        run(Check {
            name: "both clocks jump",
            disruptions: 1,
            disruption_kinds: vec![set_wall_clocks((9, 9))],
            sample: u64::MAX,
            horizon: if has_wide_bounds() { 12 } else { 9 },
            ..base_check(strategy)
        });
    }
}

fn set_wall_clocks((server, machine): (i8, i8)) -> Action {
    Action::SetWallClocks(WallClockOffsets { server, machine })
}

fn reverted_restarts() -> Check {
    Check {
        name: "reverted restarts",
        disruptions: 3,
        disruption_kinds: vec![Action::RevertRestart],
        ..with_workload(Strategy::Staged, PAIR)
    }
}

#[test]
fn detects_every_mutant() {
    for mutant in Mutant::ALL {
        let strategy = match mutant {
            Mutant::DeferIntent
            | Mutant::RetryBlindly
            | Mutant::RemoveFinalizerEarly
            | Mutant::ForgetFinalizer
            | Mutant::ForgetHoldOff
            | Mutant::SkipProof
            | Mutant::ReadyWhileUnknown => Strategy::Rotate,
            _ => Strategy::Staged,
        };
        // The check of whether the operator settles looks ahead and would detect all mutants first.
        let is_unsettled = mutant.violated_property() == SETTLES;
        let sample = if is_unsettled { 1 } else { u64::MAX };
        let check = Check { mutant: Some(mutant), sample, ..base_check(strategy) };
        let check = match mutant {
            // Deletion must follow a lost response.
            Mutant::RemoveFinalizerEarly => Check { disruptions: 2, ..check },
            // The rejected retry must follow a lost request.
            Mutant::WithdrawWithoutProof => {
                let faults = [Fault::RequestLost, Fault::ValueRejected];
                let disruption_kinds = faults.map(|fault| Action::Fail(0, fault)).to_vec();
                Check { disruptions: 2, disruption_kinds, ..check }
            }
            // The revocation must follow a late request.
            Mutant::IgnoreUnanswered => Check {
                requests: 2,
                verbs: vec![Verb::Revoke],
                disruption_kinds: vec![Action::Fail(0, Fault::RequestLost)],
                ..check
            },
            // A reconcile must last until the due time that it planned.
            Mutant::StartFromDeferred => {
                Check { interval: Some(6), requests: 0, horizon: 12, ..check }
            }
            Mutant::TrustUncontrolledProbe => {
                Check { mutant: Some(mutant), sample, ..probes_that_accept_any_value(strategy) }
            }
            Mutant::ForgetFinalizer => {
                Check { mutant: Some(mutant), sample, ..replaced_resource(strategy) }
            }
            Mutant::TrustApiServer => {
                Check { mutant: Some(mutant), sample, ..one_clock_jumps(strategy) }
            }
            // The clock of the process is set, and another process continues.
            Mutant::RecordEarliest => {
                let mut disruption_kinds = [(0, -2), (0, 0)].map(set_wall_clocks).to_vec();
                disruption_kinds.push(Action::Crash(0));
                Check { disruptions: 3, disruption_kinds, ..check }
            }
            Mutant::ForgetHoldOff => {
                Check { mutant: Some(mutant), sample, ..recurring_drift(strategy) }
            }
            Mutant::ReadyWhileUnknown => {
                Check { mutant: Some(mutant), sample, ..unreadable_outcome(strategy) }
            }
            Mutant::TrustAnyRestart | Mutant::ActivateBeforeRollout => {
                Check { mutant: Some(mutant), sample, ..with_workload(strategy, PAIR) }
            }
            Mutant::RestartBeforeActivationOnly => {
                Check { mutant: Some(mutant), sample, ..with_workload(strategy, CURRENT_ONLY) }
            }
            Mutant::ForgetRestartHoldOff => {
                Check { mutant: Some(mutant), sample, ..reverted_restarts() }
            }
            _ => check,
        };
        let checker = check.model().checker().finish_when(HasDiscoveries::AnyFailures);
        let checker = checker.spawn_bfs().join();
        let states = checker.unique_state_count();
        let mut violations = checker.discoveries();
        violations.remove(COMPLETES);
        let property = mutant.violated_property();
        let Some(path) = violations.remove(property) else {
            let others: Vec<_> = violations.keys().collect();
            panic!("{mutant:?} violates {others:?} in {states} states");
        };
        let steps = path.into_vec().len() - 1;
        println!("{mutant:?}: violates \"{property}\" in {steps} steps, {states} states");
    }
}
