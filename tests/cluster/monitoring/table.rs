//! The table of metrics in the documentation against what the operator tells.

use std::collections::{BTreeMap, BTreeSet};

/// Type and labels of each metric, by name.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

/// Panics with the difference, if there is one.
pub(super) fn compare(document: &str, told: &str) {
    let (written, told) = (written(document), told_by(told));
    let missing: Vec<_> = told.iter().filter(|(name, _)| !written.contains_key(*name)).collect();
    assert!(missing.is_empty(), "not in the table: {missing:#?}");
    let surplus: Vec<_> = written.keys().filter(|name| !told.contains_key(*name)).collect();
    assert!(surplus.is_empty(), "in the table, and not told: {surplus:#?}");
    assert_eq!(written, told);
}

/// The rows `| name | type | labels | meaning |`.
fn written(document: &str) -> Metrics {
    let words = |cell: &str| {
        let inside = cell.split('`').skip(1).step_by(2);
        inside.map(str::to_owned).collect::<Vec<_>>()
    };
    let row = |line: &str| {
        let cells: Vec<_> = line.strip_prefix("| `")?.split('|').collect();
        let [name, kind, labels, meaning, ..] = cells.as_slice() else { return None };
        let name = name.trim().trim_end_matches('`').to_owned();
        if !name.starts_with("auth0_rotator_") && !name.starts_with("process_") {
            return None;
        }
        assert!(!meaning.trim().is_empty(), "{name} has no meaning");
        Some((name, (kind.trim().to_owned(), words(labels).into_iter().collect())))
    };
    document.lines().filter_map(row).collect()
}

/// What Prometheus' text format says.
fn told_by(text: &str) -> Metrics {
    let mut metrics = Metrics::new();
    for line in text.lines() {
        if let Some(about) = line.strip_prefix("# TYPE ") {
            let (name, kind) = about.split_once(' ').unwrap();
            metrics.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
            continue;
        }
        let Some((name, rest)) = line.split_once('{').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let name = family.filter(|family| metrics.contains_key(*family)).unwrap_or(name);
        let (labels, _) = rest.rsplit_once('}').unwrap();
        // No value of a label here has a comma.
        let names = labels.split(',').filter_map(|label| label.split_once('='));
        let known = &mut metrics.get_mut(name).unwrap().1;
        known.extend(names.map(|(name, _)| name.to_owned()).filter(|name| name != "le"));
    }
    metrics
}
