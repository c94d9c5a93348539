//! Bounds how many reconciles work at a time: use the CPU and call the API server.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use parking_lot::{Mutex, MutexGuard};
use prometheus::{
    IntGauge,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use tokio::sync::oneshot;

use super::adaptive_limit::{AdaptiveLimit, CallKind, CallResult};
use crate::metrics::opts;

/// Permits to work. A reconcile returns its permit while it waits for Auth0, so that tenants that
/// respond slowly do not keep others from working. The number of permits follows the latency of the
/// API server.
///
/// A free permit goes to the namespace with the fewest working reconciles, and there to the reconcile
/// that came first. A quarter of the permits is for other namespaces than one: calls of a namespace
/// whose admission webhook hangs take ten seconds each.
#[derive(Clone)]
pub(crate) struct RunLimit(Arc<Mutex<State>>);

struct State {
    limit: AdaptiveLimit,
    working: usize,
    /// The namespaces in which a reconcile works or waits.
    namespaces: HashMap<Arc<str>, NamespaceState>,
    next_number: u64,
}

#[derive(Default)]
struct NamespaceState {
    working: usize,
    /// With the numbers of their arrival.
    waiting: VecDeque<(u64, oneshot::Sender<Slot>)>,
}

/// The permit of one reconcile, which it may have returned for a while.
pub(crate) struct RunPermit {
    limit: RunLimit,
    namespace: Arc<str>,
    slot: Option<Slot>,
}

/// One of the permits; dropping it returns it.
struct Slot {
    limit: RunLimit,
    namespace: Arc<str>,
}

impl RunLimit {
    /// Returns a limit of at most `concurrency`.
    pub(crate) fn new(concurrency: u16) -> Self {
        let limit = AdaptiveLimit::new(usize::from(concurrency));
        let namespaces = HashMap::new();
        Self(Arc::new(Mutex::new(State { limit, working: 0, namespaces, next_number: 0 })))
    }

    /// Waits for a permit for a reconcile in a namespace.
    pub(crate) async fn acquire(&self, namespace: &str) -> RunPermit {
        let mut permit = self.exempt(namespace);
        permit.resume().await;
        permit
    }

    /// Returns a permit that is not counted, for a reconcile that must not wait.
    pub(crate) fn exempt(&self, namespace: &str) -> RunPermit {
        RunPermit { limit: self.clone(), namespace: namespace.into(), slot: None }
    }

    /// Returns how many reconciles may work at a time.
    pub(crate) fn current(&self) -> usize {
        self.0.lock().limit.limit()
    }

    /// Records the end of a call to the API server.
    pub(crate) fn record(&self, kind: CallKind, result: CallResult, now: Instant) {
        let mut state = self.0.lock();
        let working = state.working;
        state.limit.record(kind, result, working, now);
        self.grant_all(state);
    }

    fn enqueue(&self, namespace: &Arc<str>) -> oneshot::Receiver<Slot> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.0.lock();
        let number = state.next_number;
        state.next_number += 1;
        let queue = &mut state.namespaces.entry(namespace.clone()).or_default().waiting;
        queue.push_back((number, sender));
        self.grant_all(state);
        receiver
    }

    fn release(&self, namespace: &str) {
        let mut state = self.0.lock();
        state.release(namespace);
        self.grant_all(state);
    }

    /// Grants the free permits.
    fn grant_all(&self, mut state: MutexGuard<'_, State>) {
        let mut abandoned = Vec::new();
        while let Some((namespace, sender)) = state.next() {
            let slot = Slot { limit: self.clone(), namespace };
            if let Err(slot) = sender.send(slot) {
                abandoned.push(slot);
            }
        }
        // Slots lock the state when they are dropped.
        drop(state);
        drop(abandoned);
    }
}

/// Collects the present limit when Prometheus scrapes.
pub(crate) struct RunLimitCollector {
    limit: RunLimit,
    gauge: IntGauge,
}

impl RunLimitCollector {
    pub(crate) fn new(limit: RunLimit) -> Result<Self, prometheus::Error> {
        let gauge = IntGauge::with_opts(opts(
            "concurrency_limit",
            "How many ClientSecretRotations are reconciled at a time at most, at the present latency of \
             the API server",
        ))?;
        Ok(Self { limit, gauge })
    }
}

impl Collector for RunLimitCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set(i64::try_from(self.limit.current()).unwrap_or(i64::MAX));
        self.gauge.collect()
    }
}

impl State {
    /// Takes a permit for the reconcile whose turn it is.
    fn next(&mut self) -> Option<(Arc<str>, oneshot::Sender<Slot>)> {
        let limit = self.limit.limit();
        if self.working >= limit {
            return None;
        }
        let of_one_namespace = limit - limit / 4;
        let waiting = self.namespaces.iter().filter_map(|(namespace, state)| {
            let (number, _) = state.waiting.front()?;
            let has_room = state.working < of_one_namespace;
            has_room.then_some((state.working, *number, namespace))
        });
        let (_, _, namespace) = waiting.min()?;
        let namespace = namespace.clone();
        let state = self.namespaces.get_mut(&namespace)?;
        let (_, sender) = state.waiting.pop_front()?;
        state.working += 1;
        self.working += 1;
        Some((namespace, sender))
    }

    fn release(&mut self, namespace: &str) {
        self.working = self.working.saturating_sub(1);
        let Some(state) = self.namespaces.get_mut(namespace) else { return };
        state.working = state.working.saturating_sub(1);
        if state.working == 0 && state.waiting.is_empty() {
            self.namespaces.remove(namespace);
        }
    }
}

impl RunPermit {
    /// Waits for `call` without a permit, and then for a permit.
    pub(crate) async fn suspended<T>(&mut self, call: impl Future<Output = T>) -> T {
        self.suspend();
        let result = call.await;
        self.resume().await;
        result
    }

    /// Returns the permit.
    pub(crate) fn suspend(&mut self) {
        self.slot = None;
    }

    async fn resume(&mut self) {
        // The only error is a dropped sender, which the limit keeps until it has sent the slot.
        self.slot = self.limit.enqueue(&self.namespace).await.ok();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.limit.release(&self.namespace);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn suspended_reconcile_leaves_its_permit_to_others() {
        let limit = RunLimit::new(1);
        let mut permit = limit.acquire("shop").await;
        assert!(limit.acquire("shop").now_or_never().is_none());
        let other = async { drop(limit.acquire("shop").await) };
        permit.suspended(other).now_or_never().expect("both resume");
    }

    #[tokio::test]
    async fn exempt_reconcile_does_not_wait() {
        let limit = RunLimit::new(1);
        let _permit = limit.acquire("shop").await;
        drop(limit.exempt("shop"));
    }

    /// Takes permits until none is left.
    fn take_all(limit: &RunLimit, namespace: &str) -> Vec<RunPermit> {
        std::iter::from_fn(|| limit.acquire(namespace).now_or_never()).collect()
    }

    #[tokio::test]
    async fn permits_follow_the_limit() {
        let limit = RunLimit::new(64);
        let mut now = Instant::now();
        let mut held = take_all(&limit, "shop");
        // The API server responds fast.
        for _ in 0..2_000 {
            now += Duration::from_millis(1);
            let result = CallResult::Responded(Duration::from_millis(5));
            limit.record(CallKind::Write, result, now);
            held.extend(limit.acquire("shop").now_or_never());
        }
        assert_eq!((held.len(), limit.current()), (48, 64));
        // It asks for fewer calls.
        for _ in 0..20 {
            now += Duration::from_secs(1);
            limit.record(CallKind::Write, CallResult::Overloaded, now);
        }
        let few = limit.current();
        assert!(few <= 8);
        held.truncate(few);
        assert!(limit.acquire("other").now_or_never().is_none(), "more than the limit work");
        held.clear();
        assert_eq!(take_all(&limit, "shop").len(), few - few / 4);
    }

    #[tokio::test]
    async fn hanging_namespace_leaves_permits_to_others() {
        let limit = RunLimit::new(64);
        let hanging = take_all(&limit, "hanging");
        let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(limit.acquire("hanging"))).collect();
        for waiting in &mut waiting {
            assert!(waiting.now_or_never().is_none());
        }
        assert!(limit.acquire("other").now_or_never().is_some());
        drop(hanging);
    }

    #[tokio::test]
    async fn free_permit_goes_to_the_namespace_with_the_fewest() {
        let limit = RunLimit::new(8);
        let mut busy = take_all(&limit, "busy");
        let mut others = take_all(&limit, "other");
        assert_eq!(busy.len() + others.len(), limit.current());
        let mut busy_waits = Box::pin(limit.acquire("busy"));
        assert!(busy_waits.as_mut().now_or_never().is_none());
        let mut third = Box::pin(limit.acquire("third"));
        assert!(third.as_mut().now_or_never().is_none());
        drop(busy.pop());
        assert!(busy_waits.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_some());
        drop(others.pop());
        assert!(busy_waits.as_mut().now_or_never().is_some());
    }

    #[tokio::test]
    async fn canceled_wait_loses_no_permit() {
        let limit = RunLimit::new(1);
        let permit = limit.acquire("shop").await;
        let mut canceled = Box::pin(limit.acquire("shop"));
        assert!(canceled.as_mut().now_or_never().is_none());
        let mut granted = Box::pin(limit.acquire("shop"));
        assert!(granted.as_mut().now_or_never().is_none());
        drop(canceled);
        drop(permit);
        // It has a permit, but does not learn that.
        drop(granted);
        assert!(limit.acquire("shop").now_or_never().is_some());
        assert!(limit.0.lock().namespaces.is_empty());
    }

    proptest! {
        /// Permits are neither lost nor created, and no reconcile waits that could work.
        #[test]
        fn no_permit_is_lost(
            concurrency in 1u16..12,
            steps in prop::collection::vec((0u8..4, 0u8..4, 0usize..30), 1..200),
        ) {
            let limit = RunLimit::new(concurrency);
            let (mut held, mut waiting) = (Vec::new(), Vec::new());
            for (action, namespace, index) in steps {
                let namespace = format!("n{namespace}");
                match action {
                    0 if !held.is_empty() => drop(held.swap_remove(index % held.len())),
                    1 if !waiting.is_empty() => drop(waiting.swap_remove(index % waiting.len())),
                    _ => {
                        let limit = limit.clone();
                        waiting.push(Box::pin(async move { limit.acquire(&namespace).await }));
                    }
                }
                for mut call in std::mem::take(&mut waiting) {
                    match call.as_mut().now_or_never() {
                        Some(permit) => held.push(permit),
                        None => waiting.push(call),
                    }
                }
                let mut state = limit.0.lock();
                prop_assert_eq!(state.working, held.len());
                let of_namespaces = state.namespaces.values().map(|state| state.working);
                prop_assert_eq!(of_namespaces.sum::<usize>(), held.len());
                prop_assert!(held.len() <= usize::from(concurrency));
                prop_assert!(state.next().is_none(), "a reconcile waits that could work");
            }
            held.clear();
            waiting.clear();
            prop_assert!(limit.0.lock().working == 0);
        }
    }
}
