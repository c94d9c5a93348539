//! Circuit breaker for one tenant.
//!
//! Consecutive failures open the circuit. After a delay, which grows with every failed attempt, one
//! trial call at a time finds out whether Auth0 responds again.

use std::time::Duration;

use tokio::time::Instant;

/// Number of consecutive failures that opens the circuit.
const FAILURE_THRESHOLD: u32 = 5;

/// Delay before the first trial call. Each delay is shortened at random by up to half.
const INITIAL_DELAY: Duration = Duration::from_secs(1);

/// Maximum delay before a trial call.
const MAX_DELAY: Duration = Duration::from_secs(30);

/// How long other callers wait for the outcome of a trial call before they retry.
const TRIAL_RETRY_DELAY: Duration = Duration::from_secs(1);

/// A failure which indicates that Auth0, or the connection to it, is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// The connection failed.
    Unreachable,
    /// The response was incomplete or did not arrive in time.
    NoResponse,
    /// The response had this status, which is a server error.
    Unavailable(u16),
}

/// Circuit breaker that opens after consecutive failures and closes with the first response.
#[derive(Clone, Debug, Default)]
pub(super) struct CircuitBreaker {
    consecutive_failures: u32,
    /// `None` while the circuit is closed.
    open: Option<OpenCircuit>,
}

#[derive(Clone, Debug)]
struct OpenCircuit {
    retry_at: Instant,
    /// The delay without its random reduction.
    delay: Duration,
    outage: Outage,
    is_trial_in_flight: bool,
}

/// State of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CircuitState {
    /// Calls are allowed.
    Closed,
    /// No call is allowed.
    Open {
        /// How the last call failed.
        outage: Outage,
        /// When the circuit becomes half-open.
        retry_at: Instant,
    },
    /// A trial call decides whether the circuit closes.
    HalfOpen(TrialCall),
}

/// State of the trial call of a half-open circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TrialCall {
    /// One call is allowed.
    Allowed,
    /// The trial call is in flight, so no other call is allowed.
    InFlight {
        /// How the last call failed.
        outage: Outage,
        /// When to check the outcome of the trial call.
        retry_at: Instant,
    },
}

impl CircuitBreaker {
    pub(super) fn state(&self, now: Instant) -> CircuitState {
        match self.open {
            None => CircuitState::Closed,
            Some(OpenCircuit { outage, is_trial_in_flight: true, .. }) => {
                let retry_at = now + TRIAL_RETRY_DELAY;
                CircuitState::HalfOpen(TrialCall::InFlight { outage, retry_at })
            }
            Some(OpenCircuit { outage, retry_at, .. }) if retry_at > now => {
                CircuitState::Open { outage, retry_at }
            }
            Some(_) => CircuitState::HalfOpen(TrialCall::Allowed),
        }
    }

    /// Records the start of a trial call.
    pub(super) fn start_trial(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_trial_in_flight = true;
        }
    }

    /// Records a response of Auth0, which may be an error response. Returns true if it closes the
    /// circuit.
    pub(super) fn record_response(&mut self) -> bool {
        self.consecutive_failures = 0;
        self.open.take().is_some()
    }

    /// Records a failed call. Returns the delay before the next trial call if the failure opens the
    /// circuit. `random` is between 0 and 1.
    pub(super) fn record_outage(
        &mut self,
        outage: Outage,
        is_trial: bool,
        now: Instant,
        random: f64,
    ) -> Option<Duration> {
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        let delay = match &self.open {
            // This call started before the circuit opened, so its failure is no news.
            Some(_) if !is_trial => return None,
            Some(open) => (open.delay * 2).min(MAX_DELAY),
            None if self.consecutive_failures < FAILURE_THRESHOLD => return None,
            None => INITIAL_DELAY,
        };
        let shortened = delay.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0);
        let retry_at = now + shortened;
        self.open = Some(OpenCircuit { retry_at, delay, outage, is_trial_in_flight: false });
        Some(shortened)
    }

    /// Records that a trial call ended without an outcome.
    pub(super) fn abandon_trial(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_trial_in_flight = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OUTAGE: Outage = Outage::NoResponse;
    const TRIAL_ALLOWED: CircuitState = CircuitState::HalfOpen(TrialCall::Allowed);

    fn is_trial_in_flight(state: CircuitState) -> bool {
        matches!(state, CircuitState::HalfOpen(TrialCall::InFlight { .. }))
    }

    #[test]
    fn opens_after_consecutive_failures_and_closes_with_first_response() {
        let now = Instant::now();
        let mut breaker = CircuitBreaker::default();
        for _ in 0..4 {
            assert_eq!(breaker.record_outage(OUTAGE, false, now, 0.0), None);
        }
        assert!(!breaker.record_response());
        for _ in 0..4 {
            assert_eq!(breaker.record_outage(OUTAGE, false, now, 0.0), None);
        }
        assert_eq!(breaker.state(now), CircuitState::Closed);
        let delay = Duration::from_millis(750);
        assert_eq!(breaker.record_outage(OUTAGE, false, now, 0.5), Some(delay));
        let retry_at = now + delay;
        assert_eq!(breaker.state(now), CircuitState::Open { outage: OUTAGE, retry_at });
        assert_eq!(breaker.state(retry_at), TRIAL_ALLOWED);
        breaker.start_trial();
        assert!(is_trial_in_flight(breaker.state(retry_at)));
        assert!(breaker.record_response());
        assert_eq!(breaker.state(retry_at), CircuitState::Closed);
    }

    #[test]
    fn allows_another_trial_call_after_abandoned_one() {
        let now = Instant::now();
        let mut breaker = CircuitBreaker::default();
        for _ in 0..FAILURE_THRESHOLD {
            breaker.record_outage(OUTAGE, false, now, 0.0);
        }
        let later = now + INITIAL_DELAY;
        breaker.start_trial();
        breaker.abandon_trial();
        assert_eq!(breaker.state(later), TRIAL_ALLOWED);
    }

    proptest! {
        #[test]
        fn delays_grow_and_are_bounded(randoms in prop::collection::vec(0f64..=1.0, 1..30)) {
            let mut now = Instant::now();
            let mut breaker = CircuitBreaker::default();
            for _ in 1..FAILURE_THRESHOLD {
                breaker.record_outage(OUTAGE, false, now, 0.0);
            }
            let mut longest = INITIAL_DELAY;
            for random in randoms {
                let delay = breaker.record_outage(OUTAGE, true, now, random).unwrap();
                prop_assert!(delay <= longest && delay >= longest / 2);
                // Failures of calls that started earlier do not extend the delay.
                prop_assert_eq!(breaker.record_outage(OUTAGE, false, now, random), None);
                longest = (longest * 2).min(MAX_DELAY);
                now += delay;
                prop_assert_eq!(breaker.state(now), TRIAL_ALLOWED);
                breaker.start_trial();
            }
        }
    }
}
