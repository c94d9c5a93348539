//! A fair priority queue for reconciles that need a permit.
//!
//! The queue holds names of resources, not reconciles: a waiting resource costs no other memory, and
//! nothing polls. A resource that is granted a permit is read from the stores again, so that it is
//! reconciled for its present state and not for its state when it began to wait.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use auth0_client::Priority;
use parking_lot::Mutex;

use super::super::object_key::ObjectKey;

/// Permits for the resources that may be in progress at a time, over all namespaces.
///
/// Namespaces take turns, then the tenants of a namespace take turns. Of one namespace and tenant,
/// the resource with the highest priority goes first, and of equals the one that came first.
///
/// A permit is held while a reconcile waits for Auth0, so it bounds memory and not work: see
/// [`RunLimit`](super::RunLimit).
pub(crate) struct WorkQueue {
    state: Mutex<State>,
    limits: Limits,
    /// Triggers a reconcile of the resource that was granted a permit. Must not lock or fail.
    notify: Box<dyn Fn(&ObjectKey) + Send + Sync>,
}

/// How many resources may be in progress. Each limit leaves room beside a tenant that responds slowly.
#[derive(Clone, Copy, Debug)]
struct Limits {
    total: usize,
    /// Of one namespace.
    namespace: usize,
    /// Of one tenant.
    tenant: usize,
    /// Of one tenant, in one namespace.
    share: usize,
}

impl Limits {
    fn new(concurrency: u16) -> Self {
        let concurrency = usize::from(concurrency.max(1));
        Self {
            total: 32 * concurrency,
            namespace: 2 * concurrency,
            tenant: concurrency,
            share: concurrency.div_ceil(2),
        }
    }
}

#[derive(Default)]
struct State {
    in_progress: usize,
    namespaces: HashMap<Arc<str>, NamespaceQueue>,
    /// How many resources of each tenant are in progress.
    tenants: HashMap<Arc<str>, usize>,
    /// Where each waiting resource is in the queue of its namespace and tenant.
    waiting: HashMap<Arc<ObjectKey>, (Arc<str>, Order)>,
    /// The resources that were granted a permit and have not claimed it yet, with their tenant.
    granted: HashMap<Arc<ObjectKey>, Arc<str>>,
    next_number: u64,
}

/// Priority, then order of arrival.
type Order = (Priority, u64);

/// The resources of one namespace.
#[derive(Default)]
struct NamespaceQueue {
    in_progress: usize,
    /// The namespace with the smallest number goes next.
    turn: u64,
    tenants: HashMap<Arc<str>, TenantQueue>,
}

/// The resources of one tenant in one namespace.
#[derive(Default)]
struct TenantQueue {
    in_progress: usize,
    /// The tenant with the smallest number goes next.
    turn: u64,
    waiting: BTreeMap<Order, Arc<ObjectKey>>,
}

/// A permit to reconcile one resource; dropping it returns it.
pub(crate) struct Permit {
    queue: Arc<WorkQueue>,
    namespace: String,
    tenant: Arc<str>,
}

impl WorkQueue {
    pub(crate) fn new(
        concurrency: u16,
        notify: impl Fn(&ObjectKey) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::with_limits(Limits::new(concurrency), notify)
    }

    fn with_limits(
        limits: Limits,
        notify: impl Fn(&ObjectKey) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), limits, notify: Box::new(notify) })
    }

    /// Returns the permit that a resource was granted, if it was.
    pub(crate) fn claim(self: &Arc<Self>, key: &ObjectKey) -> Option<Permit> {
        let tenant = self.state.lock().granted.remove(key)?;
        Some(self.permit(key, tenant))
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
        state.enqueue(key, tenant, priority);
        self.grant_all(&mut state, Some(key));
        let tenant = state.granted.remove(key)?;
        Some(self.permit(key, tenant))
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

    fn permit(self: &Arc<Self>, key: &ObjectKey, tenant: Arc<str>) -> Permit {
        Permit { queue: self.clone(), namespace: key.namespace.clone(), tenant }
    }

    fn release(&self, namespace: &str, tenant: &Arc<str>) {
        let mut state = self.state.lock();
        state.release(namespace, tenant);
        self.grant_all(&mut state, None);
    }

    /// Grants the free permits and notifies their resources, except the one that is `acquiring`.
    fn grant_all(&self, state: &mut State, acquiring: Option<&ObjectKey>) {
        while let Some((key, tenant)) = state.grant_next(self.limits) {
            if acquiring != Some(&*key) {
                (self.notify)(&key);
            }
            state.granted.insert(key, tenant);
        }
    }
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn enqueue(&mut self, key: &ObjectKey, tenant: &str, priority: Priority) {
        // The number of an arrival is also that of a turn: a newcomer goes after all who wait.
        let number = self.next_number();
        let (tenant, key): (Arc<str>, _) = (tenant.into(), Arc::new(key.clone()));
        let namespace = self.namespaces.entry(key.namespace.as_str().into()).or_default();
        // A resource that waits already keeps its place, and its namespace and tenant their turns.
        if !namespace.is_waiting() {
            namespace.turn = number;
        }
        let queue = namespace.tenants.entry(tenant.clone()).or_default();
        if queue.waiting.is_empty() {
            queue.turn = number;
        }
        let before = self.waiting.remove(&key);
        let arrival = before.as_ref().map_or(number, |(_, (_, arrival))| *arrival);
        if let Some((before, order)) = &before
            && let Some(queue) = namespace.tenants.get_mut(before)
        {
            queue.waiting.remove(order);
        }
        let order = (priority, arrival);
        namespace.tenants.entry(tenant.clone()).or_default().waiting.insert(order, key.clone());
        self.waiting.insert(key.clone(), (tenant, order));
        if let Some((before, _)) = before {
            self.remove_if_idle(&key.namespace, &before);
        }
    }

    /// Grants one permit to the resource whose turn it is, among those within the limits.
    fn grant_next(&mut self, limits: Limits) -> Option<(Arc<ObjectKey>, Arc<str>)> {
        if self.in_progress >= limits.total || self.waiting.is_empty() {
            return None;
        }
        let Self { namespaces, tenants, .. } = self;
        let has_room = |tenant: &Arc<str>| {
            tenants.get(tenant).is_none_or(|in_progress| *in_progress < limits.tenant)
        };
        let next = namespaces.iter().filter_map(|(name, namespace)| {
            if namespace.in_progress >= limits.namespace {
                return None;
            }
            let tenant = namespace.next_tenant(limits.share, has_room)?;
            Some((namespace.turn, name, tenant))
        });
        let (_, namespace, tenant) = next.min_by_key(|(turn, ..)| *turn)?;
        let (namespace, tenant) = (namespace.clone(), tenant.clone());
        let turn = self.next_number();
        let queue = self.namespaces.get_mut(&namespace)?;
        queue.in_progress += 1;
        queue.turn = turn;
        let of_tenant = queue.tenants.get_mut(&tenant)?;
        of_tenant.in_progress += 1;
        of_tenant.turn = turn;
        let (_, key) = of_tenant.waiting.pop_first()?;
        self.waiting.remove(&key);
        *self.tenants.entry(tenant.clone()).or_default() += 1;
        self.in_progress += 1;
        Some((key, tenant))
    }

    fn release(&mut self, namespace: &str, tenant: &Arc<str>) {
        self.in_progress = self.in_progress.saturating_sub(1);
        if let Some(in_progress) = self.tenants.get_mut(tenant) {
            *in_progress = in_progress.saturating_sub(1);
            if *in_progress == 0 {
                self.tenants.remove(tenant);
            }
        }
        if let Some(queue) = self.namespaces.get_mut(namespace) {
            queue.in_progress = queue.in_progress.saturating_sub(1);
            if let Some(of_tenant) = queue.tenants.get_mut(tenant) {
                of_tenant.in_progress = of_tenant.in_progress.saturating_sub(1);
            }
        }
        self.remove_if_idle(namespace, tenant);
    }

    fn remove_waiting(&mut self, key: &ObjectKey) -> Option<Order> {
        let (tenant, order) = self.waiting.remove(key)?;
        let namespace = self.namespaces.get_mut(key.namespace.as_str());
        if let Some(queue) = namespace.and_then(|namespace| namespace.tenants.get_mut(&tenant)) {
            queue.waiting.remove(&order);
        }
        self.remove_if_idle(&key.namespace, &tenant);
        Some(order)
    }

    fn remove_if_idle(&mut self, namespace: &str, tenant: &Arc<str>) {
        let Some(queue) = self.namespaces.get_mut(namespace) else { return };
        let of_tenant = queue.tenants.get(tenant);
        if of_tenant.is_some_and(|queue| queue.in_progress == 0 && queue.waiting.is_empty()) {
            queue.tenants.remove(tenant);
        }
        if queue.tenants.is_empty() {
            self.namespaces.remove(namespace);
        }
    }
}

impl NamespaceQueue {
    fn is_waiting(&self) -> bool {
        self.tenants.values().any(|queue| !queue.waiting.is_empty())
    }

    /// Returns the tenant whose turn it is, among those within the limits.
    fn next_tenant(&self, share: usize, has_room: impl Fn(&Arc<str>) -> bool) -> Option<&Arc<str>> {
        let next = self.tenants.iter().filter(|(tenant, queue)| {
            !queue.waiting.is_empty() && queue.in_progress < share && has_room(tenant)
        });
        next.min_by_key(|(_, queue)| queue.turn).map(|(tenant, _)| tenant)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.queue.release(&self.namespace, &self.tenant);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Notified = Arc<Mutex<Vec<ObjectKey>>>;

    /// A queue in which `total` resources may be in progress, without other limits.
    fn limited(total: usize) -> (Arc<WorkQueue>, Notified) {
        with_limits(Limits { total, namespace: total, tenant: total, share: total })
    }

    fn with_limits(limits: Limits) -> (Arc<WorkQueue>, Notified) {
        let notified = Notified::default();
        let to = notified.clone();
        (WorkQueue::with_limits(limits, move |key| to.lock().push(key.clone())), notified)
    }

    fn key(name: impl ToString) -> ObjectKey {
        ObjectKey::new("shop", name.to_string())
    }

    #[test]
    fn grants_by_priority_and_then_by_arrival() {
        let (queue, notified) = limited(1);
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
        assert!(notified.lock().is_empty() && queue.state.lock().namespaces.is_empty());
        assert!(queue.state.lock().tenants.is_empty());
    }

    /// Returns the order in which waiting resources get the only permit.
    fn order_of_grants(waiting: &[(&str, &str, &str)]) -> Vec<String> {
        let (queue, notified) = limited(1);
        let mut permit = queue.acquire(&key("first"), "t", Priority::New);
        for (namespace, tenant, name) in waiting {
            let key = ObjectKey::new(*namespace, *name);
            assert!(queue.acquire(&key, tenant, Priority::New).is_none());
        }
        let mut order = Vec::new();
        while permit.take().is_some() {
            let Some(next) = notified.lock().pop() else { break };
            permit = queue.claim(&next);
            order.push(next.name);
        }
        order
    }

    #[test]
    fn namespaces_take_turns_and_then_tenants() {
        let waiting = [
            ("a", "x", "ax1"),
            ("a", "x", "ax2"),
            ("a", "x", "ax3"),
            ("a", "y", "ay1"),
            ("b", "x", "bx1"),
            ("b", "x", "bx2"),
            ("c", "z", "cz1"),
        ];
        let order = order_of_grants(&waiting);
        assert_eq!(order, ["ax1", "bx1", "cz1", "ay1", "bx2", "ax2", "ax3"]);
    }

    #[test]
    fn slow_tenants_leave_permits_to_another_tenant_of_the_namespace() {
        let queue = WorkQueue::new(16, |_| {});
        let mut held = Vec::new();
        for number in 0..120 {
            let tenant = if number % 2 == 0 { "slow" } else { "slower" };
            held.extend(queue.acquire(&key(number), tenant, Priority::InProgress));
        }
        assert_eq!(held.len(), 16, "each has half of the concurrency");
        assert!(queue.acquire(&key("third"), "fast", Priority::Background).is_some());
        let other = ObjectKey::new("other", "one");
        assert!(queue.acquire(&other, "slow", Priority::Background).is_some());
    }

    #[test]
    fn canceled_resource_returns_its_permit() {
        let (queue, notified) = limited(1);
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
        assert!(queue.state.lock().namespaces.is_empty() && queue.depth() == 0);
    }

    fn is_eligible(state: &State, limits: Limits) -> bool {
        state.in_progress < limits.total
            && state.namespaces.values().any(|namespace| {
                let has_room = |tenant: &Arc<str>| {
                    state.tenants.get(tenant).is_none_or(|count| *count < limits.tenant)
                };
                namespace.in_progress < limits.namespace
                    && namespace.next_tenant(limits.share, has_room).is_some()
            })
    }

    proptest! {
        /// Permits are neither lost nor created, and no resource waits that could have one.
        #[test]
        fn no_permit_is_lost(
            total in 1usize..8, namespace in 1usize..6, tenant in 1usize..6, share in 1usize..4,
            steps in prop::collection::vec((0u8..12, 0u8..3, 0usize..3, 0u8..6, 0u8..3), 1..200),
        ) {
            let limits = Limits { total, namespace, tenant, share };
            let (queue, notified) = with_limits(limits);
            let priorities = [Priority::InProgress, Priority::New, Priority::Background];
            let mut held: HashMap<ObjectKey, Permit> = HashMap::new();
            for (number, tenant, priority, action, namespace) in steps {
                let name = ObjectKey::new(format!("n{namespace}"), number.to_string());
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
                prop_assert_eq!(state.in_progress, held.len() + state.granted.len());
                prop_assert_eq!(state.in_progress, state.tenants.values().sum::<usize>());
                let by_namespace = state.namespaces.values().map(|queue| queue.in_progress);
                prop_assert_eq!(state.in_progress, by_namespace.sum::<usize>());
                prop_assert!(state.in_progress <= limits.total);
                prop_assert!(state.tenants.values().all(|count| *count <= limits.tenant));
                let is_within = |queue: &NamespaceQueue| {
                    queue.in_progress <= limits.namespace
                        && queue.tenants.values().all(|queue| queue.in_progress <= limits.share)
                };
                prop_assert!(state.namespaces.values().all(is_within));
                prop_assert!(!is_eligible(&state, limits), "a resource waits that could go");
                let queues = state.namespaces.values().flat_map(|queue| queue.tenants.values());
                let waiting: usize = queues.map(|queue| queue.waiting.len()).sum();
                prop_assert_eq!(waiting, state.waiting.len());
            }
        }

        /// However many resources others have, a namespace waits for one turn of each of them.
        #[test]
        fn waits_for_one_turn_of_each_other_namespace(
            others in prop::collection::vec((1usize..30, 1u8..4), 0..6), late in 0usize..6,
        ) {
            let (queue, notified) = limited(1);
            let mut permit = queue.acquire(&key("first"), "t", Priority::InProgress);
            let add = |(namespace, (count, tenants)): (usize, &(usize, u8))| {
                for number in 0..*count {
                    let key = ObjectKey::new(format!("other-{namespace}"), number.to_string());
                    let tenant = (number % usize::from(*tenants)).to_string();
                    assert!(queue.acquire(&key, &tenant, Priority::InProgress).is_none());
                }
            };
            others.iter().enumerate().take(late).for_each(add);
            let victim = ObjectKey::new("victim", "one");
            prop_assert!(queue.acquire(&victim, "0", Priority::Background).is_none());
            others.iter().enumerate().skip(late).for_each(add);
            for turn in 0..=others.len() {
                drop(permit.take());
                let next = notified.lock().pop().unwrap();
                if next == victim {
                    return Ok(());
                }
                permit = queue.claim(&next);
                prop_assert!(turn < others.len(), "the victim has no turn");
            }
        }
    }
}
