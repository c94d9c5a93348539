//! The controller: two reconcilers over shared services.
//!
//! The modules are layered, and imports point downwards: the reconciler of ClientSecretRotations
//! (`rotation`) on top, then the reconciler of tenants (`tenant`), the shared
//! `context`, `target_secret`, `watch` and `queue`, and at the bottom `events`, `state`,
//! `server_time`, `kube_call`, `error` and `object_key`.
//!
//! # Architecture invariants
//!
//! - Leadership is checked right before each write: every function that writes takes a
//!   [`WriteFence`](leader_election::WriteFence). A standby keeps its stores filled and reconciles
//!   nothing.
//! - A panic in a reconcile ends the process: state that may be inconsistent must not be used.

mod context;
mod rotation;
mod tenant;
mod target_secret;
mod watch;
mod queue;
mod events;
mod collector;
mod fingerprint;
mod state;
mod write_budget;
mod server_time;
mod api_latency;
mod kube_call;
mod error;
mod denial;
mod object_key;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

pub(crate) use api_latency::ApiLatencyLayer;
use auth0_client::EgressPolicy;
pub use context::Settings;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream, select_all},
};
use kube::{Client, Resource, runtime::reflector::Store};
pub(crate) use kube_call::KUBE_DEADLINE;
use leader_election::{LeaderElector, LeaderState};
pub(crate) use queue::RunLimit;
use server_time::ClockCollector;
pub(crate) use server_time::ServerTimeLayer;
pub use target_secret::AllowedMetadata;
use tokio::{sync::watch as channel, task::JoinSet};
pub use watch::{InvalidSelector, WatchSelector};

use self::{
    collector::StateCollector,
    context::Context,
    events::EventRecorder,
    queue::{RunLimitCollector, Trigger},
    rotation::RotationController,
    target_secret::SecretStore,
    tenant::{TenantParams, TenantRegistry},
    watch::{
        ClusterFeed, ClusterWatch, NamespaceFeed, NamespaceWatch, Stores, WatchContext, WatchHealth,
    },
};
use crate::metrics::Metrics;

/// How often the state of objects that are gone is removed.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(600);

/// Services of the process that the controller uses.
pub(crate) struct Runtime<'a> {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    /// Follows the latency of the client's calls.
    pub(crate) run_limit: RunLimit,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) elector: &'a LeaderElector,
    /// Becomes true when the process shuts down.
    pub(crate) shutdown: channel::Receiver<bool>,
    /// Counts the responses that a kind is not served.
    pub(crate) not_served: channel::Sender<u64>,
    /// Set to true when the watches have completed their initial list.
    pub(crate) synced: channel::Sender<bool>,
}

/// Runs until the shutdown, then completes what is in progress. Reconciles once this process leads.
///
/// Returns false when a watch or a reconciler ended unexpectedly.
pub(crate) async fn run(runtime: Runtime<'_>) -> bool {
    let Runtime { client, settings, run_limit, metrics, elector, mut shutdown, not_served, synced } =
        runtime;
    let watches = Watches::new(&client, &settings);
    let mut stores = watches.stores();
    let trigger = watches.trigger();
    let leadership = elector.leadership();
    let params = tenant_params(&client, &settings);
    stores.operator_namespace.clone_from(&params.operator_namespace);
    stores.selector = settings.watch_selector.clone();
    let context = Arc::new(Context {
        events: EventRecorder::new(client.clone(), instance(), leadership.clone()),
        secrets: SecretStore::new(client.clone()),
        stores: stores.clone(),
        trigger: trigger.clone(),
        leadership,
        stopping: shutdown.clone(),
        client,
        metrics,
        settings,
    });
    let tenants = Arc::new(TenantRegistry::new(context.clone(), params));
    let rotations =
        Arc::new(RotationController::new(context.clone(), tenants.clone(), run_limit.clone()));
    let registered = StateCollector::new(&tenants)
        .and_then(|collector| context.metrics.register(collector))
        .and_then(|()| context.metrics.register(ClockCollector::new()?))
        .and_then(|()| context.metrics.register(RunLimitCollector::new(run_limit.clone())?));
    if let Err(error) = registered {
        tracing::error!(%error, "failed to register the metrics of resources, tenants and clocks");
    }

    let (start, is_leading) = channel::channel(false);
    let mut tasks = JoinSet::new();
    let watch_context =
        WatchContext { stores, trigger, is_leading, health: WatchHealth::new(not_served) };
    let feeds = watches.start(&watch_context, &mut tasks);
    let namespace = context.settings.namespaces.first().cloned();
    tasks.spawn(watch::detect_restores(context.client.clone(), namespace));
    let mut leader_state = elector.subscribe();
    let wait_to_lead = async {
        watch_context.health.wait_synced().await;
        let synced_at = Instant::now();
        synced.send_replace(true);
        tracing::info!("watches are synced");
        let leads = leader_state.wait_for(|state| *state == LeaderState::Leader).await.is_ok();
        rotations.begin_to_lead(synced_at);
        leads
    };
    tokio::select! {
        leads = wait_to_lead => if !leads { return false },
        _ = shutdown.wait_for(|requested| *requested) => return true,
        _ = tasks.join_next() => return false,
    }
    start.send_replace(true);
    let mut reconciles = feeds.reconcile(&rotations, &tenants, &shutdown);
    tasks.spawn(clean_up(rotations.clone(), tenants));
    tasks.spawn(rotation::check_drift(rotations.clone()));
    loop {
        tokio::select! {
            // Each item is one reconciled object, which the reconciler has logged.
            item = reconciles.next() => if item.is_none() { break },
            // Tasks never end by themselves: one that did has panicked.
            _ = tasks.join_next() => break,
        }
    }
    let is_requested = *shutdown.borrow_and_update();
    rotations.publish_responses().await;
    is_requested
}

/// All watches before they start.
struct Watches {
    namespaces: Vec<NamespaceWatch>,
    /// Where ClusterAuth0Tenants may be used.
    cluster: Option<ClusterWatch>,
}

impl Watches {
    fn new(client: &Client, settings: &Settings) -> Self {
        let namespaces = if settings.namespaces.is_empty() {
            vec![NamespaceWatch::new(client, None, &settings.secret_namespaces)]
        } else {
            let watch =
                |namespace: &String| NamespaceWatch::new(client, Some(namespace.clone()), &[]);
            settings.namespaces.iter().map(watch).collect()
        };
        let cluster = settings.uses_cluster_tenants().then(|| ClusterWatch::new(client));
        Self { namespaces, cluster }
    }

    fn stores(&self) -> Stores {
        let mut stores = Stores::default();
        self.namespaces.iter().for_each(|watch| watch.register(&mut stores));
        if let Some(cluster) = &self.cluster {
            cluster.register(&mut stores);
        }
        stores
    }

    fn trigger(&self) -> Trigger {
        let namespaces = self.namespaces.iter().map(NamespaceWatch::senders).collect();
        Trigger::new(namespaces, self.cluster.as_ref().map(ClusterWatch::sender))
    }

    fn start(self, context: &WatchContext, tasks: &mut JoinSet<()>) -> Feeds {
        let namespaces = self.namespaces.into_iter();
        Feeds {
            namespaces: namespaces.map(|watch| watch.start(context, tasks)).collect(),
            cluster: self.cluster.map(|watch| watch.start(context, tasks)),
        }
    }
}

/// Stores and queues of running watches.
struct Feeds {
    namespaces: Vec<NamespaceFeed>,
    cluster: Option<ClusterFeed>,
}

impl Feeds {
    /// Reconciles everything that exists, then what changes. The stream has an item for each
    /// reconcile and ends after the shutdown.
    fn reconcile(
        self,
        rotations: &Arc<RotationController>,
        tenants: &Arc<TenantRegistry>,
        shutdown: &channel::Receiver<bool>,
    ) -> impl futures::Stream<Item = ()> + use<> {
        let mut streams: Vec<BoxStream<'static, ()>> = Vec::new();
        for feed in self.namespaces {
            let (store, tenant_store) = (feed.rotations.clone(), feed.tenants.clone());
            let reconciles = rotations.run(feed.rotations, feed.rotation_queue, shutdown);
            streams.push(once_listed(store, reconciles.boxed(), shutdown));
            let reconciles = tenant::run(tenants, feed.tenants, feed.tenant_queue, shutdown);
            streams.push(once_listed(tenant_store, reconciles.boxed(), shutdown));
        }
        if let Some(feed) = self.cluster {
            streams.push(tenant::run(tenants, feed.tenants, feed.queue, shutdown).boxed());
        }
        select_all(streams)
    }
}

/// Returns a stream that starts once a store has its initial list. It ends at the shutdown, also if there
/// never is a list for lack of permission.
fn once_listed<K>(
    store: Store<K>,
    reconciles: BoxStream<'static, ()>,
    shutdown: &channel::Receiver<bool>,
) -> BoxStream<'static, ()>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let mut shutdown = shutdown.clone();
    let started = async move {
        tokio::select! {
            _ = store.wait_until_ready() => reconciles,
            _ = shutdown.wait_for(|requested| *requested) => stream::empty().boxed(),
        }
    };
    stream::once(started).flatten().boxed()
}

/// By default, the credentials of ClusterAuth0Tenants are where the operator runs.
fn tenant_params(client: &Client, settings: &Settings) -> TenantParams {
    let own_namespace = || client.default_namespace().to_owned();
    TenantParams {
        allow_http: settings.allow_http,
        egress: EgressPolicy::new(settings.allowed_endpoints.clone(), settings.allow_http),
        propagation_window: settings.propagation_window,
        operator_namespace: settings.operator_namespace.clone().unwrap_or_else(own_namespace),
        cluster_tenants: settings.uses_cluster_tenants(),
    }
}

async fn clean_up(rotations: Arc<RotationController>, tenants: Arc<TenantRegistry>) {
    loop {
        tokio::time::sleep(CLEANUP_INTERVAL).await;
        rotations.remove_absent();
        tenants.remove_absent();
    }
}

/// Returns the name of this process in Events and in the Lease: the Pod's name where there is one.
pub(crate) fn instance() -> String {
    std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "local".into())
}
