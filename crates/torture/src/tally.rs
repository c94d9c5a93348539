//! Counting logins.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;
use rotation::Strategy;

use crate::fleet::{Group, Member};

/// Why a login failed, as far as the one who counts can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It should not have.
    Plain,
    /// A request `revoke` ended the secret that consumers had, as it is meant to.
    Revoked,
}

/// The logins of some clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) logins: u64,
    pub(crate) failed: u64,
    pub(crate) revoked: u64,
    /// The longest time after Auth0's switch at which a login failed, `revoke` apart.
    pub(crate) last_after_switch: TimeDelta,
}

impl Tally {
    fn fail(&mut self, failure: Failure, since_switch: TimeDelta) {
        match failure {
            Failure::Revoked => self.revoked += 1,
            Failure::Plain => {
                self.failed += 1;
                self.last_after_switch = self.last_after_switch.max(since_switch);
            }
        }
    }

    fn add(&mut self, other: &Self) {
        self.logins += other.logins;
        self.failed += other.failed;
        self.revoked += other.revoked;
        self.last_after_switch = self.last_after_switch.max(other.last_after_switch);
    }
}

/// All logins, by strategy and group.
#[derive(Default)]
pub(crate) struct Tallies(Mutex<BTreeMap<(bool, Group), Tally>>);

fn key(strategy: Strategy, group: Group) -> (bool, Group) {
    (strategy == Strategy::Staged, group)
}

impl Tallies {
    /// Counts a login.
    pub(crate) fn count(&self, member: &Member) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(key(member.strategy, member.group)).or_default().logins += 1;
    }

    /// Counts one of them as failed.
    pub(crate) fn fail(&self, member: &Member, failure: Failure, since_switch: TimeDelta) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = all.entry(key(member.strategy, member.group)).or_default();
        tally.fail(failure, since_switch);
    }

    pub(crate) fn of(&self, strategy: Strategy, group: Group) -> Tally {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&key(strategy, group)).cloned().unwrap_or_default()
    }

    pub(crate) fn total(&self) -> Tally {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().fold(Tally::default(), |mut total, tally| {
            total.add(tally);
            total
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::muster;

    #[test]
    fn logins_are_counted_by_strategy_and_group() {
        let tallies = Tallies::default();
        let members = muster(4);
        let ms = TimeDelta::milliseconds;
        for member in [0, 1, 1, 1, 3] {
            tallies.count(&members[member]);
        }
        tallies.fail(&members[1], Failure::Plain, ms(40));
        tallies.fail(&members[1], Failure::Plain, ms(30));
        tallies.fail(&members[1], Failure::Revoked, ms(50));
        tallies.fail(&members[3], Failure::Plain, ms(60));
        let staged = tallies.of(Strategy::Staged, Group::Plain);
        assert_eq!((staged.logins, staged.failed), (1, 0));
        let rotated = tallies.of(Strategy::Rotate, Group::Plain);
        assert_eq!((rotated.logins, rotated.failed, rotated.revoked), (3, 2, 1));
        assert_eq!(rotated.last_after_switch, ms(40), "revoke apart");
        let total = tallies.total();
        assert_eq!((total.logins, total.failed, total.last_after_switch), (5, 3, ms(60)));
        assert_eq!(tallies.of(Strategy::Staged, Group::Wiped), Tally::default());
    }
}
