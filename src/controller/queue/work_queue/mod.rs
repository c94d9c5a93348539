//! A fair priority queue for reconciles that need a permit.
//!
//! The queue holds names of resources, not reconciles: a waiting resource costs no other memory, and
//! nothing polls. A resource that is granted a permit is read from the stores again, so that it is
//! reconciled for its present state and not for its state when it began to wait.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use auth0_client::Priority;
use parking_lot::Mutex;

use crate::controller::object_key::ObjectKey;

/// Permits for the resources that may be in progress at a time, over all namespaces.
///
/// Namespaces take turns, then the tenants of a namespace take turns. Of one namespace and tenant,
/// the resource with the highest priority goes first, and of equals the one that came first.
///
/// A tenant gets permits beyond its shares while its rate limit has room, so that its resources would
/// not wait there for one another. Of these permits, a namespace or tenant gets at most as many as it
/// leaves to others, and no one's share depends on them.
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
    /// Over all shares.
    total: usize,
    /// Of one namespace.
    namespace: usize,
    /// Of one tenant.
    tenant: usize,
    /// Of one tenant, in one namespace.
    share: usize,
    /// Beyond the shares.
    spare: usize,
}

impl Limits {
    fn new(concurrency: u16) -> Self {
        let concurrency = usize::from(concurrency.max(1));
        // A resource in progress may wait for Auth0, which more at a time do not make faster.
        let base = concurrency.min(16);
        Self {
            total: 32 * base,
            namespace: 2 * base,
            tenant: base,
            share: base.div_ceil(2),
            spare: 2 * concurrency,
        }
    }
}

#[derive(Default)]
struct State {
    in_progress: InProgress,
    namespaces: HashMap<Arc<str>, NamespaceQueue>,
    /// How many resources of each tenant are in progress.
    tenants: HashMap<Arc<str>, InProgress>,
    /// Where each waiting resource is in the queue of its namespace and tenant.
    waiting: HashMap<Arc<ObjectKey>, (Arc<str>, Order)>,
    /// The resources that were granted a permit and have not claimed it yet.
    granted: HashMap<Arc<ObjectKey>, Grant>,
    next_number: u64,
}

/// How many resources are in progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct InProgress {
    within_share: usize,
    beyond_share: usize,
}

impl InProgress {
    fn all(self) -> usize {
        self.within_share + self.beyond_share
    }

    fn count(&mut self, kind: PermitKind) -> &mut usize {
        match kind {
            PermitKind::Share => &mut self.within_share,
            PermitKind::Spare => &mut self.beyond_share,
        }
    }

    fn add(&mut self, kind: PermitKind) {
        *self.count(kind) += 1;
    }

    fn remove(&mut self, kind: PermitKind) {
        let count = self.count(kind);
        *count = count.saturating_sub(1);
    }
}

/// Where a permit comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PermitKind {
    Share,
    Spare,
}

/// A permit that a resource was granted.
#[derive(Clone)]
struct Grant {
    tenant: Arc<str>,
    kind: PermitKind,
}

/// Priority, then order of arrival.
type Order = (Priority, u64);

/// The resources of one namespace.
#[derive(Default)]
struct NamespaceQueue {
    in_progress: InProgress,
    /// The namespace with the smallest number goes next.
    turn: u64,
    tenants: HashMap<Arc<str>, TenantQueue>,
}

/// The resources of one tenant in one namespace.
#[derive(Default)]
struct TenantQueue {
    in_progress: InProgress,
    /// The tenant with the smallest number goes next.
    turn: u64,
    /// How many resources of the tenant may be in progress before they wait for one another at Auth0.
    room: usize,
    waiting: BTreeMap<Order, Arc<ObjectKey>>,
}

/// A permit to reconcile one resource; dropping it returns it.
pub(crate) struct Permit {
    queue: Arc<WorkQueue>,
    namespace: String,
    grant: Grant,
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
        let grant = self.state.lock().granted.remove(key)?;
        Some(self.permit(key, grant))
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
        let grant = state.granted.remove(key)?;
        Some(self.permit(key, grant))
    }

    /// Sets how many resources of a tenant may be in progress before they wait for one another at
    /// Auth0. Up to that number, the tenant gets permits beyond its share.
    pub(crate) fn set_room(&self, namespace: &str, tenant: &str, room: usize) {
        let mut state = self.state.lock();
        let queue = state.namespaces.get_mut(namespace);
        let Some(queue) = queue.and_then(|queue| queue.tenants.get_mut(tenant)) else { return };
        let has_grown = room > std::mem::replace(&mut queue.room, room);
        if has_grown && !queue.waiting.is_empty() {
            self.grant_all(&mut state, None);
        }
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

    fn permit(self: &Arc<Self>, key: &ObjectKey, grant: Grant) -> Permit {
        Permit { queue: self.clone(), namespace: key.namespace.clone(), grant }
    }

    fn release(&self, namespace: &str, grant: &Grant) {
        let mut state = self.state.lock();
        state.release(namespace, grant);
        self.grant_all(&mut state, None);
    }

    /// Grants the free permits and notifies their resources, except the one that is `acquiring`.
    fn grant_all(&self, state: &mut State, acquiring: Option<&ObjectKey>) {
        while let Some((key, grant)) = state.grant_next(self.limits) {
            if acquiring != Some(&*key) {
                (self.notify)(&key);
            }
            state.granted.insert(key, grant);
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
    fn grant_next(&mut self, limits: Limits) -> Option<(Arc<ObjectKey>, Grant)> {
        if self.waiting.is_empty() {
            return None;
        }
        let (kind, (namespace, tenant)) = match self.next_within_shares(limits) {
            Some(next) => (PermitKind::Share, next),
            None => (PermitKind::Spare, self.next_beyond_shares(limits)?),
        };
        let turn = self.next_number();
        let queue = self.namespaces.get_mut(&namespace)?;
        queue.in_progress.add(kind);
        queue.turn = turn;
        let of_tenant = queue.tenants.get_mut(&tenant)?;
        of_tenant.in_progress.add(kind);
        of_tenant.turn = turn;
        let (_, key) = of_tenant.waiting.pop_first()?;
        self.waiting.remove(&key);
        self.tenants.entry(tenant.clone()).or_default().add(kind);
        self.in_progress.add(kind);
        Some((key, Grant { tenant, kind }))
    }

    /// Returns the namespace and the tenant whose turn it is, of those that do not use up their shares.
    fn next_within_shares(&self, limits: Limits) -> Option<(Arc<str>, Arc<str>)> {
        if self.in_progress.within_share >= limits.total {
            return None;
        }
        self.next(
            |namespace| namespace.within_share < limits.namespace,
            |tenant, queue| {
                queue.in_progress.within_share < limits.share && tenant.within_share < limits.tenant
            },
        )
    }

    /// Returns the namespace and the tenant whose turn it is, of those that may have more than their
    /// shares.
    fn next_beyond_shares(&self, limits: Limits) -> Option<(Arc<str>, Arc<str>)> {
        // As much as one has, it leaves to others: they do not find all of it taken.
        let left = limits.spare.saturating_sub(self.in_progress.beyond_share);
        self.next(
            |namespace| namespace.beyond_share < left,
            |tenant, queue| tenant.beyond_share < left && tenant.all() < queue.room,
        )
    }

    fn next(
        &self,
        namespace_has_room: impl Fn(InProgress) -> bool,
        tenant_has_room: impl Fn(InProgress, &TenantQueue) -> bool,
    ) -> Option<(Arc<str>, Arc<str>)> {
        let next = self.namespaces.iter().filter_map(|(name, namespace)| {
            if !namespace_has_room(namespace.in_progress) {
                return None;
            }
            let tenant = namespace.next_tenant(|tenant, queue| {
                let in_progress = self.tenants.get(tenant).copied().unwrap_or_default();
                tenant_has_room(in_progress, queue)
            })?;
            Some((namespace.turn, name, tenant))
        });
        let (_, namespace, tenant) = next.min_by_key(|(turn, ..)| *turn)?;
        Some((namespace.clone(), tenant.clone()))
    }

    fn release(&mut self, namespace: &str, grant: &Grant) {
        let Grant { tenant, kind } = grant;
        self.in_progress.remove(*kind);
        if let Some(in_progress) = self.tenants.get_mut(tenant) {
            in_progress.remove(*kind);
            if in_progress.all() == 0 {
                self.tenants.remove(tenant);
            }
        }
        if let Some(queue) = self.namespaces.get_mut(namespace) {
            queue.in_progress.remove(*kind);
            if let Some(of_tenant) = queue.tenants.get_mut(tenant) {
                of_tenant.in_progress.remove(*kind);
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
        if of_tenant.is_some_and(|queue| queue.in_progress.all() == 0 && queue.waiting.is_empty()) {
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

    /// Returns the tenant whose turn it is, of those that have room.
    fn next_tenant(&self, has_room: impl Fn(&Arc<str>, &TenantQueue) -> bool) -> Option<&Arc<str>> {
        let waiting = self.tenants.iter().filter(|(_, queue)| !queue.waiting.is_empty());
        let next = waiting.filter(|(tenant, queue)| has_room(tenant, queue));
        next.min_by_key(|(_, queue)| queue.turn).map(|(tenant, _)| tenant)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.queue.release(&self.namespace, &self.grant);
    }
}
