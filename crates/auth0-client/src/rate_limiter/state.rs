//! State of the rate limiter of one host behind its lock: one queue per API, blocks, the circuit
//! breaker and the shares of the host's tenants.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{TimeDelta, Utc};
use tokio::{sync::Notify, time::Instant};

use super::{
    Api, Priority, RateLimit,
    circuit_breaker::{CircuitBreaker, CircuitState, Outage, TrialCall},
    headers::RateLimitStatus,
    management::ManagementLimits,
    queue::{CallsAhead, Candidate, Position, Queue},
    share::{Share, doubled, rate_limit_of_host},
};
use crate::error::Error;

/// How many clients have to be throttled one after the other, before all calls to the Authentication
/// API slow down: it may be the tenant's limit.
const THROTTLED_CLIENTS: usize = 3;

/// Time between two calls to the Authentication API while client after client is throttled.
const SLOW_INTERVAL: Duration = Duration::from_secs(1);

/// How many calls a queue holds at least, before it rejects further ones because of their wait.
const MIN_QUEUE_LENGTH: u32 = 4;

pub(super) struct State {
    management: Queue,
    management_limits: ManagementLimits,
    authentication: Queue,
    /// The clients that were throttled at the Authentication API since it last answered a call, at most
    /// [`THROTTLED_CLIENTS`].
    throttled_clients: Vec<Arc<str>>,
    /// The circuit breaker of all proven tenants.
    circuit_breaker: CircuitBreaker,
    rate_limit: RateLimit,
    rate_limit_status: Option<RateLimitStatus>,
    shares: HashMap<Arc<str>, Share>,
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

/// A call that asks for a permit.
pub(super) struct NewCall<'a> {
    pub(super) api: Api,
    pub(super) caller: &'a Arc<str>,
    pub(super) tenant: &'a Arc<str>,
    /// The client that a call to the Authentication API authenticates.
    pub(super) client: Option<&'a str>,
    pub(super) priority: Priority,
    pub(super) max_wait: Duration,
    pub(super) wake: Arc<Notify>,
}

impl State {
    pub(super) fn new(rate_limit: RateLimit, now: Instant) -> Self {
        Self {
            management: Queue::new(rate_limit, now),
            management_limits: ManagementLimits::new(rate_limit, now),
            authentication: Queue::new(doubled(rate_limit), now),
            throttled_clients: Vec::new(),
            circuit_breaker: CircuitBreaker::default(),
            rate_limit,
            rate_limit_status: None,
            shares: HashMap::new(),
        }
    }

    fn queue(&mut self, api: Api) -> &mut Queue {
        match api {
            Api::ClientReads | Api::Management => &mut self.management,
            Api::Authentication => &mut self.authentication,
        }
    }

    /// Adds a tenant, or changes its configuration: it has to prove itself again.
    pub(super) fn configure(
        &mut self,
        tenant: &Arc<str>,
        rate_limit: RateLimit,
        takes_precedence: bool,
        now: Instant,
    ) {
        self.distrust(tenant);
        match self.shares.get_mut(tenant) {
            Some(share) => share.reconfigure(rate_limit, takes_precedence, now),
            None => {
                let share = Share::new(rate_limit, takes_precedence, now);
                self.shares.insert(tenant.clone(), share);
            }
        }
        self.update_rate(now);
    }

    /// Removes a tenant. Its calls in flight end; those that wait fail.
    pub(super) fn remove(&mut self, is_removed: impl Fn(&str) -> bool, now: Instant) {
        self.shares.retain(|tenant, _| !is_removed(tenant));
        self.update_rate(now);
        self.wake_all();
    }

    /// Returns true if nothing would be lost with this state.
    pub(super) fn is_unused(&self, now: Instant) -> bool {
        let queues = [&self.management, &self.authentication];
        let is_blocked = |until: Option<Instant>| until.is_some_and(|until| until > now);
        self.shares.is_empty()
            && !self.management_limits.is_blocked(now)
            && !queues.iter().any(|queue| is_blocked(queue.blocked_until))
    }

    pub(super) fn has_tenants(&self) -> bool {
        !self.shares.is_empty()
    }

    pub(super) fn has_tenant(&self, tenant: &str) -> bool {
        self.shares.contains_key(tenant)
    }

    fn update_rate(&mut self, now: Instant) {
        let Some(rate_limit) = rate_limit_of_host(self.shares.values()) else { return };
        if rate_limit != self.rate_limit {
            self.rate_limit = rate_limit;
            self.management.set_rate(rate_limit, now);
            self.management_limits.set_rate(rate_limit, now);
            self.authentication.set_rate(doubled(rate_limit), now);
            self.wake_all();
        }
    }

    pub(super) fn is_proven(&self, tenant: &Arc<str>) -> bool {
        self.shares.get(tenant).is_some_and(|share| share.is_proven)
    }

    /// Records that Auth0 accepted credentials of a tenant.
    pub(super) fn prove(&mut self, tenant: &Arc<str>, now: Instant) {
        if let Some(share) = self.shares.get_mut(tenant)
            && !share.is_proven
        {
            share.is_proven = true;
            self.update_rate(now);
            self.wake_all();
        }
    }

    /// Records that a tenant has to prove itself. An open circuit stays open for it.
    pub(super) fn distrust(&mut self, tenant: &Arc<str>) {
        if let Some(share) = self.shares.get_mut(tenant)
            && share.is_proven
        {
            share.is_proven = false;
            // A trial call of this tenant will not report to this circuit breaker any more.
            self.circuit_breaker.abandon_trial();
            share.circuit_breaker = self.circuit_breaker.clone();
        }
    }

    /// Returns the rate limit that Auth0 reported, to a tenant that it concerns.
    pub(super) fn rate_limit_status(&self, tenant: &Arc<str>) -> Option<RateLimitStatus> {
        if self.is_proven(tenant) { self.rate_limit_status } else { None }
    }

    /// Returns the circuit breaker of a tenant's calls.
    fn breaker(&mut self, tenant: &Arc<str>) -> &mut CircuitBreaker {
        match self.shares.get_mut(tenant) {
            Some(share) if !share.is_proven => &mut share.circuit_breaker,
            _ => &mut self.circuit_breaker,
        }
    }

    /// Returns the error that a new call would fail with, if any. This includes a trial call in
    /// flight, for which calls that are already in the queue keep waiting.
    pub(super) fn blocked_by(
        &mut self,
        api: Api,
        tenant: &Arc<str>,
        now: Instant,
    ) -> Option<Error> {
        if let Err(error) = self.check_not_blocked(api, tenant, None, now) {
            return Some(error);
        }
        match self.breaker(tenant).state(now) {
            CircuitState::HalfOpen(TrialCall::InFlight { outage, retry_at }) => {
                Some(circuit_open(outage, retry_at, now))
            }
            _ => None,
        }
    }

    /// Fails while calls are blocked by a rate limit or by an open circuit.
    fn check_not_blocked(
        &mut self,
        api: Api,
        tenant: &Arc<str>,
        client: Option<&str>,
        now: Instant,
    ) -> Result<(), Error> {
        let Some(share) = self.shares.get(tenant) else {
            // The tenant was changed or deleted since the call began.
            return Err(throttled(Duration::from_secs(1)));
        };
        if let Some(until) = client.and_then(|client| share.clients.blocked_until(client, now)) {
            return Err(client_throttled(until - now));
        }
        let of_tenant = share.blocked_until(api);
        let of_lane = self.management_limits.blocked_until(api);
        let blocked_until = of_tenant.max(of_lane).max(self.queue(api).blocked_until);
        if let Some(until) = blocked_until
            && until > now
        {
            return Err(throttled(until - now));
        }
        match self.breaker(tenant).state(now) {
            CircuitState::Open { outage, retry_at } => Err(circuit_open(outage, retry_at, now)),
            CircuitState::Closed | CircuitState::HalfOpen(_) => Ok(()),
        }
    }

    pub(super) fn enqueue(&mut self, call: NewCall<'_>, now: Instant) -> Result<Position, Error> {
        let NewCall { api, tenant, client, priority, max_wait, .. } = call;
        self.check_not_blocked(api, tenant, client, now)?;
        // A client that was throttled goes after the others.
        let share = self.shares.get(tenant);
        let is_suspected =
            share.zip(client).is_some_and(|(share, client)| share.clients.is_suspected(client));
        let priority = if is_suspected { Priority::Background } else { priority };
        let ahead = self.queue(api).ahead_of_new(&call, priority);
        let is_background = priority == Priority::Background;
        let wait = self.wait(api, tenant, &ahead, is_background, now);
        if wait > max_wait {
            return Err(throttled(wait));
        }
        Ok(self.queue(api).insert(&call, priority))
    }

    /// Returns how long a call should be ready to wait for its permit: for a few calls, however slow the
    /// rate is. Otherwise a wait for the pace would fail that has to end sometime.
    pub(super) fn min_patience(&mut self, api: Api, priority: Priority) -> Duration {
        let interval = self.queue(api).bucket.interval().max(self.management_limits.interval(api));
        let is_background = priority == Priority::Background;
        interval * MIN_QUEUE_LENGTH * if is_background { 2 } else { 1 }
    }

    pub(super) fn dequeue(&mut self, api: Api, position: &Position, now: Instant) {
        self.queue(api).remove(position);
        if let Some(next) = self.candidate(api, now) {
            self.queue(api).wake(&next.position);
        }
    }

    /// Returns how long a call waits if no other call arrives.
    pub(super) fn expected_wait(
        &mut self,
        api: Api,
        position: &Position,
        tenant: &Arc<str>,
        now: Instant,
    ) -> Duration {
        let ahead = self.queue(api).ahead_of(api, position, tenant);
        self.wait(api, tenant, &ahead, position.is_background(), now)
    }

    fn wait(
        &mut self,
        api: Api,
        tenant: &Arc<str>,
        ahead: &CallsAhead,
        is_background: bool,
        now: Instant,
    ) -> Duration {
        let share = self.shares.get(tenant);
        let of_tenant = share.map(|share| share.wait(api, now, ahead.of_tenant));
        let of_lane = self.management_limits.wait(api, now, ahead.of_kind);
        let queue = self.queue(api);
        let of_queue = queue.bucket.wait(now, ahead.all);
        let wait = of_queue.max(of_lane).max(of_tenant.unwrap_or_default());
        if is_background { wait.max(queue.background.wait(now, ahead.background)) } else { wait }
    }

    /// Returns how many calls of a tenant could be made at this moment, at most `most`.
    pub(super) fn available(
        &mut self,
        api: Api,
        tenant: &Arc<str>,
        most: u32,
        now: Instant,
    ) -> u32 {
        if self.blocked_by(api, tenant, now).is_some() || self.queue(api).is_waiting() {
            return 0;
        }
        let (mut enough, mut too_many) = (0, most.saturating_add(1));
        while too_many - enough > 1 {
            let calls = enough + (too_many - enough) / 2;
            let (all, of_tenant, of_kind) = (calls - 1, calls - 1, calls - 1);
            let ahead = CallsAhead { all, of_tenant, of_kind, background: 0 };
            if self.wait(api, tenant, &ahead, false, now).is_zero() {
                enough = calls;
            } else {
                too_many = calls;
            }
        }
        enough
    }

    /// Returns the call whose turn it is.
    fn candidate(&mut self, api: Api, now: Instant) -> Option<Candidate> {
        let is_trial_in_flight = |breaker: &CircuitBreaker| {
            matches!(breaker.state(now), CircuitState::HalfOpen(TrialCall::InFlight { .. }))
        };
        let host_waits = is_trial_in_flight(&self.circuit_breaker);
        let queue = match api {
            Api::ClientReads | Api::Management => &self.management,
            Api::Authentication => &self.authentication,
        };
        queue.candidate(now, |api, tenant| {
            // A call whose tenant is gone fails when its turn comes.
            let Some(share) = self.shares.get(tenant) else { return Some(Duration::ZERO) };
            let waits = if share.is_proven {
                host_waits
            } else {
                is_trial_in_flight(&share.circuit_breaker)
            };
            let of_lane = self.management_limits.wait(api, now, 0);
            if waits { None } else { Some(share.wait(api, now, 0).max(of_lane)) }
        })
    }

    /// Decides what a waiting call does next. The caller must make the call if the result is
    /// [`NextAction::Proceed`].
    pub(super) fn next_action(
        &mut self,
        api: Api,
        position: &Position,
        tenant: &Arc<str>,
        client: Option<&str>,
        now: Instant,
    ) -> Result<NextAction, Error> {
        self.check_not_blocked(api, tenant, client, now)?;
        let Some(candidate) = self.candidate(api, now) else { return Ok(NextAction::Wait) };
        let queue = self.queue(api);
        if candidate.position != *position {
            // It may sleep because it was not its turn before.
            queue.wake(&candidate.position);
            return Ok(NextAction::Wait);
        }
        let wait = candidate.wait.max(queue.bucket.wait(now, 0));
        if !wait.is_zero() {
            // Timers have a resolution of one millisecond, so the call checks again afterwards.
            return Ok(NextAction::Sleep(wait));
        }
        queue.bucket.try_take(now);
        if position.is_background() {
            queue.background.try_take(now);
        }
        queue.end_turn(position);
        queue.in_flight += 1;
        if let Some(share) = self.shares.get_mut(tenant) {
            share.take(api, now);
        }
        self.management_limits.take(api, now);
        let breaker = self.breaker(tenant);
        let is_trial = breaker.state(now) == CircuitState::HalfOpen(TrialCall::Allowed);
        if is_trial {
            breaker.start_trial();
        }
        Ok(NextAction::Proceed { is_trial })
    }

    /// Lowers the count of available calls to the number that Auth0 reports for this kind of calls to the
    /// Management API.
    pub(super) fn record_status(
        &mut self,
        api: Api,
        status: Option<RateLimitStatus>,
        is_success: bool,
        now: Instant,
    ) {
        if is_success {
            self.management_limits.learn_plan(api, status);
        }
        let Some(status) = status else { return };
        self.rate_limit_status = Some(status);
        let in_flight = self.management.in_flight;
        if self.management_limits.is_separate() {
            self.management_limits.record_status(api, status, in_flight, now);
        } else {
            self.management.bucket.adjust_to(status, in_flight, now);
        }
    }

    /// Blocks calls to the Management API: those that count against the same limit.
    pub(super) fn block_api(&mut self, api: Api, until: Instant) {
        if self.management_limits.is_separate() {
            self.management_limits.block(api, until);
            self.management.wake_all();
        } else {
            self.queue(api).block(until);
        }
    }

    /// Blocks the calls of a tenant to the Management API, and those of all others if Auth0 knows the
    /// tenant.
    pub(super) fn block_tenant(&mut self, api: Api, tenant: &Arc<str>, until: Instant) {
        match self.shares.get_mut(tenant) {
            Some(share) if !share.is_proven => {
                share.block(until);
                self.wake_all();
            }
            _ => self.block_api(api, until),
        }
    }

    /// Records that the Authentication API rejected a call with 429. Returns when the client may call
    /// again; other clients are not affected, unless one after the other is throttled.
    pub(super) fn throttle_client(
        &mut self,
        tenant: &Arc<str>,
        client: &Arc<str>,
        named: Option<Duration>,
        now: Instant,
    ) -> Instant {
        let Some(share) = self.shares.get_mut(tenant) else { return now + SLOW_INTERVAL };
        let until = share.clients.reject(client, named, now);
        // A tenant whose credentials Auth0 has not accepted does not affect other tenants.
        if share.is_proven {
            if self.throttled_clients.len() < THROTTLED_CLIENTS
                && !self.throttled_clients.contains(client)
            {
                self.throttled_clients.push(client.clone());
            }
            if self.throttled_clients.len() >= THROTTLED_CLIENTS {
                self.authentication.bucket.lower_to(1, now + SLOW_INTERVAL);
            }
        }
        self.authentication.wake_all();
        until
    }

    /// Records that the Authentication API answered a call of a client. It may name the time before
    /// which the client has no calls left.
    pub(super) fn accept_client(
        &mut self,
        tenant: &Arc<str>,
        client: &Arc<str>,
        exhausted_until: Option<Instant>,
        now: Instant,
    ) {
        let Some(share) = self.shares.get_mut(tenant) else { return };
        share.clients.accept(client);
        if let Some(until) = exhausted_until {
            share.clients.pause(client, until, now);
        }
        if share.is_proven {
            self.throttled_clients.clear();
        }
    }

    /// Returns true if the response closes the circuit.
    pub(super) fn record_response(&mut self, tenant: &Arc<str>) -> bool {
        let closed = self.breaker(tenant).record_response();
        if closed {
            self.wake_all();
        }
        closed
    }

    /// Returns the delay before the next trial call if the outage opens the circuit.
    pub(super) fn record_outage(
        &mut self,
        tenant: &Arc<str>,
        outage: Outage,
        is_trial: bool,
        now: Instant,
        random: f64,
    ) -> Option<Duration> {
        let delay = self.breaker(tenant).record_outage(outage, is_trial, now, random);
        if delay.is_some() {
            self.wake_all();
        }
        delay
    }

    /// Ends a call whose permit was dropped.
    pub(super) fn release(&mut self, api: Api, tenant: &Arc<str>, is_trial: bool, now: Instant) {
        let queue = self.queue(api);
        queue.in_flight = queue.in_flight.saturating_sub(1);
        let breaker = self.breaker(tenant);
        let state = breaker.state(now);
        if is_trial && matches!(state, CircuitState::HalfOpen(TrialCall::InFlight { .. })) {
            breaker.abandon_trial();
            self.wake_all();
        }
    }

    /// Makes a call available again that was granted and not made.
    pub(super) fn give_back(&mut self, api: Api, tenant: &Arc<str>) {
        let queue = self.queue(api);
        queue.bucket.give_back();
        queue.wake_all();
        self.management_limits.give_back(api);
        if let Some(share) = self.shares.get_mut(tenant) {
            share.give_back(api);
        }
    }

    fn wake_all(&self) {
        self.management.wake_all();
        self.authentication.wake_all();
    }
}

pub(super) fn throttled(wait: Duration) -> Error {
    Error::Throttled { until: Utc::now() + to_time_delta(wait) }
}

fn client_throttled(wait: Duration) -> Error {
    Error::ClientThrottled { until: Utc::now() + to_time_delta(wait) }
}

fn circuit_open(outage: Outage, retry_at: Instant, now: Instant) -> Error {
    let wait = retry_at.saturating_duration_since(now);
    Error::CircuitOpen { outage, until: Utc::now() + to_time_delta(wait) }
}

fn to_time_delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::hours(1))
}
