//! The current time, from two wall clocks that can be wrong and a monotonic clock that cannot.
//!
//! Once the wall clocks of this machine and of the API server have agreed, the time advances by the
//! monotonic clock, and follows the wall clocks only in small steps. If both agree about another time,
//! such as after the machine was suspended, the process believes them after some minutes. While they
//! disagree, no due time starts a rotation.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::clock::ClockReading;

/// Largest difference of two clocks that agree.
pub const MAX_DIFFERENCE: TimeDelta = TimeDelta::seconds(30);

/// How long both wall clocks must agree about another time until this process believes them.
const ACCEPTANCE_PERIOD: Duration = Duration::from_secs(300);

/// The wall clocks of this machine and of the API server, as this process has seen them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WallClocks {
    /// The time that the process trusts.
    trusted: Option<Range>,
    /// Whether the clocks have agreed about it.
    is_confirmed: bool,
    /// The last comparison of the clocks.
    last: Option<Comparison>,
    /// Another time that both clocks agree about.
    candidate: Option<Candidate>,
}

/// A range of times, which advances by the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Range {
    /// The time at which the monotonic clock was zero.
    earliest_boot: DateTime<Utc>,
    latest_boot: DateTime<Utc>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Comparison {
    range: Range,
    /// How far this machine's clock is ahead of the API server's.
    difference: TimeDelta,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Candidate {
    range: Range,
    since: Duration,
}

impl Range {
    fn new(earliest: DateTime<Utc>, latest: DateTime<Utc>, monotonic: Duration) -> Self {
        let uptime = TimeDelta::from_std(monotonic).unwrap_or_default();
        Self { earliest_boot: earliest - uptime, latest_boot: latest - uptime }
    }

    /// Returns whether the ranges begin and end at about the same times.
    fn is_close_to(self, other: Self) -> bool {
        (self.earliest_boot - other.earliest_boot).abs() <= MAX_DIFFERENCE
            && (self.latest_boot - other.latest_boot).abs() <= MAX_DIFFERENCE
    }

    /// Returns whether a range is at about the same times as a part of this one.
    fn contains(self, other: Self) -> bool {
        self.earliest_boot - MAX_DIFFERENCE <= other.earliest_boot
            && other.latest_boot <= self.latest_boot + MAX_DIFFERENCE
    }
}

impl WallClocks {
    /// Returns clocks that were not compared yet.
    pub const fn new() -> Self {
        Self { trusted: None, is_confirmed: false, last: None, candidate: None }
    }

    /// Records a comparison: the time of this machine's clock, and how far it is ahead of the API
    /// server's.
    pub fn record(&mut self, local: DateTime<Utc>, difference: TimeDelta, monotonic: Duration) {
        let server = local - difference;
        let (earliest, latest) = (local.min(server), local.max(server));
        let range = Range::new(earliest, latest, monotonic);
        let agrees = difference.abs() <= MAX_DIFFERENCE;
        self.last = Some(Comparison { range, difference });
        let Some(trusted) = self.trusted else {
            self.trusted = Some(range);
            self.is_confirmed = agrees;
            return;
        };
        if !agrees {
            self.candidate = None;
            return;
        }
        let is_expected = match self.is_confirmed {
            true => trusted.is_close_to(range),
            // The clocks have never agreed: one of them is right by now.
            false => trusted.contains(range),
        };
        if is_expected || self.has_lasted(range, monotonic) {
            self.trusted = Some(range);
            self.is_confirmed = true;
            self.candidate = None;
        }
    }

    /// Returns whether the clocks have agreed about another time for long enough.
    fn has_lasted(&mut self, range: Range, monotonic: Duration) -> bool {
        let known = self.candidate.filter(|known| known.range.is_close_to(range));
        let since = known.map_or(monotonic, |known| known.since);
        self.candidate = Some(Candidate { range, since });
        monotonic.saturating_sub(since) >= ACCEPTANCE_PERIOD
    }

    /// Returns how far this machine's clock is ahead of the API server's, as last compared.
    pub fn difference(&self) -> TimeDelta {
        self.last.map_or_else(TimeDelta::zero, |last| last.difference)
    }

    /// Returns whether the clocks agreed when they were last compared.
    pub fn agrees(&self) -> bool {
        self.last.is_some_and(|last| last.difference.abs() <= MAX_DIFFERENCE)
    }

    /// Reads the clocks. `local` counts until they were compared.
    pub fn read(&self, local: DateTime<Utc>, monotonic: Duration) -> ClockReading {
        let trusted = self.trusted.unwrap_or_else(|| Range::new(local, local, monotonic));
        let last = self.last.map_or(trusted, |last| last.range);
        // A time that is recorded too late makes others wait longer; one that is recorded too early
        // could make them wait too short.
        let latest_boot = trusted.latest_boot.max(last.latest_boot);
        let uptime = TimeDelta::from_std(monotonic).unwrap_or_default();
        ClockReading {
            earliest: trusted.earliest_boot + uptime,
            latest: latest_boot + uptime,
            agrees: self.agrees(),
            monotonic,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A machine and an API server whose clocks can be set.
    #[derive(Default)]
    struct Machine {
        clocks: WallClocks,
        monotonic: i64,
        local_ahead: i64,
        server_ahead: i64,
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_000_000 + seconds, 0).unwrap()
    }

    impl Machine {
        fn monotonic(&self) -> Duration {
            Duration::from_secs(self.monotonic.unsigned_abs())
        }

        fn compare(&mut self) -> &mut Self {
            let local = at(self.monotonic + self.local_ahead);
            let difference = TimeDelta::seconds(self.local_ahead - self.server_ahead);
            let monotonic = self.monotonic();
            self.clocks.record(local, difference, monotonic);
            self
        }

        fn pass(&mut self, seconds: i64) -> &mut Self {
            self.monotonic += seconds;
            self
        }

        /// Passes time in which the clocks are compared every ten seconds.
        fn run(&mut self, seconds: i64) -> &mut Self {
            for _ in 0..seconds / 10 {
                self.pass(10).compare();
            }
            self
        }

        fn set(&mut self, local_ahead: i64, server_ahead: i64) -> &mut Self {
            (self.local_ahead, self.server_ahead) = (local_ahead, server_ahead);
            self
        }

        fn read(&self) -> ClockReading {
            self.clocks.read(at(self.monotonic + self.local_ahead), self.monotonic())
        }

        /// Returns how far the earliest and the latest time are ahead, in seconds.
        fn ahead(&self) -> (i64, i64) {
            let ClockReading { earliest, latest, .. } = self.read();
            let now = at(self.monotonic);
            ((earliest - now).num_seconds(), (latest - now).num_seconds())
        }
    }

    const DAY: i64 = 86_400;

    #[test]
    fn time_is_that_of_clocks_that_agree() {
        let mut machine = Machine::default();
        machine.set(0, 0).compare().pass(100);
        assert_eq!((machine.ahead(), machine.read().agrees), ((0, 0), true));
    }

    #[test]
    fn jump_of_one_clock_changes_only_what_is_recorded() {
        for (local, server) in [(0, 40 * DAY), (40 * DAY, 0), (0, 300), (300, 0)] {
            let mut machine = Machine::default();
            machine.compare().pass(10).set(local, server).compare().run(3_600);
            let latest = local.max(server);
            assert_eq!((machine.ahead(), machine.read().agrees), ((0, latest), false));
            machine.set(0, 0).pass(1).compare();
            assert_eq!((machine.ahead(), machine.read().agrees), ((0, 0), true));
        }
        for (local, server) in [(0, -40 * DAY), (-300, 0)] {
            let mut machine = Machine::default();
            machine.compare().pass(10).set(local, server).compare().run(3_600);
            assert_eq!((machine.ahead(), machine.read().agrees), ((0, 0), false));
        }
    }

    #[test]
    fn clocks_that_never_agreed_leave_a_range() {
        let mut machine = Machine::default();
        machine.set(-3_600, 0).compare().run(3_600);
        assert_eq!((machine.ahead(), machine.read().agrees), ((-3_600, 0), false));
        // This machine's clock is set.
        machine.set(0, 0).pass(1).compare();
        assert_eq!((machine.ahead(), machine.read().agrees), ((0, 0), true));
    }

    #[test]
    fn time_follows_clocks_that_agree_for_minutes() {
        for ahead in [3_600, -3_600, 40 * DAY] {
            let mut machine = Machine::default();
            machine.compare().set(ahead, ahead).run(290);
            assert_eq!(machine.ahead(), (0, ahead.max(0)), "{ahead}");
            machine.run(30);
            assert_eq!(machine.ahead(), (ahead, ahead));
        }
    }

    #[test]
    fn disagreement_restarts_the_period_after_which_a_time_is_believed() {
        let mut machine = Machine::default();
        machine.compare().set(3_600, 3_600).run(290).set(3_600, 0).run(10);
        machine.set(3_600, 3_600).run(290);
        assert_eq!(machine.ahead(), (0, 3_600));
    }

    #[test]
    fn small_differences_widen_the_range() {
        let mut machine = Machine::default();
        machine.compare().set(0, 29).pass(10).compare();
        assert_eq!((machine.ahead(), machine.read().agrees), ((0, 29), true));
    }

    #[test]
    fn time_of_this_machine_counts_before_the_first_comparison() {
        let machine = Machine::default();
        assert_eq!((machine.ahead(), machine.read().agrees), ((0, 0), false));
    }

    proptest! {
        /// If only one clock jumps, time does not run faster than the monotonic clock.
        #[test]
        fn one_clock_alone_never_moves_the_earliest_time(
            jumps in prop::collection::vec((0i64..600, -100_000_000i64..100_000_000), 0..20),
            is_local: bool,
        ) {
            let mut machine = Machine::default();
            machine.compare();
            for (after, ahead) in jumps {
                let (local, server) = if is_local { (ahead, 0) } else { (0, ahead) };
                machine.pass(after).set(local, server).compare();
                let (earliest, latest) = machine.ahead();
                prop_assert!((-30..=0).contains(&earliest), "{}", earliest);
                prop_assert!(latest >= earliest);
            }
        }
    }
}
