//! Tables of the results, for the terminal and in Markdown.

use std::fmt::Write as _;

use serde_json::Value;
use testkit::terminal::Terminal;

use crate::{
    figures::{self as f, ALL, Figure},
    results::{Results, Series},
    subject::Subject,
};

/// Figures in which the operator is compared with External Secrets Operator.
static COMPARED: [&Figure; 8] = [
    &f::READY,
    &f::REQUESTS,
    &f::CPU,
    &f::AUTH0,
    &f::RESIDENT,
    &f::RESTART,
    &f::RESTART_REQUESTS,
    &f::STEADY_CPU,
];

/// Figures of the operator, and one column for each number of objects.
struct Table {
    titles: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn of(results: &Results, subject: Subject) -> Self {
        let sizes = results.objects(subject);
        let mut titles = vec!["figure".to_owned()];
        titles.extend(sizes.iter().map(|objects| format!("{} objects", thousands(*objects))));
        let mut rows = Vec::new();
        for figure in ALL {
            let cell = |objects: &usize| {
                let spread = results.spread(Series { subject, objects: *objects }, figure);
                spread.map_or_else(|| "–".to_owned(), |spread| spread.format(figure.unit))
            };
            let cells: Vec<_> = sizes.iter().map(cell).collect();
            if cells.iter().any(|cell| cell != "–") {
                let mut row = vec![title(figure)];
                row.extend(cells);
                rows.push(row);
            }
        }
        Self { titles, rows }
    }

    /// Compares the medians with those of External Secrets Operator, with the same numbers of objects.
    fn comparison(results: &Results, other: Subject) -> Self {
        let mut rows = Vec::new();
        for objects in results.objects(other) {
            for figure in COMPARED {
                let ours = results.spread(Series { subject: Subject::Rotator, objects }, figure);
                let theirs = results.spread(Series { subject: other, objects }, figure);
                let (Some(ours), Some(theirs)) = (ours, theirs) else { continue };
                let ratio = if theirs.median > 0.0 {
                    format!("{:.2}", ours.median / theirs.median)
                } else {
                    "–".to_owned()
                };
                rows.push(vec![
                    title(figure),
                    thousands(objects),
                    ours.format(figure.unit),
                    theirs.format(figure.unit),
                    ratio,
                ]);
            }
        }
        let titles = ["figure", "objects", Subject::Rotator.title(), other.title(), "ratio"];
        Self { titles: titles.map(str::to_owned).to_vec(), rows }
    }

    fn lines(&self) -> Vec<String> {
        let all = || std::iter::once(&self.titles).chain(&self.rows);
        let width = |column: usize| all().map(|row| row[column].chars().count()).max();
        let widths: Vec<_> =
            (0..self.titles.len()).map(|column| width(column).unwrap_or_default()).collect();
        let format_row = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
                if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            cells.collect::<Vec<_>>().join("  ")
        };
        all().map(format_row).collect()
    }

    fn markdown(&self) -> String {
        let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut rule = vec!["---".to_owned()];
        rule.resize(self.titles.len(), "---:".to_owned());
        let mut text = row(&self.titles) + &row(&rule);
        for cells in &self.rows {
            text.push_str(&row(cells));
        }
        text
    }
}

fn title(figure: &Figure) -> String {
    match figure.unit.symbol() {
        "" => figure.title.to_owned(),
        symbol => format!("{} ({symbol})", figure.title),
    }
}

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Prints the tables.
pub(crate) fn print(terminal: &Terminal, results: &Results) {
    for subject in results.subjects() {
        terminal.heading(subject.title());
        for line in Table::of(results, subject).lines() {
            terminal.line(&line);
        }
        for line in requests(results, subject) {
            terminal.line(&line);
        }
        if subject != Subject::Rotator {
            terminal.line("");
            for line in Table::comparison(results, subject).lines() {
                terminal.line(&line);
            }
        }
    }
}

/// Describes the requests per object of the last run with each number of objects.
fn requests(results: &Results, subject: Subject) -> Vec<String> {
    let mut lines = Vec::new();
    for objects in results.objects(subject) {
        let mut samples = results.samples.iter().rev();
        let sample = samples.find(|sample| {
            sample.subject == subject && sample.objects == objects && !sample.requests.is_empty()
        });
        let Some(sample) = sample else { continue };
        for stage in ["import", "rotations", "restart"] {
            if objects > 0
                && let Some(requests) = sample.requests.get(stage)
            {
                let requests = requests.per_object(objects);
                let requests = if requests.is_empty() { "none".to_owned() } else { requests };
                lines.push(format!(
                    "{stage}, {} objects, per object: {requests}",
                    thousands(objects)
                ));
            }
        }
    }
    lines
}

/// Returns the page with all tables and plots.
pub(crate) fn markdown(results: &Results, machine: &Value) -> String {
    let text = |name: &str| match &machine[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut page = String::from(
        "<!-- Generated by `make bench`. DO NOT EDIT. -->\n\n# Results\n\n[README.md](README.md) explains \
         the figures and how they are measured. A cell has the median and, in parentheses, the minimum and \
         the maximum of the runs.\n",
    );
    let _ = write!(
        page,
        "\nMeasured at {} with commit {}, kube-apiserver {} and etcd {}, on {} cores ({}, {}, Linux {}).\n",
        text("time"),
        text("commit"),
        text("kubernetes"),
        text("etcd"),
        text("cores"),
        text("processor"),
        text("memory"),
        text("kernel"),
    );
    for subject in results.subjects() {
        let _ = write!(page, "\n## {}\n\n", subject.title());
        page.push_str(&Table::of(results, subject).markdown());
        let requests = requests(results, subject);
        if !requests.is_empty() {
            page.push_str("\nRequests to the API server:\n\n");
            for line in requests {
                let _ = writeln!(page, "- {line}");
            }
        }
        if subject != Subject::Rotator {
            page.push_str("\nIn comparison:\n\n");
            page.push_str(&Table::comparison(results, subject).markdown());
        }
    }
    page.push_str(
        "\n## Plots\n\n![Memory](memory.svg)\n\n![Time to ready](time-to-ready.svg)\n\n\
         ![Requests](requests.svg)\n",
    );
    page
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::results::Sample;

    fn results() -> Results {
        let mut results = Results::default();
        for (subject, seconds) in [(Subject::Rotator, 2.0), (Subject::EsoTuned, 8.0)] {
            let mut sample = Sample::new(subject, 2_000, 1);
            sample.set(&f::READY, seconds);
            results.samples.push(sample);
        }
        results
    }

    #[test]
    fn page_compares_the_subjects() {
        let page = markdown(&results(), &json!({"cores": 2}));
        assert!(page.contains("| first created → all Ready (s) | 2.00 |"), "{page}");
        let row = "| first created → all Ready (s) | 2,000 | 2.00 | 8.00 | 0.25 |";
        assert!(page.contains(row), "{page}");
        assert!(page.contains("on 2 cores"), "{page}");
    }

    #[test]
    fn columns_are_aligned() {
        let lines = Table::of(&results(), Subject::Rotator).lines();
        assert_eq!(lines[0].chars().count(), lines[1].chars().count());
    }

    #[test]
    fn thousands_are_separated() {
        assert_eq!([0, 500, 2_000, 1_234_567].map(thousands), ["0", "500", "2,000", "1,234,567"]);
    }
}
