//! Whose turn it is: passes that need a place wait in a queue, by urgency.
//!
//! What waits is a name, not a pass: nothing is held in memory for it, nothing polls. When its turn
//! comes the resource is looked at anew, by the watch's caches, so that a pass is made for what is
//! true then and not for what was when it began to wait.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use auth0_client::Priority;

/// Namespace and name of a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// Places for the resources that may be worked on at a time, over all namespaces.
///
/// The most urgent resource goes first, of equals the one that came first. One tenant has half of
/// the places at most, so that two slow tenants are needed to hold up a third.
pub(super) struct Places {
    state: Mutex<State>,
    /// Has the resource looked at whose turn it is. It takes no lock and can't fail.
    call: Box<dyn Fn(&Key) + Send + Sync>,
}

struct State {
    free: usize,
    share: usize,
    tenants: HashMap<Arc<str>, Tenant>,
    /// Where each waiting resource is in the queue of its tenant.
    waiting: HashMap<Arc<Key>, (Arc<str>, Order)>,
    /// The resources whose turn it is and that have not taken their place yet, with their tenant.
    called: HashMap<Arc<Key>, Arc<str>>,
    next: u64,
}

/// By urgency, then in the order of coming.
type Order = (Priority, u64);

#[derive(Default)]
struct Tenant {
    taken: usize,
    waiting: BTreeMap<Order, Arc<Key>>,
}

/// A place that is taken, until this is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    tenant: Arc<str>,
}

impl Places {
    pub(super) fn new(
        concurrency: u16,
        call: impl Fn(&Key) + Send + Sync + 'static,
    ) -> Arc<Places> {
        let all = usize::from(concurrency.max(1));
        let state = State {
            free: all,
            share: all.div_ceil(2),
            tenants: HashMap::new(),
            waiting: HashMap::new(),
            called: HashMap::new(),
            next: 0,
        };
        Arc::new(Places { state: Mutex::new(state), call: Box::new(call) })
    }

    /// The place of a resource that was called: it is this one's turn.
    pub(super) fn called(self: &Arc<Places>, key: &Key) -> Option<Place> {
        let tenant = self.lock().called.remove(key)?;
        Some(Place { places: self.clone(), tenant })
    }

    /// A place, if there is one. Otherwise the resource waits, and is called when its turn comes;
    /// one that waits already keeps its place in the order of coming.
    pub(super) fn take(
        self: &Arc<Places>,
        key: &Key,
        tenant: &str,
        urgency: Priority,
    ) -> Option<Place> {
        let mut state = self.lock();
        let came = state.leave(key).map_or(state.next, |(_, came)| came);
        state.next += 1;
        let tenant = state.tenant(tenant);
        let (order, waiting) = ((urgency, came), Arc::new(key.clone()));
        state.waiting.insert(waiting.clone(), (tenant.clone(), order));
        state.tenants.entry(tenant).or_default().waiting.insert(order, waiting);
        self.serve(&mut state, Some(key));
        let tenant = state.called.remove(key)?;
        Some(Place { places: self.clone(), tenant })
    }

    /// A resource that doesn't need a place any more, or is gone.
    pub(super) fn leave(self: &Arc<Places>, key: &Key) {
        self.lock().leave(key);
        drop(self.called(key));
    }

    /// How many resources wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn give_back(&self, tenant: &Arc<str>) {
        let mut state = self.lock();
        state.free += 1;
        if let Some(queue) = state.tenants.get_mut(tenant) {
            queue.taken = queue.taken.saturating_sub(1);
            state.forget_if_idle(tenant);
        }
        self.serve(&mut state, None);
    }

    /// Gives places to those who may have one, and calls them; who is `asking` needs no call.
    fn serve(&self, state: &mut State, asking: Option<&Key>) {
        while let Some((key, tenant)) = state.admit() {
            if asking != Some(&*key) {
                (self.call)(&key);
            }
            state.called.insert(key, tenant);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The name of a tenant as it is kept.
    fn tenant(&self, name: &str) -> Arc<str> {
        self.tenants.get_key_value(name).map_or_else(|| name.into(), |(kept, _)| kept.clone())
    }

    /// Gives a place to the first that may have one, if there is one.
    fn admit(&mut self) -> Option<(Arc<Key>, Arc<str>)> {
        if self.free == 0 {
            return None;
        }
        let (share, tenants) = (self.share, &mut self.tenants);
        let may = tenants.iter_mut().filter(|(_, tenant)| tenant.taken < share);
        let first = may.filter_map(|(name, tenant)| {
            let order = *tenant.waiting.first_key_value()?.0;
            Some((order, name.clone(), tenant))
        });
        let (order, name, tenant) = first.max_by_key(|(order, ..)| Reverse(*order))?;
        let key = tenant.waiting.remove(&order)?;
        tenant.taken += 1;
        self.free -= 1;
        self.waiting.remove(&key);
        Some((key, name))
    }

    fn leave(&mut self, key: &Key) -> Option<Order> {
        let (tenant, order) = self.waiting.remove(key)?;
        if let Some(queue) = self.tenants.get_mut(&tenant) {
            queue.waiting.remove(&order);
            self.forget_if_idle(&tenant);
        }
        Some(order)
    }

    fn forget_if_idle(&mut self, tenant: &Arc<str>) {
        let idle = |queue: &Tenant| queue.taken == 0 && queue.waiting.is_empty();
        if self.tenants.get(tenant).is_some_and(idle) {
            self.tenants.remove(tenant);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.give_back(&self.tenant);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Called = Arc<Mutex<Vec<Key>>>;

    fn places(concurrency: u16) -> (Arc<Places>, Called) {
        let called = Called::default();
        let to = called.clone();
        (Places::new(concurrency, move |key| to.lock().unwrap().push(key.clone())), called)
    }

    fn key(name: impl ToString) -> Key {
        Key { namespace: "shop".into(), name: name.to_string() }
    }

    #[test]
    fn the_most_urgent_is_called_first_and_of_equals_the_one_that_came_first() {
        let (places, called) = places(1);
        let mut place = places.take(&key("first"), "t", Priority::Background);
        assert!(place.is_some());
        let urgencies = [Priority::Background, Priority::New, Priority::InProgress];
        for number in 0..6 {
            assert!(places.take(&key(number), "t", urgencies[number % 3]).is_none());
        }
        // One that waits becomes urgent, and is ahead of those that came later.
        assert!(places.take(&key(0), "t", Priority::InProgress).is_none());
        let mut order = Vec::new();
        for _ in 0..6 {
            drop(place.take());
            let next = called.lock().unwrap().pop().unwrap();
            assert!(called.lock().unwrap().is_empty(), "one place, one call");
            place = places.called(&next);
            assert!(place.is_some() && places.called(&next).is_none());
            order.push(next.name);
        }
        assert_eq!(order, ["0", "2", "5", "1", "4", "3"]);
        drop(place);
        assert!(called.lock().unwrap().is_empty() && places.lock().tenants.is_empty());
    }

    #[test]
    fn one_tenant_has_half_of_the_places() {
        let (places, called) = places(8);
        let slow: Vec<_> =
            (0..50).filter_map(|n| places.take(&key(n), "slow", Priority::InProgress)).collect();
        assert_eq!(slow.len(), 4);
        let other: Vec<_> =
            (50..100).filter_map(|n| places.take(&key(n), "other", Priority::Background)).collect();
        assert_eq!(other.len(), 4);
        drop(other);
        assert_eq!(called.lock().unwrap().len(), 4);
        assert!(called.lock().unwrap().iter().all(|key| key.name.parse::<u8>().unwrap() >= 50));
    }

    #[test]
    fn whoever_leaves_gives_back_what_it_was_given() {
        let (places, called) = places(1);
        let place = places.take(&key(1), "t", Priority::New);
        for number in 2..5 {
            assert!(places.take(&key(number), "t", Priority::New).is_none());
        }
        places.leave(&key(3));
        drop(place);
        // It was deleted when its turn came.
        places.leave(&key(2));
        let names: Vec<_> = called.lock().unwrap().iter().map(|key| key.name.clone()).collect();
        assert_eq!(names, ["2", "4"]);
        places.leave(&key(4));
        assert!(places.lock().tenants.is_empty() && places.waiting() == 0);
    }

    proptest! {
        /// Whatever comes and goes, places are neither lost nor made, and nobody who could go waits.
        #[test]
        fn no_place_is_lost(
            concurrency in 1u16..6,
            steps in prop::collection::vec((0u8..12, 0u8..3, 0usize..3, 0u8..6), 1..200),
        ) {
            let (places, called) = places(concurrency);
            let urgencies = [Priority::InProgress, Priority::New, Priority::Background];
            let mut held: HashMap<Key, Place> = HashMap::new();
            for (number, tenant, urgency, what) in steps {
                let name = key(number);
                match what {
                    0 | 1 => drop(held.remove(&name)),
                    2 => places.leave(&name),
                    3 => {
                        let calls = std::mem::take(&mut *called.lock().unwrap());
                        for name in calls {
                            if let Some(place) = places.called(&name) {
                                prop_assert!(held.insert(name, place).is_none());
                            }
                        }
                    }
                    _ if held.contains_key(&name) => {}
                    _ => {
                        let had = places.called(&name);
                        let take = || places.take(&name, &tenant.to_string(), urgencies[urgency]);
                        if let Some(place) = had.or_else(take) {
                            held.insert(name, place);
                        }
                    }
                }
                let state = places.lock();
                let out = held.len() + state.called.len();
                prop_assert_eq!(state.free + out, usize::from(concurrency));
                let eligible = |tenant: &Tenant| {
                    tenant.taken < state.share && !tenant.waiting.is_empty()
                };
                prop_assert!(state.free == 0 || !state.tenants.values().any(eligible));
                let waiting: usize = state.tenants.values().map(|tenant| tenant.waiting.len()).sum();
                prop_assert_eq!(waiting, state.waiting.len());
            }
        }
    }
}
