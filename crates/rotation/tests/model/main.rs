//! The model check: the shipped machine among crashes, lost answers, other processes and people.
//! See docs/model-check.md.

mod check;
mod mutants;
mod operator;
mod world;

use std::time::Instant;

use rotation::{Strategy, Verb};
use stateright::{Checker as _, HasDiscoveries, Model as _};

use check::{Check, FAULTS, PEOPLE};

fn basic(name: &'static str, strategy: Strategy) -> Check {
    Check {
        name,
        strategy,
        readable: true,
        every: None,
        initial: false,
        processes: 1,
        horizon: 9,
        disturbances: 1,
        kinds: [FAULTS, PEOPLE].concat(),
        requests: 1,
        verbs: vec![Verb::Rotate],
        sample: 1,
        mutant: None,
    }
}

fn run(check: Check) {
    let started = Instant::now();
    let Check { name, .. } = check.clone();
    let checker = check.model().checker().threads(2);
    let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!(
        "{name}: {} unique states, depth {}, {:.1?}",
        checker.unique_state_count(),
        checker.max_depth(),
        started.elapsed()
    );
    for (property, path) in checker.discoveries() {
        if property != "a rotation is completed" {
            println!("{property}: {:?}", path.last_state().breach);
            for (state, action) in path.clone().into_vec() {
                println!(
                    "{} {:?} sec {:?} auth0 {} acc {} {:?}\n => {action:?}",
                    state.now,
                    state.resource.as_ref().map(|r| r
                        .record
                        .0
                        .rotation
                        .as_ref()
                        .map(|r| (r.number, r.phase, r.cause))),
                    state.secret,
                    state.auth0,
                    state.accepts,
                    state.processes
                );
            }
            panic!("{name}");
        }
    }
    checker.assert_properties();
}

#[test]
fn staged() {
    run(basic("staged", Strategy::Staged));
}

#[test]
fn rotate() {
    run(basic("rotate", Strategy::Rotate));
}
