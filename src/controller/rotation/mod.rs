//! The reconciler of ClientSecretRotations: observe, decide, execute.
//!
//! # Architecture invariants
//!
//! - [`rotation::decide()`] alone decides what to do; modules here observe and execute.
//! - The durable record of an intent is stored, by compare-and-swap, before the step that it
//!   announces. If it cannot be stored, the step is not executed.
//! - Values stay in a reconcile, in [`state`] until they are published, and in the target Secret.
//! - The resource and its target Secret are read live before a step that can't be repeated or whose
//!   write does not fail over a version that was not seen ([`view`]).

mod scheduling;
mod settled;
mod reconcile;
mod status;
mod deferral;
mod failure;
mod contest;
mod view;
mod observe;
mod client_kind;
mod execute;
mod publish;
mod dry_runs;
mod authorize;
mod adoption;
mod credentials_guard;
mod ownership;
mod last_owners;
mod owner_reference;
mod policy;
mod client_lists;
mod drift;
mod workloads;
mod argo_rollout;
mod taken_values;
mod restart_stamp;
mod restarts;
mod consumers;
mod pods;
mod pod_lists;
mod resource;
mod state;

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use auth0_client::Priority;
use client_lists::ClientLists;
pub(crate) use drift::check_drift;
use dry_runs::DryRuns;
use futures::{FutureExt as _, Stream, StreamExt as _, channel::mpsc, future::join_all};
use kube::{
    Resource as _, ResourceExt as _,
    runtime::{
        Config, applier,
        controller::{self, Action},
        reflector::{ObjectRef, Store},
    },
};
use last_owners::LastOwners;
use pod_lists::PodLists;
use state::RotationState;
use tokio::sync::watch as channel;

use super::{
    context::Context,
    object_key::ObjectKey,
    queue::{
        NamespaceLimit, PriorityGate, RunLimit, WorkQueue, reconcile_requests, spawn_reconcile,
    },
    state::StateMap,
    tenant::TenantRegistry,
};
use crate::api::{ClientSecretRotation, ParsedRotation};

/// How long a shutdown waits for responses of `rotate-secret` that are not published yet.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(25);

/// How many resources of a namespace watch their workloads at a time.
const ROLLOUT_WATCHES_PER_NAMESPACE: usize = 16;

/// State and services that all reconciles of ClientSecretRotations share.
pub(crate) struct RotationController {
    pub(super) context: Arc<Context>,
    pub(super) tenants: Arc<TenantRegistry>,
    work_queue: Arc<WorkQueue>,
    run_limit: RunLimit,
    priority_gate: PriorityGate,
    /// Watches of rollouts: the others of a namespace are checked from time to time.
    rollout_watches: Arc<NamespaceLimit>,
    states: Arc<StateMap<RotationState>>,
    last_owners: LastOwners,
    dry_runs: DryRuns,
    pod_lists: PodLists,
    /// Until when the stores count as a list that was just made. Unset before this process leads.
    trusts_lists_until: OnceLock<Instant>,
    client_lists: Arc<ClientLists>,
}

impl RotationController {
    pub(crate) fn new(
        context: Arc<Context>,
        tenants: Arc<TenantRegistry>,
        run_limit: RunLimit,
    ) -> Self {
        let trigger = context.trigger.clone();
        let concurrency = context.settings.concurrency;
        let work_queue = WorkQueue::new(concurrency, move |key| trigger.rotation(key));
        Self {
            context,
            tenants,
            work_queue,
            run_limit,
            priority_gate: PriorityGate::new(),
            rollout_watches: Arc::new(NamespaceLimit::new(ROLLOUT_WATCHES_PER_NAMESPACE)),
            states: Arc::default(),
            last_owners: LastOwners::default(),
            dry_runs: DryRuns::default(),
            pod_lists: PodLists::default(),
            trusts_lists_until: OnceLock::new(),
            client_lists: ClientLists::new(),
        }
    }

    /// Records, when this process begins to lead, since when the watches are synced.
    pub(crate) fn begin_to_lead(&self, synced_at: Instant) {
        let is_fresh = synced_at.elapsed() <= settled::MAX_LIST_AGE;
        let until = if is_fresh { Instant::now() + settled::START } else { synced_at };
        self.trusts_lists_until.get_or_init(|| until);
    }

    fn trusts_lists(&self) -> bool {
        self.trusts_lists_until.get().is_some_and(|until| Instant::now() < *until)
    }

    /// Reconciles all resources of a store, then those that are enqueued. The stream has an item for
    /// each reconcile and ends after the shutdown, when the last reconcile is over.
    pub(crate) fn run(
        self: &Arc<Self>,
        store: Store<ParsedRotation>,
        queue: mpsc::Receiver<ObjectRef<ParsedRotation>>,
        shutdown: &channel::Receiver<bool>,
    ) -> impl Stream<Item = ()> + Send + 'static + use<> {
        let requests = reconcile_requests(&store, queue, shutdown);
        let work_queue = self.work_queue.clone();
        applier(
            |resource, controller: Arc<Self>| match scheduling::admit(&resource, &controller) {
                Ok(admitted) => {
                    spawn_reconcile(scheduling::reconcile(admitted, controller)).boxed()
                }
                Err(requeue) => futures::future::ready(Ok(requeue)).boxed(),
            },
            |_, _, _| Action::await_change(),
            self.clone(),
            store,
            requests,
            // The permits of the work queue bound the concurrency: a reconcile that waits for one is not running.
            Config::default(),
        )
        .map(move |item| {
            if let Err(controller::Error::ObjectNotFound(gone)) = item {
                let namespace = gone.namespace.unwrap_or_default();
                work_queue.cancel(&ObjectKey::new(namespace, gone.name));
            }
        })
    }

    /// Publishes the responses of `rotate-secret` that are not published yet: none is dropped while
    /// there is time.
    pub(crate) async fn publish_responses(&self) {
        let rounds = async {
            loop {
                let uids = self.states.uids_where(|state| state.unpublished_response.is_some());
                let resources = self.context.stores.rotations();
                let keys: Vec<ObjectKey> = resources
                    .iter()
                    .filter(|resource| resource.uid().is_some_and(|uid| uids.contains(&uid)))
                    .map(|resource| ObjectKey::of(&**resource))
                    .collect();
                if keys.is_empty() {
                    return;
                }
                join_all(keys.iter().map(|key| {
                    let permit = self.run_limit.exempt(&key.namespace);
                    reconcile::reconcile(self, key, permit, Priority::InProgress)
                }))
                .await;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, rounds).await.is_err() {
            let uids = self.states.uids_where(|state| state.unpublished_response.is_some());
            let count = uids.len();
            tracing::error!(count, "failed to publish secrets; the next leader reads them back");
        }
    }

    /// Returns whether this operator reconciles a resource: it may belong to another shard.
    fn is_selected(&self, resource: &ClientSecretRotation) -> bool {
        self.context.stores.selector.selects(&resource.metadata)
    }

    /// Returns whether a response of `rotate-secret` for the resource with this UID is not published
    /// yet.
    fn has_response(&self, uid: &str) -> bool {
        self.states.with(uid, |state| state.unpublished_response.is_some())
    }

    /// Drops the state of resources that are gone.
    pub(crate) fn remove_absent(&self) {
        let resources = self.context.stores.rotations();
        let uids: std::collections::HashSet<String> =
            resources.iter().filter_map(|resource| resource.meta().uid.clone()).collect();
        self.states.retain(|uid| uids.contains(uid));
        self.client_lists.retain(|uid| uids.contains(uid));
        self.last_owners.clear();
        tracing::debug!(states = self.states.len(), "removed the state of absent resources");
    }
}
