//! Windows: when a scheduled rotation may start.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;

use crate::{
    duration::K8sDuration,
    schedule::{ScheduleError, parse_cron, parse_zone},
};

/// Validated window: it opens at each occurrence of a cron expression and stays open for a
/// duration.
#[derive(Clone, Debug)]
pub struct Window {
    cron: Box<Cron>,
    zone: Tz,
    duration: K8sDuration,
}

/// Why a window is invalid. Users see the message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WindowError {
    /// The cron expression or the time zone is invalid.
    #[error("windows: {0}")]
    Schedule(ScheduleError),
    /// The duration is zero.
    #[error("windows: duration must be longer than zero")]
    Zero,
}

impl Window {
    /// Validates a window of a resource. `now` is where the search for a first opening starts.
    ///
    /// # Errors
    /// When a field is invalid or the window never opens.
    pub fn new(
        cron: &str,
        zone: Option<&str>,
        duration: K8sDuration,
        now: DateTime<Utc>,
    ) -> Result<Self, WindowError> {
        let parsed = parse_cron(cron).map_err(WindowError::Schedule)?;
        let zone = parse_zone(zone).map_err(WindowError::Schedule)?;
        if duration.is_zero() {
            return Err(WindowError::Zero);
        }
        let window = Self { cron: parsed, zone, duration };
        if window.opening_after(now).is_none() {
            return Err(WindowError::Schedule(ScheduleError::Never(cron.to_owned())));
        }
        Ok(window)
    }

    /// Returns the first time from `at` on at which the window is open, which is `at` if it is
    /// open.
    fn open_from(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // A window that is open at `at` opened less than its duration before.
        let opening = self.opening_after(at - self.duration.to_delta())?;
        Some(opening.max(at))
    }

    fn opening_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let next = self.cron.find_next_occurrence(&after.with_timezone(&self.zone), false);
        next.ok().map(|at| at.to_utc())
    }
}

/// Returns the first time from `at` on at which one of the windows is open, which is `at` if there
/// are no windows. Returns `None` if no window opens again.
pub fn first_open(windows: &[Window], at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if windows.is_empty() {
        return Some(at);
    }
    windows.iter().filter_map(|window| window.open_from(at)).min()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn window(cron: &str, zone: &str, hours: u64) -> Window {
        let duration = K8sDuration::from_secs(hours * 3600);
        Window::new(cron, Some(zone), duration, at("2026-01-01T00:00:00Z")).unwrap()
    }

    fn first(windows: &[Window], from: &str) -> String {
        first_open(windows, at(from)).unwrap().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    }

    #[test]
    fn returns_the_same_time_inside_and_the_next_opening_outside() {
        // Weekdays from 2:00 to 5:00 in Berlin; 2026-11-23 is a Monday.
        let windows = [window("0 2 * * 1-5", "Europe/Berlin", 3)];
        for (from, expected) in [
            ("2026-11-23T00:59:59Z", "2026-11-23T01:00:00Z"),
            ("2026-11-23T01:00:00Z", "2026-11-23T01:00:00Z"),
            ("2026-11-23T03:59:59Z", "2026-11-23T03:59:59Z"),
            ("2026-11-23T04:00:00Z", "2026-11-24T01:00:00Z"),
            ("2026-11-27T04:00:00Z", "2026-11-30T01:00:00Z"),
        ] {
            assert_eq!(first(&windows, from), expected, "from {from}");
        }
    }

    #[test]
    fn uses_the_first_of_several_windows() {
        let windows = [window("0 2 * * 0", "UTC", 1), window("0 12 * * *", "UTC", 1)];
        assert_eq!(first(&windows, "2026-11-23T00:00:00Z"), "2026-11-23T12:00:00Z");
        assert_eq!(first(&windows, "2026-11-28T13:00:00Z"), "2026-11-29T02:00:00Z");
    }

    #[test]
    fn is_always_open_without_windows() {
        assert_eq!(first(&[], "2026-11-23T00:00:00Z"), "2026-11-23T00:00:00Z");
    }

    #[test]
    fn window_keeps_its_duration_across_daylight_saving() {
        let windows = [window("0 22 * * *", "Europe/Berlin", 6)];
        // On 25 October 2026 the hour from 2:00 to 3:00 comes twice.
        assert_eq!(first(&windows, "2026-10-24T19:00:00Z"), "2026-10-24T20:00:00Z");
        assert_eq!(first(&windows, "2026-10-25T01:59:59Z"), "2026-10-25T01:59:59Z");
        assert_eq!(first(&windows, "2026-10-25T02:00:00Z"), "2026-10-25T21:00:00Z");
    }

    #[test]
    fn rejects_a_window_that_never_opens() {
        let now = at("2026-01-01T00:00:00Z");
        let hour = K8sDuration::from_secs(3600);
        let error = Window::new("0 0 31 2 *", None, hour, now).unwrap_err().to_string();
        assert!(error.starts_with("windows:") && error.contains("never fires"), "{error}");
        assert_eq!(
            Window::new("0 2 * * *", None, K8sDuration::ZERO, now).unwrap_err(),
            WindowError::Zero
        );
        assert!(Window::new("0 2 * * *", Some("Mars/Base"), hour, now).is_err());
        assert!(Window::new("often", None, hour, now).is_err());
    }

    proptest! {
        #[test]
        fn first_open_time_is_open_and_not_in_the_past(start in 0i64..2_000_000_000) {
            let windows = [window("30 23 * * *", "America/New_York", 2)];
            let from = DateTime::from_timestamp(start, 0).unwrap();
            let open = first_open(&windows, from).unwrap();
            prop_assert!(open >= from && open - from <= TimeDelta::hours(25));
            prop_assert_eq!(first_open(&windows, open), Some(open));
        }
    }
}
