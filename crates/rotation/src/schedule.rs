//! Schedules: when a rotation is due.
//!
//! A schedule maps one known point in time to the next due time. It keeps no account of missed
//! runs: however many there were, they result in one due time.

use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};

use crate::duration::K8sDuration;

/// Validated schedule: it fires, and its time zone exists.
#[derive(Clone, Debug)]
pub struct Schedule {
    recurrence: Recurrence,
    jitter: K8sDuration,
}

#[derive(Clone, Debug)]
enum Recurrence {
    Cron { cron: Box<Cron>, zone: Tz },
    Every(K8sDuration),
}

/// Why a schedule is invalid. Users see the message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScheduleError {
    /// Both or neither of `cron` and `every` are given.
    #[error("set exactly one of cron and every")]
    NotExactlyOne,
    /// The cron expression does not parse.
    #[error("cron {text:?} is invalid: {error}; use five fields, such as \"0 3 1 * *\"")]
    Cron {
        /// The expression as given.
        text: String,
        /// Error of the parser.
        error: String,
    },
    /// The cron expression names a day that does not exist, such as 30 February.
    #[error("cron {0:?} never fires because its day does not exist")]
    Never(String),
    /// The time zone is not in the IANA database.
    #[error("timeZone {0:?} is unknown; use an IANA name, such as Europe/Berlin")]
    Zone(String),
    /// A time zone without a cron expression has no meaning.
    #[error("timeZone requires cron; remove timeZone or set cron")]
    ZoneWithoutCron,
    /// `every` is zero.
    #[error("every must be longer than zero")]
    Zero,
}

impl Schedule {
    /// Validates the schedule of a resource. `now` is where the search for a first occurrence
    /// starts.
    ///
    /// # Errors
    /// When the fields contradict each other, cannot be parsed, or name a time that never comes.
    pub fn new(
        cron: Option<&str>,
        zone: Option<&str>,
        every: Option<K8sDuration>,
        jitter: Option<K8sDuration>,
        now: DateTime<Utc>,
    ) -> Result<Self, ScheduleError> {
        let recurrence = match (cron, every) {
            (Some(cron), None) => {
                Recurrence::Cron { cron: parse_cron(cron)?, zone: parse_zone(zone)? }
            }
            (None, Some(_)) if zone.is_some() => return Err(ScheduleError::ZoneWithoutCron),
            (None, Some(every)) if every.is_zero() => return Err(ScheduleError::Zero),
            (None, Some(every)) => Recurrence::Every(every),
            _ => return Err(ScheduleError::NotExactlyOne),
        };
        let schedule = Self { recurrence, jitter: jitter.unwrap_or_default() };
        if let Some(cron) = cron
            && schedule.occurrence_after(now).is_none()
        {
            return Err(ScheduleError::Never(cron.into()));
        }
        Ok(schedule)
    }

    /// Returns the first due time after `after`, including the jitter of the resource with the UID
    /// `seed`.
    ///
    /// `last` is when the resource's secret last changed; an interval counts from it. The result is
    /// a pure function of the arguments, so it survives a restart. Returns `None` when the cron
    /// expression has no further occurrence.
    pub fn next(
        &self,
        after: DateTime<Utc>,
        last: Option<DateTime<Utc>>,
        seed: &str,
    ) -> Option<DateTime<Utc>> {
        match &self.recurrence {
            Recurrence::Every(every) => {
                let anchor = last.unwrap_or(after);
                let due = anchor + every.to_delta() + self.jitter_of(anchor, seed);
                Some(due.max(after))
            }
            Recurrence::Cron { .. } => {
                // An occurrence before `after` can still be due after it, by its jitter.
                let mut occurrence = self.occurrence_after(after - self.jitter.to_delta())?;
                loop {
                    let due = occurrence + self.jitter_of(occurrence, seed);
                    if due > after {
                        return Some(due);
                    }
                    occurrence = self.occurrence_after(occurrence)?;
                }
            }
        }
    }

    /// Returns whether due times count from the last change instead of following a calendar.
    pub fn is_interval(&self) -> bool {
        matches!(self.recurrence, Recurrence::Every(_))
    }

    /// Returns the shortest time between two due times: the interval, or the closest pair among the
    /// next hundred occurrences of a cron expression after `now`, minus the jitter.
    pub fn shortest_gap(&self, now: DateTime<Utc>) -> TimeDelta {
        let gap = match &self.recurrence {
            Recurrence::Every(every) => every.to_delta(),
            Recurrence::Cron { .. } => {
                let first = self.occurrence_after(now);
                let occurrences: Vec<_> =
                    std::iter::successors(first, |at| self.occurrence_after(*at))
                        .take(100)
                        .collect();
                let gaps = occurrences.windows(2).map(|pair| pair[1] - pair[0]);
                gaps.min().unwrap_or(TimeDelta::MAX)
            }
        };
        gap - self.jitter.to_delta()
    }

    fn occurrence_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match &self.recurrence {
            Recurrence::Cron { cron, zone } => cron
                .find_next_occurrence(&after.with_timezone(zone), false)
                .ok()
                .map(|at| at.to_utc()),
            Recurrence::Every(every) => Some(after + every.to_delta()),
        }
    }

    /// Returns the delay of an occurrence: fixed for each occurrence and resource, and evenly
    /// distributed over resources.
    fn jitter_of(&self, occurrence: DateTime<Utc>, seed: &str) -> TimeDelta {
        let bound = self.jitter.to_std().as_millis() as u64;
        if bound == 0 {
            return TimeDelta::zero();
        }
        let start = splitmix(occurrence.timestamp_millis() as u64);
        let mixed = seed.bytes().fold(start, |state, byte| splitmix(state ^ u64::from(byte)));
        TimeDelta::milliseconds((mixed % bound) as i64)
    }
}

/// One step of SplitMix64 (Steele, Lea and Flood 2014). The standard library's hasher may change
/// between versions, which would change the jitter of an occurrence.
fn splitmix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub(crate) fn parse_cron(text: &str) -> Result<Box<Cron>, ScheduleError> {
    CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build()
        .parse(text)
        .map(Box::new)
        .map_err(|error| ScheduleError::Cron { text: text.into(), error: error.to_string() })
}

pub(crate) fn parse_zone(name: Option<&str>) -> Result<Tz, ScheduleError> {
    let name = name.unwrap_or("UTC");
    Tz::from_str(name).map_err(|_| ScheduleError::Zone(name.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn cron(text: &str, zone: &str) -> Schedule {
        Schedule::new(Some(text), Some(zone), None, None, at("2026-01-01T00:00:00Z")).unwrap()
    }

    fn due(schedule: &Schedule, after: &str, count: usize) -> Vec<String> {
        let first = schedule.next(at(after), None, "uid");
        std::iter::successors(first, |at| schedule.next(*at, None, "uid"))
            .take(count)
            .map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
            .collect()
    }

    #[test]
    fn cron_uses_its_time_zone() {
        let schedule = cron("0 3 1 * *", "Europe/Berlin");
        assert_eq!(
            due(&schedule, "2026-06-15T00:00:00Z", 2),
            ["2026-07-01T01:00:00Z", "2026-08-01T01:00:00Z"]
        );
        assert_eq!(due(&schedule, "2026-11-15T00:00:00Z", 1), ["2026-12-01T02:00:00Z"]);
    }

    #[test]
    fn time_skipped_by_daylight_saving_fires_once_that_day() {
        // On 29 March 2026 clocks in Berlin jump from 02:00 to 03:00.
        let schedule = cron("30 2 * * *", "Europe/Berlin");
        let times = due(&schedule, "2026-03-28T12:00:00Z", 2);
        assert_eq!(times, ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    }

    #[test]
    fn time_repeated_by_daylight_saving_fires_once_that_day() {
        // On 25 October 2026 it is 02:30 in Berlin twice: at 00:30 and at 01:30 UTC.
        let schedule = cron("30 2 * * *", "Europe/Berlin");
        let times = due(&schedule, "2026-10-24T12:00:00Z", 2);
        assert_eq!(times, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    }

    #[test]
    fn interval_counts_elapsed_time_since_the_last_change() {
        let every = Some(K8sDuration::from_secs(24 * 3600));
        let schedule = Schedule::new(None, None, every, None, at("2026-01-01T00:00:00Z")).unwrap();
        // The day has 25 hours in Berlin; the interval is still 24 hours.
        let last = at("2026-10-24T12:00:00Z");
        assert_eq!(schedule.next(last, Some(last), "uid"), Some(at("2026-10-25T12:00:00Z")));
    }

    #[test]
    fn interval_without_a_last_change_counts_from_now() {
        let every = Some(K8sDuration::from_secs(3600));
        let schedule = Schedule::new(None, None, every, None, at("2026-01-01T00:00:00Z")).unwrap();
        let now = at("2026-05-01T00:00:00Z");
        assert_eq!(schedule.next(now, None, "uid"), Some(at("2026-05-01T01:00:00Z")));
    }

    #[test]
    fn missed_runs_result_in_one_due_time() {
        let schedule = cron("0 * * * *", "UTC");
        // After 50 hours of downtime there is one due time, in the future.
        assert_eq!(due(&schedule, "2026-05-03T02:10:00Z", 1), ["2026-05-03T03:00:00Z"]);
        let every = Some(K8sDuration::from_secs(60));
        let schedule = Schedule::new(None, None, every, None, at("2026-01-01T00:00:00Z")).unwrap();
        let (last, now) = (at("2026-05-01T00:00:00Z"), at("2026-05-03T02:10:00Z"));
        assert_eq!(schedule.next(now, Some(last), "uid"), Some(now));
    }

    #[test]
    fn rejects_invalid_schedules_with_a_remedy() {
        let new = |cron, zone, every, jitter| {
            Schedule::new(cron, zone, every, jitter, at("2026-01-01T00:00:00Z")).map(|_| ())
        };
        let error = new(Some("61 * * * *"), None, None, None).unwrap_err().to_string();
        assert!(error.contains("\"61 * * * *\"") && error.contains("five fields"), "{error}");
        for text in ["", "* * * *", "0 0 3 1 * *", "0 3 1 * * 2027", "tomorrow", "0 3 1 * * && rm"]
        {
            assert!(
                matches!(new(Some(text), None, None, None), Err(ScheduleError::Cron { .. })),
                "{text:?}"
            );
        }
        assert_eq!(
            new(Some("0 0 30 2 *"), None, None, None),
            Err(ScheduleError::Never("0 0 30 2 *".into()))
        );
        assert_eq!(
            new(Some("0 3 * * *"), Some("Europe/Bielefeld"), None, None),
            Err(ScheduleError::Zone("Europe/Bielefeld".into()))
        );
        let hour = Some(K8sDuration::from_secs(3600));
        assert_eq!(new(None, Some("UTC"), hour, None), Err(ScheduleError::ZoneWithoutCron));
        assert_eq!(new(None, None, Some(K8sDuration::ZERO), None), Err(ScheduleError::Zero));
        assert_eq!(new(None, None, None, None), Err(ScheduleError::NotExactlyOne));
        assert_eq!(new(Some("0 3 * * *"), None, hour, None), Err(ScheduleError::NotExactlyOne));
    }

    #[test]
    fn shortest_gap_is_the_closest_pair_minus_the_jitter() {
        let now = at("2026-01-01T00:00:00Z");
        let jitter = Some(K8sDuration::from_secs(60));
        let schedule = Schedule::new(Some("0,5 3 * * *"), None, None, jitter, now).unwrap();
        assert_eq!(schedule.shortest_gap(now), TimeDelta::minutes(4));
    }

    proptest! {
        #[test]
        fn jitter_is_bounded_and_survives_a_restart(
            start in 0i64..2_000_000_000, jitter in 1u64..86_400, seed in "[a-f0-9-]{0,36}",
        ) {
            let now = DateTime::from_timestamp(start, 0).unwrap();
            let schedule = |jitter| {
                Schedule::new(Some("0 3 * * *"), None, None, jitter, now).unwrap()
            };
            let jittered = || schedule(Some(K8sDuration::from_secs(jitter)));
            let due = jittered().next(now, None, &seed).unwrap();
            prop_assert_eq!(due, jittered().next(now, None, &seed).unwrap());
            prop_assert!(due > now);
            let bound = TimeDelta::seconds(jitter as i64);
            let occurrence = schedule(None).next(due - bound, None, "").unwrap();
            prop_assert!(occurrence <= due && due - occurrence < bound);
        }

        #[test]
        fn due_times_increase(start in 0i64..2_000_000_000, seed in "[a-f0-9]{8}") {
            let now = DateTime::from_timestamp(start, 0).unwrap();
            let jitter = Some(K8sDuration::from_secs(3600));
            let (cron, zone) = (Some("*/30 * * * *"), Some("America/New_York"));
            let schedule = Schedule::new(cron, zone, None, jitter, now).unwrap();
            let mut at = now;
            for _ in 0..10 {
                let next = schedule.next(at, None, &seed).unwrap();
                prop_assert!(next > at);
                at = next;
            }
        }

        #[test]
        fn parses_or_rejects_any_text(text in "\\PC{0,60}", zone in "\\PC{0,20}") {
            let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
            let _ = Schedule::new(Some(&text), Some(&zone), None, None, now);
        }
    }
}
