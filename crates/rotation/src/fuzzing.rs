//! Properties of schedules, windows and durations that hold for any input. The property tests below
//! and the fuzz targets in `fuzz/` check them with inputs of their own.

use std::time::{Duration, Instant};

use chrono::{DateTime, Datelike as _, TimeDelta, Timelike as _, Utc};
use chrono_tz::Tz;

use crate::{K8sDuration, K8sDurationError, Schedule, Window, first_open};

/// Maximum time of one check. A check takes microseconds, on a busy machine up to a second; a
/// search that does not terminate takes longer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// First and last Unix time that RFC 3339 can represent, in seconds.
const RFC3339_RANGE: (i64, i64) = (-62_167_219_200, 253_402_300_799);

/// Input of the checks: a schedule or window, and the time of its evaluation.
#[derive(Clone, Debug)]
pub struct ScheduleInput<'a> {
    /// Cron expression.
    pub cron: &'a str,
    /// Name of the time zone.
    pub zone: &'a str,
    /// Jitter of the schedule, and duration of the window, in seconds.
    pub seconds: u64,
    /// Time of the evaluation, in seconds since 1970.
    pub now: i64,
    /// Seed of the jitter.
    pub seed: &'a str,
}

impl ScheduleInput<'_> {
    fn now(&self) -> DateTime<Utc> {
        time(self.now)
    }

    fn duration(&self) -> K8sDuration {
        K8sDuration::from_secs(self.seconds % (K8sDuration::MAX.to_std().as_secs() + 1))
    }
}

fn time(seconds: i64) -> DateTime<Utc> {
    let (first, last) = RFC3339_RANGE;
    DateTime::from_timestamp(seconds.clamp(first, last), 0).unwrap_or_default()
}

/// Checks that a cron schedule is rejected, or that its due times lie in the future, increase, are
/// reproducible and are found quickly.
///
/// # Panics
/// When a property does not hold.
pub fn check_cron(input: &ScheduleInput<'_>) {
    let started = Instant::now();
    let now = input.now();
    let new = |jitter| Schedule::new(Some(input.cron), Some(input.zone), None, jitter, now);
    match (new(None), new(Some(input.duration()))) {
        (Ok(plain), Ok(jittered)) => {
            check_due_times_increase(&jittered, input);
            check_whole_minutes(input, plain.next(now, None, input.seed));
            assert!(plain.shortest_gap(now) > TimeDelta::zero());
            assert!(jittered.shortest_gap(now) <= plain.shortest_gap(now));
        }
        (Err(plain), Err(jittered)) => {
            assert_eq!(plain, jittered);
            let limit = 8 * (input.cron.len() + input.zone.len()) + 500;
            assert!(plain.to_string().len() < limit);
        }
        _ => panic!("jitter changes whether the schedule is valid"),
    }
    assert!(started.elapsed() < TIMEOUT, "the check took {:?}", started.elapsed());
}

fn check_due_times_increase(schedule: &Schedule, input: &ScheduleInput<'_>) {
    let mut at = input.now();
    for _ in 0..4 {
        let next = schedule.next(at, None, input.seed);
        assert_eq!(next, schedule.next(at, None, input.seed), "the due time is not reproducible");
        let Some(next) = next else { break };
        assert!(next > at, "{next} is due after {at}");
        at = next;
    }
}

/// Checks that due times fall on whole minutes, because five fields have no seconds. Before 1973
/// the offsets of some time zones had seconds.
fn check_whole_minutes(input: &ScheduleInput<'_>, due: Option<DateTime<Utc>>) {
    let zone: Tz = input.zone.parse().unwrap_or_default();
    let Some(due) = due.map(|due| due.with_timezone(&zone)) else { return };
    if due.year() > 1972 {
        assert_eq!((due.second(), due.nanosecond()), (0, 0), "{due}");
    }
}

/// Checks that a window is rejected, or that the first time at which it is open is not in the past,
/// is inside the window, and is found quickly.
///
/// # Panics
/// When a property does not hold.
pub fn check_window(input: &ScheduleInput<'_>) {
    let started = Instant::now();
    let now = input.now();
    if let Ok(window) = Window::new(input.cron, Some(input.zone), input.duration(), now)
        && let Some(open) = first_open(std::slice::from_ref(&window), now)
    {
        assert!(open >= now, "{open} is before {now}");
        assert_eq!(first_open(&[window], open), Some(open), "the window is not open then");
    }
    assert!(started.elapsed() < TIMEOUT, "the check took {:?}", started.elapsed());
}

/// Checks that an interval is rejected, or that its due time is neither before the evaluation nor
/// earlier than one interval after the last change.
///
/// # Panics
/// When a property does not hold.
pub fn check_interval(every: u64, last: i64, input: &ScheduleInput<'_>) {
    let (now, last) = (input.now(), time(last));
    let every =
        K8sDuration::from_millis(every % (K8sDuration::MAX.to_std().as_millis() as u64 + 1));
    match Schedule::new(None, None, Some(every), Some(input.duration()), now) {
        Ok(schedule) => {
            let due = schedule.next(now, Some(last), input.seed);
            assert!(due.is_some_and(|due| due >= now && due >= last + every.to_delta()));
            let _ = schedule.shortest_gap(now);
        }
        Err(_) => assert!(every.is_zero()),
    }
}

/// Checks that a text is rejected, or that it matches the pattern in the CustomResourceDefinitions,
/// is not longer than the maximum, and parses back after printing.
///
/// # Panics
/// When a property does not hold.
pub fn check_duration(text: &str) {
    let matches = matches_pattern(text);
    match text.parse::<K8sDuration>() {
        Ok(duration) => {
            assert!(matches && duration <= K8sDuration::MAX, "{text:?}");
            assert_eq!(duration.to_string().parse(), Ok(duration));
            assert_eq!(TimeDelta::from_std(duration.to_std()), Ok(duration.to_delta()));
        }
        Err(K8sDurationError::TooLong) => assert!(matches, "{text:?}"),
        Err(K8sDurationError::Malformed) => assert!(!matches, "{text:?}"),
    }
}

/// A second implementation of [`K8sDuration::PATTERN`]: replaces each unit by a separator, then
/// checks the digits in between.
fn matches_pattern(text: &str) -> bool {
    let separated = text.replace("ms", "l").replace(['s', 'm', 'h'], "l");
    let parts: Vec<&str> = separated.split_inclusive('l').collect();
    let is_part = |part: &&str| {
        let digits = part.strip_suffix('l').unwrap_or_default();
        (1..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    !text.contains('l') && (1..=4).contains(&parts.len()) && parts.iter().all(is_part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Texts that resemble cron expressions, some of them invalid.
    fn cron_expressions() -> impl Strategy<Value = String> {
        let field =
            "(\\*|[0-9]{1,2}|L|LW|[0-9]{1,2}W|[A-Z]{3})(-[0-9A-Z]{1,3})?(/[0-9]{1,3})?(#[0-9L])?";
        let fields = prop::collection::vec(field, 4..7).prop_map(|fields| fields.join(" "));
        prop_oneof![8 => fields, 1 => "\\PC{0,60}", 1 => "@[a-z]{4,8}"]
    }

    fn time_zones() -> impl Strategy<Value = String> {
        let valid =
            prop::sample::select(&chrono_tz::TZ_VARIANTS[..]).prop_map(|zone| zone.to_string());
        prop_oneof![9 => valid, 1 => "\\PC{0,20}"]
    }

    proptest! {
        #[test]
        fn due_times_and_openings_lie_in_the_future(
            cron in cron_expressions(), zone in time_zones(), seconds: u64,
            now in RFC3339_RANGE.0..=RFC3339_RANGE.1, seed in "[a-f0-9-]{0,36}",
        ) {
            let input = ScheduleInput { cron: &cron, zone: &zone, seconds, now, seed: &seed };
            check_cron(&input);
            check_window(&input);
        }

        #[test]
        fn intervals_count_from_any_time(
            every: u64, seconds: u64, last in RFC3339_RANGE.0..=RFC3339_RANGE.1,
            now in RFC3339_RANGE.0..=RFC3339_RANGE.1, seed in "[a-f0-9-]{0,36}",
        ) {
            let input = ScheduleInput { cron: "", zone: "", seconds, now, seed: &seed };
            check_interval(every, last, &input);
        }

        #[test]
        fn durations_match_the_pattern(text in "([0-9]{0,7}(ms|s|m|h|d|))?{0,5}|\\PC{0,40}") {
            check_duration(&text);
        }
    }
}
