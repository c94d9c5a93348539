//! The demo's assertions and its summary.

use std::time::Duration;

use rotation::Cause;
use scenarios::{
    application_result::ApplicationResult,
    report::{Results, hundredths},
};
use testkit::{assertion::Assertion, terminal::Terminal};

use crate::scenario::{Observations, REQUESTED, SCHEDULED, STAGED};

/// Results that the assertions check.
#[derive(Clone, Debug, Default)]
pub(crate) struct DemoResults {
    pub(crate) common: Results,
    pub(crate) observed: Observations,
}

impl DemoResults {
    /// Prints the summary.
    pub(crate) fn print(&self, terminal: &Terminal) {
        self.common.print_applications(terminal);
        terminal
            .line("second try: Auth0 rejected the first value that a consumer tried, and accepted");
        terminal.line("            another one of the list, or of the Secret as it was read again");
        terminal
            .line("longest gap: the longest time of one consumer without an accepted login; each");
        terminal.line("             consumer logs in every 0.3 s");
        terminal.line("");
        self.common.print_assertions(terminal, &self.assertions());
    }

    pub(crate) fn have_passed(&self) -> bool {
        self.common.have_passed(&self.assertions())
    }

    fn assertions(&self) -> Vec<Assertion> {
        vec![
            self.no_login_fails(),
            self.rotations_complete(),
            self.one_value_is_left(),
            self.secrets_are_restored(),
            self.lost_response_is_read_back(),
            self.rotation_survives_a_kill(),
            self.common
                .no_leak("no secret is in the operator's logs, metrics or Kubernetes objects"),
        ]
    }

    fn no_login_fails(&self) -> Assertion {
        let applications = &self.common.applications;
        let logins: u64 = applications.iter().map(|app| app.logins.logins).sum();
        let failed: u64 = applications.iter().map(ApplicationResult::preventable_failures).sum();
        let all_failed: u64 = applications.iter().map(|app| app.logins.all_failed()).sum();
        let mut detail = format!("{failed} of {logins} failed");
        if all_failed > failed {
            let more = all_failed - failed;
            detail.push_str(&format!(
                "; {more} more failed between Auth0's change and its publication, which only \
                 Staged prevents"
            ));
        }
        let is_tested = logins > 0 && applications.iter().all(|app| app.logins.logins > 0);
        let statement = "no login fails after a new secret is published (with Staged, none at all)";
        self.common.no_failures(failed, is_tested, statement, detail)
    }

    fn rotations_complete(&self) -> Assertion {
        let applications = &self.common.applications;
        let problems = applications.iter().flat_map(|application| {
            let Expected { cause, at_least } = expected(&application.name);
            application.rotation_problems(cause, at_least..=u64::MAX)
        });
        let problems: Vec<_> = problems.collect();
        let completed = |cause| -> u64 {
            applications.iter().map(|application| application.state.completed(cause)).sum()
        };
        let mut detail = problems.join("; ");
        if problems.is_empty() {
            detail = format!(
                "{} by schedule, {} on request; Auth0 has counted the same",
                completed(Cause::Schedule),
                completed(Cause::Request)
            );
        }
        let statement = "every due rotation happens once and completes";
        self.common.assertion(problems.is_empty(), statement, detail)
    }

    fn one_value_is_left(&self) -> Assertion {
        let applications = &self.common.applications;
        let wrong = applications.iter().filter(|application| !application.has_one_accepted_value());
        let wrong: Vec<_> = wrong.map(|application| application.name.as_str()).collect();
        let all = applications.len();
        let mut detail = format!("{} of {all} Secrets", all - wrong.len());
        if !wrong.is_empty() {
            detail.push_str(&format!("; not that of {}", wrong.join(", ")));
        }
        let statement = "at the end, each Secret has one value, which Auth0 accepts";
        self.common.assertion(all > 0 && wrong.is_empty(), statement, detail)
    }

    fn secrets_are_restored(&self) -> Assertion {
        let Observations { deleted_for, edited_for, .. } = self.observed;
        let detail = format!("{}, {}", after("deletion", deleted_for), after("edit", edited_for));
        let is_met = deleted_for.is_some() && edited_for.is_some();
        self.common.assertion(is_met, "a deleted or edited Secret is restored", detail)
    }

    fn lost_response_is_read_back(&self) -> Assertion {
        let statement = "a new secret is read back from Auth0 if its response is lost";
        let Some(after) = self.observed.read_back_after else {
            return self.common.assertion(false, statement, "not observed");
        };
        let calls = self.common.application(REQUESTED).map_or(0, |app| app.rotate_calls);
        let times = if calls == 1 { "once".to_owned() } else { format!("{calls} times") };
        let after = hundredths(after);
        let detail = format!("published after {after}; rotate-secret was called {times}");
        Assertion { result: (calls == 1).into(), statement, detail }
    }

    fn rotation_survives_a_kill(&self) -> Assertion {
        let statement = "a rotation completes although the operator is killed during it";
        let Some(down) = self.observed.killed_for else {
            return self.common.assertion(false, statement, "not observed");
        };
        let is_met = self.common.application(STAGED).is_some_and(|application| {
            let Expected { cause, at_least } = expected(STAGED);
            application.state.completed(cause) >= at_least && application.state.not_completed == 0
        });
        let end = if is_met { "completed" } else { "did not complete" };
        let down = down.as_secs_f64();
        let detail = format!("the operator was down for {down:.1} s; the rotation {end}");
        self.common.assertion(is_met, statement, detail)
    }
}

/// The rotations that the scenario causes for an application.
struct Expected {
    cause: Cause,
    at_least: u64,
}

fn expected(application: &str) -> Expected {
    match application {
        SCHEDULED => Expected { cause: Cause::Schedule, at_least: 2 },
        STAGED => Expected { cause: Cause::Request, at_least: 2 },
        REQUESTED => Expected { cause: Cause::Request, at_least: 1 },
        _ => Expected { cause: Cause::Schedule, at_least: 0 },
    }
}

fn after(event: &str, duration: Option<Duration>) -> String {
    match duration {
        Some(duration) => format!("{} after the {event}", hundredths(duration)),
        None => format!("not observed after the {event}"),
    }
}

#[cfg(test)]
#[path = "assertions_tests.rs"]
mod tests;
