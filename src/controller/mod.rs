//! The controller: observe, decide, act.
//!
//! # Architecture invariants
//!
//! - What to do is decided by [`rotation::decide()`] alone; modules here only see and carry out.
//! - The durable record of an intent is stored, by compare-and-swap, before the step it stands
//!   for. If storing fails the step is not taken.
//! - Values stay in a pass, in the module `memory` while they are not published, and in the target Secret.
//! - Whether this process leads is asked just before each effect: whatever has one takes a
//!   [`WriteFence`](leader_election::WriteFence). One that stands by keeps its caches, and makes no pass.
//! - The caches of the watches tell when to look. Resource and Secret are read live in a pass.

mod act;
mod authority;
mod cache;
mod claims;
mod clock;
mod consumers;
mod context;
mod drift;
mod events;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod gauges;
mod index;
mod memory;
mod observe;
mod pass;
mod places;
mod pokes;
mod precedence;
mod reconcile;
mod resource;
mod target;
mod tenants;
mod terms;
mod trouble;
mod watch;

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, future::join_all, stream::select_all};
use kube::{Client, Resource as _};
use tokio::{sync::watch as channel, task::JoinSet};

pub(crate) use clock::LearnTime;
use context::Context;
pub use context::Settings;
use events::Announcer;
use gauges::Gauges;
use memory::Memory;
use places::Places;
use precedence::Precedence;
use target::SecretStore;
use tenants::{AnyTenant, Tenants};

use crate::metrics::Metrics;
use leader_election::{LeaderElector, LeaderState};

/// How long a call to the API server may take.
pub(crate) const KUBE_DEADLINE: Duration = Duration::from_secs(10);

/// How long a shutdown waits for secrets that are in hand and not yet published.
const LAST_CHANCE: Duration = Duration::from_secs(25);

/// Runs until `shutdown` becomes true, then finishes what is under way. That all watches are synced
/// is told through `synced`; passes are made once this process leads.
///
/// Returns false when a watch or a reconciler ended by itself, which it never should.
pub async fn run(
    client: Client,
    settings: Settings,
    metrics: Arc<Metrics>,
    candidacy: &LeaderElector,
    mut shutdown: channel::Receiver<bool>,
    synced: channel::Sender<bool>,
) -> bool {
    let scopes = watch::scopes(&client, &settings.namespaces);
    let terms = tenant_terms(&client, &settings);
    let cluster = terms.cluster_tenants.then(|| watch::Cluster::new(&client));
    let watched = watch::watched(&scopes);
    let secrets = SecretStore::new(client.clone());
    let pokes = watch::pokes(&scopes, cluster.as_ref());
    let context = Arc::new(Context {
        announcer: Announcer::new(client.clone(), instance(), candidacy.leadership()),
        tenants: Tenants::new(client.clone(), secrets.clone(), metrics.clone(), terms),
        memory: Arc::new(Memory::default()),
        places: Places::new(settings.concurrency, {
            let pokes = pokes.clone();
            move |key| pokes.poke(&key.namespace, &key.name)
        }),
        precedence: Precedence::new(),
        watched: cluster.as_ref().map_or(watched.clone(), |cluster| cluster.join(watched)),
        pokes,
        leadership: candidacy.leadership(),
        stopping: shutdown.clone(),
        client,
        secrets,
        metrics,
        settings,
    });
    if let Err(error) = Gauges::new(&context).and_then(|gauges| context.metrics.register(gauges)) {
        tracing::error!(%error, "resources and tenants have no metrics");
    }
    let (begin, begun) = channel::channel(false);
    let mut tasks = JoinSet::new();
    let running: Vec<_> = scopes
        .into_iter()
        .map(|scope| scope.watch(&context.watched, &context.pokes, &begun, &mut tasks))
        .collect();
    let cluster =
        cluster.map(|cluster| cluster.watch(&context.watched, &context.pokes, &begun, &mut tasks));
    let all_synced = async {
        join_all(running.iter().map(watch::Running::sync)).await;
        join_all(cluster.iter().map(watch::RunningCluster::sync)).await;
    };
    let mut standing = candidacy.subscribe();
    let leads = async {
        all_synced.await;
        synced.send_replace(true);
        tracing::info!("watches are synced");
        standing.wait_for(|standing| *standing == LeaderState::Leader).await.is_ok()
    };
    tokio::select! {
        leads = leads => if !leads { return false },
        _ = shutdown.wait_for(|asked| *asked) => return true,
        _ = tasks.join_next() => return false,
    }
    begin.send_replace(true);
    let scopes = running.into_iter().map(|scope| scope.run(&context, &shutdown));
    let cluster = cluster.into_iter().map(|cluster| cluster.run(&context, &shutdown));
    let mut running = select_all(scopes.chain(cluster));
    tasks.spawn(prune_now_and_then(context.clone()));
    tasks.spawn(drift::run(context.clone()));
    loop {
        tokio::select! {
            // Each item is one reconciled object; the reconcilers have said what there is to say.
            item = running.next() => if item.is_none() { break },
            // Watches never end by themselves: one that did has panicked.
            _ = tasks.join_next() => break,
        }
    }
    let asked = *shutdown.borrow_and_update();
    publish_in_hand(&context).await;
    asked
}

/// By default the credentials of the cluster's tenants are where the operator runs, and such tenants
/// may be used when it works for all namespaces.
fn tenant_terms(client: &Client, settings: &Settings) -> tenants::Terms {
    let here = || client.default_namespace().to_owned();
    tenants::Terms {
        allow_http: settings.allow_http,
        propagation_window: settings.propagation_window,
        operator_namespace: settings.operator_namespace.clone().unwrap_or_else(here),
        cluster_tenants: settings.uses_cluster_tenants(),
    }
}

/// No answer of `rotate-secret` is dropped while there is time to publish it.
async fn publish_in_hand(context: &Context) {
    let rounds = async {
        loop {
            let in_hand = context.memory.in_hand();
            let resources = context.watched.resources();
            let theirs: Vec<_> = resources
                .iter()
                .map(|resource| resource.meta())
                .filter(|meta| meta.uid.as_ref().is_some_and(|uid| in_hand.contains(uid)))
                .collect();
            if theirs.is_empty() {
                return;
            }
            join_all(theirs.into_iter().map(|meta| {
                let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
                pass::pass(context, namespace.unwrap_or_default(), name.unwrap_or_default())
            }))
            .await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    if tokio::time::timeout(LAST_CHANCE, rounds).await.is_err() {
        let count = context.memory.in_hand().len();
        tracing::error!(count, "secrets could not be published; whoever goes on reads them back");
    }
}

/// Forgets what is remembered of resources that are gone.
async fn prune_now_and_then(context: Arc<Context>) {
    loop {
        tokio::time::sleep(Duration::from_secs(600)).await;
        let resources = context.watched.resources();
        let uids: std::collections::HashSet<_> = resources
            .iter()
            .filter_map(|resource| resource.meta().uid.clone())
            .chain(context.watched.tenant_uids())
            .collect();
        context.memory.prune(|uid| uids.contains(uid));
        context.tenants.prune(|uid| uids.contains(uid));
        let tenants = context.watched.all_tenants();
        context.metrics.retain_tenants(&tenants.iter().map(AnyTenant::name).collect());
        tracing::debug!(remembered = context.memory.len(), "forgot what is gone");
    }
}

/// Who we are, in Events and in the Lease: the pod's name where there is one.
pub(crate) fn instance() -> String {
    std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "local".into())
}
