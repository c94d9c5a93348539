//! The annotation by which the operator restarts a workload. It has an entry for each resource that
//! the restart serves: `<UID>=<number of the rotation>-<level>`.
//!
//! A time would prove less: others restart workloads as well, and their clocks may be ahead.

use std::{collections::BTreeMap, fmt};

use rotation::{RestartLevel, RestartNeed};

/// Longest annotation that is read, in bytes. One entry takes about 50.
const LENGTH_LIMIT: usize = 64 * 1024;

/// The rotations that a workload was restarted for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RestartStamp(BTreeMap<String, Coverage>);

/// How far a rotation was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Coverage {
    pub(super) number: u64,
    pub(super) level: RestartLevel,
}

impl RestartStamp {
    /// Parses an annotation. Entries that cannot be parsed are dropped.
    pub(super) fn parse(text: &str) -> Self {
        if text.len() > LENGTH_LIMIT {
            return Self::default();
        }
        let entries = text.split(',').filter_map(|entry| {
            let (uid, coverage) = entry.split_once('=')?;
            let (number, level) = coverage.split_once('-')?;
            let level = match level {
                "staged" => RestartLevel::Staged,
                "promoted" => RestartLevel::Promoted,
                _ => return None,
            };
            Some((uid.to_owned(), Coverage { number: number.parse().ok()?, level }))
        });
        Self(entries.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether the workload was restarted as a resource needs it.
    pub(super) fn covers(&self, uid: &str, need: &RestartNeed) -> bool {
        let coverage = self.0.get(uid);
        coverage
            .is_some_and(|coverage| coverage.number == need.number && coverage.level >= need.level)
    }

    /// Returns the stamp of a restart that a resource needs. `others` are the other resources that
    /// restart the workload, as far as they were seen to have published.
    pub(super) fn renewed(
        &self,
        uid: &str,
        need: &RestartNeed,
        others: &BTreeMap<String, Option<Coverage>>,
    ) -> Self {
        let mut entries = BTreeMap::new();
        for (other, seen) in others {
            let known = self.0.get(other).copied();
            // The other resource may have been restarted since it was seen.
            if let Some(coverage) = known.max(*seen) {
                entries.insert(other.clone(), coverage);
            }
        }
        entries.insert(uid.to_owned(), Coverage { number: need.number, level: need.level });
        Self(entries)
    }
}

impl fmt::Display for RestartStamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (uid, Coverage { number, level })) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            let level = match level {
                RestartLevel::Staged => "staged",
                RestartLevel::Promoted => "promoted",
            };
            write!(f, "{separator}{uid}={number}-{level}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn need(number: u64, level: RestartLevel) -> RestartNeed {
        RestartNeed { number, level, since: DateTime::UNIX_EPOCH }
    }

    #[test]
    fn covers_the_same_rotation_only() {
        let stamp = RestartStamp::parse("u=12-promoted,v=3-staged,w=x,,z=1-later");
        assert_eq!(stamp.to_string(), "u=12-promoted,v=3-staged");
        for (uid, number, level, expected) in [
            ("u", 12, RestartLevel::Promoted, true),
            ("u", 12, RestartLevel::Staged, true),
            ("u", 11, RestartLevel::Staged, false),
            ("u", 13, RestartLevel::Staged, false),
            ("v", 3, RestartLevel::Staged, true),
            ("v", 3, RestartLevel::Promoted, false),
            ("w", 1, RestartLevel::Staged, false),
        ] {
            assert_eq!(stamp.covers(uid, &need(number, level)), expected, "{uid} {number}");
        }
        assert!(RestartStamp::parse(&"u=1-staged,".repeat(10_000)).is_empty());
    }

    #[test]
    fn restart_serves_all_resources_that_have_published() {
        let stamp = RestartStamp::parse("a=1-staged,b=5-staged,gone=7-staged");
        let seen = |number, level| Some(Coverage { number, level });
        let others = BTreeMap::from([
            ("b".to_owned(), seen(4, RestartLevel::Promoted)),
            ("c".to_owned(), seen(2, RestartLevel::Staged)),
            ("d".to_owned(), None),
        ]);
        let renewed = stamp.renewed("a", &need(2, RestartLevel::Staged), &others);
        assert_eq!(renewed.to_string(), "a=2-staged,b=5-staged,c=2-staged");
    }
}
