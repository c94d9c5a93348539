//! Propagation of a changed secret to authentication.
//!
//! According to Auth0's documentation ("Rotate Client Secrets", "Client Secret rotation with the
//! Management API"), a change takes up to 30 seconds, and during that time either the old or the
//! new secret may be accepted. Here each change samples two times within the propagation window:
//! the time at which authentication starts to accept the new value, and the time at which it stops
//! accepting the old one. The new value is never accepted later than the old one is rejected, so
//! at least one value is accepted at every instant.

use std::{
    ops::RangeInclusive,
    str::FromStr,
    time::{Duration, SystemTime},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use secrecy::SecretString;
use subtle::Choice;

use crate::{duration::parse_duration, secret};

/// Propagation window, relative to the change of a secret.
///
/// Parses from text such as `0s..30s`. Both ends are inclusive. The maximum is one hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    min: Duration,
    max: Duration,
}

impl Propagation {
    /// Maximum end of a window: one hour.
    pub const MAX: Duration = Duration::from_secs(3_600);

    /// Auth0's documented window, 0 to 30 seconds.
    pub const AUTH0: Self = Self { min: Duration::ZERO, max: Duration::from_secs(30) };

    /// Creates a window.
    ///
    /// # Errors
    ///
    /// A message that says what is wrong with the window and shows a valid one.
    pub fn new(window: RangeInclusive<Duration>) -> Result<Self, String> {
        let (min, max) = window.into_inner();
        if min > max {
            return Err(format!(
                "invalid propagation window: it ends ({max:?}) before it starts ({min:?}); write \
                 the shorter duration first, for example 0s..30s"
            ));
        }
        if max > Self::MAX {
            return Err(format!(
                "invalid propagation window: {max:?} exceeds the maximum of {:?}; Auth0's window \
                 is 0s..30s",
                Self::MAX
            ));
        }
        Ok(Self { min, max })
    }

    /// Samples the delays of one change. They depend only on seed, client and change number, not on
    /// changes to other clients in between.
    pub(crate) fn sample(&self, seed: u64, client_id: &str, change: u64) -> PropagationDelays {
        let mut random = StdRng::seed_from_u64(stable_hash(seed, client_id, change));
        let (a, b) = (self.random_delay(&mut random), self.random_delay(&mut random));
        PropagationDelays { new_from: a.min(b), old_until: a.max(b) }
    }

    fn random_delay(&self, random: &mut StdRng) -> Duration {
        let nanoseconds = random.random_range(self.min.as_nanos()..=self.max.as_nanos());
        // A window ends after at most an hour, so the value fits.
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

impl Default for Propagation {
    fn default() -> Self {
        Self::AUTH0
    }
}

impl From<Propagation> for RangeInclusive<Duration> {
    fn from(window: Propagation) -> Self {
        window.min..=window.max
    }
}

impl FromStr for Propagation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (min, max) = text.split_once("..").ok_or_else(|| {
            format!(
                "invalid propagation window {text:?}: expected two durations, for example 0s..30s"
            )
        })?;
        Self::new(parse_duration(min)?..=parse_duration(max.trim_start_matches('='))?)
    }
}

/// Hashes the three parts with FNV-1a, so that each change of each client gets its own
/// reproducible random stream.
fn stable_hash(seed: u64, client_id: &str, change: u64) -> u64 {
    let parts = [&seed.to_le_bytes()[..], client_id.as_bytes(), &change.to_le_bytes()[..]];
    parts.concat().iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Times at which a change reaches authentication, relative to the change.
/// `new_from <= old_until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PropagationDelays {
    /// Authentication accepts the new value from then on.
    pub(crate) new_from: Duration,
    /// Authentication accepts the old value until then.
    pub(crate) old_until: Duration,
}

/// One value of a secret, which authentication accepts in `from <= now < until`.
struct Version {
    value: SecretString,
    from: SystemTime,
    until: Option<SystemTime>,
}

impl Version {
    fn is_accepted(&self, now: SystemTime) -> bool {
        self.from <= now && self.until.is_none_or(|until| now < until)
    }

    fn is_expired(&self, now: SystemTime) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// A client's secret: the value that the Management API shows, and the values that authentication
/// accepts.
///
/// Every version except the current one expires, but not before the next version is accepted. The
/// current version doesn't expire. Together, the versions cover every instant.
pub(crate) struct PropagatingSecret {
    /// Superseded versions that authentication may still accept.
    older: Vec<Version>,
    current: Version,
    changes: u64,
}

impl PropagatingSecret {
    pub(crate) fn new(value: SecretString, now: SystemTime) -> Self {
        let current = Version { value, from: now, until: None };
        Self { older: Vec::new(), current, changes: 0 }
    }

    /// Returns the value that the Management API shows.
    pub(crate) fn current(&self) -> &SecretString {
        &self.current.value
    }

    /// Returns how often the value has changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Returns the time from which authentication accepts the current value and no other, or
    /// `None` if that time has passed.
    pub(crate) fn propagated_at(&self, now: SystemTime) -> Option<SystemTime> {
        let ends = self.older.iter().filter_map(|version| version.until);
        ends.chain([self.current.from]).max().filter(|last| *last > now)
    }

    /// Makes `value` current. Older versions that are still propagating keep their times.
    pub(crate) fn change(
        &mut self,
        value: SecretString,
        now: SystemTime,
        delays: PropagationDelays,
    ) {
        self.older.retain(|version| !version.is_expired(now));
        let next = Version { value, from: now + delays.new_from, until: None };
        let mut previous = std::mem::replace(&mut self.current, next);
        previous.until = Some(now + delays.old_until);
        self.older.push(previous);
        self.changes += 1;
    }

    /// Returns whether authentication accepts `given` now.
    ///
    /// Compares with every accepted version in constant time, so that the duration doesn't reveal
    /// which one matched.
    pub(crate) fn accepts(&self, given: &str, now: SystemTime) -> bool {
        let mut is_match = Choice::from(0);
        for version in self.older.iter().chain([&self.current]) {
            if version.is_accepted(now) {
                is_match |= secret::constant_time_eq(&version.value, given);
            }
        }
        is_match.into()
    }
}

#[cfg(test)]
#[path = "propagation_tests.rs"]
mod tests;
