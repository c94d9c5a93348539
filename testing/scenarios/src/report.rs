//! Results of a scenario, the assertions about them, and the printed report.

use std::time::Duration;

use testkit::{
    assertion::{Assertion, AssertionResult},
    leak_scan::LeakReport,
    login_tally::LoginTally,
    table::table,
    terminal::{Style, Terminal},
};

use crate::application_result::ApplicationResult;

const TITLES: [&str; 7] =
    ["application", "strategy", "rotations", "logins", "second try", "failed", "longest gap"];

/// Results of every scenario.
#[derive(Clone, Debug, Default)]
pub struct Results {
    pub applications: Vec<ApplicationResult>,
    /// `None` if there was no scan.
    pub leaks: Option<LeakReport>,
    /// Why the scenario did not complete.
    pub aborted: Option<String>,
}

impl Results {
    /// Returns an assertion. If it isn't met in an aborted scenario, it was skipped.
    pub fn assertion(
        &self,
        is_met: bool,
        statement: &'static str,
        detail: impl Into<String>,
    ) -> Assertion {
        let result = match is_met {
            true => AssertionResult::Passed,
            false if self.aborted.is_some() => AssertionResult::Skipped,
            false => AssertionResult::Failed,
        };
        Assertion { result, statement, detail: detail.into() }
    }

    /// Asserts that a number of failures is zero. If nothing could have failed, it was skipped.
    pub fn no_failures(
        &self,
        failures: u64,
        is_tested: bool,
        statement: &'static str,
        detail: String,
    ) -> Assertion {
        let result = match failures {
            0 if is_tested => AssertionResult::Passed,
            0 => AssertionResult::Skipped,
            _ => AssertionResult::Failed,
        };
        Assertion { result, statement, detail }
    }

    /// Asserts that no secret was found in what was scanned.
    pub fn no_leak(&self, statement: &'static str) -> Assertion {
        let Some(leaks) = &self.leaks else {
            let detail = "there was no scan".to_owned();
            return Assertion { result: AssertionResult::Skipped, statement, detail };
        };
        let result = leaks.found_in.is_empty().into();
        Assertion { result, statement, detail: leaks.detail() }
    }

    pub fn application(&self, name: &str) -> Option<&ApplicationResult> {
        self.applications.iter().find(|application| application.name == name)
    }

    /// Returns whether the scenario completed and every assertion passed.
    pub fn have_passed(&self, assertions: &[Assertion]) -> bool {
        let passed = |assertion: &Assertion| assertion.result == AssertionResult::Passed;
        self.aborted.is_none() && assertions.iter().all(passed)
    }

    /// Prints the table of applications.
    pub fn print_applications(&self, terminal: &Terminal) {
        terminal.heading("Summary");
        let row = |application: &ApplicationResult| {
            let [logins, second_tries, failed, gap] = login_cells(&application.logins);
            let strategy = format!("{:?}", application.strategy);
            let rotations = application.rotations().to_string();
            [application.name.clone(), strategy, rotations, logins, second_tries, failed, gap]
        };
        let rows: Vec<_> = self.applications.iter().map(row).collect();
        print_table(terminal, TITLES, &rows);
    }

    /// Prints the assertions, and whether the scenario has passed.
    pub fn print_assertions(&self, terminal: &Terminal, assertions: &[Assertion]) {
        for assertion in assertions {
            terminal.line(&assertion.format(terminal));
        }
        terminal.line("");
        if let Some(reason) = &self.aborted {
            terminal.line(&format!("{}{reason}\n", terminal.paint(Style::Bad, "Aborted: ")));
        }
        let (style, text) = match (self.have_passed(assertions), &self.aborted) {
            (true, _) => (Style::Good, "All assertions passed."),
            (false, None) => (Style::Bad, "Not all assertions passed."),
            (false, Some(_)) => (Style::Bad, "The scenario was aborted, so the result is unknown."),
        };
        terminal.line(&terminal.paint(style, text));
    }
}

/// Prints a table and an empty line.
pub fn print_table<const N: usize>(terminal: &Terminal, titles: [&str; N], rows: &[[String; N]]) {
    for line in table(titles, rows) {
        terminal.line(&line);
    }
    terminal.line("");
}

/// Returns the last four cells of a row: logins, second tries, failures, and the longest gap.
pub fn login_cells(tally: &LoginTally) -> [String; 4] {
    [
        tally.logins.to_string(),
        tally.second_tries().to_string(),
        tally.all_failed().to_string(),
        hundredths(tally.longest_gap),
    ]
}

/// Formats a duration as in `0.31 s`.
pub fn hundredths(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
