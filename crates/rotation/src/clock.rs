//! The time of a decision: the time to record, and how long ago a recorded time was.
//!
//! A wall clock can jump, and another replica may have recorded a time by another clock. So a wait
//! counts in two parts: by the wall clock until this process first saw the recorded time, and by a
//! monotonic clock from then on. No jump of a wall clock shortens the second part.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    status::Status,
    stored_times::{TimeField, stored_times},
};

/// The time, as [`crate::decide()`] uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The latest that it may be. It is recorded, so that no other replica takes a recorded time for
    /// older than it is.
    now: DateTime<Utc>,
    /// The earliest that it may be. Due times, and waits that this process has not seen before, go by
    /// it.
    earliest: DateTime<Utc>,
    /// Whether the wall clocks agree, so that a due time can start a rotation.
    agrees: bool,
    /// Time since the recorded times that this process has seen before; negative before an end.
    elapsed: BTreeMap<StoredTime, TimeDelta>,
}

/// A reading of all clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClockReading {
    /// The earliest that it may be.
    pub earliest: DateTime<Utc>,
    /// The latest that it may be.
    pub latest: DateTime<Utc>,
    /// Whether the wall clocks agree.
    pub agrees: bool,
    /// A monotonic clock.
    pub monotonic: Duration,
}

/// A time in a status, with its field: two events can be recorded with the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct StoredTime {
    field: TimeField,
    time: DateTime<Utc>,
}

/// The times of a status on the scale of the monotonic clock, as determined when this process first
/// saw each of them. They are lost with the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sightings(BTreeMap<StoredTime, TimeDelta>);

impl From<DateTime<Utc>> for Clock {
    /// Returns a clock that is right, of a process that has seen nothing before.
    fn from(now: DateTime<Utc>) -> Self {
        Self { now, earliest: now, agrees: true, elapsed: BTreeMap::new() }
    }
}

impl Clock {
    /// Returns the time to record.
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// Returns how long until a due time has come, which is zero or less if it has; `None` while the
    /// wall clocks don't agree.
    pub(crate) fn until_due(&self, due: DateTime<Utc>) -> Option<TimeDelta> {
        self.agrees.then(|| due - self.earliest)
    }

    /// Returns when an event happened, on the scale of [`Self::now`]. It is never in the future.
    pub(crate) fn start(&self, field: TimeField, time: DateTime<Utc>) -> DateTime<Utc> {
        self.now - self.elapsed(field, time).max(TimeDelta::zero())
    }

    /// Returns when a wait ends whose end was recorded, on the scale of [`Self::now`].
    pub(crate) fn end(&self, field: TimeField, time: DateTime<Utc>) -> DateTime<Utc> {
        self.now - self.elapsed(field, time)
    }

    fn elapsed(&self, field: TimeField, time: DateTime<Utc>) -> TimeDelta {
        let known = self.elapsed.get(&StoredTime { field, time });
        known.copied().unwrap_or(self.earliest - time)
    }
}

impl Sightings {
    /// Returns the clock for a decision about this status, whose times are remembered from now on.
    /// Times that it does not have anymore are forgotten.
    pub fn clock(&mut self, status: &Status, reading: ClockReading) -> Clock {
        let ClockReading { earliest, latest, agrees, monotonic } = reading;
        let monotonic = TimeDelta::from_std(monotonic).unwrap_or(TimeDelta::MAX / 2);
        let mut present = BTreeMap::new();
        for (field, time) in stored_times(status) {
            let stored = StoredTime { field, time };
            let sighting = self.0.get(&stored).copied().unwrap_or_else(|| {
                let elapsed = earliest - time;
                // An event in the future has just been recorded, by a clock that was ahead.
                let elapsed = if field.is_end() { elapsed } else { elapsed.max(TimeDelta::zero()) };
                monotonic - elapsed
            });
            present.insert(stored, sighting);
        }
        self.0 = present;
        let elapsed = self.0.iter().map(|(stored, sighting)| (*stored, monotonic - *sighting));
        Clock { now: latest, earliest, agrees, elapsed: elapsed.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Cause, Rotation, Strategy};

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn reading(wall: i64, monotonic: u64) -> ClockReading {
        let monotonic = Duration::from_secs(monotonic);
        ClockReading { earliest: at(wall), latest: at(wall), agrees: true, monotonic }
    }

    fn staged(staged_at: i64) -> Status {
        let mut rotation = Rotation::new(2, Cause::Schedule, Strategy::Staged, at(staged_at));
        rotation.staged_at = Some(at(staged_at));
        Status { rotation: Some(rotation), ..Status::default() }
    }

    fn waited(clock: &Clock, staged_at: i64) -> i64 {
        (clock.now() - clock.start(TimeField::StagedAt, at(staged_at))).num_seconds()
    }

    #[test]
    fn wait_counts_by_the_monotonic_clock_from_the_first_sight() {
        let (status, mut sightings) = (staged(1_000), Sightings::default());
        assert_eq!(waited(&sightings.clock(&status, reading(1_000, 50)), 1_000), 0);
        assert_eq!(waited(&sightings.clock(&status, reading(1_010, 60)), 1_000), 10);
        // Forty days ahead, and back.
        assert_eq!(waited(&sightings.clock(&status, reading(3_457_010, 70)), 1_000), 20);
        assert_eq!(waited(&sightings.clock(&status, reading(10, 80)), 1_000), 30);
    }

    #[test]
    fn wait_counts_by_the_earlier_wall_clock_before_the_first_sight() {
        let (status, mut sightings) = (staged(1_000), Sightings::default());
        let reading = ClockReading { latest: at(9_000), ..reading(1_020, 50) };
        let clock = sightings.clock(&status, reading);
        assert_eq!(clock.now(), at(9_000));
        assert_eq!(waited(&clock, 1_000), 20);
    }

    #[test]
    fn event_in_the_future_counts_from_the_first_sight() {
        let (status, mut sightings) = (staged(9_000), Sightings::default());
        assert_eq!(waited(&sightings.clock(&status, reading(1_000, 50)), 9_000), 0);
        assert_eq!(waited(&sightings.clock(&status, reading(1_005, 55)), 9_000), 5);
        // Another process has not seen it.
        assert_eq!(waited(&Sightings::default().clock(&status, reading(1_005, 1)), 9_000), 0);
    }

    #[test]
    fn recorded_end_comes_after_its_remaining_time() {
        let status = Status { unanswered_until: Some(at(1_030)), ..Status::default() };
        let mut sightings = Sightings::default();
        let field = TimeField::UnansweredUntil;
        let left = |clock: &Clock| (clock.end(field, at(1_030)) - clock.now()).num_seconds();
        assert_eq!(left(&sightings.clock(&status, reading(1_000, 0))), 30);
        assert_eq!(left(&sightings.clock(&status, reading(5_000, 29))), 1);
        assert_eq!(left(&sightings.clock(&status, reading(5_002, 31))), -1);
    }

    #[test]
    fn times_that_are_gone_are_forgotten() {
        let mut sightings = Sightings::default();
        sightings.clock(&staged(1_000), reading(1_000, 0));
        sightings.clock(&Status::default(), reading(1_500, 500));
        assert_eq!(sightings, Sightings::default());
        assert_eq!(waited(&sightings.clock(&staged(1_000), reading(1_003, 600)), 1_000), 3);
    }

    #[test]
    fn due_time_needs_clocks_that_agree() {
        let clock = Clock { agrees: false, ..Clock::from(at(1_000)) };
        assert_eq!(clock.until_due(at(500)), None);
        assert_eq!(Clock::from(at(1_000)).until_due(at(1_500)), Some(TimeDelta::seconds(500)));
    }
}
