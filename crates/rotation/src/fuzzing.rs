//! What has to hold of schedules, windows and durations, whatever is written in a resource. The
//! property tests and the fuzz targets in `fuzz/` try it, each with texts of their own.

use std::time::{Duration, Instant};

use chrono::{DateTime, Datelike as _, TimeDelta, Timelike as _, Utc};
use chrono_tz::Tz;

use crate::{K8sDuration, Schedule, Window, first_open};

/// How long one question may take. Answers come in microseconds; a busy machine may make a second
/// of them, and a search without an end more.
const PATIENCE: Duration = Duration::from_secs(10);

/// Seconds since 1970 of the first and the last moment that RFC 3339 can write.
const WRITABLE: (i64, i64) = (-62_167_219_200, 253_402_300_799);

/// A schedule, and a moment at which it is looked at.
#[derive(Clone, Debug)]
pub struct Calendar<'a> {
    /// The cron expression.
    pub cron: &'a str,
    /// The name of the time zone.
    pub zone: &'a str,
    /// The jitter of a schedule, and how long a window stays open, in seconds.
    pub seconds: u64,
    /// The moment, in seconds since 1970.
    pub now: i64,
    /// What tells resources apart.
    pub seed: &'a str,
}

impl Calendar<'_> {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.now.clamp(WRITABLE.0, WRITABLE.1), 0).unwrap_or_default()
    }

    fn span(&self) -> K8sDuration {
        K8sDuration::from_secs(self.seconds % (K8sDuration::MAX.to_std().as_secs() + 1))
    }
}

/// A schedule is refused, or its due times are after the moment they are asked for, go forward, are
/// the same every time, and are found soon.
///
/// # Panics
/// When something else is so.
pub fn cron(calendar: &Calendar<'_>) {
    let started = Instant::now();
    let (now, seed) = (calendar.now(), calendar.seed);
    let new = |jitter| Schedule::new(Some(calendar.cron), Some(calendar.zone), None, jitter, now);
    match (new(None), new(Some(calendar.span()))) {
        (Ok(plain), Ok(jittered)) => {
            let mut at = now;
            for _ in 0..4 {
                let next = jittered.next(at, None, seed);
                assert_eq!(next, jittered.next(at, None, seed), "another answer");
                let Some(next) = next else { break };
                assert!(next > at, "{next} is due after {at}");
                at = next;
            }
            whole_minutes(calendar, plain.next(now, None, seed));
            assert!(plain.shortest_gap(now) > TimeDelta::zero());
            assert!(jittered.shortest_gap(now) <= plain.shortest_gap(now));
        }
        (Err(one), Err(other)) => {
            assert_eq!(one, other);
            assert!(one.to_string().len() < 8 * (calendar.cron.len() + calendar.zone.len()) + 500);
        }
        _ => panic!("jitter makes a schedule one, or none"),
    }
    assert!(started.elapsed() < PATIENCE, "it takes {:?}", started.elapsed());
}

/// Five fields have no seconds. Before 1973 some zones had.
fn whole_minutes(calendar: &Calendar<'_>, due: Option<DateTime<Utc>>) {
    let zone: Tz = calendar.zone.parse().unwrap_or_default();
    if let Some(due) = due.map(|due| due.with_timezone(&zone)).filter(|due| due.year() > 1972) {
        assert_eq!((due.second(), due.nanosecond()), (0, 0), "{due}");
    }
}

/// A window is refused, or the first time at which it is open isn't in the past, is open, and is
/// found soon.
///
/// # Panics
/// When something else is so.
pub fn window(calendar: &Calendar<'_>) {
    let started = Instant::now();
    let now = calendar.now();
    if let Ok(window) = Window::new(calendar.cron, Some(calendar.zone), calendar.span(), now)
        && let Some(open) = first_open(std::slice::from_ref(&window), now)
    {
        assert!(open >= now, "{open} is before {now}");
        assert_eq!(first_open(&[window], open), Some(open), "it isn't open then");
    }
    assert!(started.elapsed() < PATIENCE, "it takes {:?}", started.elapsed());
}

/// An interval is refused, or its due time is after the last change, and not before the moment it
/// is asked for.
///
/// # Panics
/// When something else is so.
pub fn interval(every: u64, last: i64, calendar: &Calendar<'_>) {
    let now = calendar.now();
    let last = Calendar { now: last, ..calendar.clone() }.now();
    let every =
        K8sDuration::from_millis(every % (K8sDuration::MAX.to_std().as_millis() as u64 + 1));
    match Schedule::new(None, None, Some(every), Some(calendar.span()), now) {
        Ok(schedule) => {
            let due = schedule.next(now, Some(last), calendar.seed);
            assert!(due.is_some_and(|due| due >= now && due >= last + every.to_delta()));
            let _ = schedule.shortest_gap(now);
        }
        Err(_) => assert!(every.is_zero()),
    }
}

/// A text is refused, or it follows the grammar that the custom resource definitions state, is no
/// longer than the longest duration, and reads back as it is printed.
///
/// # Panics
/// When something else is so.
pub fn duration(text: &str) {
    let follows = follows_grammar(text);
    match text.parse::<K8sDuration>() {
        Ok(span) => {
            assert!(follows && span <= K8sDuration::MAX, "{text:?}");
            assert_eq!(span.to_string().parse(), Ok(span));
            assert_eq!(TimeDelta::from_std(span.to_std()), Ok(span.to_delta()));
        }
        Err(crate::K8sDurationError::TooLong) => assert!(follows, "{text:?}"),
        Err(crate::K8sDurationError::Malformed) => assert!(!follows, "{text:?}"),
    }
}

/// [`K8sDuration::PATTERN`] once more, in another way: units end the parts, digits are the rest of them.
fn follows_grammar(text: &str) -> bool {
    let marked = text.replace("ms", "l").replace(['s', 'm', 'h'], "l");
    let parts: Vec<&str> = marked.split_inclusive('l').collect();
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

    /// What looks like a cron expression, with slips.
    fn expressions() -> impl Strategy<Value = String> {
        let field =
            "(\\*|[0-9]{1,2}|L|LW|[0-9]{1,2}W|[A-Z]{3})(-[0-9A-Z]{1,3})?(/[0-9]{1,3})?(#[0-9L])?";
        let fields = prop::collection::vec(field, 4..7).prop_map(|fields| fields.join(" "));
        prop_oneof![8 => fields, 1 => "\\PC{0,60}", 1 => "@[a-z]{4,8}"]
    }

    fn zones() -> impl Strategy<Value = String> {
        let all =
            prop::sample::select(&chrono_tz::TZ_VARIANTS[..]).prop_map(|zone| zone.to_string());
        prop_oneof![9 => all, 1 => "\\PC{0,20}"]
    }

    proptest! {
        #[test]
        fn due_times_and_openings_are_ahead_and_found_soon(
            cron_text in expressions(), zone in zones(), seconds: u64,
            now in WRITABLE.0..=WRITABLE.1, seed in "[a-f0-9-]{0,36}",
        ) {
            let calendar = Calendar { cron: &cron_text, zone: &zone, seconds, now, seed: &seed };
            cron(&calendar);
            window(&calendar);
        }

        #[test]
        fn intervals_are_counted_from_any_time(
            every: u64, seconds: u64, last in WRITABLE.0..=WRITABLE.1,
            now in WRITABLE.0..=WRITABLE.1, seed in "[a-f0-9-]{0,36}",
        ) {
            interval(every, last, &Calendar { cron: "", zone: "", seconds, now, seed: &seed });
        }

        #[test]
        fn texts_are_durations_or_refused(text in "([0-9]{0,7}(ms|s|m|h|d|))?{0,5}|\\PC{0,40}") {
            duration(&text);
        }
    }
}
