//! From watch events to reconcile requests.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, ObjectRef, Store, store::Writer},
        utils::Backoff,
        watcher::{self, DefaultBackoff, Event, watcher},
    },
};
use rotation::{Reason, condition_types, find_condition};
use serde::de::DeserializeOwned;
use tokio::sync::watch as channel;

use super::{
    super::{object_key::ObjectKey, queue::Trigger},
    health::WatchReporter,
    prune::Prune,
    selector::WatchSelector,
    storage_revision::restarting,
    stores::{SecretMetadata, Stores},
};
use crate::api::{
    ClientSecretRotation, OWNER_ANNOTATION, ParsedRotation, TenantId, TenantKind, TenantRef,
    TenantResource,
};

/// Timeout of a watch in seconds; the next one starts at once. Some load balancers drop a silent
/// connection after 240 s.
pub(crate) const WATCH_TIMEOUT: u32 = 230;

/// How many objects a page of a list has. Users decide how large they are, up to 1.5 MiB each, and a
/// page is in memory as a whole, several times.
pub(crate) const PAGE_SIZE: u32 = 10;

/// Status with which an API server rejects a watch that begins with a list.
const UNPROCESSABLE: u16 = 422;

/// A store and the writer that fills it from a watch.
pub(super) struct WatchedStore<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    pub(super) store: Store<K>,
    writer: Writer<K>,
}

impl<K> WatchedStore<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    pub(super) fn new() -> Self {
        let (store, writer) = reflector::store();
        Self { store, writer }
    }

    /// Returns the events of a watch, each of which updates the store before it is returned.
    pub(super) fn reflect(
        self,
        events: impl Stream<Item = watcher::Result<Event<K>>>,
    ) -> impl Stream<Item = watcher::Result<Event<K>>> {
        events.reflect(self.writer)
    }
}

/// Returns the events of a watch that restarts with backoff, without the parts of the objects that
/// the operator doesn't use.
pub(super) fn events<K>(
    api: Api<K>,
    config: watcher::Config,
    selector: &WatchSelector,
) -> impl Stream<Item = watcher::Result<Event<K>>> + use<K>
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Prune + Send + 'static,
{
    events_with_backoff::<K, DefaultBackoff>(api, config, selector)
}

/// Returns the events of a watch as [`events`] does, with another backoff.
///
/// The initial list arrives object by object in one request, where the API server supports that, so that
/// only one object is in memory as a whole. Pages of that size would take a request for each few objects.
pub(super) fn events_with_backoff<K, B>(
    api: Api<K>,
    config: watcher::Config,
    selector: &WatchSelector,
) -> impl Stream<Item = watcher::Result<Event<K>>> + use<K, B>
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Prune + Send + 'static,
    B: Backoff + Default + Send + 'static,
{
    let config = config.timeout(WATCH_TIMEOUT).page_size(PAGE_SIZE);
    let selector = selector.clone();
    restarting(move || {
        let (api, config) = (api.clone(), config.clone());
        let pages = watcher(api.clone(), config.clone()).boxed();
        let streamed = watcher(api, config.streaming_lists()).boxed();
        let fallback = Fallback { current: streamed, pages: Some(pages) };
        stream::unfold(fallback, Fallback::next).backoff(B::default())
    })
    .modify(move |object| object.prune(&selector))
}

/// A watch that falls back to a paged list if the API server doesn't stream lists.
struct Fallback<S> {
    current: S,
    pages: Option<S>,
}

impl<K, S> Fallback<S>
where
    S: Stream<Item = watcher::Result<Event<K>>> + Unpin,
{
    async fn next(mut self) -> Option<(watcher::Result<Event<K>>, Self)> {
        let item = self.current.next().await?;
        if let Err(watcher::Error::WatchStartFailed(kube::Error::Api(status))) = &item
            && status.code == UNPROCESSABLE
            && let Some(pages) = self.pages.take()
        {
            self.current = pages;
        }
        Some((item, self))
    }
}

/// Returns the API of one namespace, or of all.
pub(super) fn namespaced_api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Enqueues the resources that an event affects, once this replica leads: the queue begins with
/// everything that exists. A restarted watch lists what exists, not what was deleted meanwhile, so
/// then everything is enqueued; for an unchanged resource that costs no call.
pub(super) async fn enqueue_affected<O>(
    events: impl Stream<Item = watcher::Result<Event<O>>>,
    affected_by: impl Fn(&O) -> Vec<ObjectRef<ParsedRotation>>,
    everything: impl Fn() -> Vec<ObjectRef<ParsedRotation>>,
    trigger: Trigger,
    is_leading: channel::Receiver<bool>,
    reporter: WatchReporter,
) {
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        reporter.record(&event).await;
        let references = match event {
            Ok(_) if !*is_leading.borrow() => continue,
            Ok(Event::Apply(object) | Event::Delete(object)) => affected_by(&object),
            Ok(Event::InitDone) => everything(),
            // The store holds these only when the list is complete.
            Ok(Event::Init | Event::InitApply(_)) | Err(_) => continue,
        };
        trigger.note_change();
        for reference in references {
            if !trigger.enqueue(reference).await {
                return;
            }
        }
    }
}

/// Returns references to all objects of a store.
pub(super) fn all_of<K>(store: &Store<K>) -> Vec<ObjectRef<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.state().iter().map(|object| ObjectRef::from_obj(&**object)).collect()
}

/// Returns the resources of a store that refer to this tenant.
pub(super) fn users_of(
    stores: &Stores,
    is_used: impl Fn(&str, &TenantRef) -> bool,
) -> Vec<ObjectRef<ParsedRotation>> {
    let mut users = Vec::new();
    for parsed in stores.rotations() {
        let Ok(resource) = &parsed.0 else { continue };
        let namespace = resource.namespace().unwrap_or_default();
        if is_used(&namespace, &resource.spec.tenant_ref) {
            users.push(ObjectRef::from_obj(&*parsed));
        }
    }
    users
}

/// Returns the resources that refer to a ClusterAuth0Tenant for which `is_used` is true.
pub(super) fn cluster_users_of(
    stores: &Stores,
    is_used: impl Fn(&str, &TenantRef) -> bool,
) -> Vec<ObjectRef<ParsedRotation>> {
    users_of(stores, |namespace, reference| {
        reference.kind == TenantKind::ClusterAuth0Tenant && is_used(namespace, reference)
    })
}

/// Returns the resources that a Secret is, or should be, the target of.
pub(super) fn owners_of(
    stores: &Stores,
    secret: &SecretMetadata,
) -> Vec<ObjectRef<ParsedRotation>> {
    let key = ObjectKey::of(secret);
    if let Some(owner) = secret.annotations().get(OWNER_ANNOTATION)
        && let Some(owner) = stores.rotation(&ObjectKey::new(&key.namespace, owner))
    {
        return vec![ObjectRef::from_obj(&*owner)];
    }
    stores.with_target(&key).iter().map(|resource| ObjectRef::from_obj(&**resource)).collect()
}

/// Returns the resources whose target is the Secret with the credentials of a tenant, which is in
/// `namespace`.
pub(super) fn with_credentials_as_target<T: TenantResource>(
    stores: &Stores,
    tenant: &DeserializeGuard<T>,
    namespace: &str,
) -> Vec<ObjectRef<ParsedRotation>> {
    let Ok(tenant) = &tenant.0 else { return Vec::new() };
    let Some(name) = tenant.access().credentials.secret_name() else { return Vec::new() };
    let targeting = stores.with_target(&ObjectKey::new(namespace, name));
    targeting.iter().map(|resource| ObjectRef::from_obj(&**resource)).collect()
}

/// Returns the resources with the same client or target that may have to be decided differently, now
/// that `changed` changed or is gone. A change of one that was rejected concerns no other.
pub(super) fn claimants_affected_by(
    stores: &Stores,
    changed: &ParsedRotation,
) -> Vec<ObjectRef<ParsedRotation>> {
    match &changed.0 {
        Ok(changed) if !is_rejected_claimant(changed) => next_claimants(stores, changed),
        _ => Vec::new(),
    }
}

/// Returns the resources with the same client or target as `owner` that were not rejected, and of
/// those that were, the first one of each namespace, tenant and reason. The others would be rejected
/// again: however many there are, a change enqueues a few.
pub(crate) fn next_claimants(
    stores: &Stores,
    owner: &ClientSecretRotation,
) -> Vec<ObjectRef<ParsedRotation>> {
    let mut claimants = Vec::new();
    let mut rejected: HashMap<_, Arc<ParsedRotation>> = HashMap::new();
    for parsed in stores.sharing(owner) {
        let Ok(other) = &parsed.0 else { continue };
        if other.uid() == owner.uid() {
            continue;
        }
        let Some(reason) = claim_rejection(other) else {
            claimants.push(ObjectRef::from_obj(&*parsed));
            continue;
        };
        let namespace = other.namespace().unwrap_or_default();
        let tenant = TenantId::referenced(&namespace, &other.spec.tenant_ref);
        match rejected.entry((namespace, tenant, reason)) {
            Entry::Vacant(entry) => drop(entry.insert(parsed)),
            Entry::Occupied(mut first) if claim_order(&parsed) < claim_order(first.get()) => {
                first.insert(parsed);
            }
            Entry::Occupied(_) => {}
        }
    }
    claimants.extend(rejected.values().map(|parsed| ObjectRef::from_obj(&**parsed)));
    claimants
}

/// Returns the order in which rejected resources of one tenant get a client that becomes free.
fn claim_order(parsed: &ParsedRotation) -> impl Ord + use<> {
    let status = parsed.0.as_ref().ok().and_then(|resource| resource.status.as_ref());
    let never_worked = status.is_none_or(|status| status.current.is_none());
    let created = parsed.meta().creation_timestamp.as_ref().map(|time| time.0);
    (never_worked, created, parsed.uid())
}

/// Returns whether a resource was rejected in favor of another one.
fn is_rejected_claimant(resource: &ClientSecretRotation) -> bool {
    claim_rejection(resource).is_some()
}

/// Returns the reason with which a resource was rejected in favor of another one, if it was.
fn claim_rejection(resource: &ClientSecretRotation) -> Option<Reason> {
    let status = resource.status.as_ref()?;
    let stalled = find_condition(&status.conditions, condition_types::STALLED)?;
    let reason = Reason::parse(&stalled.reason)?;
    matches!(reason, Reason::TargetClaimed | Reason::ClientClaimed).then_some(reason)
}
