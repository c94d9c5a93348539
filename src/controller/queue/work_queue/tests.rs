//! Tests of the work queue.

use proptest::prelude::*;

use super::*;

type Notified = Arc<Mutex<Vec<ObjectKey>>>;

/// A queue in which `total` resources may be in progress, without other limits.
fn limited(total: usize) -> (Arc<WorkQueue>, Notified) {
    with_limits(Limits { total, namespace: total, tenant: total, share: total, spare: 0 })
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

/// Acquires permits until none is left. Returns them.
fn acquire_all(queue: &Arc<WorkQueue>, namespace: &str, tenant: &str) -> Vec<Permit> {
    let acquire = |number: usize| {
        let key = ObjectKey::new(namespace, format!("{tenant}-{number}"));
        let permit = queue.acquire(&key, tenant, Priority::New);
        if permit.is_none() {
            queue.cancel(&key);
        }
        permit
    };
    (0..1000).map_while(acquire).collect()
}

#[test]
fn tenant_whose_rate_limit_has_room_gets_more_than_its_share() {
    let queue = WorkQueue::new(64, |_| {});
    let first = queue.acquire(&key("first"), "t", Priority::New);
    queue.set_room("shop", "t", 1000);
    assert_eq!(acquire_all(&queue, "shop", "t").len(), 7 + 64);
    queue.set_room("shop", "t", 20);
    assert_eq!(acquire_all(&queue, "shop", "t").len(), 19, "others would wait at Auth0");
    drop(first);
}

#[test]
fn permits_beyond_the_shares_take_nothing_from_others() {
    let queue = WorkQueue::new(64, |_| {});
    let mut held = Vec::new();
    for number in 0..50 {
        let (namespace, tenant) = (format!("greedy-{number}"), format!("t-{number}"));
        let first = ObjectKey::new(&namespace, "first");
        held.extend(queue.acquire(&first, &tenant, Priority::New));
        queue.set_room(&namespace, &tenant, 1000);
        held.extend(acquire_all(&queue, &namespace, &tenant));
        // Another one waits.
        let next = ObjectKey::new(&namespace, "next");
        assert!(queue.acquire(&next, &tenant, Priority::InProgress).is_none());
        let victim = ObjectKey::new("victim", number.to_string());
        let permit = queue.acquire(&victim, "victim", Priority::Background);
        assert!(permit.is_some(), "{number}");
    }
    let beyond = queue.state.lock().in_progress.beyond_share;
    assert!(beyond <= 128, "{beyond}");
}

#[test]
fn waiting_resource_is_granted_a_permit_when_the_rate_limit_gets_room() {
    let notified = Notified::default();
    let to = notified.clone();
    let queue = WorkQueue::new(16, move |key| to.lock().push(key.clone()));
    let held = acquire_all(&queue, "shop", "t");
    assert!(queue.acquire(&key("next"), "t", Priority::New).is_none());
    assert_eq!((held.len(), queue.depth()), (8, 1));
    queue.set_room("shop", "t", 8);
    assert!(notified.lock().is_empty());
    queue.set_room("shop", "t", 9);
    assert_eq!((notified.lock().len(), queue.depth()), (1, 0));
}

fn sum(counts: impl Iterator<Item = InProgress>) -> InProgress {
    counts.fold(InProgress::default(), |sum, count| InProgress {
        within_share: sum.within_share + count.within_share,
        beyond_share: sum.beyond_share + count.beyond_share,
    })
}

fn is_eligible(state: &State, limits: Limits) -> bool {
    state.next_within_shares(limits).is_some() || state.next_beyond_shares(limits).is_some()
}

proptest! {
    /// Permits are neither lost nor created, and no resource waits that could have one.
    #[test]
    fn no_permit_is_lost(
        total in 1usize..8, namespace in 1usize..6, tenant in 1usize..6, share in 1usize..4,
        spare in 0usize..8,
        steps in prop::collection::vec((0u8..12, 0u8..3, 0usize..3, 0u8..7, 0u8..3), 1..200),
    ) {
        let limits = Limits { total, namespace, tenant, share, spare };
        let (queue, notified) = with_limits(limits);
        let priorities = [Priority::InProgress, Priority::New, Priority::Background];
        let mut held: HashMap<ObjectKey, Permit> = HashMap::new();
        for (number, tenant, priority, action, namespace) in steps {
            let name = ObjectKey::new(format!("n{namespace}"), number.to_string());
            match action {
                0 | 1 => drop(held.remove(&name)),
                2 => queue.cancel(&name),
                6 => queue.set_room(&name.namespace, &tenant.to_string(), number.into()),
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
            let total = state.in_progress;
            prop_assert_eq!(total.all(), held.len() + state.granted.len());
            prop_assert_eq!(total, sum(state.tenants.values().copied()));
            let by_namespace = state.namespaces.values().map(|queue| queue.in_progress);
            prop_assert_eq!(total, sum(by_namespace));
            prop_assert!(total.within_share <= limits.total);
            prop_assert!(total.beyond_share <= limits.spare);
            // One never has more of the spare permits than it leaves.
            let is_fair = |count: InProgress| 2 * count.beyond_share <= limits.spare + 1;
            let is_tenant_within =
                |count: &InProgress| count.within_share <= limits.tenant && is_fair(*count);
            prop_assert!(state.tenants.values().all(is_tenant_within));
            let has_share = |queue: &TenantQueue| queue.in_progress.within_share <= limits.share;
            let is_within = |queue: &NamespaceQueue| {
                queue.in_progress.within_share <= limits.namespace
                    && is_fair(queue.in_progress)
                    && queue.tenants.values().all(has_share)
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
