//! Outcomes of rotations.

use std::{fmt, iter::Sum};

use rotation::Outcome;

/// Number of ended rotations by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OutcomeCounts {
    pub(crate) completed: u64,
    pub(crate) superseded: u64,
    pub(crate) aborted: u64,
    pub(crate) rejected: u64,
}

impl OutcomeCounts {
    pub(crate) fn total(self) -> u64 {
        self.completed + self.superseded + self.aborted + self.rejected
    }

    pub(super) fn count(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Completed => &mut self.completed,
            Outcome::Superseded => &mut self.superseded,
            Outcome::Aborted => &mut self.aborted,
            Outcome::Rejected => &mut self.rejected,
        } += 1;
    }
}

impl Sum for OutcomeCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |total, counts| Self {
            completed: total.completed + counts.completed,
            superseded: total.superseded + counts.superseded,
            aborted: total.aborted + counts.aborted,
            rejected: total.rejected + counts.rejected,
        })
    }
}

impl fmt::Display for OutcomeCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { completed, superseded, aborted, rejected } = self;
        write!(
            f,
            "{} (completed {completed}, superseded {superseded}, aborted {aborted}, rejected \
             {rejected})",
            self.total()
        )
    }
}
