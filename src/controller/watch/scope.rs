//! One namespace, or all of them: resources, their tenants and their target Secrets.

use std::sync::Arc;

use futures::{
    FutureExt as _, StreamExt as _,
    channel::mpsc,
    future::ready,
    stream::{self, BoxStream},
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    runtime::{
        Config, WatchStreamExt as _, applier,
        controller::{self, Action},
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher::{self, watcher},
    },
};
use tokio::{sync::watch as channel, task::JoinSet};

use super::{CHANGES, Cluster, Shared, WATCH_SECONDS, forward, queue, spawned};
use crate::{
    api::{MANAGED_LABEL, OWNER_ANNOTATION, TenantKind, TenantRef},
    controller::{
        cache::{Guarded, GuardedTenant, SecretMetadata, Watched},
        claims,
        context::Context,
        index::Index,
        places::Key,
        pokes::Pokes,
        reconcile,
        tenants::status,
    },
};

/// Both ends of a queue's way in.
type Channel<K> = (mpsc::Sender<ObjectRef<K>>, mpsc::Receiver<ObjectRef<K>>);

/// One namespace, or all of them: its watches and their caches.
pub(in crate::controller) struct Scope {
    client: Client,
    namespace: Option<String>,
    changes: Channel<Guarded>,
    tenant_changes: Channel<GuardedTenant>,
    tenants: (Store<GuardedTenant>, Writer<GuardedTenant>),
    resources: (Store<Guarded>, Writer<Guarded>),
    index: Index,
    secrets: (Store<SecretMetadata>, Writer<SecretMetadata>),
}

/// A scope for each namespace given, or one for all.
pub(in crate::controller) fn scopes(client: &Client, namespaces: &[String]) -> Vec<Scope> {
    let scope = |namespace: Option<String>| Scope {
        client: client.clone(),
        namespace,
        changes: mpsc::channel(CHANGES),
        tenant_changes: mpsc::channel(CHANGES),
        tenants: reflector::store(),
        resources: reflector::store(),
        index: Index::default(),
        secrets: reflector::store(),
    };
    if namespaces.is_empty() {
        vec![scope(None)]
    } else {
        namespaces.iter().cloned().map(Some).map(scope).collect()
    }
}

/// The caches of all scopes; the cluster's are added where there are any.
pub(in crate::controller) fn watched(scopes: &[Scope]) -> Watched {
    Watched {
        cluster_tenants: None,
        namespaces: None,
        resources: scopes.iter().map(|scope| scope.resources.0.clone()).collect(),
        indexes: scopes.iter().map(|scope| scope.index.clone()).collect(),
        tenants: scopes.iter().map(|scope| scope.tenants.0.clone()).collect(),
        secrets: scopes.iter().map(|scope| scope.secrets.0.clone()).collect(),
    }
}

/// The ways into the queues of all scopes.
pub(in crate::controller) fn pokes(scopes: &[Scope], cluster: Option<&Cluster>) -> Pokes {
    let queues = |scope: &Scope| {
        (scope.namespace.clone(), scope.changes.0.clone(), scope.tenant_changes.0.clone())
    };
    Pokes::new(scopes.iter().map(queues).collect(), cluster.map(Cluster::queue))
}

/// A scope whose watches are running.
pub(in crate::controller) struct Running {
    resources: Store<Guarded>,
    tenants: Store<GuardedTenant>,
    secrets: Store<SecretMetadata>,
    resource_changes: mpsc::Receiver<ObjectRef<Guarded>>,
    tenant_changes: mpsc::Receiver<ObjectRef<GuardedTenant>>,
}

impl Scope {
    /// Starts the watches, in `tasks` that never end. Their changes become the resources, and the
    /// tenants, to look at; they are passed on once passes have `begun`.
    pub(in crate::controller) fn watch(
        self,
        watched: &Watched,
        to_resources: &Pokes,
        begun: &channel::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) -> Running {
        let (_, resource_changes) = self.changes;
        let (to_tenants, tenant_changes) = self.tenant_changes;
        let config = || watcher::Config::default().timeout(WATCH_SECONDS);
        let namespace = self.namespace.as_deref();
        let (resources, tenants) = (self.resources.0, self.tenants.0);
        let everything = |store: &Store<Guarded>| {
            let store = store.clone();
            move || store.state().iter().map(|object| ObjectRef::from_obj(&**object)).collect()
        };

        let changes = watcher(scoped(&self.client, namespace), config()).default_backoff();
        let changes = self.index.follow(changes).reflect(self.resources.1);
        let all_resources = watched.clone();
        let own = move |resource: &Guarded| {
            let rivals = claims::rivals(resource, &all_resources);
            std::iter::once(ObjectRef::from_obj(resource)).chain(rivals).collect()
        };
        let to = to_resources.clone();
        tasks.spawn(forward(changes, own, everything(&resources), to, begun.clone()));

        let changes = watcher(scoped(&self.client, namespace), config())
            .default_backoff()
            .reflect(self.tenants.1);
        let (to_own, own_tenants) = (Shared::new(to_tenants), tenants.clone());
        let (theirs, to_theirs) = (resources.clone(), to_own.clone());
        let using = move |tenant: &GuardedTenant| {
            to_theirs.offer([ObjectRef::from_obj(tenant)]);
            users(&theirs, tenant)
        };
        let of_all = everything(&resources);
        let all = move || {
            to_own.offer(own_tenants.state().iter().map(|tenant| ObjectRef::from_obj(&**tenant)));
            of_all()
        };
        tasks.spawn(forward(changes, using, all, to_resources.clone(), begun.clone()));

        let ours = config().labels(&format!("{MANAGED_LABEL}=true"));
        let changes = watcher(scoped(&self.client, namespace), ours)
            .default_backoff()
            .reflect(self.secrets.1);
        let theirs = watched.clone();
        let owners = move |secret: &SecretMetadata| owners(&theirs, secret);
        let to = to_resources.clone();
        tasks.spawn(forward(changes, owners, everything(&resources), to, begun.clone()));

        let secrets = self.secrets.0;
        Running { resources, tenants, secrets, resource_changes, tenant_changes }
    }
}

impl Running {
    /// Waits until each cache holds what there was when its watch began. To be called once: a
    /// cache wakes one waiter only.
    pub(in crate::controller) async fn sync(&self) {
        let waiting = futures::join!(
            self.resources.wait_until_ready(),
            self.tenants.wait_until_ready(),
            self.secrets.wait_until_ready(),
        );
        // An error means that a watch is gone for good, which its end tells as well.
        drop(waiting);
    }

    /// Makes passes over everything that is there, then over what changes. The stream has an item
    /// for each pass and ends after `shutdown`, when all passes that were under way are over.
    pub(in crate::controller) fn run(
        self,
        context: &Arc<Context>,
        shutdown: &channel::Receiver<bool>,
    ) -> BoxStream<'static, ()> {
        let config = || Config::default().concurrency(context.settings.concurrency.max(1));
        let resources = applier(
            |resource, context| match reconcile::begin(&resource, &context) {
                Ok(turn) => spawned(reconcile::reconcile(turn, context)).boxed(),
                Err(rest) => ready(Ok(rest)).boxed(),
            },
            |_, _, _| Action::await_change(),
            context.clone(),
            self.resources.clone(),
            queue(&self.resources, self.resource_changes, shutdown),
            // Their number is bounded by the places: what waits for one has ended here.
            Config::default(),
        );
        let places = context.places.clone();
        let resources = resources.map(move |item| {
            if let Err(controller::Error::ObjectNotFound(gone)) = item {
                let namespace = gone.namespace.unwrap_or_default();
                places.leave(&Key { namespace, name: gone.name });
            }
        });
        let tenants = applier(
            |tenant, context| spawned(status::reconcile(tenant, context)).boxed(),
            |_, _, _| Action::await_change(),
            context.clone(),
            self.tenants.clone(),
            queue(&self.tenants, self.tenant_changes, shutdown),
            config(),
        );
        stream::select(resources, tenants.map(drop)).boxed()
    }
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The resources that refer to a tenant.
fn users(store: &Store<Guarded>, tenant: &GuardedTenant) -> Vec<ObjectRef<Guarded>> {
    let (name, namespace) = (tenant.name_any(), tenant.namespace());
    let refers = |resource: &&Arc<Guarded>| {
        let spec = resource.0.as_ref().ok().map(|resource| &resource.spec);
        let refers = |reference: &TenantRef| {
            reference.kind == TenantKind::Auth0Tenant && reference.name == name
        };
        resource.namespace() == namespace && spec.is_some_and(|spec| refers(&spec.tenant_ref))
    };
    store.state().iter().filter(refers).map(|resource| ObjectRef::from_obj(&**resource)).collect()
}

/// The resources that a Secret is, or should be, the target of.
fn owners(watched: &Watched, secret: &SecretMetadata) -> Vec<ObjectRef<Guarded>> {
    let at = |name: &str| Key {
        namespace: secret.namespace().unwrap_or_default(),
        name: name.to_owned(),
    };
    let named = secret.annotations().get(OWNER_ANNOTATION);
    if let Some(owner) = named.and_then(|name| watched.resource(&at(name))) {
        return vec![ObjectRef::from_obj(&*owner)];
    }
    let aiming = watched.aiming_at(&at(&secret.name_any()));
    aiming.iter().map(|resource| ObjectRef::from_obj(&**resource)).collect()
}
