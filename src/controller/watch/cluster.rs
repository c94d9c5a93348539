//! What is watched once for the whole cluster, whatever the namespaces are: tenants that allow
//! namespaces something, and the labels of namespaces, by which they do.

use std::sync::Arc;

use futures::{
    FutureExt as _, StreamExt as _,
    channel::mpsc,
    stream::{self, BoxStream},
};
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{
        Config, WatchStreamExt as _, applier,
        controller::Action,
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher::{self, watcher},
    },
};
use tokio::{sync::watch as channel, task::JoinSet};

use super::{CHANGES, Shared, WATCH_SECONDS, forward, queue, spawned};
use crate::{
    api::{TenantKind, TenantRef},
    controller::{
        cache::{Guarded, GuardedClusterTenant, Watched},
        context::Context,
        pokes::Pokes,
        tenants::{NamespaceMetadata, status},
    },
};

/// The cluster's tenants and namespaces: their watches and caches.
pub(in crate::controller) struct Cluster {
    client: Client,
    changes: (
        mpsc::Sender<ObjectRef<GuardedClusterTenant>>,
        mpsc::Receiver<ObjectRef<GuardedClusterTenant>>,
    ),
    tenants: (Store<GuardedClusterTenant>, Writer<GuardedClusterTenant>),
    namespaces: (Store<NamespaceMetadata>, Writer<NamespaceMetadata>),
}

/// The same, with its watches running.
pub(in crate::controller) struct RunningCluster {
    tenants: Store<GuardedClusterTenant>,
    namespaces: Store<NamespaceMetadata>,
    changes: mpsc::Receiver<ObjectRef<GuardedClusterTenant>>,
}

impl Cluster {
    pub(in crate::controller) fn new(client: &Client) -> Cluster {
        Cluster {
            client: client.clone(),
            changes: mpsc::channel(CHANGES),
            tenants: reflector::store(),
            namespaces: reflector::store(),
        }
    }

    /// The way into the queue of its tenants.
    pub(in crate::controller) fn queue(&self) -> mpsc::Sender<ObjectRef<GuardedClusterTenant>> {
        self.changes.0.clone()
    }

    /// Adds its caches to those of the namespaces.
    pub(in crate::controller) fn join(&self, watched: Watched) -> Watched {
        Watched {
            cluster_tenants: Some(self.tenants.0.clone()),
            namespaces: Some(self.namespaces.0.clone()),
            ..watched
        }
    }

    /// Starts the watches, in `tasks` that never end. What changes is told to the resources whose
    /// permission it could change.
    pub(in crate::controller) fn watch(
        self,
        watched: &Watched,
        pokes: &Pokes,
        begun: &channel::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) -> RunningCluster {
        let (to_tenants, changes) = self.changes;
        let config = || watcher::Config::default().timeout(WATCH_SECONDS);
        let all = |watched: &Watched| {
            let watched = watched.clone();
            move || users(&watched, |_, _| true)
        };

        let tenants = self.tenants.0;
        let stream = watcher(Api::all(self.client.clone()), config())
            .default_backoff()
            .reflect(self.tenants.1);
        let (to_own, own, theirs) = (Shared::new(to_tenants), tenants.clone(), watched.clone());
        let to_each = to_own.clone();
        let using = move |tenant: &GuardedClusterTenant| {
            to_each.offer([ObjectRef::from_obj(tenant)]);
            let name = tenant.name_any();
            users(&theirs, |_, reference| reference.name == name)
        };
        let of_all = all(watched);
        let everything = move || {
            to_own.offer(own.state().iter().map(|tenant| ObjectRef::from_obj(&**tenant)));
            of_all()
        };
        tasks.spawn(forward(stream, using, everything, pokes.clone(), begun.clone()));

        let namespaces = self.namespaces.0;
        let stream = watcher(Api::<NamespaceMetadata>::all(self.client), config())
            .default_backoff()
            .reflect(self.namespaces.1);
        let theirs = watched.clone();
        let within = move |namespace: &NamespaceMetadata| {
            let name = namespace.name_any();
            users(&theirs, |namespace, _| namespace == name)
        };
        tasks.spawn(forward(stream, within, all(watched), pokes.clone(), begun.clone()));
        RunningCluster { tenants, namespaces, changes }
    }
}

impl RunningCluster {
    /// Waits until each cache holds what there was when its watch began. To be called once.
    pub(in crate::controller) async fn sync(&self) {
        drop(futures::join!(self.tenants.wait_until_ready(), self.namespaces.wait_until_ready()));
    }

    /// Keeps the status of the tenants up to date until `shutdown`.
    pub(in crate::controller) fn run(
        self,
        context: &Arc<Context>,
        shutdown: &channel::Receiver<bool>,
    ) -> BoxStream<'static, ()> {
        let tenants = applier(
            |tenant, context| spawned(status::reconcile(tenant, context)).boxed(),
            |_, _, _| Action::await_change(),
            context.clone(),
            self.tenants.clone(),
            queue(&self.tenants, self.changes, shutdown),
            Config::default().concurrency(context.settings.concurrency.max(1)),
        );
        stream::select(tenants.map(drop), stream::empty()).boxed()
    }
}

/// The resources that refer to a tenant of the cluster and are as wanted, by their namespace and
/// what they refer to.
fn users(
    watched: &Watched,
    is_wanted: impl Fn(&str, &TenantRef) -> bool,
) -> Vec<ObjectRef<Guarded>> {
    let is_user = |resource: &&Arc<Guarded>| {
        let Ok(resource) = &resource.0 else { return false };
        let reference = &resource.spec.tenant_ref;
        reference.kind == TenantKind::ClusterAuth0Tenant
            && is_wanted(&resource.namespace().unwrap_or_default(), reference)
    };
    let resources = watched.resources();
    resources.iter().filter(is_user).map(|resource| ObjectRef::from_obj(&**resource)).collect()
}
