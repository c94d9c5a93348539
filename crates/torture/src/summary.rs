//! Figures: a line now and then, and one at the end.

use std::time::Duration;

use rotation::Strategy;

use crate::arena::Arena;
use crate::fleet::Group;
use crate::leaks::Search;

/// What has happened so far, in one line.
pub(crate) fn progress(arena: &Arena, elapsed: Duration) -> String {
    let total = arena.tallies.total();
    let faults: u64 = arena.simulator.counters().faults.values().sum();
    let ended =
        arena.watch.ended(Strategy::Staged).all() + arena.watch.ended(Strategy::Rotate).all();
    format!(
        "{:>5} s  {ended} rotations, {} kills, {} stops, {} API server restarts, {faults} faults, \
         {} logins, {} failed, {} by revoke",
        elapsed.as_secs(),
        arena.counts.kills.get(),
        arena.counts.stops.get(),
        arena.counts.restarts.get(),
        total.logins,
        total.failed,
        total.revoked,
    )
}

/// All figures, in one line.
pub(crate) fn closing(
    arena: &Arena,
    seed: u64,
    elapsed: Duration,
    search: Option<&Search>,
    breaches: usize,
) -> String {
    let counts = &arena.counts;
    let counters = arena.simulator.counters();
    let faults: u64 = counters.faults.values().sum();
    let kinds: Vec<_> =
        counters.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let total = arena.tallies.total();
    let rotations = [Strategy::Staged, Strategy::Rotate].map(|strategy| {
        let ended = arena.watch.ended(strategy);
        let (completed, superseded) = (ended.completed, ended.superseded);
        let (aborted, refused) = (ended.aborted, ended.refused);
        format!(
            "{strategy:?} {} (completed {completed}, superseded {superseded}, aborted {aborted}, \
             refused {refused})",
            ended.all(),
        )
    });
    let failed = [Strategy::Staged, Strategy::Rotate].map(|strategy| failed(arena, strategy));
    let last = arena.tallies.of(Strategy::Rotate, Group::Plain).last_after_switch;
    let leaks = search.map_or("not searched for".to_owned(), |search| {
        let Search { values, bytes, found_in } = search;
        format!("{} in {} KiB searched for {values} values", found_in.len(), bytes / 1024)
    });
    format!(
        "seed {seed}, {} s, {} clients; rotations: {}; {} kills, {} stops, {} API server restarts; \
         {faults} faults ({}); {} requests, {} of them revoke; {} dashboard rotations, {} Secrets \
         deleted, {} edited, {} statuses removed; {} logins; failed: {}; by revoke {}; last failed \
         login {} ms after Auth0's switch (Rotate, plain); {} calls by a process that had been \
         stopped; {} changes whose record was lost to the API server's end; {} writes found out \
         afterwards; {} left out as late through our own fault; leaks: {leaks}; broken promises: \
         {breaches}",
        elapsed.as_secs(),
        arena.members().len(),
        rotations.join(", "),
        counts.kills.get(),
        counts.stops.get(),
        counts.restarts.get(),
        kinds.join(", "),
        counts.requests.get(),
        counts.revocations.get(),
        counts.dashboard.get(),
        counts.deletions.get(),
        counts.edits.get(),
        counts.wipes.get(),
        total.logins,
        failed.join(", "),
        total.revoked,
        last.num_milliseconds(),
        counts.stale.get(),
        counts.unproven.get(),
        arena.watch.found(),
        counts.late.get(),
    )
}

fn failed(arena: &Arena, strategy: Strategy) -> String {
    let groups =
        Group::ALL.map(|group| format!("{group} {}", arena.tallies.of(strategy, group).failed));
    format!("{strategy:?} {}", groups.join(" "))
}
