//! Lines with figures: one every 10 s, and one at the end.

use std::time::Duration;

use rotation::Strategy;
use testkit::{leak_scan::LeakReport, login_tally::LoginTally};

use crate::{clients::Group, context::Context};

/// Figures of the whole run.
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) elapsed: Duration,
    /// `None` if there was no scan.
    pub(crate) leaks: Option<LeakReport>,
    /// Number of violations.
    pub(crate) violations: usize,
}

/// Returns the figures so far.
pub(crate) fn progress_line(context: &Context, elapsed: Duration) -> String {
    let logins = context.logins.total();
    let faults: u64 = context.simulator.counters().faults.values().sum();
    let outcomes =
        [Strategy::Staged, Strategy::Rotate].map(|strategy| context.checker.outcomes(strategy));
    let rotations: u64 = outcomes.iter().map(|outcomes| outcomes.total()).sum();
    format!(
        "{:>5} s  {rotations} rotations, {} kills, {} pauses, {} API server restarts, {faults} \
         faults, {} logins, {} failed, {} by revoke",
        elapsed.as_secs(),
        context.counts.kills.get(),
        context.counts.pauses.get(),
        context.counts.api_server_restarts.get(),
        logins.logins,
        logins.failed,
        logins.failed_by_revoke,
    )
}

/// Returns all figures.
pub(crate) fn closing_line(context: &Context, run: &Run) -> String {
    let counts = &context.counts;
    let by_kind = context.simulator.counters().faults;
    let faults: u64 = by_kind.values().sum();
    let by_kind: Vec<_> = by_kind.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let logins = context.logins.total();
    let last_failure =
        group_logins(context, Strategy::Rotate, Group::Plain).last_failure_after_change;
    let leaks = match &run.leaks {
        Some(LeakReport { values, bytes, found_in, .. }) => {
            format!("{} in {} KiB, searched for {values} values", found_in.len(), bytes / 1024)
        }
        None => "not searched".to_owned(),
    };
    format!(
        "seed {}, {} s, {} clients; rotations: Staged {}, Rotate {}; {} kills, {} pauses, {} API \
         server restarts, {} jumps of its clock; {faults} faults ({}); {} requests, {} of them revoke; {} dashboard \
         rotations, {} Secrets deleted, {} edited, {} statuses removed, {} fights with another \
         controller, {} lost responses with a rejected retry; {} logins; failed: {}, {}; \
         by revoke {}; last failed login {} ms after Auth0's change (Rotate, plain); {} changes by \
         a paused process; {} changes without a record after a kill of the API server; {} writes \
         without an audit event; {} late logins not counted; leaks: {leaks}; violated invariants: {}",
        run.seed,
        run.elapsed.as_secs(),
        context.clients().len(),
        context.checker.outcomes(Strategy::Staged),
        context.checker.outcomes(Strategy::Rotate),
        counts.kills.get(),
        counts.pauses.get(),
        counts.api_server_restarts.get(),
        counts.clock_jumps.get(),
        by_kind.join(", "),
        counts.requests.get(),
        counts.revocations.get(),
        counts.dashboard_rotations.get(),
        counts.deletions.get(),
        counts.edits.get(),
        counts.wipes.get(),
        counts.fights.get(),
        counts.lost_then_rejected.get(),
        logins.logins,
        failed_logins(context, Strategy::Staged),
        failed_logins(context, Strategy::Rotate),
        logins.failed_by_revoke,
        last_failure.as_millis(),
        counts.stale_changes.get(),
        counts.unproven_changes.get(),
        context.checker.missed_writes(),
        counts.late_logins.get(),
        run.violations,
    )
}

fn failed_logins(context: &Context, strategy: Strategy) -> String {
    let groups = Group::ALL.map(|group| {
        let failed = group_logins(context, strategy, group).failed;
        format!("{group} {failed}")
    });
    format!("{strategy:?} {}", groups.join(" "))
}

fn group_logins(context: &Context, strategy: Strategy, group: Group) -> LoginTally {
    let clients = context.clients().iter();
    let clients = clients.filter(|client| client.strategy == strategy && client.group == group);
    clients.map(|client| context.logins.of(&client.name)).sum()
}
