//! A fair priority queue for reconciles that need a permit.
//!
//! The queue holds names of resources, not reconciles: a waiting resource costs no other memory, and
//! nothing polls. A resource that is granted a permit is read from the stores again, so that it is
//! reconciled for its present state and not for its state when it began to wait.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use auth0_client::Priority;
use parking_lot::Mutex;

use super::super::object_key::ObjectKey;

/// Permits for the resources that may be reconciled at a time, over all namespaces.
///
/// The resource with the highest priority goes first, and of equals the one that came first. One
/// tenant holds at most half of the permits, so that one slow tenant cannot delay the others.
pub(crate) struct WorkQueue {
    state: Mutex<State>,
    /// Triggers a reconcile of the resource that was granted a permit. Must not lock or fail.
    notify: Box<dyn Fn(&ObjectKey) + Send + Sync>,
}

struct State {
    free: usize,
    tenant_share: usize,
    tenants: HashMap<Arc<str>, TenantQueue>,
    /// Where each waiting resource is in the queue of its tenant.
    waiting: HashMap<Arc<ObjectKey>, (Arc<str>, Order)>,
    /// The resources that were granted a permit and have not claimed it yet, with their tenant.
    granted: HashMap<Arc<ObjectKey>, Arc<str>>,
    next_arrival: u64,
}

/// Priority, then order of arrival.
type Order = (Priority, u64);

#[derive(Default)]
struct TenantQueue {
    permits: usize,
    waiting: BTreeMap<Order, Arc<ObjectKey>>,
}

/// A permit to reconcile one resource; dropping it returns it.
pub(crate) struct Permit {
    queue: Arc<WorkQueue>,
    tenant: Arc<str>,
}

impl WorkQueue {
    pub(crate) fn new(
        concurrency: u16,
        notify: impl Fn(&ObjectKey) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let permits = usize::from(concurrency.max(1));
        let state = State {
            free: permits,
            tenant_share: permits.div_ceil(2),
            tenants: HashMap::new(),
            waiting: HashMap::new(),
            granted: HashMap::new(),
            next_arrival: 0,
        };
        Arc::new(Self { state: Mutex::new(state), notify: Box::new(notify) })
    }

    /// Returns the permit that a resource was granted, if it was.
    pub(crate) fn claim(self: &Arc<Self>, key: &ObjectKey) -> Option<Permit> {
        let tenant = self.state.lock().granted.remove(key)?;
        Some(Permit { queue: self.clone(), tenant })
    }

    /// Returns a permit if one is free. Otherwise the resource waits and is notified when it is
    /// granted one; a resource that waits already keeps its order of arrival.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        key: &ObjectKey,
        tenant: &str,
        priority: Priority,
    ) -> Option<Permit> {
        let mut state = self.state.lock();
        let arrival = state.remove_waiting(key).map_or(state.next_arrival, |(_, arrival)| arrival);
        state.next_arrival += 1;
        let tenant = state.interned(tenant);
        let (order, key_ref) = ((priority, arrival), Arc::new(key.clone()));
        state.waiting.insert(key_ref.clone(), (tenant.clone(), order));
        state.tenants.entry(tenant).or_default().waiting.insert(order, key_ref);
        self.grant_all(&mut state, Some(key));
        let tenant = state.granted.remove(key)?;
        Some(Permit { queue: self.clone(), tenant })
    }

    /// Removes a resource that needs no permit any more, or is gone.
    pub(crate) fn cancel(self: &Arc<Self>, key: &ObjectKey) {
        self.state.lock().remove_waiting(key);
        drop(self.claim(key));
    }

    /// Returns how many resources wait for a permit.
    pub(crate) fn depth(&self) -> usize {
        self.state.lock().waiting.len()
    }

    fn release(&self, tenant: &Arc<str>) {
        let mut state = self.state.lock();
        state.free += 1;
        if let Some(queue) = state.tenants.get_mut(tenant) {
            queue.permits = queue.permits.saturating_sub(1);
            state.remove_if_idle(tenant);
        }
        self.grant_all(&mut state, None);
    }

    /// Grants the free permits and notifies their resources, except the one that is `acquiring`.
    fn grant_all(&self, state: &mut State, acquiring: Option<&ObjectKey>) {
        while let Some((key, tenant)) = state.grant_next() {
            if acquiring != Some(&*key) {
                (self.notify)(&key);
            }
            state.granted.insert(key, tenant);
        }
    }
}

impl State {
    /// Returns the tenant's name, shared with the one that is stored.
    fn interned(&self, name: &str) -> Arc<str> {
        self.tenants.get_key_value(name).map_or_else(|| name.into(), |(known, _)| known.clone())
    }

    /// Grants one permit to the first waiting resource whose tenant is below its share.
    fn grant_next(&mut self) -> Option<(Arc<ObjectKey>, Arc<str>)> {
        if self.free == 0 {
            return None;
        }
        let share = self.tenant_share;
        let below_share = self.tenants.iter_mut().filter(|(_, queue)| queue.permits < share);
        let first_of_each = below_share.filter_map(|(tenant, queue)| {
            let order = *queue.waiting.first_key_value()?.0;
            Some((order, tenant.clone(), queue))
        });
        let (order, tenant, queue) = first_of_each.max_by_key(|(order, ..)| Reverse(*order))?;
        let key = queue.waiting.remove(&order)?;
        queue.permits += 1;
        self.free -= 1;
        self.waiting.remove(&key);
        Some((key, tenant))
    }

    fn remove_waiting(&mut self, key: &ObjectKey) -> Option<Order> {
        let (tenant, order) = self.waiting.remove(key)?;
        if let Some(queue) = self.tenants.get_mut(&tenant) {
            queue.waiting.remove(&order);
            self.remove_if_idle(&tenant);
        }
        Some(order)
    }

    fn remove_if_idle(&mut self, tenant: &Arc<str>) {
        let Some(queue) = self.tenants.get(tenant) else { return };
        if queue.permits == 0 && queue.waiting.is_empty() {
            self.tenants.remove(tenant);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.queue.release(&self.tenant);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Notified = Arc<Mutex<Vec<ObjectKey>>>;

    fn work_queue(concurrency: u16) -> (Arc<WorkQueue>, Notified) {
        let notified = Notified::default();
        let to = notified.clone();
        (WorkQueue::new(concurrency, move |key| to.lock().push(key.clone())), notified)
    }

    fn key(name: impl ToString) -> ObjectKey {
        ObjectKey::new("shop", name.to_string())
    }

    #[test]
    fn grants_by_priority_and_then_by_arrival() {
        let (queue, notified) = work_queue(1);
        let mut permit = queue.acquire(&key("first"), "t", Priority::Background);
        assert!(permit.is_some());
        let priorities = [Priority::Background, Priority::New, Priority::InProgress];
        for number in 0..6 {
            assert!(queue.acquire(&key(number), "t", priorities[number % 3]).is_none());
        }
        // A waiting resource whose priority rises goes before those that came later.
        assert!(queue.acquire(&key(0), "t", Priority::InProgress).is_none());
        let mut order = Vec::new();
        for _ in 0..6 {
            drop(permit.take());
            let next = notified.lock().pop().unwrap();
            assert!(notified.lock().is_empty(), "one permit, one notification");
            permit = queue.claim(&next);
            assert!(permit.is_some() && queue.claim(&next).is_none());
            order.push(next.name);
        }
        assert_eq!(order, ["0", "2", "5", "1", "4", "3"]);
        drop(permit);
        assert!(notified.lock().is_empty() && queue.state.lock().tenants.is_empty());
    }

    #[test]
    fn one_tenant_holds_at_most_half_of_the_permits() {
        let (queue, notified) = work_queue(8);
        let slow: Vec<_> =
            (0..50).filter_map(|n| queue.acquire(&key(n), "slow", Priority::InProgress)).collect();
        assert_eq!(slow.len(), 4);
        let other: Vec<_> = (50..100)
            .filter_map(|n| queue.acquire(&key(n), "other", Priority::Background))
            .collect();
        assert_eq!(other.len(), 4);
        drop(other);
        assert_eq!(notified.lock().len(), 4);
        assert!(notified.lock().iter().all(|key| key.name.parse::<u8>().unwrap() >= 50));
    }

    #[test]
    fn canceled_resource_returns_its_permit() {
        let (queue, notified) = work_queue(1);
        let permit = queue.acquire(&key(1), "t", Priority::New);
        for number in 2..5 {
            assert!(queue.acquire(&key(number), "t", Priority::New).is_none());
        }
        queue.cancel(&key(3));
        drop(permit);
        // The resource is deleted after it was granted a permit.
        queue.cancel(&key(2));
        let names: Vec<_> = notified.lock().iter().map(|key| key.name.clone()).collect();
        assert_eq!(names, ["2", "4"]);
        queue.cancel(&key(4));
        assert!(queue.state.lock().tenants.is_empty() && queue.depth() == 0);
    }

    proptest! {
        /// Permits are neither lost nor created, and no resource waits that could have one.
        #[test]
        fn no_permit_is_lost(
            concurrency in 1u16..6,
            steps in prop::collection::vec((0u8..12, 0u8..3, 0usize..3, 0u8..6), 1..200),
        ) {
            let (queue, notified) = work_queue(concurrency);
            let priorities = [Priority::InProgress, Priority::New, Priority::Background];
            let mut held: HashMap<ObjectKey, Permit> = HashMap::new();
            for (number, tenant, priority, action) in steps {
                let name = key(number);
                match action {
                    0 | 1 => drop(held.remove(&name)),
                    2 => queue.cancel(&name),
                    3 => {
                        let keys = std::mem::take(&mut *notified.lock());
                        for name in keys {
                            if let Some(permit) = queue.claim(&name) {
                                prop_assert!(held.insert(name, permit).is_none());
                            }
                        }
                    }
                    _ if held.contains_key(&name) => {}
                    _ => {
                        let acquire =
                            || queue.acquire(&name, &tenant.to_string(), priorities[priority]);
                        if let Some(permit) = queue.claim(&name).or_else(acquire) {
                            held.insert(name, permit);
                        }
                    }
                }
                let state = queue.state.lock();
                let granted = held.len() + state.granted.len();
                prop_assert_eq!(state.free + granted, usize::from(concurrency));
                let eligible = |queue: &TenantQueue| {
                    queue.permits < state.tenant_share && !queue.waiting.is_empty()
                };
                prop_assert!(state.free == 0 || !state.tenants.values().any(eligible));
                let waiting: usize = state.tenants.values().map(|queue| queue.waiting.len()).sum();
                prop_assert_eq!(waiting, state.waiting.len());
            }
        }
    }
}
