//! Whether Auth0 answers at all. When it doesn't, one call at a time finds out whether it does
//! again, after pauses that grow.

use std::time::Duration;

use tokio::time::Instant;

/// So many failures in a row mean that Auth0 is down.
const FAILURES: u32 = 5;

/// The first pause; each is up to a half shorter, by chance.
const FIRST: Duration = Duration::from_secs(1);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// How long others are asked to wait for the outcome of a probe.
const PROBE: Duration = Duration::from_secs(1);

/// How a call failed that says that Auth0, or the way to it, is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// No connection was made.
    Unreachable,
    /// There was no whole answer in time.
    NoResponse,
    /// The answer was a server's error of that status.
    Unavailable(u16),
}

/// Opens a circuit after failures in a row, and closes it with the first success.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    pause: Option<Pause>,
}

#[derive(Debug)]
struct Pause {
    until: Instant,
    length: Duration,
    outage: Outage,
    is_probing: bool,
}

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Calls may be made.
    Go,
    /// One call may be made, to find out.
    Probe,
    /// That call is under way.
    Probing {
        /// Why Auth0 is taken to be down.
        outage: Outage,
        /// When to ask again.
        until: Instant,
    },
    /// No call may be made.
    Paused {
        /// Why Auth0 is taken to be down.
        outage: Outage,
        /// When a call may be made.
        until: Instant,
    },
}

impl Breaker {
    pub(super) fn verdict(&self, now: Instant) -> Verdict {
        match &self.pause {
            None => Verdict::Go,
            Some(Pause { outage, is_probing: true, .. }) => {
                Verdict::Probing { outage: *outage, until: now + PROBE }
            }
            Some(Pause { outage, until, .. }) if *until > now => {
                Verdict::Paused { outage: *outage, until: *until }
            }
            Some(_) => Verdict::Probe,
        }
    }

    /// A call is made while the verdict is [`Verdict::Probe`].
    pub(super) fn probe(&mut self) {
        if let Some(pause) = &mut self.pause {
            pause.is_probing = true;
        }
    }

    /// Auth0 has answered, whatever it said. True when it had been taken to be down.
    pub(super) fn answered(&mut self) -> bool {
        self.failures = 0;
        self.pause.take().is_some()
    }

    /// A call has failed. `random` is between 0 and 1. Returns the length of a pause that begins.
    pub(super) fn failed(
        &mut self,
        outage: Outage,
        was_probe: bool,
        now: Instant,
        random: f64,
    ) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        let length = match &self.pause {
            // A call that had begun before the pause says nothing new.
            Some(_) if !was_probe => return None,
            Some(pause) => (pause.length * 2).min(LONGEST),
            None if self.failures < FAILURES => return None,
            None => FIRST,
        };
        let shortened = length.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0);
        self.pause = Some(Pause { until: now + shortened, length, outage, is_probing: false });
        Some(shortened)
    }

    /// A probe has ended without saying anything.
    pub(super) fn abandoned(&mut self) {
        if let Some(pause) = &mut self.pause {
            pause.is_probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DOWN: Outage = Outage::NoResponse;

    #[test]
    fn failures_in_a_row_pause_and_the_first_success_ends_it() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            assert_eq!(breaker.failed(DOWN, false, now, 0.0), None);
        }
        assert!(!breaker.answered());
        for _ in 0..4 {
            assert_eq!(breaker.failed(DOWN, false, now, 0.0), None);
        }
        assert_eq!(breaker.verdict(now), Verdict::Go);
        assert_eq!(breaker.failed(DOWN, false, now, 0.5), Some(Duration::from_millis(750)));
        let until = now + Duration::from_millis(750);
        assert_eq!(breaker.verdict(now), Verdict::Paused { outage: DOWN, until });
        assert_eq!(breaker.verdict(until), Verdict::Probe);
        breaker.probe();
        assert!(matches!(breaker.verdict(until), Verdict::Probing { .. }));
        assert!(breaker.answered());
        assert_eq!(breaker.verdict(until), Verdict::Go);
    }

    #[test]
    fn a_probe_that_says_nothing_leaves_room_for_the_next() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES {
            breaker.failed(DOWN, false, now, 0.0);
        }
        let later = now + FIRST;
        breaker.probe();
        breaker.abandoned();
        assert_eq!(breaker.verdict(later), Verdict::Probe);
    }

    proptest! {
        #[test]
        fn pauses_grow_and_are_bounded(randoms in prop::collection::vec(0f64..=1.0, 1..30)) {
            let mut now = Instant::now();
            let mut breaker = Breaker::default();
            for _ in 1..FAILURES {
                breaker.failed(DOWN, false, now, 0.0);
            }
            let mut longest = FIRST;
            for random in randoms {
                let pause = breaker.failed(DOWN, true, now, random).unwrap();
                prop_assert!(pause <= longest && pause >= longest / 2);
                // What had begun before doesn't make it longer.
                prop_assert_eq!(breaker.failed(DOWN, false, now, random), None);
                longest = (longest * 2).min(LONGEST);
                now += pause;
                prop_assert_eq!(breaker.verdict(now), Verdict::Probe);
                breaker.probe();
            }
        }
    }
}
