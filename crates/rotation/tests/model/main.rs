//! The model check: the shipped machine among crashes, lost answers, other processes and people.
//! `docs/model-check.md` says what is in it, and how to read what it finds.

mod check;
mod mutants;
mod operator;
mod world;

use std::time::Instant;

use rotation::{Phase, Strategy, Verb};
use stateright::{Checker as _, HasDiscoveries, Model as _, Path};

use check::{COMPLETED, Check, FAULTS, PEOPLE};
use mutants::Mutant;
use world::{Action, World};

const STRATEGIES: [Strategy; 2] = [Strategy::Staged, Strategy::Rotate];

/// One process, one request, one disturbance of any kind.
fn basic(strategy: Strategy) -> Check {
    Check {
        name: "disturbed",
        strategy,
        readable: true,
        every: None,
        initial: false,
        processes: 1,
        horizon: if deep() { 9 } else { 8 },
        disturbances: 1,
        kinds: [FAULTS, PEOPLE].concat(),
        requests: 1,
        verbs: vec![Verb::Rotate],
        sample: if deep() { 1 } else { 16 },
        mutant: None,
    }
}

/// `make model`.
fn deep() -> bool {
    std::env::var_os("MODEL_DEEP").is_some()
}

/// Looks at every state, and says how many there are.
#[expect(clippy::print_stdout, reason = "figures are for whoever asked for them")]
fn run(check: Check) {
    let started = Instant::now();
    let bounds = format!(
        "{} {:?}: {} processes, {} ticks, {} disturbances, {} requests",
        check.name,
        check.strategy,
        check.processes,
        check.horizon,
        check.disturbances,
        check.requests
    );
    let checker = check.model().checker().threads(2);
    let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{bounds}: {states} states, {depth} deep, {:.1?}", started.elapsed());
    for (property, path) in checker.discoveries() {
        assert!(property == COMPLETED, "{bounds}: {property}\n{}", story(path));
    }
    checker.assert_properties();
}

/// A counterexample, a line for each action, with what is there before it.
fn story(path: Path<World, Action>) -> String {
    let breach = path.last_state().breach.clone();
    let lines = path.into_vec().into_iter().map(|(world, action)| {
        let record = world.resource.as_ref().map(|resource| &resource.record.0);
        let phase: Option<(u64, Phase)> = record
            .and_then(|status| status.rotation.as_ref())
            .map(|rotation| (rotation.number, rotation.phase));
        let secret = world.secret.as_ref().map(|secret| (secret.current, secret.fallback));
        let action = action.map_or("then".to_owned(), |action| format!("{action:?}"));
        format!(
            "at {} record {phase:?}, Secret {secret:?}, Auth0 {} (accepts {}): {action}\n",
            world.now, world.auth0, world.accepts
        )
    });
    let lines: String = lines.collect();
    match breach {
        Some(breach) => format!("{lines}{breach}"),
        None => format!("{lines}it goes wrong from here, though nothing disturbs it any more"),
    }
}

#[test]
fn one_process_is_disturbed() {
    for strategy in STRATEGIES {
        run(basic(strategy));
    }
}

#[test]
fn two_processes_believe_that_they_lead() {
    for strategy in STRATEGIES {
        let (disturbances, horizon) = (0, if deep() { 7 } else { 6 });
        let basic = basic(strategy);
        run(Check { name: "two leaders", processes: 2, disturbances, horizon, ..basic });
    }
}

#[test]
fn people_ask_for_everything() {
    for strategy in STRATEGIES {
        let disturbances = u8::from(deep());
        let (requests, verbs) = (if deep() { 1 } else { 2 }, Verb::ALL.to_vec());
        run(Check { name: "requests", requests, verbs, disturbances, ..basic(strategy) });
    }
}

#[test]
fn auth0_does_not_show_secrets() {
    for strategy in STRATEGIES {
        let mut check = Check { name: "unreadable", readable: false, ..basic(strategy) };
        // What someone else sets can't be seen.
        check.kinds.retain(|kind| *kind != Action::Dashboard);
        run(check);
    }
}

#[test]
fn a_schedule_is_followed() {
    for strategy in STRATEGIES {
        let horizon = if deep() { 16 } else { 12 };
        let basic = basic(strategy);
        run(Check { name: "scheduled", every: Some(6), requests: 0, horizon, ..basic });
    }
}

#[test]
fn a_new_resource_rotates_initially() {
    for strategy in STRATEGIES {
        run(Check { name: "initial", initial: true, requests: 0, ..basic(strategy) });
    }
}

#[test]
fn a_broken_machine_is_found_out() {
    for mutant in Mutant::ALL {
        let strategy = match mutant {
            Mutant::RepeatBlindly | Mutant::LetGoEarly => Strategy::Rotate,
            _ => Strategy::Staged,
        };
        // Whoever looks ahead would find all of them on the way to rest.
        let sample = if mutant == Mutant::NeverRetire { 1 } else { u64::MAX };
        // An answer must have been lost by then.
        let disturbances = if mutant == Mutant::LetGoEarly { 2 } else { 1 };
        let check = Check { mutant: Some(mutant), sample, disturbances, ..basic(strategy) };
        let checker = check.model().checker().finish_when(HasDiscoveries::AnyFailures);
        let checker = checker.spawn_bfs().join();
        let mut found = checker.discoveries();
        found.remove(COMPLETED);
        let path = found.remove(mutant.breaks());
        let (states, also) = (checker.unique_state_count(), found.keys().collect::<Vec<_>>());
        let path = path.unwrap_or_else(|| panic!("{mutant:?} breaks {also:?} in {states} states"));
        let steps = path.into_vec().len() - 1;
        println!("{mutant:?}: {} broken in {steps} steps, {states} states", mutant.breaks());
    }
}
