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
//!   429, and using up a limit, block the calls that count against the same limit until it resets.
//!   Afterwards calls resume at the configured rate instead of all at once. Only responses to
//!   tenants whose credentials Auth0 has accepted count.
//! - **One lane per documented limit.** Reads of clients and everything else may have a limit each,
//!   see [`management`]; each learns only from its own responses.
//! - **One client at a time.** What the Authentication API says about limits concerns the client that
//!   the call authenticates, see [`throttled_clients`]. When its time is over, the client goes after
//!   the others.
//! - **Bounded wait.** A call that would wait longer than its maximum fails at once with the time
//!   at which to retry. So no queue is longer than a few seconds of calls. The maximum is never
//!   shorter than a few calls take at the configured rate.
//! - **Circuit breaker.** After consecutive failures the limiter allows one trial call at a time,
//!   see [`circuit_breaker`].

mod circuit_breaker;
pub(crate) mod headers;
mod hosts;
mod management;
mod queue;
mod share;
mod state;
mod throttled_clients;
mod token_bucket;

#[cfg(test)]
mod lane_tests;
#[cfg(test)]
mod share_tests;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
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

/// The kind of a call. Reads of clients may count against a limit of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    /// Reads of clients in the Management API.
    ClientReads,
    /// Everything else in the Management API.
    Management,
    Authentication,
}

impl Api {
    /// Returns the name of the API in traces and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ClientReads | Self::Management => "management",
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
pub(crate) struct Permit {
    limiter: RateLimiter,
    api: Api,
    /// The client that the call authenticates, if it is one to the Authentication API.
    client: Option<Arc<str>>,
    /// This is the trial call of a half-open circuit.
    is_trial: bool,
    /// The call counts even if it is not made.
    is_used: bool,
}

/// A call in the queue. Dropping it removes the call from the queue.
struct QueuedCall<'a> {
    limiter: &'a RateLimiter,
    api: Api,
    client: Option<&'a str>,
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
    ) -> Result<Permit, Error> {
        self.acquire_for(None, api, priority, max_wait).await
    }

    /// Waits until a call may be made that authenticates a client. Fails at once while that client's
    /// calls are blocked.
    pub(crate) async fn acquire_for(
        &self,
        client: Option<&str>,
        api: Api,
        priority: Priority,
        max_wait: Duration,
    ) -> Result<Permit, Error> {
        let call = self.enqueue(client, api, priority, max_wait)?;
        match timeout(max_wait, call.wait()).await {
            Ok(Ok(is_trial)) => {
                let client = client.map(Arc::from);
                Ok(Permit { limiter: self.clone(), api, client, is_trial, is_used: true })
            }
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

    /// Returns the longest wait for a permit: this one, or longer if the rate is low.
    pub(crate) fn max_wait(&self, api: Api, priority: Priority, wait: Duration) -> Duration {
        self.host.lock().min_patience(api, priority).max(wait)
    }

    /// Returns the error that a call would fail with at this moment, if any.
    pub(crate) fn blocked_by(&self, api: Api) -> Option<Error> {
        self.host.lock().blocked_by(api, &self.tenant, Instant::now())
    }

    /// Returns how many calls could be made at this moment without a wait, at most `most`.
    pub(crate) fn available(&self, api: Api, most: u32) -> u32 {
        self.host.lock().available(api, &self.tenant, most, Instant::now())
    }

    /// Returns the rate limit of the Management API as Auth0 last reported it.
    pub(crate) fn rate_limit_status(&self) -> Option<RateLimitStatus> {
        self.host.lock().rate_limit_status(&self.tenant)
    }

    fn enqueue<'a>(
        &'a self,
        client: Option<&'a str>,
        api: Api,
        priority: Priority,
        max_wait: Duration,
    ) -> Result<QueuedCall<'a>, Error> {
        let wake = Arc::new(Notify::new());
        let (caller, tenant) = (&self.caller, &self.tenant);
        let call = NewCall { api, caller, tenant, client, priority, max_wait, wake: wake.clone() };
        let position = self.host.lock().enqueue(call, Instant::now())?;
        Ok(QueuedCall { limiter: self, api, client, position, wake })
    }
}

impl QueuedCall<'_> {
    /// Waits for the call's turn. Returns true if it is a trial call.
    async fn wait(&self) -> Result<bool, Error> {
        loop {
            let action = {
                let mut state = self.limiter.host.lock();
                let tenant = &self.limiter.tenant;
                state.next_action(self.api, &self.position, tenant, self.client, Instant::now())?
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

impl Permit {
    /// Makes the call available again if the permit is dropped before [`Self::mark_used`].
    pub(crate) fn reserve(mut self) -> Self {
        self.is_used = false;
        self
    }

    /// Records that the call is made.
    pub(crate) fn mark_used(&mut self) {
        self.is_used = true;
    }

    /// Records status and headers of the response. Returns the error of a call that was rejected with
    /// 429, which says when to retry.
    ///
    /// A response says something about the tenant's limit only if Auth0 knows the tenant: it accepted
    /// its credentials, now or before.
    pub(crate) fn record_headers(
        &self,
        headers: &HeaderMap,
        status: StatusCode,
        is_html: bool,
        now: DateTime<Utc>,
    ) -> Option<Error> {
        let received_at = Instant::now();
        let tenant = &self.limiter.tenant;
        let mut state = self.limiter.host.lock();
        let is_success = status.is_success() && !is_html;
        if is_success {
            state.prove(tenant, received_at);
        }
        let is_throttled = status == StatusCode::TOO_MANY_REQUESTS;
        let block = headers::block_duration(headers, is_throttled, now);
        let until = block.map(|block| received_at + block.to_std().unwrap_or_default());
        let is_authenticated = status != StatusCode::UNAUTHORIZED && state.is_proven(tenant);
        if let Some(block) = block {
            let seconds = block.num_seconds();
            tracing::debug!(api = self.api.as_str(), is_throttled, seconds, "blocked calls");
        }
        if self.api == Api::Authentication {
            let client = self.client.clone().unwrap_or_default();
            if is_throttled {
                let named = headers::retry_time(headers, now).map(|until| until - now);
                let named = named.and_then(|wait| wait.to_std().ok());
                let until = state.throttle_client(tenant, &client, named, received_at);
                let wait = TimeDelta::from_std(until - received_at).unwrap_or(headers::MAX_BLOCK);
                return Some(Error::ClientThrottled { until: now + wait });
            }
            if !status.is_server_error() {
                state.accept_client(tenant, &client, until, received_at);
            }
            return None;
        }
        if is_authenticated {
            let reported = headers::rate_limit_status(headers, now);
            state.record_status(self.api, reported, is_success, received_at);
        }
        let (block, until) = (block?, until?);
        if is_throttled {
            state.block_tenant(self.api, tenant, until);
            return Some(Error::Throttled { until: now + block });
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

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.limiter.host.lock();
        state.release(self.api, &self.limiter.tenant, self.is_trial, Instant::now());
        if !self.is_used {
            state.give_back(self.api, &self.limiter.tenant);
        }
    }
}
