//! State of the rate limiter behind its lock: one queue per API, blocks and the circuit breaker.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{TimeDelta, Utc};
use tokio::{sync::Notify, time::Instant};

use super::{
    Api, Priority, RateLimit,
    circuit_breaker::{CircuitBreaker, CircuitState, Outage, TrialCall},
    headers::RateLimitStatus,
    token_bucket::TokenBucket,
};
use crate::error::Error;

pub(super) struct State {
    management: Queue,
    authentication: Queue,
    /// All calls to the tenant are blocked before this time.
    blocked_until: Option<Instant>,
    circuit_breaker: CircuitBreaker,
    rate_limit_status: Option<RateLimitStatus>,
    next_arrival: u64,
}

/// The calls to one API.
struct Queue {
    bucket: TokenBucket,
    blocked_until: Option<Instant>,
    waiting: BTreeMap<Position, Arc<Notify>>,
    in_flight: u32,
}

/// Position in a queue: the smallest one is first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    priority: Priority,
    arrival: u64,
}

/// The next action of a waiting call.
pub(super) enum NextAction {
    /// Make the call.
    Proceed { is_trial: bool },
    /// Check again after this time, or after a wake-up.
    Sleep(Duration),
    /// Check again after a wake-up.
    Wait,
}

impl State {
    pub(super) fn new(rate_limit: RateLimit, now: Instant) -> Self {
        let doubled = RateLimit {
            requests_per_second: rate_limit.requests_per_second.saturating_mul(2),
            ..rate_limit
        };
        Self {
            management: Queue::new(rate_limit, now),
            authentication: Queue::new(doubled, now),
            blocked_until: None,
            circuit_breaker: CircuitBreaker::default(),
            rate_limit_status: None,
            next_arrival: 0,
        }
    }

    fn queue(&mut self, api: Api) -> &mut Queue {
        match api {
            Api::Management => &mut self.management,
            Api::Authentication => &mut self.authentication,
        }
    }

    pub(super) fn rate_limit_status(&self) -> Option<RateLimitStatus> {
        self.rate_limit_status
    }

    /// Returns the error that a new call would fail with, if any. This includes a trial call in
    /// flight, for which calls that are already in the queue keep waiting.
    pub(super) fn blocked_by(&mut self, api: Api, now: Instant) -> Option<Error> {
        if let Err(error) = self.check_not_blocked(api, now) {
            return Some(error);
        }
        match self.circuit_breaker.state(now) {
            CircuitState::HalfOpen(TrialCall::InFlight { outage, retry_at }) => {
                Some(circuit_open(outage, retry_at, now))
            }
            _ => None,
        }
    }

    /// Fails while calls are blocked by a rate limit or by an open circuit.
    fn check_not_blocked(&mut self, api: Api, now: Instant) -> Result<(), Error> {
        let blocked_until = self.blocked_until.max(self.queue(api).blocked_until);
        if let Some(until) = blocked_until
            && until > now
        {
            return Err(throttled(until - now));
        }
        match self.circuit_breaker.state(now) {
            CircuitState::Open { outage, retry_at } => Err(circuit_open(outage, retry_at, now)),
            CircuitState::Closed | CircuitState::HalfOpen(_) => Ok(()),
        }
    }

    pub(super) fn enqueue(
        &mut self,
        api: Api,
        priority: Priority,
        max_wait: Duration,
        wake: Arc<Notify>,
        now: Instant,
    ) -> Result<Position, Error> {
        self.check_not_blocked(api, now)?;
        let position = Position { priority, arrival: self.next_arrival };
        let wait = self.expected_wait(api, position, now);
        if wait > max_wait {
            return Err(throttled(wait));
        }
        self.next_arrival += 1;
        self.queue(api).waiting.insert(position, wake);
        Ok(position)
    }

    pub(super) fn dequeue(&mut self, api: Api, position: Position) {
        let queue = self.queue(api);
        queue.waiting.remove(&position);
        queue.wake_first();
    }

    /// Returns how long a call waits if no other call arrives.
    pub(super) fn expected_wait(&mut self, api: Api, position: Position, now: Instant) -> Duration {
        let queue = self.queue(api);
        let ahead = queue.waiting.range(..position).count();
        queue.bucket.wait(now, u32::try_from(ahead).unwrap_or(u32::MAX))
    }

    /// Decides what a waiting call does next. The caller must make the call if the result is
    /// [`NextAction::Proceed`].
    pub(super) fn next_action(
        &mut self,
        api: Api,
        position: Position,
        now: Instant,
    ) -> Result<NextAction, Error> {
        self.check_not_blocked(api, now)?;
        let circuit = self.circuit_breaker.state(now);
        let queue = self.queue(api);
        let is_first = queue.waiting.first_key_value().is_some_and(|(first, _)| *first == position);
        if !is_first || matches!(circuit, CircuitState::HalfOpen(TrialCall::InFlight { .. })) {
            return Ok(NextAction::Wait);
        }
        if !queue.bucket.try_take(now) {
            // Timers have a resolution of one millisecond, so the call checks again afterwards.
            return Ok(NextAction::Sleep(queue.bucket.wait(now, 0)));
        }
        queue.in_flight += 1;
        let is_trial = circuit == CircuitState::HalfOpen(TrialCall::Allowed);
        if is_trial {
            self.circuit_breaker.start_trial();
        }
        Ok(NextAction::Proceed { is_trial })
    }

    /// Lowers the count of available calls to the number that Auth0 reports.
    pub(super) fn record_status(&mut self, api: Api, status: RateLimitStatus, now: Instant) {
        if api == Api::Management {
            self.rate_limit_status = Some(status);
        }
        let queue = self.queue(api);
        queue.bucket.cap_burst(status.limit, now);
        // Other calls may be in flight that Auth0 has not counted yet.
        let uncounted = queue.in_flight.saturating_sub(1) + queue.bucket.reserve();
        queue.bucket.lower_to(i64::from(status.remaining) - i64::from(uncounted), now);
    }

    pub(super) fn block_api(&mut self, api: Api, until: Instant) {
        self.queue(api).block(until);
    }

    pub(super) fn block_tenant(&mut self, until: Instant) {
        self.blocked_until = self.blocked_until.max(Some(until));
        self.management.block(until);
        self.authentication.block(until);
    }

    /// Returns true if the response closes the circuit.
    pub(super) fn record_response(&mut self) -> bool {
        let closed = self.circuit_breaker.record_response();
        if closed {
            self.wake_all();
        }
        closed
    }

    /// Returns the delay before the next trial call if the outage opens the circuit.
    pub(super) fn record_outage(
        &mut self,
        outage: Outage,
        is_trial: bool,
        now: Instant,
        random: f64,
    ) -> Option<Duration> {
        let delay = self.circuit_breaker.record_outage(outage, is_trial, now, random);
        if delay.is_some() {
            self.wake_all();
        }
        delay
    }

    /// Ends a call whose permit was dropped.
    pub(super) fn release(&mut self, api: Api, is_trial: bool, now: Instant) {
        let queue = self.queue(api);
        queue.in_flight = queue.in_flight.saturating_sub(1);
        let circuit = self.circuit_breaker.state(now);
        if is_trial && matches!(circuit, CircuitState::HalfOpen(TrialCall::InFlight { .. })) {
            self.circuit_breaker.abandon_trial();
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        self.management.wake_all();
        self.authentication.wake_all();
    }
}

impl Queue {
    fn new(rate_limit: RateLimit, now: Instant) -> Self {
        Self {
            bucket: TokenBucket::new(rate_limit, now),
            blocked_until: None,
            waiting: BTreeMap::new(),
            in_flight: 0,
        }
    }

    /// Blocks calls until the given time. Afterwards they resume at the configured rate.
    fn block(&mut self, until: Instant) {
        self.blocked_until = self.blocked_until.max(Some(until));
        self.bucket.lower_to(1, until);
        self.wake_all();
    }

    fn wake_first(&self) {
        if let Some((_, wake)) = self.waiting.first_key_value() {
            wake.notify_one();
        }
    }

    fn wake_all(&self) {
        for wake in self.waiting.values() {
            wake.notify_one();
        }
    }
}

pub(super) fn throttled(wait: Duration) -> Error {
    Error::Throttled { until: Utc::now() + to_time_delta(wait) }
}

fn circuit_open(outage: Outage, retry_at: Instant, now: Instant) -> Error {
    let wait = retry_at.saturating_duration_since(now);
    Error::CircuitOpen { outage, until: Utc::now() + to_time_delta(wait) }
}

fn to_time_delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::hours(1))
}
