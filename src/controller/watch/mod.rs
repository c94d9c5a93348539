//! Watches, narrowed to what is ours, and the queues that they feed.
//!
//! Every kind is watched once per scope. A change becomes the name of a resource to look at; what
//! it was is looked up in a pass.

mod cluster;
mod scope;

use std::{
    convert::Infallible,
    sync::{Arc, PoisonError},
};

use futures::{Stream, StreamExt as _, channel::mpsc, stream};
use kube::{
    Resource,
    runtime::{
        controller::{Action, ReconcileRequest},
        reflector::{ObjectRef, Store},
        watcher::{self, Event},
    },
};
use tokio::sync::watch as channel;

pub(super) use cluster::{Cluster, RunningCluster};
pub(super) use scope::{Running, pokes, scopes, watched};

use super::{cache::Guarded, pokes::Pokes};

/// How long a watch may be idle before it is opened anew, in seconds: some load balancers drop a
/// silent connection after 240.
pub(super) const WATCH_SECONDS: u32 = 230;

/// How many changes may wait to be queued. The queue itself has each resource once.
const CHANGES: usize = 1024;

/// Passes on what `of` makes of each change. A watch that begins anew tells what is there, not what
/// went in the meantime: then `all` is looked at, which costs nothing where nothing changed. Before
/// passes have `begun` nothing is passed on: the queue begins with everything that is there.
async fn forward<O>(
    changes: impl Stream<Item = Result<Event<O>, watcher::Error>>,
    of: impl Fn(&O) -> Vec<ObjectRef<Guarded>>,
    all: impl Fn() -> Vec<ObjectRef<Guarded>>,
    to: Pokes,
    begun: channel::Receiver<bool>,
) {
    let mut changes = std::pin::pin!(changes);
    while let Some(change) = changes.next().await {
        let references = match change {
            Ok(_) if !*begun.borrow() => continue,
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
            if !to.put(reference).await {
                return;
            }
        }
    }
}

/// A queue that is offered to, from where it can't be waited for.
#[derive(Clone)]
struct Shared<K: Resource>(Arc<std::sync::Mutex<mpsc::Sender<ObjectRef<K>>>>);

impl<K: Resource<DynamicType = ()>> Shared<K> {
    fn new(to: mpsc::Sender<ObjectRef<K>>) -> Shared<K> {
        Shared(Arc::new(std::sync::Mutex::new(to)))
    }

    /// A full queue is told of: it has a place for more tenants than anyone has.
    fn offer(&self, tenants: impl IntoIterator<Item = ObjectRef<K>>) {
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
