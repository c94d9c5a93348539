//! One list of a tenant's clients for all resources that need to read theirs at the same time, instead
//! of one request each.
//!
//! Two reads wait for a list, if no rotation is in progress, requested or due: that of an import, and that
//! of the metadata on which a permission depends. Reads before a change at Auth0 are single and live; [`execute`](super::execute) rejects a change
//! that is based on a list.
//!
//! A resource that waits holds no permit. It is triggered when its client was listed, and is then
//! reconciled like any other: with the checks of its permission before it uses the answer.

mod batch;
mod pages;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use auth0_client::{Priority, TenantClient};
use batch::{Batch, Failure, Needs, Next, ReceivedPage, Turn, Wanted};
pub(super) use batch::{ListedAnswer, has_metadata};
use chrono::{DateTime, Utc};
use kube::runtime::controller::Action;
use leader_election::BootInstant;
pub(super) use pages::{Pages, Progress};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};

use super::{RotationController, authorize, scheduling};
use crate::{
    api::{ClientSecretRotation, Initial, TenantKind},
    controller::{
        context::Context,
        object_key::ObjectKey,
        queue::Trigger,
        server_time::now,
        state::AbortOnDrop,
        tenant::{Permission, TenantHandle, TenantIdentity},
    },
    metrics::TenantMetrics,
};

/// How many lists are read at a time, over all tenants: each page may have two megabytes.
const CONCURRENT_CALLS: usize = 8;

/// How long a list waits for others before its resources read their clients on their own.
const MAX_CALL_WAIT: Duration = Duration::from_secs(2);

/// The longest wait until a throttled list is continued.
const MAX_THROTTLED: Duration = Duration::from_secs(15);

/// When a resource that waits for a list is checked again, in case it was not triggered.
const RECHECK: Duration = Duration::from_secs(15);

/// The lists of clients of all tenants.
pub(super) struct ClientLists {
    lists: Mutex<Lists>,
    /// Held while a page is read, also by drift checks.
    pub(super) calls: Semaphore,
}

#[derive(Default)]
struct Lists {
    /// One for each generation of a tenant: an answer is used only with the tenant that gave it.
    tenants: HashMap<TenantIdentity, TenantList>,
    /// The tenant of each resource that needs to read its client, by the UID of the resource.
    resources: HashMap<String, TenantIdentity>,
}

struct TenantList {
    batch: Batch,
    wake: Arc<Notify>,
    /// The task that makes the requests, while there is anything to do.
    task: Option<AbortOnDrop>,
    is_running: bool,
}

impl TenantList {
    fn new() -> Self {
        let (batch, wake) = (Batch::new(Instant::now()), Arc::default());
        Self { batch, wake, task: None, is_running: false }
    }
}

/// What the task of one tenant needs.
struct ListTask {
    lists: Arc<ClientLists>,
    tenant: TenantIdentity,
    client: TenantClient,
    meter: Arc<TenantMetrics>,
    trigger: Trigger,
    wake: Arc<Notify>,
    stopping: watch::Receiver<bool>,
}

/// Lets a resource wait that shares a list with others; it is triggered when it may be reconciled.
pub(super) fn wait_for_list(
    resource: &ClientSecretRotation,
    uid: &str,
    controller: &RotationController,
) -> Option<Action> {
    let may_have_rules = resource.spec.tenant_ref.kind == TenantKind::ClusterAuth0Tenant;
    let secret = is_import(resource) && !is_outdated(resource, uid, controller);
    if !secret && !may_have_rules
        || resource.metadata.deletion_timestamp.is_some()
        || scheduling::has_work(resource, now())
    {
        return None;
    }
    // A reconcile reports a tenant that cannot be used.
    let tenant = controller.tenants.find(resource).ok()?;
    let metadata = match &tenant.permission {
        Permission::Denied(_) => return None,
        Permission::ByMetadata(entries)
            if !authorize::has_recent_metadata(controller, uid, entries) =>
        {
            Some(entries.clone())
        }
        Permission::Granted | Permission::ByMetadata(_) => None,
    };
    if !secret && metadata.is_none() {
        return None;
    }
    let key = ObjectKey::of(resource);
    let client_id = &resource.spec.client_id;
    let wanted = Wanted { uid, key: &key, client_id, needs: Needs { secret, metadata } };
    let turn = controller.client_lists.admit(&tenant, &wanted, &controller.context);
    tracing::trace!(%key, ?turn, "shares a list of clients");
    match turn {
        Turn::Reconcile => None,
        Turn::Wait => Some(Action::requeue(RECHECK)),
    }
}

/// Returns whether a resource reads its client only to publish its secret for the first time.
fn is_import(resource: &ClientSecretRotation) -> bool {
    let has_published = resource.status.as_ref().is_some_and(|status| status.current.is_some());
    !has_published && resource.spec.initial == Initial::Import
}

/// Returns whether a reconcile that had nothing left to do has seen or written a later version of the
/// resource.
fn is_outdated(
    resource: &ClientSecretRotation,
    uid: &str,
    controller: &RotationController,
) -> bool {
    let version = resource.metadata.resource_version.as_ref();
    controller.states.with(uid, |state| match &state.last_observed {
        Some(observed) => observed.resource_versions.last() != version,
        None => false,
    })
}

impl ClientLists {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { lists: Mutex::default(), calls: Semaphore::new(CONCURRENT_CALLS) })
    }

    fn admit(
        self: &Arc<Self>,
        tenant: &TenantHandle,
        wanted: &Wanted<'_>,
        context: &Context,
    ) -> Turn {
        let identity = tenant.identity();
        let mut lists = self.lists.lock();
        let before = lists.resources.insert(wanted.uid.to_owned(), identity.clone());
        if let Some(before) = before
            && before != identity
            && let Some(list) = lists.tenants.get_mut(&before)
        {
            list.batch.remove(wanted.uid);
        }
        let list = lists.tenants.entry(identity.clone()).or_insert_with(TenantList::new);
        let turn = list.batch.admit(wanted, Instant::now());
        if turn == Turn::Wait && !list.is_running {
            let task = ListTask {
                lists: self.clone(),
                tenant: identity,
                client: tenant.client.for_tenant(),
                meter: tenant.meter.clone(),
                trigger: context.trigger.clone(),
                wake: list.wake.clone(),
                stopping: context.stopping.clone(),
            };
            list.is_running = true;
            list.task = Some(AbortOnDrop::spawn(task.run()));
        }
        list.wake.notify_one();
        turn
    }

    /// Takes the client of a resource from the last list of its tenant.
    pub(super) fn take(&self, uid: &str, tenant: &TenantHandle) -> Option<ListedAnswer> {
        let mut lists = self.lists.lock();
        lists.tenants.get_mut(&tenant.identity())?.batch.take(uid, Instant::now())
    }

    /// Returns the client of a resource in the last list of its tenant, without its secret.
    pub(super) fn metadata(&self, uid: &str, tenant: &TenantHandle) -> Option<ListedAnswer> {
        self.lists.lock().tenants.get(&tenant.identity())?.batch.metadata(uid, Instant::now())
    }

    /// Forgets a resource whose reconcile has ended, with the answer that it did not use.
    pub(super) fn remove(&self, uid: &str) {
        let mut lists = self.lists.lock();
        let Some(tenant) = lists.resources.remove(uid) else { return };
        if let Some(list) = lists.tenants.get_mut(&tenant) {
            list.batch.remove(uid);
        }
    }

    /// Forgets resources that are gone, and tenants whose lists have ended.
    pub(super) fn retain(&self, exists: impl Fn(&str) -> bool) {
        let mut lists = self.lists.lock();
        lists.resources.retain(|uid, _| exists(uid));
        lists.tenants.retain(|_, list| {
            list.batch.retain(&exists);
            list.is_running || !list.batch.is_empty()
        });
    }
}

impl ListTask {
    async fn run(self) {
        while !*self.stopping.borrow() {
            match self.next() {
                Next::Stop => return,
                Next::Sleep(time) => {
                    tokio::select! {
                        () = tokio::time::sleep(time) => {}
                        () = self.wake.notified() => {}
                    }
                }
                Next::Request { from, with_secrets } => {
                    self.request(from.as_deref(), with_secrets).await;
                }
            }
        }
    }

    /// Triggers the resources that may be reconciled, and returns what to do.
    fn next(&self) -> Next {
        let mut lists = self.lists.lists.lock();
        let Some(list) = lists.tenants.get_mut(&self.tenant) else { return Next::Stop };
        let next = list.batch.next(Instant::now());
        list.is_running = next != Next::Stop;
        let ready = list.batch.take_ready();
        drop(lists);
        ready.iter().for_each(|key| self.trigger.rotation(key));
        next
    }

    async fn request(&self, from: Option<&str>, with_secrets: bool) {
        let call = self.lists.calls.acquire();
        let Ok(call) = tokio::time::timeout(MAX_CALL_WAIT, call).await else {
            return self.fail(Failure::Unavailable);
        };
        let asked_at = BootInstant::now();
        let listed = self.client.list_clients(from, with_secrets, Priority::Background).await;
        self.meter.count_operation("list-clients", &listed);
        drop(call);
        match listed {
            Ok(page) => {
                let received = ReceivedPage { page, asked_at };
                self.with_batch(|batch| batch.record_page(received, Instant::now()));
            }
            Err(auth0_client::Error::Throttled { until }) if wait_until(until) <= MAX_THROTTLED => {
                self.with_batch(Batch::record_throttled);
                tokio::time::sleep(wait_until(until)).await;
            }
            Err(error) => self.fail(failure(&error)),
        }
    }

    fn fail(&self, failure: Failure) {
        self.with_batch(|batch| batch.record_failure(failure, Instant::now()));
    }

    fn with_batch(&self, access: impl FnOnce(&mut Batch)) {
        if let Some(list) = self.lists.lists.lock().tenants.get_mut(&self.tenant) {
            access(&mut list.batch);
        }
    }
}

fn wait_until(until: DateTime<Utc>) -> Duration {
    (until - Utc::now()).to_std().unwrap_or_default()
}

/// Returns whether single reads may succeed where a list failed.
fn failure(error: &auth0_client::Error) -> Failure {
    match error {
        auth0_client::Error::MissingScope(_)
        | auth0_client::Error::InvalidResponse(_)
        | auth0_client::Error::ClientNotFound
        | auth0_client::Error::Rejected(_) => Failure::Rejected,
        _ => Failure::Unavailable,
    }
}
