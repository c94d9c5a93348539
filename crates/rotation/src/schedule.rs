//! When a rotation is due.
//!
//! A schedule never looks at what is missing: it maps a point in time that is known to the next
//! due time. What happened in between, one missed run or a hundred, makes one due time.

use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};

use crate::span::K8sDuration;

/// When rotations are due, checked: it fires, and its time zone exists.
#[derive(Clone, Debug)]
pub struct Schedule {
    rhythm: Rhythm,
    jitter: K8sDuration,
}

#[derive(Clone, Debug)]
enum Rhythm {
    Cron { cron: Box<Cron>, zone: Tz },
    Every(K8sDuration),
}

/// Why a schedule can't be followed. The texts are shown to the author of the resource.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScheduleError {
    /// Both or neither of `cron` and `every` are given.
    #[error("schedule: set exactly one of cron and every")]
    NotOne,
    /// The cron expression does not parse.
    #[error("schedule.cron {text:?}: {why}; write five fields, such as \"0 3 1 * *\"")]
    Cron {
        /// The expression as given.
        text: String,
        /// What the parser says of it.
        why: String,
    },
    /// The cron expression names no day that exists, such as 30 February.
    #[error("schedule.cron {0:?} never fires: it names no day that exists")]
    Never(String),
    /// The time zone isn't in the IANA database.
    #[error("schedule.timeZone {0:?} is unknown: use an IANA name, such as Europe/Berlin")]
    Zone(String),
    /// A time zone without a cron expression has no meaning.
    #[error("schedule.timeZone has no meaning without cron: remove it, or use cron")]
    ZoneWithoutCron,
    /// `every` is zero.
    #[error("schedule.every must be longer than zero")]
    Zero,
}

impl Schedule {
    /// Checks a schedule as it stands in a resource. `now` only bounds the search for a first
    /// occurrence.
    pub fn new(
        cron: Option<&str>,
        zone: Option<&str>,
        every: Option<K8sDuration>,
        jitter: Option<K8sDuration>,
        now: DateTime<Utc>,
    ) -> Result<Schedule, ScheduleError> {
        let rhythm = match (cron, every) {
            (Some(cron), None) => Rhythm::Cron { cron: parse_cron(cron)?, zone: parse_zone(zone)? },
            (None, Some(_)) if zone.is_some() => return Err(ScheduleError::ZoneWithoutCron),
            (None, Some(every)) if every.is_zero() => return Err(ScheduleError::Zero),
            (None, Some(every)) => Rhythm::Every(every),
            _ => return Err(ScheduleError::NotOne),
        };
        let schedule = Schedule { rhythm, jitter: jitter.unwrap_or_default() };
        match (&schedule.rhythm, schedule.occurrence_after(now)) {
            (Rhythm::Cron { .. }, None) => {
                Err(ScheduleError::Never(cron.unwrap_or_default().into()))
            }
            _ => Ok(schedule),
        }
    }

    /// The first due time after `after`, with the jitter of the resource `seed` (its UID).
    ///
    /// `last` is when the resource's secret last changed: an interval is counted from it. The
    /// same arguments give the same answer, in this process and the next. `None` when a cron
    /// expression names no further day, for example the last of a year that has passed.
    pub fn next(
        &self,
        after: DateTime<Utc>,
        last: Option<DateTime<Utc>>,
        seed: &str,
    ) -> Option<DateTime<Utc>> {
        match &self.rhythm {
            Rhythm::Every(every) => {
                let anchor = last.unwrap_or(after);
                let due = anchor + every.to_delta() + self.jitter_of(anchor, seed);
                Some(due.max(after))
            }
            Rhythm::Cron { .. } => {
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

    /// Whether due times are counted from the last change, not read off the calendar.
    pub fn is_interval(&self) -> bool {
        matches!(self.rhythm, Rhythm::Every(_))
    }

    /// The shortest time between two due times, over the occurrences after `now` that tell: an
    /// interval less its jitter, or the closest pair among the next hundred of a cron expression.
    pub fn shortest_gap(&self, now: DateTime<Utc>) -> TimeDelta {
        let gap = match &self.rhythm {
            Rhythm::Every(every) => every.to_delta(),
            Rhythm::Cron { .. } => {
                let occurrences: Vec<_> = std::iter::successors(self.occurrence_after(now), |at| {
                    self.occurrence_after(*at)
                })
                .take(100)
                .collect();
                occurrences.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap_or(TimeDelta::MAX)
            }
        };
        gap - self.jitter.to_delta()
    }

    fn occurrence_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match &self.rhythm {
            Rhythm::Cron { cron, zone } => cron
                .find_next_occurrence(&after.with_timezone(zone), false)
                .ok()
                .map(|at| at.to_utc()),
            Rhythm::Every(every) => Some(after + every.to_delta()),
        }
    }

    /// The same for the same occurrence and resource, and spread evenly over resources.
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

/// One step of SplitMix64 (Steele, Lea and Flood 2014): a fixed function, so that the jitter of
/// an occurrence outlives every version of a standard library's hasher.
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
        .map_err(|error| ScheduleError::Cron { text: text.into(), why: error.to_string() })
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
    fn cron_follows_its_time_zone() {
        let schedule = cron("0 3 1 * *", "Europe/Berlin");
        assert_eq!(
            due(&schedule, "2026-06-15T00:00:00Z", 2),
            ["2026-07-01T01:00:00Z", "2026-08-01T01:00:00Z"]
        );
        assert_eq!(due(&schedule, "2026-11-15T00:00:00Z", 1), ["2026-12-01T02:00:00Z"]);
    }

    #[test]
    fn a_time_that_spring_skips_fires_once_that_day() {
        // On 29 March 2026 Berlin goes from 02:00 straight to 03:00.
        let schedule = cron("30 2 * * *", "Europe/Berlin");
        let times = due(&schedule, "2026-03-28T12:00:00Z", 2);
        assert_eq!(times, ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    }

    #[test]
    fn a_time_that_autumn_repeats_fires_once_that_day() {
        // On 25 October 2026 Berlin has 02:30 twice: at 00:30 and at 01:30 UTC.
        let schedule = cron("30 2 * * *", "Europe/Berlin");
        let times = due(&schedule, "2026-10-24T12:00:00Z", 2);
        assert_eq!(times, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    }

    #[test]
    fn an_interval_is_counted_from_the_last_change_and_not_from_the_clock_on_the_wall() {
        let every = Some(K8sDuration::from_secs(24 * 3600));
        let schedule = Schedule::new(None, None, every, None, at("2026-01-01T00:00:00Z")).unwrap();
        // Across the autumn change of Berlin, a day of 25 hours there: still 24 hours.
        let last = at("2026-10-24T12:00:00Z");
        assert_eq!(schedule.next(last, Some(last), "uid"), Some(at("2026-10-25T12:00:00Z")));
    }

    #[test]
    fn an_interval_without_a_last_change_starts_now() {
        let every = Some(K8sDuration::from_secs(3600));
        let schedule = Schedule::new(None, None, every, None, at("2026-01-01T00:00:00Z")).unwrap();
        let now = at("2026-05-01T00:00:00Z");
        assert_eq!(schedule.next(now, None, "uid"), Some(at("2026-05-01T01:00:00Z")));
    }

    #[test]
    fn any_number_of_missed_runs_makes_one() {
        let schedule = cron("0 * * * *", "UTC");
        // Down for 50 hours: the next due time after now is one, in the future.
        assert_eq!(due(&schedule, "2026-05-03T02:10:00Z", 1), ["2026-05-03T03:00:00Z"]);
        let every = Some(K8sDuration::from_secs(60));
        let schedule = Schedule::new(None, None, every, None, at("2026-01-01T00:00:00Z")).unwrap();
        let (last, now) = (at("2026-05-01T00:00:00Z"), at("2026-05-03T02:10:00Z"));
        assert_eq!(schedule.next(now, Some(last), "uid"), Some(now));
    }

    #[test]
    fn says_what_is_wrong_and_what_to_write() {
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
        assert_eq!(new(None, None, None, None), Err(ScheduleError::NotOne));
        assert_eq!(new(Some("0 3 * * *"), None, hour, None), Err(ScheduleError::NotOne));
    }

    #[test]
    fn the_shortest_gap_is_the_closest_pair_less_the_jitter() {
        let now = at("2026-01-01T00:00:00Z");
        let jitter = Some(K8sDuration::from_secs(60));
        let schedule = Schedule::new(Some("0,5 3 * * *"), None, None, jitter, now).unwrap();
        assert_eq!(schedule.shortest_gap(now), TimeDelta::minutes(4));
    }

    proptest! {
        #[test]
        fn jitter_is_bounded_and_the_same_after_a_restart(
            start in 0i64..2_000_000_000, jitter in 1u64..86_400, seed in "[a-f0-9-]{0,36}",
        ) {
            let now = DateTime::from_timestamp(start, 0).unwrap();
            let schedule = |jitter| {
                Schedule::new(Some("0 3 * * *"), None, None, jitter, now).unwrap()
            };
            let jittered = schedule(Some(K8sDuration::from_secs(jitter)));
            let due = jittered.next(now, None, &seed).unwrap();
            prop_assert_eq!(due, schedule(Some(K8sDuration::from_secs(jitter))).next(now, None, &seed).unwrap());
            prop_assert!(due > now);
            let occurrence = schedule(None).next(due - TimeDelta::seconds(jitter as i64), None, "").unwrap();
            prop_assert!(occurrence <= due && due - occurrence < TimeDelta::seconds(jitter as i64));
        }

        #[test]
        fn due_times_only_go_forward(start in 0i64..2_000_000_000, seed in "[a-f0-9]{8}") {
            let now = DateTime::from_timestamp(start, 0).unwrap();
            let schedule = Schedule::new(
                Some("*/30 * * * *"), Some("America/New_York"), None, Some(K8sDuration::from_secs(3600)), now,
            ).unwrap();
            let mut at = now;
            for _ in 0..10 {
                let next = schedule.next(at, None, &seed).unwrap();
                prop_assert!(next > at);
                at = next;
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,60}", zone in "\\PC{0,20}") {
            let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
            let _ = Schedule::new(Some(&text), Some(&zone), None, None, now);
        }
    }
}
