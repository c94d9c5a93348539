//! Rate limiters: one for all calls to a host, shared by all tenants that name it.
//!
//! - **One queue per API.** Auth0 counts calls to the Management API and to the Authentication API
//!   (tokens and revocations) separately, and allows at least twice as many of the latter on every
//!   plan (documentation, "Rate Limit Configurations"). The Management API has the configured rate
//!   and the Authentication API twice that rate, because a rotation probes its secret more often
//!   than it calls the Management API. Probes therefore neither use up the rate limit for rotations
//!   nor delay them.
//! - **Turns, then priority, then arrival.** Within a queue callers take turns. Of one caller the call
//!   with the highest priority goes first, and among equals the oldest one. A reconcile makes one call
//!   at a time and queues again at the end for the next one, so resources also share the limit fairly.
//!   Calls of the background go when no other call waits, and get at most half of the rate.
//! - **Shares.** Each tenant has its own limits besides those of the host, see [`share`].
//! - **Feedback from Auth0.** The number of remaining calls that Auth0 reports, less the calls in
//!   flight, lowers the limiter's own count. Nothing raises the count above the configuration. A
//!   429 blocks all calls to the host until the limit resets; using up the limit of one API
//!   blocks that API. Afterwards calls resume at the configured rate instead of all at once. Only
//!   responses to tenants whose credentials Auth0 has accepted count.
//! - **Bounded wait.** A call that would wait longer than its maximum fails at once with the time
//!   at which to retry. So no queue is longer than a few seconds of calls.
//! - **Circuit breaker.** After consecutive failures the limiter allows one trial call at a time,
//!   see [`circuit_breaker`].

mod circuit_breaker;
pub(crate) mod headers;
mod hosts;
mod queue;
mod share;
mod state;
mod token_bucket;

#[cfg(test)]
mod share_tests;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
pub use circuit_breaker::Outage;
pub use headers::RateLimitStatus;
pub use hosts::{RateLimiters, TenantLimits};
use parking_lot::Mutex;
use queue::Position;
use reqwest::{StatusCode, header::HeaderMap};
use state::{NewCall, NextAction, State, throttled};
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
    /// Nothing waits for the call: imports, repairs and drift checks.
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

/// The rate limiter of a host, as one caller of one tenant uses it.
#[derive(Clone)]
pub struct RateLimiter {
    host: Arc<Mutex<State>>,
    tenant: Arc<str>,
    caller: Arc<str>,
    /// The caller of the tenant's own calls, such as token requests.
    tenant_caller: Arc<str>,
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
    /// Returns the limiter for another caller, which takes turns with the others.
    pub(crate) fn for_caller(&self, caller: &str) -> Self {
        Self { caller: caller.into(), ..self.clone() }
    }

    /// Returns the limiter for the tenant's own calls, which other callers wait for.
    pub(crate) fn for_tenant(&self) -> Self {
        Self { caller: self.tenant_caller.clone(), ..self.clone() }
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
                let mut state = self.host.lock();
                let wait = state.expected_wait(api, &call.position, &self.tenant, Instant::now());
                drop(state);
                Err(throttled(wait.max(Duration::from_millis(500))))
            }
        }
    }

    /// Returns the error that a call would fail with at this moment, if any.
    pub(crate) fn blocked_by(&self, api: Api) -> Option<Error> {
        self.host.lock().blocked_by(api, &self.tenant, Instant::now())
    }

    /// Returns the rate limit of the Management API as Auth0 last reported it.
    pub(crate) fn rate_limit_status(&self) -> Option<RateLimitStatus> {
        self.host.lock().rate_limit_status(&self.tenant)
    }

    fn enqueue(
        &self,
        api: Api,
        priority: Priority,
        max_wait: Duration,
    ) -> Result<QueuedCall<'_>, Error> {
        let wake = Arc::new(Notify::new());
        let (caller, tenant) = (&self.caller, &self.tenant);
        let call = NewCall { api, caller, tenant, priority, max_wait, wake: wake.clone() };
        let position = self.host.lock().enqueue(call, Instant::now())?;
        Ok(QueuedCall { limiter: self, api, position, wake })
    }
}

impl QueuedCall<'_> {
    /// Waits for the call's turn. Returns true if it is a trial call.
    async fn wait(&self) -> Result<bool, Error> {
        loop {
            let action = {
                let mut state = self.limiter.host.lock();
                let tenant = &self.limiter.tenant;
                state.next_action(self.api, &self.position, tenant, Instant::now())?
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
        self.limiter.host.lock().dequeue(self.api, &self.position, Instant::now());
    }
}

impl Permit<'_> {
    /// Records status and headers of the response. Returns when to retry if the call was rejected
    /// with 429.
    ///
    /// A response says something about the tenant's limit only if Auth0 knows the tenant: it accepted
    /// its credentials, now or before.
    pub(crate) fn record_headers(
        &self,
        headers: &HeaderMap,
        status: StatusCode,
        is_html: bool,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let received_at = Instant::now();
        let tenant = &self.limiter.tenant;
        let mut state = self.limiter.host.lock();
        if status.is_success() && !is_html {
            state.prove(tenant, received_at);
        }
        let is_throttled = status == StatusCode::TOO_MANY_REQUESTS;
        let is_authenticated = status != StatusCode::UNAUTHORIZED && state.is_proven(tenant);
        if is_authenticated && let Some(status) = headers::rate_limit_status(headers, now) {
            state.record_status(self.api, status, received_at);
        }
        let block = headers::block_duration(headers, is_throttled, now)?;
        let until = received_at + block.to_std().unwrap_or_default();
        let seconds = block.num_seconds();
        tracing::debug!(api = self.api.as_str(), is_throttled, seconds, "blocked calls");
        if is_throttled {
            state.block_tenant(tenant, until);
            return Some(now + block);
        }
        if is_authenticated {
            state.block_api(self.api, until);
        }
        None
    }

    /// Records that Auth0 rejected the tenant's credentials.
    pub(crate) fn record_rejected_credentials(&self) {
        self.limiter.host.lock().distrust(&self.limiter.tenant);
    }

    /// Records that Auth0 responded, even with an error.
    pub(crate) fn record_response(&self) {
        if self.limiter.host.lock().record_response(&self.limiter.tenant) {
            tracing::info!("closed circuit: Auth0 responds again");
        }
    }

    /// Records that the call failed because Auth0, or the connection to it, is down.
    pub(crate) fn record_outage(&self, outage: Outage) {
        let (tenant, now) = (&self.limiter.tenant, Instant::now());
        let mut state = self.limiter.host.lock();
        let opened = state.record_outage(tenant, outage, self.is_trial, now, rand::random());
        drop(state);
        if let Some(delay) = opened {
            let reason = Error::from(outage).reason();
            tracing::warn!(%reason, ?delay, "opened circuit: Auth0 appears to be down");
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.host.lock();
        state.release(self.api, &self.limiter.tenant, self.is_trial, Instant::now());
    }
}
