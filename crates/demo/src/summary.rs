//! The summary, as it is printed.

use rig::terminal::{Style, Terminal};
use testbed::account::Account;
use testbed::table::table;

use crate::verdict::{Facts, all_held, promises};

const TITLES: [&str; 7] =
    ["application", "strategy", "rotations", "logins", "second try", "failed", "longest gap"];

/// Prints the summary.
pub(crate) fn print(terminal: &Terminal, facts: &Facts) {
    terminal.heading("Summary");
    let rows: Vec<_> = facts.accounts.iter().map(row).collect();
    for line in table(TITLES, &rows) {
        terminal.line(&line);
    }
    terminal.line("");
    terminal
        .line("second try: the secret that a consumer tried first was refused, and another one");
    terminal.line("            of the list, or of the Secret read afresh, was accepted");
    terminal.line("longest gap: the longest time that one consumer was without an accepted login;");
    terminal.line("             each tries every 0.3 s");
    terminal.line("");
    for promise in promises(facts) {
        terminal.line(&promise.told(terminal));
    }
    terminal.line("");
    if let Some(why) = &facts.broken_off {
        let text = terminal.paint(Style::Bad, "The demo broke off: ");
        terminal.line(&format!("{text}{why}"));
        terminal.line("");
    }
    let (style, text) = match (all_held(facts), &facts.broken_off) {
        (true, _) => (Style::Good, "Everything that is promised held."),
        (false, None) => (Style::Bad, "Not everything that is promised held."),
        (false, Some(_)) => (Style::Bad, "What is promised was not shown to hold."),
    };
    terminal.line(&terminal.paint(style, text));
}

fn row(account: &Account) -> [String; 7] {
    let Account { name, strategy, tally, .. } = account;
    [
        name.clone(),
        strategy.clone(),
        account.rotations().to_string(),
        tally.logins.to_string(),
        tally.second_tries().to_string(),
        tally.all_failed().to_string(),
        format!("{:.2} s", tally.longest_gap.as_secs_f64()),
    ]
}
