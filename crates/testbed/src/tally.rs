//! Counting logins.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How a login went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The first secret that was tried was accepted.
    First,
    /// A later one of the list was.
    Later,
    /// None of the list was, and then one of a list read afresh.
    Reread,
    /// None was. The list that was read afresh lacks the secret that Auth0 has: Auth0 has changed
    /// it, and it isn't published yet.
    FailedUnpublished,
    /// None was, although the secret that Auth0 has was in the list that was read afresh.
    Failed,
}

impl Outcome {
    pub fn is_failure(self) -> bool {
        matches!(self, Self::FailedUnpublished | Self::Failed)
    }
}

/// The logins of one application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub logins: u64,
    pub later: u64,
    pub reread: u64,
    pub failed_unpublished: u64,
    pub failed: u64,
    /// The longest time that one consumer was without an accepted login.
    pub longest_gap: Duration,
}

impl Tally {
    /// Counts a login, which ended `since_accepted` after its consumer's last accepted one.
    pub fn count(&mut self, outcome: Outcome, since_accepted: Duration) {
        self.logins += 1;
        match outcome {
            Outcome::First => {}
            Outcome::Later => self.later += 1,
            Outcome::Reread => self.reread += 1,
            Outcome::FailedUnpublished => self.failed_unpublished += 1,
            Outcome::Failed => self.failed += 1,
        }
        self.longest_gap = self.longest_gap.max(since_accepted);
    }

    /// Logins that needed more than one try.
    pub fn second_tries(&self) -> u64 {
        self.later + self.reread
    }

    pub fn all_failed(&self) -> u64 {
        self.failed + self.failed_unpublished
    }

    fn add(&mut self, other: &Self) {
        self.logins += other.logins;
        self.later += other.later;
        self.reread += other.reread;
        self.failed_unpublished += other.failed_unpublished;
        self.failed += other.failed;
        self.longest_gap = self.longest_gap.max(other.longest_gap);
    }
}

/// The logins of all applications, by the application's name.
#[derive(Clone, Default)]
pub struct Tallies(Arc<Mutex<BTreeMap<String, Tally>>>);

impl Tallies {
    pub fn count(&self, application: &str, outcome: Outcome, since_accepted: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(application.to_owned()).or_default().count(outcome, since_accepted);
    }

    pub fn of(&self, application: &str) -> Tally {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(application).copied().unwrap_or_default()
    }

    pub fn total(&self) -> Tally {
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

    #[test]
    fn each_outcome_has_its_own_number() {
        let tallies = Tallies::default();
        let ms = Duration::from_millis;
        tallies.count("a", Outcome::First, ms(300));
        tallies.count("a", Outcome::Later, ms(310));
        tallies.count("a", Outcome::Reread, ms(305));
        tallies.count("b", Outcome::FailedUnpublished, ms(320));
        tallies.count("b", Outcome::Failed, ms(640));
        tallies.count("b", Outcome::First, ms(900));
        let (a, b) = (tallies.of("a"), tallies.of("b"));
        assert_eq!((a.logins, a.second_tries(), a.all_failed()), (3, 2, 0));
        assert_eq!(a.longest_gap, ms(310));
        assert_eq!((b.logins, b.failed, b.failed_unpublished), (3, 1, 1));
        assert_eq!(b.longest_gap, ms(900), "failed logins don't end a gap");
        let total = tallies.total();
        assert_eq!((total.logins, total.all_failed(), total.longest_gap), (6, 2, ms(900)));
        assert_eq!(tallies.of("nobody"), Tally::default());
    }
}
