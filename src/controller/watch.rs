//! Watches, narrowed to what is ours, and the queues that they feed.
//!
//! Every kind is watched once per scope. A change becomes the name of a resource to look at; what
//! it was is looked up in a pass.

use std::{
    convert::Infallible,
    sync::{Arc, PoisonError},
};

use futures::{
    FutureExt as _, SinkExt as _, Stream, StreamExt as _,
    channel::mpsc,
    future::ready,
    stream::{self, BoxStream},
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    runtime::{
        Config, WatchStreamExt as _, applier,
        controller::{self, Action, ReconcileRequest},
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher::{self, Event, watcher},
    },
};
use tokio::{sync::watch as channel, task::JoinSet};

use super::{
    cache::{Guarded, GuardedTenant, SecretMetadata, Watched},
    context::Context,
    places::Key,
    pokes::Pokes,
    reconcile, tenant_status,
};
use crate::api::{MANAGED_LABEL, OWNER_ANNOTATION};

/// How long a watch may be idle before it is opened anew, in seconds: some load balancers drop a
/// silent connection after 240.
const WATCH_SECONDS: u32 = 230;

/// How many changes may wait to be queued. The queue itself has each resource once.
const CHANGES: usize = 1024;

/// One namespace, or all of them: its watches and their caches.
pub(super) struct Scope {
    client: Client,
    namespace: Option<String>,
    changes: (mpsc::Sender<ObjectRef<Guarded>>, mpsc::Receiver<ObjectRef<Guarded>>),
    tenants: (Store<GuardedTenant>, Writer<GuardedTenant>),
    resources: (Store<Guarded>, Writer<Guarded>),
    secrets: (Store<SecretMetadata>, Writer<SecretMetadata>),
}

/// A scope for each namespace given, or one for all.
pub(super) fn scopes(client: &Client, namespaces: &[String]) -> Vec<Scope> {
    let scope = |namespace: Option<String>| Scope {
        client: client.clone(),
        namespace,
        changes: mpsc::channel(CHANGES),
        tenants: reflector::store(),
        resources: reflector::store(),
        secrets: reflector::store(),
    };
    if namespaces.is_empty() {
        vec![scope(None)]
    } else {
        namespaces.iter().cloned().map(Some).map(scope).collect()
    }
}

/// The caches of all scopes.
pub(super) fn watched(scopes: &[Scope]) -> Watched {
    Watched {
        resources: scopes.iter().map(|scope| scope.resources.0.clone()).collect(),
        tenants: scopes.iter().map(|scope| scope.tenants.0.clone()).collect(),
        secrets: scopes.iter().map(|scope| scope.secrets.0.clone()).collect(),
    }
}

/// The ways into the queues of all scopes.
pub(super) fn pokes(scopes: &[Scope]) -> Pokes {
    let queue = |scope: &Scope| (scope.namespace.clone(), scope.changes.0.clone());
    Pokes::new(scopes.iter().map(queue).collect())
}

/// A scope whose watches are running.
pub(super) struct Running {
    resources: Store<Guarded>,
    tenants: Store<GuardedTenant>,
    secrets: Store<SecretMetadata>,
    resource_changes: mpsc::Receiver<ObjectRef<Guarded>>,
    tenant_changes: mpsc::Receiver<ObjectRef<GuardedTenant>>,
}

impl Scope {
    /// Starts the watches, in `tasks` that never end. Their changes become the resources, and the
    /// tenants, to look at; they are passed on once `synced` is true.
    pub(super) fn watch(
        self,
        synced: &channel::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) -> Running {
        let (to_resources, resource_changes) = self.changes;
        let (to_tenants, tenant_changes) = mpsc::channel(CHANGES);
        let config = || watcher::Config::default().timeout(WATCH_SECONDS);
        let namespace = self.namespace.as_deref();
        let (resources, tenants) = (self.resources.0, self.tenants.0);
        let everything = |store: &Store<Guarded>| {
            let store = store.clone();
            move || store.state().iter().map(|object| ObjectRef::from_obj(&**object)).collect()
        };

        let changes = watcher(scoped(&self.client, namespace), config())
            .default_backoff()
            .reflect(self.resources.1);
        let own = |resource: &Guarded| vec![ObjectRef::from_obj(resource)];
        let to = to_resources.clone();
        tasks.spawn(forward(changes, own, everything(&resources), to, synced.clone()));

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
        tasks.spawn(forward(changes, using, all, to_resources.clone(), synced.clone()));

        let ours = config().labels(&format!("{MANAGED_LABEL}=true"));
        let changes = watcher(scoped(&self.client, namespace), ours)
            .default_backoff()
            .reflect(self.secrets.1);
        let targets = resources.clone();
        let owners = move |secret: &SecretMetadata| owners(&targets, secret);
        tasks.spawn(forward(changes, owners, everything(&resources), to_resources, synced.clone()));

        let secrets = self.secrets.0;
        Running { resources, tenants, secrets, resource_changes, tenant_changes }
    }
}

impl Running {
    /// Waits until each cache holds what there was when its watch began. To be called once: a
    /// cache wakes one waiter only.
    pub(super) async fn sync(&self) {
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
    pub(super) fn run(
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
            |tenant, context| spawned(tenant_status::reconcile(tenant, context)).boxed(),
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

/// Passes on what `of` makes of each change. A watch that begins anew tells what is there, not what
/// went in the meantime: then `all` is looked at, which costs nothing where nothing changed. Before
/// all caches are synced nothing is passed on: the queue begins with everything that is there.
async fn forward<O>(
    changes: impl Stream<Item = Result<Event<O>, watcher::Error>>,
    of: impl Fn(&O) -> Vec<ObjectRef<Guarded>>,
    all: impl Fn() -> Vec<ObjectRef<Guarded>>,
    mut to: mpsc::Sender<ObjectRef<Guarded>>,
    synced: channel::Receiver<bool>,
) {
    let mut changes = std::pin::pin!(changes);
    while let Some(change) = changes.next().await {
        let references = match change {
            Ok(_) if !*synced.borrow() => continue,
            Ok(Event::Apply(object) | Event::Delete(object)) => of(&object),
            Ok(Event::InitDone) => all(),
            // The cache doesn't have these before the watch has begun.
            Ok(Event::Init | Event::InitApply(_)) => continue,
            Err(error) => {
                tracing::warn!(%error, "a watch failed and is opened anew");
                continue;
            }
        };
        for reference in references {
            if to.send(reference).await.is_err() {
                return;
            }
        }
    }
}

/// A queue that is offered to, from where it can't be waited for.
#[derive(Clone)]
struct Shared(Arc<std::sync::Mutex<mpsc::Sender<ObjectRef<GuardedTenant>>>>);

impl Shared {
    fn new(to: mpsc::Sender<ObjectRef<GuardedTenant>>) -> Shared {
        Shared(Arc::new(std::sync::Mutex::new(to)))
    }

    /// A full queue is told of: it has a place for more tenants than anyone has.
    fn offer(&self, tenants: impl IntoIterator<Item = ObjectRef<GuardedTenant>>) {
        let mut to = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for tenant in tenants {
            if to.try_send(tenant).is_err() {
                tracing::warn!("the queue of tenants is full: one is looked at later");
            }
        }
    }
}

/// Everything that is there, then what changes, until the shutdown.
fn queue<K>(
    store: &Store<K>,
    changes: mpsc::Receiver<ObjectRef<K>>,
    shutdown: &channel::Receiver<bool>,
) -> impl Stream<Item = Result<ReconcileRequest<K>, Infallible>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let mut shutdown = shutdown.clone();
    let stop = async move {
        // An error means that whoever could have asked is gone: stop as well.
        drop(shutdown.wait_for(|asked| *asked).await);
    };
    let present: Vec<_> =
        store.state().iter().map(|object| ObjectRef::from_obj(&**object)).collect();
    stream::iter(present).chain(changes).map(|object| Ok(object.into())).take_until(Box::pin(stop))
}

/// A pass in a task of its own, so that passes use all cores. A panic ends the process: what is
/// not known to be whole must not go on.
async fn spawned(
    pass: impl Future<Output = Result<Action, Infallible>> + Send + 'static,
) -> Result<Action, Infallible> {
    match tokio::spawn(pass).await {
        Ok(ended) => ended,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Cancelled: the runtime is going down.
        Err(_) => Ok(Action::await_change()),
    }
}

/// The resources that refer to a tenant.
fn users(store: &Store<Guarded>, tenant: &GuardedTenant) -> Vec<ObjectRef<Guarded>> {
    let (name, namespace) = (tenant.name_any(), tenant.namespace());
    let refers = |resource: &&Arc<Guarded>| {
        let spec = resource.0.as_ref().ok().map(|resource| &resource.spec);
        resource.namespace() == namespace && spec.is_some_and(|spec| spec.tenant_ref.name == name)
    };
    store.state().iter().filter(refers).map(|resource| ObjectRef::from_obj(&**resource)).collect()
}

/// The resources that a Secret is, or should be, the target of.
fn owners(store: &Store<Guarded>, secret: &SecretMetadata) -> Vec<ObjectRef<Guarded>> {
    let namespace = secret.namespace().unwrap_or_default();
    let named = secret.annotations().get(OWNER_ANNOTATION);
    if let Some(owner) = named.map(|name| ObjectRef::new(name).within(&namespace))
        && store.get(&owner).is_some()
    {
        return vec![owner];
    }
    let name = secret.name_any();
    let targets = |resource: &&Arc<Guarded>| {
        let spec = resource.0.as_ref().ok().map(|resource| &resource.spec);
        resource.namespace().as_deref() == Some(namespace.as_str())
            && spec.is_some_and(|spec| spec.target.name == name)
    };
    store.state().iter().filter(targets).map(|resource| ObjectRef::from_obj(&**resource)).collect()
}
