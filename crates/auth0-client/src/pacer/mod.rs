//! When calls to a tenant may be made: all of them wait here.
//!
//! - **Two lanes.** Auth0 counts calls of the Management API and of the Authentication API (tokens
//!   and revocations) apart, and lets twice as many of the latter through on every plan, or more
//!   (documentation, "Rate Limit Configurations"). The lane of the Management API has the configured
//!   rate, that of the Authentication API twice as much: a rotation asks more often whether its
//!   secret is accepted than it calls the Management API. So asking neither takes from the budget
//!   for rotations nor holds them up.
//! - **Priority, then order.** Within a lane the most urgent call leaves first, and of equal ones
//!   the one that came first. A pass makes one call at a time and comes back to the end of the
//!   queue with the next one, so this is fair among resources as well.
//! - **Learning.** What Auth0 says is left, less the calls that are on their way, lowers what is
//!   believed to be left; nothing raises it above the configuration. A refusal (429) closes the
//!   tenant until the reset, the last call of a lane's budget closes the lane. Afterwards calls
//!   leave at the pace again, not all at once.
//! - **Bounds.** A call that could not leave within its patience fails at once, and says when to
//!   come again; so no queue is longer than what a few seconds serve.
//! - **Outages.** After failures in a row no call is made but one at a time, see [`breaker`].

mod breaker;
mod bucket;
pub(super) mod headers;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::HeaderMap;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

pub use breaker::Outage;
use breaker::{Breaker, Verdict};
use bucket::Bucket;
pub use headers::RateLimitStatus;

use super::error::Auth0Error;

/// What a call is for. The most urgent is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// It takes a rotation further that is in progress.
    InProgress,
    /// It begins something, or makes it possible.
    New,
    /// Nobody waits for it: checks for drift.
    Background,
}

/// The budget that a call is taken from.
///
/// As an index it is the place of the lane in [`State::lanes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Management = 0,
    Authentication = 1,
}

impl Lane {
    /// Which API its calls are made of.
    pub(super) fn name(self) -> &'static str {
        match self {
            Lane::Management => "management",
            Lane::Authentication => "authentication",
        }
    }
}

/// The pace of calls to one tenant.
pub(super) struct Pacer(Mutex<State>);

struct State {
    lanes: [Queue; 2],
    /// No call is made before this time.
    closed_until: Option<Instant>,
    breaker: Breaker,
    budget: Option<RateLimitStatus>,
    /// The number of the next call that comes.
    next: u64,
}

/// The calls of one lane.
struct Queue {
    bucket: Bucket,
    closed_until: Option<Instant>,
    waiting: BTreeMap<(Priority, u64), Arc<Notify>>,
    in_flight: u32,
}

/// Someone with a call to make.
#[derive(Clone, Copy)]
pub(super) struct Caller<'a> {
    pub(super) pacer: &'a Pacer,
    pub(super) lane: Lane,
    pub(super) urgency: Priority,
}

/// A call that may be made now. To be told how it ended.
pub(super) struct Admitted<'a> {
    pacer: &'a Pacer,
    lane: Lane,
    is_probe: bool,
}

/// A call that waits. It leaves the queue when this is dropped.
struct Waiting<'a> {
    caller: Caller<'a>,
    key: (Priority, u64),
    turn: Arc<Notify>,
}

/// What a waiting call is to do.
enum Next {
    Leave { is_probe: bool },
    Sleep(Duration),
    Wait,
}

impl Pacer {
    pub(super) fn new(per_second: u32, burst: u32) -> Pacer {
        let queue = |per_second| Queue {
            bucket: Bucket::new(per_second, burst, Instant::now()),
            closed_until: None,
            waiting: BTreeMap::new(),
            in_flight: 0,
        };
        Pacer(Mutex::new(State {
            lanes: [queue(per_second), queue(per_second.saturating_mul(2))],
            closed_until: None,
            breaker: Breaker::default(),
            budget: None,
            next: 0,
        }))
    }

    /// Why no call of a lane would be made now, if so.
    pub(super) fn check(&self, lane: Lane) -> Result<(), Auth0Error> {
        let now = Instant::now();
        let mut state = self.lock();
        state.check(lane, now)?;
        match state.breaker.verdict(now) {
            Verdict::Probing { outage, until } => Err(paused(outage, until, now)),
            _ => Ok(()),
        }
    }

    /// What Auth0 said last of the Management API's budget.
    pub(super) fn budget(&self) -> Option<RateLimitStatus> {
        self.lock().budget
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Caller<'a> {
    /// Waits until a call may be made. Fails at once while the tenant is closed or Auth0 is down,
    /// and when the wait would be longer than `patience`.
    pub(super) async fn admit(self, patience: Duration) -> Result<Admitted<'a>, Auth0Error> {
        let waiting = self.enter(patience)?;
        let (pacer, lane) = (self.pacer, self.lane);
        match timeout(patience, waiting.left()).await {
            Ok(left) => left.map(|is_probe| Admitted { pacer, lane, is_probe }),
            // More urgent calls came first, or a probe took long.
            Err(_) => {
                let wait = pacer.lock().wait(lane, waiting.key, Instant::now());
                Err(throttled(wait.max(Duration::from_millis(500))))
            }
        }
    }

    fn enter(self, patience: Duration) -> Result<Waiting<'a>, Auth0Error> {
        let now = Instant::now();
        let mut state = self.pacer.lock();
        state.check(self.lane, now)?;
        let key = (self.urgency, state.next);
        let wait = state.wait(self.lane, key, now);
        if wait > patience {
            return Err(throttled(wait));
        }
        state.next += 1;
        let turn = Arc::new(Notify::new());
        state.queue(self.lane).waiting.insert(key, turn.clone());
        Ok(Waiting { caller: self, key, turn })
    }
}

impl Waiting<'_> {
    /// Waits for the turn. True for a call that finds out whether Auth0 answers again.
    async fn left(&self) -> Result<bool, Auth0Error> {
        loop {
            let next = {
                let mut state = self.caller.pacer.lock();
                state.next(self.caller.lane, self.key, Instant::now())?
            };
            // A turn that is given before it is waited for is not lost.
            match next {
                Next::Leave { is_probe } => return Ok(is_probe),
                Next::Wait => self.turn.notified().await,
                Next::Sleep(length) => {
                    tokio::select! { () = sleep(length) => {}, () = self.turn.notified() => {} }
                }
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.caller.pacer.lock();
        let queue = state.queue(self.caller.lane);
        queue.waiting.remove(&self.key);
        queue.wake_first();
    }
}

impl Admitted<'_> {
    /// The call was answered with these headers. Returns when to come again if it was refused.
    pub(super) fn answered(
        &self,
        headers: &HeaderMap,
        refused: bool,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let at = Instant::now();
        let mut state = self.pacer.lock();
        if self.lane == Lane::Management
            && let Some(budget) = headers::budget(headers, now)
        {
            state.budget = Some(budget);
        }
        let queue = state.queue(self.lane);
        if let Some(budget) = headers::budget(headers, now) {
            queue.bucket.limit_to(budget.limit, at);
            // Others may be on their way, and not be counted yet.
            let others = queue.in_flight.saturating_sub(1) + queue.bucket.reserve();
            queue.bucket.lower_to(i64::from(budget.remaining) - i64::from(others), at);
        }
        let closed = headers::closed_for(headers, refused, now)?;
        let until = at + closed.to_std().unwrap_or_default();
        tracing::debug!(lane = ?self.lane, refused, seconds = closed.num_seconds(), "closed");
        if !refused {
            queue.close(until);
            return None;
        }
        state.closed_until = state.closed_until.max(Some(until));
        for queue in &mut state.lanes {
            queue.close(until);
        }
        Some(now + closed)
    }

    /// The call has an answer of Auth0's, whatever it says.
    pub(super) fn succeeded(&self) {
        let mut state = self.pacer.lock();
        if state.breaker.answered() {
            tracing::info!("Auth0 answers again");
            state.wake_all();
        }
    }

    /// The call failed in a way that says that Auth0 is down.
    pub(super) fn failed(&self, outage: Outage) {
        let mut state = self.pacer.lock();
        let now = Instant::now();
        if let Some(pause) = state.breaker.failed(outage, self.is_probe, now, rand::random()) {
            let reason = Auth0Error::from(outage).reason();
            tracing::warn!(
                %reason,
                ?pause,
                "Auth0 is taken to be down: no call is made for a while"
            );
            state.wake_all();
        }
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        let mut state = self.pacer.lock();
        let queue = state.queue(self.lane);
        queue.in_flight = queue.in_flight.saturating_sub(1);
        if self.is_probe && matches!(state.breaker.verdict(Instant::now()), Verdict::Probing { .. })
        {
            state.breaker.abandoned();
            state.wake_all();
        }
    }
}

impl State {
    fn queue(&mut self, lane: Lane) -> &mut Queue {
        &mut self.lanes[lane as usize]
    }

    /// Why no call is made, if so.
    fn check(&mut self, lane: Lane, now: Instant) -> Result<(), Auth0Error> {
        let closed_until = self.closed_until.max(self.queue(lane).closed_until);
        if let Some(until) = closed_until.filter(|until| *until > now) {
            return Err(throttled(until - now));
        }
        match self.breaker.verdict(now) {
            Verdict::Paused { outage, until } => Err(paused(outage, until, now)),
            Verdict::Go | Verdict::Probe | Verdict::Probing { .. } => Ok(()),
        }
    }

    /// How long a call has to wait if no other one comes.
    fn wait(&mut self, lane: Lane, key: (Priority, u64), now: Instant) -> Duration {
        let queue = self.queue(lane);
        let ahead = queue.waiting.range(..key).count();
        queue.bucket.wait(now, u32::try_from(ahead).unwrap_or(u32::MAX))
    }

    fn next(&mut self, lane: Lane, key: (Priority, u64), now: Instant) -> Result<Next, Auth0Error> {
        self.check(lane, now)?;
        let verdict = self.breaker.verdict(now);
        let queue = self.queue(lane);
        let is_first = queue.waiting.first_key_value().is_some_and(|(first, _)| *first == key);
        if !is_first || matches!(verdict, Verdict::Probing { .. }) {
            return Ok(Next::Wait);
        }
        if !queue.bucket.take(now) {
            // Timers are exact to a millisecond.
            return Ok(Next::Sleep(queue.bucket.wait(now, 0)));
        }
        queue.in_flight += 1;
        let is_probe = verdict == Verdict::Probe;
        if is_probe {
            self.breaker.probe();
        }
        Ok(Next::Leave { is_probe })
    }

    fn wake_all(&self) {
        self.lanes.iter().for_each(Queue::wake_all);
    }
}

impl Queue {
    /// No call leaves before that time, and then at the pace.
    fn close(&mut self, until: Instant) {
        self.closed_until = self.closed_until.max(Some(until));
        self.bucket.lower_to(1, until);
        self.wake_all();
    }

    fn wake_first(&self) {
        if let Some((_, turn)) = self.waiting.first_key_value() {
            turn.notify_one();
        }
    }

    fn wake_all(&self) {
        self.waiting.values().for_each(|turn| turn.notify_one());
    }
}

fn throttled(wait: Duration) -> Auth0Error {
    Auth0Error::Throttled { until: Utc::now() + in_chrono(wait) }
}

fn paused(outage: Outage, until: Instant, now: Instant) -> Auth0Error {
    let wait = until.saturating_duration_since(now);
    Auth0Error::Paused { outage, until: Utc::now() + in_chrono(wait) }
}

fn in_chrono(length: Duration) -> TimeDelta {
    TimeDelta::from_std(length).unwrap_or(TimeDelta::hours(1))
}
