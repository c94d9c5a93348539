//! The calls to one API of one host that wait for a permit, and whose turn it is.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{Api, Priority, RateLimit, state::NewCall, token_bucket::TokenBucket};

/// The calls to one API.
pub(super) struct Queue {
    pub(super) bucket: TokenBucket,
    /// The share of the bucket for calls without urgency.
    pub(super) background: TokenBucket,
    pub(super) blocked_until: Option<Instant>,
    pub(super) in_flight: u32,
    callers: HashMap<Arc<str>, CallerQueue>,
    next_number: u64,
}

/// The waiting calls of one caller.
struct CallerQueue {
    /// The caller with the smallest number goes next.
    turn: u64,
    waiting: BTreeMap<Order, WaitingCall>,
}

/// Order of the calls of one caller: the smallest one is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    priority: Priority,
    arrival: u64,
}

impl Order {
    fn is_background(self) -> bool {
        self.priority == Priority::Background
    }
}

struct WaitingCall {
    api: Api,
    tenant: Arc<str>,
    wake: Arc<Notify>,
}

/// Where a call waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    caller: Arc<str>,
    order: Order,
}

impl Position {
    pub(super) fn is_background(&self) -> bool {
        self.order.is_background()
    }
}

/// The call whose turn it is, and how long it has to wait for its tenant and its priority.
pub(super) struct Candidate {
    pub(super) position: Position,
    pub(super) wait: Duration,
}

/// How many calls go before one that arrives now.
pub(super) struct CallsAhead {
    pub(super) all: u32,
    pub(super) of_tenant: u32,
    pub(super) of_kind: u32,
    pub(super) background: u32,
}

impl Queue {
    pub(super) fn new(rate_limit: RateLimit, now: Instant) -> Self {
        Self {
            bucket: TokenBucket::new(rate_limit, now),
            background: TokenBucket::half(rate_limit, now),
            blocked_until: None,
            in_flight: 0,
            callers: HashMap::new(),
            next_number: 0,
        }
    }

    pub(super) fn set_rate(&mut self, rate_limit: RateLimit, now: Instant) {
        self.bucket.reconfigure(TokenBucket::new(rate_limit, now), now);
        self.background.reconfigure(TokenBucket::half(rate_limit, now), now);
    }

    pub(super) fn insert(&mut self, call: &NewCall<'_>, priority: Priority) -> Position {
        let NewCall { api, caller, tenant, wake, .. } = call;
        self.next_number += 1;
        let number = self.next_number;
        let order = Order { priority, arrival: number };
        let empty = || CallerQueue { turn: number, waiting: BTreeMap::new() };
        let queue = self.callers.entry(Arc::clone(caller)).or_insert_with(empty);
        let waiting = WaitingCall { api: *api, tenant: Arc::clone(tenant), wake: wake.clone() };
        queue.waiting.insert(order, waiting);
        Position { caller: Arc::clone(caller), order }
    }

    pub(super) fn remove(&mut self, position: &Position) {
        let Some(queue) = self.callers.get_mut(&position.caller) else { return };
        queue.waiting.remove(&position.order);
        if queue.waiting.is_empty() {
            self.callers.remove(&position.caller);
        }
    }

    /// Returns whether any call waits.
    pub(super) fn is_waiting(&self) -> bool {
        !self.callers.is_empty()
    }

    /// Records that the caller of this call had its turn.
    pub(super) fn end_turn(&mut self, position: &Position) {
        self.next_number += 1;
        if let Some(queue) = self.callers.get_mut(&position.caller) {
            queue.turn = self.next_number;
        }
    }

    /// Returns the call whose turn it is. `limit_wait` returns how long a tenant's calls of a kind wait
    /// for limits besides that of the queue, or `None` if they must not go.
    ///
    /// Calls of the background go when no other call could. When none can go at this moment, it is
    /// the turn of the one that can go first.
    pub(super) fn candidate(
        &self,
        now: Instant,
        limit_wait: impl Fn(Api, &Arc<str>) -> Option<Duration>,
    ) -> Option<Candidate> {
        let background = self.background.wait(now, 0);
        let mut best: Option<((Duration, bool, u64), Position)> = None;
        for (caller, queue) in &self.callers {
            for (order, call) in &queue.waiting {
                let Some(wait) = limit_wait(call.api, &call.tenant) else { continue };
                let is_background = order.is_background();
                let wait = if is_background { wait.max(background) } else { wait };
                let rank = (wait, is_background, queue.turn);
                if best.as_ref().is_none_or(|(first, _)| rank < *first) {
                    best = Some((rank, Position { caller: caller.clone(), order: *order }));
                }
                if wait.is_zero() {
                    break;
                }
            }
        }
        best.map(|((wait, ..), position)| Candidate { position, wait })
    }

    /// Returns how many calls go before a new one, if no other call arrives.
    pub(super) fn ahead_of_new(&self, call: &NewCall<'_>, priority: Priority) -> CallsAhead {
        let order = Order { priority, arrival: u64::MAX };
        self.ahead(call.api, call.caller, call.tenant, order)
    }

    /// Returns how many calls go before a waiting one.
    pub(super) fn ahead_of(&self, api: Api, position: &Position, tenant: &Arc<str>) -> CallsAhead {
        self.ahead(api, &position.caller, tenant, position.order)
    }

    fn ahead(&self, api: Api, caller: &Arc<str>, tenant: &Arc<str>, order: Order) -> CallsAhead {
        let own = self.callers.get(caller);
        let own_turn = own.map_or(u64::MAX, |queue| queue.turn);
        // Only calls of the same kind take turns: those of the background go last.
        let is_same_kind = |other: &Order| other.is_background() == order.is_background();
        let before = |queue: &CallerQueue| {
            queue.waiting.range(..order).filter(|(other, _)| is_same_kind(other)).count()
        };
        let own_before = own.map_or(0, before);
        let mut ahead = CallsAhead { all: 0, of_tenant: 0, of_kind: 0, background: 0 };
        for (name, queue) in &self.callers {
            let turns = if name == caller {
                own_before
            } else {
                own_before + usize::from(queue.turn < own_turn)
            };
            let urgent = queue.waiting.iter().filter(|(other, _)| !other.is_background());
            let same_kind = queue.waiting.iter().filter(|(other, _)| is_same_kind(other));
            let all_urgent = if order.is_background() { usize::MAX } else { 0 };
            for (other, call) in urgent.take(all_urgent).chain(same_kind.take(turns)) {
                ahead.all += 1;
                ahead.of_tenant += u32::from(call.tenant == *tenant);
                ahead.of_kind += u32::from(call.api == api);
                ahead.background += u32::from(other.is_background());
            }
        }
        ahead
    }

    pub(super) fn wake(&self, position: &Position) {
        let queue = self.callers.get(&position.caller);
        if let Some(call) = queue.and_then(|queue| queue.waiting.get(&position.order)) {
            call.wake.notify_one();
        }
    }

    pub(super) fn wake_all(&self) {
        for call in self.callers.values().flat_map(|queue| queue.waiting.values()) {
            call.wake.notify_one();
        }
    }

    /// Blocks calls until the given time. Afterwards they resume at the configured rate.
    pub(super) fn block(&mut self, until: Instant) {
        self.blocked_until = self.blocked_until.max(Some(until));
        self.bucket.lower_to(1, until);
        self.wake_all();
    }
}
