//! Rate limiter for all calls to one tenant.
//!
//! - **One queue per API.** Auth0 counts calls to the Management API and to the Authentication API
//!   (tokens and revocations) separately, and allows at least twice as many of the latter on every
//!   plan (documentation, "Rate Limit Configurations"). The Management API has the configured rate
//!   and the Authentication API twice that rate, because a rotation probes its secret more often
//!   than it calls the Management API. Probes therefore neither use up the rate limit for rotations
//!   nor delay them.
//! - **Priority, then arrival.** Within a queue the call with the highest priority goes first, and
//!   among equals the oldest one. A reconcile makes one call at a time and queues again at the end
//!   for the next one, so resources also share the limit fairly.
//! - **Feedback from Auth0.** The number of remaining calls that Auth0 reports, less the calls in
//!   flight, lowers the limiter's own count. Nothing raises the count above the configuration. A
//!   429 blocks all calls to the tenant until the limit resets; using up the limit of one API
//!   blocks that API. Afterwards calls resume at the configured rate instead of all at once.
//! - **Bounded wait.** A call that would wait longer than its maximum fails at once with the time
//!   at which to retry. So no queue is longer than a few seconds of calls.
//! - **Circuit breaker.** After consecutive failures the limiter allows one trial call at a time,
//!   see [`circuit_breaker`].

mod circuit_breaker;
pub(crate) mod headers;
mod state;
mod token_bucket;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
pub use circuit_breaker::Outage;
pub use headers::RateLimitStatus;
use parking_lot::Mutex;
use reqwest::header::HeaderMap;
use state::{NextAction, Position, State, throttled};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use crate::error::Error;

/// The priority of a call, from the highest to the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// The call continues a rotation in progress.
    InProgress,
    /// The call starts something, or is a precondition for a start.
    New,
    /// Nothing waits for the call: drift checks.
    Background,
}

/// The API that a call belongs to. Each has its own rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Management,
    Authentication,
}

impl Api {
    /// Returns the name of the API in traces and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Management => "management",
            Self::Authentication => "authentication",
        }
    }
}

/// The configured rate limit of a tenant's Management API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Sustained number of calls per second.
    pub requests_per_second: u32,
    /// Maximum number of calls at once.
    pub burst: u32,
}

/// Rate limiter for all calls to one tenant.
pub(crate) struct RateLimiter {
    state: Mutex<State>,
}

/// Permission to make one call. The caller reports the outcome of the call to it.
pub(crate) struct Permit<'a> {
    limiter: &'a RateLimiter,
    api: Api,
    /// This is the trial call of a half-open circuit.
    is_trial: bool,
}

/// A call in the queue. Dropping it removes the call from the queue.
struct QueuedCall<'a> {
    limiter: &'a RateLimiter,
    api: Api,
    position: Position,
    wake: Arc<Notify>,
}

impl RateLimiter {
    pub(crate) fn new(rate_limit: RateLimit) -> Self {
        Self { state: Mutex::new(State::new(rate_limit, Instant::now())) }
    }

    /// Waits until a call may be made. Fails at once while calls are blocked, or if the wait would
    /// exceed `max_wait`.
    pub(crate) async fn acquire(
        &self,
        api: Api,
        priority: Priority,
        max_wait: Duration,
    ) -> Result<Permit<'_>, Error> {
        let call = self.enqueue(api, priority, max_wait)?;
        match timeout(max_wait, call.wait()).await {
            Ok(Ok(is_trial)) => Ok(Permit { limiter: self, api, is_trial }),
            Ok(Err(error)) => Err(error),
            // Calls with a higher priority arrived, or a trial call took long.
            Err(_) => {
                let wait = self.state.lock().expected_wait(api, call.position, Instant::now());
                Err(throttled(wait.max(Duration::from_millis(500))))
            }
        }
    }

    /// Returns the error that a call would fail with at this moment, if any.
    pub(crate) fn blocked_by(&self, api: Api) -> Option<Error> {
        self.state.lock().blocked_by(api, Instant::now())
    }

    /// Returns the rate limit of the Management API as Auth0 last reported it.
    pub(crate) fn rate_limit_status(&self) -> Option<RateLimitStatus> {
        self.state.lock().rate_limit_status()
    }

    fn enqueue(
        &self,
        api: Api,
        priority: Priority,
        max_wait: Duration,
    ) -> Result<QueuedCall<'_>, Error> {
        let wake = Arc::new(Notify::new());
        let now = Instant::now();
        let position = self.state.lock().enqueue(api, priority, max_wait, wake.clone(), now)?;
        Ok(QueuedCall { limiter: self, api, position, wake })
    }
}

impl QueuedCall<'_> {
    /// Waits for the call's turn. Returns true if it is a trial call.
    async fn wait(&self) -> Result<bool, Error> {
        loop {
            let action = {
                let mut state = self.limiter.state.lock();
                state.next_action(self.api, self.position, Instant::now())?
            };
            // `Notify` keeps a wake-up that arrives before `notified` is polled.
            match action {
                NextAction::Proceed { is_trial } => return Ok(is_trial),
                NextAction::Wait => self.wake.notified().await,
                NextAction::Sleep(duration) => {
                    tokio::select! { () = sleep(duration) => {}, () = self.wake.notified() => {} }
                }
            }
        }
    }
}

impl Drop for QueuedCall<'_> {
    fn drop(&mut self) {
        self.limiter.state.lock().dequeue(self.api, self.position);
    }
}

impl Permit<'_> {
    /// Records the headers of the response. Returns when to retry if the call was rejected with
    /// 429.
    pub(crate) fn record_headers(
        &self,
        headers: &HeaderMap,
        is_throttled: bool,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let received_at = Instant::now();
        let mut state = self.limiter.state.lock();
        if let Some(status) = headers::rate_limit_status(headers, now) {
            state.record_status(self.api, status, received_at);
        }
        let block = headers::block_duration(headers, is_throttled, now)?;
        let until = received_at + block.to_std().unwrap_or_default();
        let seconds = block.num_seconds();
        tracing::debug!(api = self.api.as_str(), is_throttled, seconds, "blocked calls");
        if is_throttled {
            state.block_tenant(until);
            Some(now + block)
        } else {
            state.block_api(self.api, until);
            None
        }
    }

    /// Records that Auth0 responded, even with an error.
    pub(crate) fn record_response(&self) {
        if self.limiter.state.lock().record_response() {
            tracing::info!("closed circuit: Auth0 responds again");
        }
    }

    /// Records that the call failed because Auth0, or the connection to it, is down.
    pub(crate) fn record_outage(&self, outage: Outage) {
        let mut state = self.limiter.state.lock();
        let opened = state.record_outage(outage, self.is_trial, Instant::now(), rand::random());
        if let Some(delay) = opened {
            let reason = Error::from(outage).reason();
            tracing::warn!(%reason, ?delay, "opened circuit: Auth0 appears to be down");
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.limiter.state.lock().release(self.api, self.is_trial, Instant::now());
    }
}
