//! Budgets of instructions: what `decide` costs for an idle resource, and in a full rotation.
//!
//! Unlike seconds, the number of instructions does not depend on the machine or its load. Each test
//! runs itself under callgrind, which counts the instructions inside `decide`. The budgets are in
//! `instructions.budget`, which says how to update them.

use std::{env, fs, path::Path, process::Command};

use rotation::{Phase, Strategy};

use crate::simulation::Simulation;

/// Environment variable of a run under callgrind.
const MEASURED: &str = "AUTH0_ROTATOR_MEASURED";

/// How far a count may be from its budget, in percent. A count below it is a budget to lower.
const TOLERANCE: f64 = 10.0;

/// The same with another compiler than the budgets are for.
const OTHER_COMPILER_TOLERANCE: f64 = 40.0;

/// Decisions of the idle resource. One of them would be lost in the costs of its start.
const IDLE_DECISIONS: usize = 100;

#[test]
fn idle_decision_stays_within_its_budget() {
    assert_budget("idle_decision", || {
        let sim = Simulation::imported().every(86_400);
        for _ in 0..IDLE_DECISIONS {
            sim.clone().settle();
        }
    });
}

#[test]
fn full_rotation_stays_within_its_budget() {
    assert_budget("full_rotation", || rotate(Strategy::Rotate));
}

#[test]
fn full_staged_rotation_stays_within_its_budget() {
    assert_budget("full_staged_rotation", || rotate(Strategy::Staged));
}

/// Takes a due rotation to its end.
fn rotate(strategy: Strategy) {
    let mut sim = Simulation::imported().with_strategy(strategy).every(86_400);
    sim.advance_time(86_400);
    let mut phases = Vec::<Phase>::new();
    for _ in 0..20 {
        let wake = sim.settle();
        match sim.phase() {
            Some(phase) => phases.push(phase),
            None => break,
        }
        sim.now = wake.unwrap();
    }
    assert_eq!(sim.status.current, Some(2));
    assert!(phases.contains(&Phase::Grace), "{phases:?}");
}

/// Runs a workload under callgrind and compares its instructions with the budget of this name. Inside
/// that run, only runs the workload.
#[expect(clippy::print_stderr, reason = "a figure, shown with --nocapture")]
fn assert_budget(name: &str, workload: impl FnOnce()) {
    if env::var_os(MEASURED).is_some() {
        return workload();
    }
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/state_machine/instructions.budget");
    let budgets = fs::read_to_string(&path).unwrap();
    let line = |key: &str| {
        let value = budgets.lines().find_map(|line| line.strip_prefix(&format!("{key}: ")));
        value.unwrap_or_else(|| panic!("{} has no {key}", path.display())).to_owned()
    };
    let count = count_instructions(name);
    let (compiler, present) = (line("compiler"), compiler());
    eprintln!("{name}: {count} instructions with {present}");
    // Another compiler generates other code, but not entirely.
    let tolerance = if compiler == present { TOLERANCE } else { OTHER_COMPILER_TOLERANCE };
    let budget: f64 = line(name).parse().unwrap();
    let difference = (count as f64 / budget - 1.0) * 100.0;
    assert!(
        difference.abs() <= tolerance,
        "{name} takes {count} instructions, {difference:+.1} % of its budget. If that is intended, set \
         `{name}: {count}` in {}",
        path.display()
    );
}

/// Returns the instructions inside `decide` in the test of this budget.
fn count_instructions(name: &str) -> u64 {
    let output = env::temp_dir().join(format!("callgrind-{name}-{}", std::process::id()));
    let test = format!("instructions::{name}_stays_within_its_budget");
    let run = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--collect-atstart=no",
            "--toggle-collect=rotation::decide::decide*",
        ])
        .arg(format!("--callgrind-out-file={}", output.display()))
        .arg(env::current_exe().unwrap())
        .args(["--exact", &test, "--test-threads=1"])
        .env(MEASURED, "1")
        .output();
    let run = run.unwrap_or_else(|error| {
        panic!("valgrind: {error}; install it, for example with apt-get install valgrind")
    });
    let log = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{log}{}", String::from_utf8_lossy(&run.stdout));
    let profile = fs::read_to_string(&output).unwrap();
    if env::var_os("KEEP_PROFILES").is_none() {
        fs::remove_file(&output).unwrap();
    }
    let total = profile.lines().find_map(|line| line.strip_prefix("totals: "));
    let total = total.and_then(|total| total.trim().parse().ok());
    total.filter(|total| *total > 0).unwrap_or_else(|| panic!("callgrind saw no decision: {log}"))
}

/// Returns the version of the compiler, and its target.
fn compiler() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let value = |key: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(key));
        value.unwrap_or_default().trim().to_owned()
    };
    format!("{} {}", value("release:"), value("host:"))
}
