//! Counts of logins by application.

use std::{collections::BTreeMap, iter::Sum, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};

/// Result of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginOutcome {
    /// Auth0 accepted the first value that was tried.
    FirstTry,
    /// Auth0 accepted a later value of the list.
    LaterTry,
    /// Auth0 rejected the whole list, and then accepted a value of the list as it was read again.
    AfterReread,
    /// Auth0 accepted no value, and the list as it was read again lacks the value that Auth0 has:
    /// the secret has changed at Auth0 and isn't published yet.
    FailedBeforePublication,
    /// Auth0 accepted no value, although the list as it was read again has the value that Auth0 has.
    Failed,
    /// Auth0 accepted no value because a `revoke` request had ended the consumer's secret, as
    /// intended.
    FailedByRevoke,
}

impl LoginOutcome {
    pub fn is_failure(self) -> bool {
        matches!(self, Self::FailedBeforePublication | Self::Failed | Self::FailedByRevoke)
    }
}

/// Counts of some logins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoginTally {
    pub logins: u64,
    pub later_tries: u64,
    pub rereads: u64,
    pub failed_before_publication: u64,
    pub failed: u64,
    pub failed_by_revoke: u64,
    /// The longest time without an accepted login of one consumer.
    pub longest_gap: Duration,
    /// The longest time between the change at Auth0 and a failed login, not counting `revoke`.
    pub last_failure_after_change: Duration,
}

impl LoginTally {
    /// Counts the outcome of a login, but not the login itself.
    pub fn count_outcome(&mut self, outcome: LoginOutcome) {
        match outcome {
            LoginOutcome::FirstTry => {}
            LoginOutcome::LaterTry => self.later_tries += 1,
            LoginOutcome::AfterReread => self.rereads += 1,
            LoginOutcome::FailedBeforePublication => self.failed_before_publication += 1,
            LoginOutcome::Failed => self.failed += 1,
            LoginOutcome::FailedByRevoke => self.failed_by_revoke += 1,
        }
    }

    /// Logins that needed more than one try.
    pub fn second_tries(&self) -> u64 {
        self.later_tries + self.rereads
    }

    /// Failed logins, not counting `revoke`.
    pub fn all_failed(&self) -> u64 {
        self.failed + self.failed_before_publication
    }
}

impl Sum for LoginTally {
    fn sum<I: Iterator<Item = Self>>(tallies: I) -> Self {
        tallies.fold(Self::default(), |total, tally| Self {
            logins: total.logins + tally.logins,
            later_tries: total.later_tries + tally.later_tries,
            rereads: total.rereads + tally.rereads,
            failed_before_publication: total.failed_before_publication
                + tally.failed_before_publication,
            failed: total.failed + tally.failed,
            failed_by_revoke: total.failed_by_revoke + tally.failed_by_revoke,
            longest_gap: total.longest_gap.max(tally.longest_gap),
            last_failure_after_change: total
                .last_failure_after_change
                .max(tally.last_failure_after_change),
        })
    }
}

/// Logins by the name of the application. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct LoginTallies(Arc<Mutex<BTreeMap<String, LoginTally>>>);

impl LoginTallies {
    /// Counts a login that ended `since_accepted` after its consumer's last accepted one.
    pub fn count(&self, application: &str, outcome: LoginOutcome, since_accepted: Duration) {
        self.update(application, |tally| {
            tally.logins += 1;
            tally.count_outcome(outcome);
            tally.longest_gap = tally.longest_gap.max(since_accepted);
        });
    }

    /// Counts a login whose outcome is determined later.
    pub fn count_attempt(&self, application: &str) {
        self.update(application, |tally| tally.logins += 1);
    }

    /// Counts the failure of a login, `after_change` after the secret changed at Auth0.
    pub fn count_failure(&self, application: &str, outcome: LoginOutcome, after_change: Duration) {
        self.update(application, |tally| {
            tally.count_outcome(outcome);
            if outcome != LoginOutcome::FailedByRevoke {
                tally.last_failure_after_change = tally.last_failure_after_change.max(after_change);
            }
        });
    }

    pub fn of(&self, application: &str) -> LoginTally {
        self.lock().get(application).copied().unwrap_or_default()
    }

    pub fn total(&self) -> LoginTally {
        self.lock().values().copied().sum()
    }

    fn update(&self, application: &str, update: impl FnOnce(&mut LoginTally)) {
        update(self.lock().entry(application.to_owned()).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, LoginTally>> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn counts_each_outcome_separately() {
        let tallies = LoginTallies::default();
        tallies.count("a", LoginOutcome::FirstTry, MS(300));
        tallies.count("a", LoginOutcome::LaterTry, MS(310));
        tallies.count("a", LoginOutcome::AfterReread, MS(305));
        tallies.count("b", LoginOutcome::FailedBeforePublication, MS(320));
        tallies.count("b", LoginOutcome::Failed, MS(640));
        tallies.count("b", LoginOutcome::FirstTry, MS(900));
        let (a, b) = (tallies.of("a"), tallies.of("b"));
        assert_eq!((a.logins, a.second_tries(), a.all_failed()), (3, 2, 0));
        assert_eq!(a.longest_gap, MS(310));
        assert_eq!((b.logins, b.failed, b.failed_before_publication), (3, 1, 1));
        assert_eq!(b.longest_gap, MS(900), "failed logins don't end a gap");
        let total = tallies.total();
        assert_eq!((total.logins, total.all_failed(), total.longest_gap), (6, 2, MS(900)));
        assert_eq!(tallies.of("unknown"), LoginTally::default());
    }

    #[test]
    fn counts_failures_of_earlier_attempts() {
        let tallies = LoginTallies::default();
        for application in ["a", "b", "b", "b", "c"] {
            tallies.count_attempt(application);
        }
        tallies.count_failure("b", LoginOutcome::Failed, MS(40));
        tallies.count_failure("b", LoginOutcome::Failed, MS(30));
        tallies.count_failure("b", LoginOutcome::FailedByRevoke, MS(50));
        tallies.count_failure("c", LoginOutcome::Failed, MS(60));
        let (a, b) = (tallies.of("a"), tallies.of("b"));
        assert_eq!((a.logins, a.failed), (1, 0));
        assert_eq!((b.logins, b.failed, b.failed_by_revoke), (3, 2, 1));
        assert_eq!(b.last_failure_after_change, MS(40), "revoke doesn't count");
        let total = tallies.total();
        assert_eq!((total.logins, total.failed), (5, 3));
        assert_eq!(total.last_failure_after_change, MS(60));
    }
}
