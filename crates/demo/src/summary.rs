//! The summary, as it is printed.

use crate::verdict::{Account, Facts, Promise, Verdict, all_held, promises};
use rig::terminal::{Style, Terminal};

const TITLES: [&str; 7] =
    ["application", "strategy", "rotations", "logins", "second try", "failed", "longest gap"];

/// Prints the summary.
pub(crate) fn print(terminal: &Terminal, facts: &Facts) {
    terminal.heading("Summary");
    let rows: Vec<_> = facts.accounts.iter().map(row).collect();
    for line in table(&rows) {
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
        terminal.line(&promised(terminal, &promise));
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

/// Lines up rows below their titles: two columns of words, then numbers.
fn table(rows: &[[String; 7]]) -> Vec<String> {
    let titles = TITLES.map(str::to_owned);
    let all: Vec<_> = std::iter::once(&titles).chain(rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: Vec<_> = (0..TITLES.len()).map(width).collect();
    let line = |row: &&[String; 7]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    all.iter().map(line).collect()
}

fn promised(terminal: &Terminal, promise: &Promise) -> String {
    let (style, word) = match promise.verdict {
        Verdict::Held => (Style::Good, "held  "),
        Verdict::Broken => (Style::Bad, "BROKEN"),
        Verdict::Untested => (Style::Notable, "open  "),
    };
    let word = terminal.paint(style, word);
    format!("{word}  {}\n        {}", promise.promise, promise.evidence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let row = ["checkout", "Rotate", "2", "1204", "7", "0", "0.31 s"].map(str::to_owned);
        let lines = table(&[row]);
        assert_eq!(lines[0].len(), lines[1].len());
        assert_eq!(
            lines[1],
            "checkout     Rotate            2    1204           7       0       0.31 s"
        );
    }
}
