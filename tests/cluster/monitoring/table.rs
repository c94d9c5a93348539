//! Compares the table of metrics in the documentation with the metrics of the operator.

use std::collections::{BTreeMap, BTreeSet};

/// Metrics by name.
type Metrics = BTreeMap<String, Description>;

#[derive(Debug, PartialEq, Eq)]
struct Description {
    type_: String,
    labels: BTreeSet<String>,
}

/// Asserts that the documentation lists the same metrics as `exported`, with their types and
/// labels.
pub(super) fn assert_documented(documentation: &str, exported: &str) {
    let (documented, exported) = (parse_table(documentation), parse_exposition(exported));
    let undocumented: Vec<_> =
        exported.keys().filter(|name| !documented.contains_key(*name)).collect();
    assert!(undocumented.is_empty(), "not in the table: {undocumented:#?}");
    let unknown: Vec<_> = documented.keys().filter(|name| !exported.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "in the table, and not exported: {unknown:#?}");
    assert_eq!(documented, exported);
}

/// Parses the rows `| name | type | labels | meaning |`.
fn parse_table(documentation: &str) -> Metrics {
    documentation.lines().filter_map(parse_row).collect()
}

fn parse_row(line: &str) -> Option<(String, Description)> {
    let cells: Vec<_> = line.strip_prefix("| `")?.split('|').collect();
    let [name, type_, labels, meaning, ..] = cells.as_slice() else { return None };
    let name = name.trim().trim_end_matches('`').to_owned();
    if !name.starts_with("auth0_rotator_") && !name.starts_with("process_") {
        return None;
    }
    assert!(!meaning.trim().is_empty(), "{name} has no meaning");
    // Labels are between backticks.
    let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((name, Description { type_: type_.trim().to_owned(), labels }))
}

/// Parses the Prometheus text format.
fn parse_exposition(text: &str) -> Metrics {
    let mut metrics = Metrics::new();
    for line in text.lines() {
        if let Some(header) = line.strip_prefix("# TYPE ") {
            let (name, type_) = header.split_once(' ').unwrap();
            let description = Description { type_: type_.to_owned(), labels: BTreeSet::new() };
            metrics.insert(name.to_owned(), description);
            continue;
        }
        let Some((name, rest)) = line.split_once('{').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let family =
            ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let name = family.filter(|family| metrics.contains_key(*family)).unwrap_or(name);
        let (labels, _) = rest.rsplit_once('}').unwrap();
        // The values of labels contain no commas.
        let names = labels.split(',').filter_map(|label| label.split_once('='));
        let description = metrics.get_mut(name).unwrap();
        description
            .labels
            .extend(names.map(|(name, _)| name.to_owned()).filter(|name| name != "le"));
    }
    metrics
}
