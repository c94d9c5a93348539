//! How a changed secret reaches authentication.
//!
//! Auth0's documentation ("Rotate Client Secrets", "Client Secret rotation with the Management
//! API"): a change takes up to 30 seconds, and in that time either the old or the new secret may
//! be accepted. Here each change draws two moments inside the window: the old value is refused
//! from the one on, the new value is accepted from the other on. The new one never begins after
//! the old one has ended, so at every instant at least one value is accepted.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use secrecy::SecretString;
use subtle::Choice;

use crate::secret;
use crate::units::parse_duration;

/// The window in which both moments of a change are drawn, counted from the change.
///
/// Reads `0s..30s` from text. Both ends belong to the window; at most one hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    min: Duration,
    max: Duration,
}

impl Propagation {
    /// The longest window that can be asked for: one hour.
    pub const LONGEST: Duration = Duration::from_secs(3_600);

    /// Auth0's documented window, 0 to 30 seconds.
    pub const AUTH0: Self = Self { min: Duration::ZERO, max: Duration::from_secs(30) };

    /// A window; an error says what is wrong with it.
    pub fn new(window: RangeInclusive<Duration>) -> Result<Self, String> {
        let (min, max) = window.into_inner();
        if min > max {
            return Err(format!(
                "the propagation window ends ({max:?}) before it begins ({min:?}): write the \
                 shorter time first, for example 0s..30s"
            ));
        }
        if max > Self::LONGEST {
            return Err(format!(
                "the propagation window is longer than {:?}: Auth0's is 0s..30s",
                Self::LONGEST
            ));
        }
        Ok(Self { min, max })
    }

    /// The moments of one change. The same seed, client and change number draw the same moments,
    /// whatever happens to other clients in between.
    pub(crate) fn draw(&self, seed: u64, client_id: &str, change: u64) -> Moments {
        let mut random = StdRng::seed_from_u64(mix(seed, client_id, change));
        let mut one = || {
            let nanoseconds = random.random_range(self.min.as_nanos()..=self.max.as_nanos());
            // At most an hour, so it fits.
            Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
        };
        let (a, b) = (one(), one());
        Moments { new_from: a.min(b), old_until: a.max(b) }
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
            format!("{text:?} is not a window: write two lengths of time, for example 0s..30s")
        })?;
        Self::new(parse_duration(min)?..=parse_duration(max.trim_start_matches('='))?)
    }
}

/// FNV-1a over the three parts: a stable way from (seed, client, change) to a stream of its own.
fn mix(seed: u64, client_id: &str, change: u64) -> u64 {
    let parts = [&seed.to_le_bytes()[..], client_id.as_bytes(), &change.to_le_bytes()[..]];
    parts.concat().iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// When authentication learns of a change, counted from the change. `new_from <= old_until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moments {
    pub(crate) new_from: Duration,
    pub(crate) old_until: Duration,
}

/// One value and the time authentication accepts it: from `from` on, up to and without `until`.
struct Version {
    value: SecretString,
    from: SystemTime,
    until: Option<SystemTime>,
}

impl Version {
    fn is_live(&self, now: SystemTime) -> bool {
        self.from <= now && self.until.is_none_or(|until| now < until)
    }

    fn has_ended(&self, now: SystemTime) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// A client's secret: what the Management API shows, and what authentication accepts.
///
/// Each version but the last has an end that is not before the beginning of the next one; the
/// last has none. So the versions together cover every instant.
pub(crate) struct Credential {
    /// Older versions that authentication may still accept.
    older: Vec<Version>,
    current: Version,
    changes: u64,
}

impl Credential {
    pub(crate) fn new(value: SecretString, now: SystemTime) -> Self {
        let current = Version { value, from: now, until: None };
        Self { older: Vec::new(), current, changes: 0 }
    }

    /// What the Management API shows.
    pub(crate) fn current(&self) -> &SecretString {
        &self.current.value
    }

    /// How often the value has changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// When everything but the current value is refused and the current one accepted, if that is
    /// still to come.
    pub(crate) fn settles_at(&self, now: SystemTime) -> Option<SystemTime> {
        let ends = self.older.iter().filter_map(|version| version.until);
        ends.chain([self.current.from]).max().filter(|last| *last > now)
    }

    /// Makes `value` current. Older values in their window keep the moments drawn for them.
    pub(crate) fn change(&mut self, value: SecretString, now: SystemTime, moments: Moments) {
        self.older.retain(|version| !version.has_ended(now));
        let next = Version { value, from: now + moments.new_from, until: None };
        let mut previous = std::mem::replace(&mut self.current, next);
        previous.until = Some(now + moments.old_until);
        self.older.push(previous);
        self.changes += 1;
    }

    /// Whether authentication accepts `given` now. All live values are compared, each in
    /// constant time, so the time taken doesn't tell which one matched.
    pub(crate) fn accepts(&self, given: &str, now: SystemTime) -> bool {
        let live = self.older.iter().chain([&self.current]).filter(|version| version.is_live(now));
        live.fold(Choice::from(0), |found, version| found | secret::same(&version.value, given))
            .into()
    }
}

#[cfg(test)]
#[path = "propagation_tests.rs"]
mod tests;
