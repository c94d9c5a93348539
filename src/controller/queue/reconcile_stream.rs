//! The stream of reconcile requests of one kind, and the tasks that handle them.

use std::convert::Infallible;

use futures::{Stream, StreamExt as _, channel::mpsc, stream};
use kube::{
    Resource,
    runtime::{
        controller::{Action, ReconcileRequest},
        reflector::{ObjectRef, Store},
    },
};
use tokio::sync::watch as channel;

/// Returns everything that exists, then what is enqueued, until the shutdown.
pub(crate) fn reconcile_requests<K>(
    store: &Store<K>,
    queue: mpsc::Receiver<ObjectRef<K>>,
    shutdown: &channel::Receiver<bool>,
) -> impl Stream<Item = Result<ReconcileRequest<K>, Infallible>> + Send + 'static + use<K>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let mut shutdown = shutdown.clone();
    let stopped = async move {
        // The only error is a dropped sender: no shutdown can be requested anymore, so stop.
        drop(shutdown.wait_for(|requested| *requested).await);
    };
    let present: Vec<_> =
        store.state().iter().map(|object| ObjectRef::from_obj(&**object)).collect();
    stream::iter(present).chain(queue).map(|object| Ok(object.into())).take_until(Box::pin(stopped))
}

/// Runs a reconcile in a task of its own, so that reconciles use all cores. A panic continues here
/// and ends the process.
pub(crate) async fn spawn_reconcile(
    reconcile: impl Future<Output = Result<Action, Infallible>> + Send + 'static,
) -> Result<Action, Infallible> {
    match tokio::spawn(reconcile).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down.
        Err(_) => Ok(Action::await_change()),
    }
}
