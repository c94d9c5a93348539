//! Reasons to look at a resource that no watch tells of.

use futures::{SinkExt as _, channel::mpsc};
use kube::runtime::reflector::ObjectRef;

use super::cache::Guarded;

/// Puts resources into the queue of their scope.
#[derive(Clone)]
pub(super) struct Pokes {
    /// The queue of each namespace; of all when there is no name.
    queues: Vec<(Option<String>, mpsc::Sender<ObjectRef<Guarded>>)>,
}

impl Pokes {
    pub(super) fn new(queues: Vec<(Option<String>, mpsc::Sender<ObjectRef<Guarded>>)>) -> Pokes {
        Pokes { queues }
    }

    /// Has a pass made over a resource, as soon as there is room in the queue. False when the queue
    /// is gone.
    pub(super) async fn put(&self, reference: ObjectRef<Guarded>) -> bool {
        let namespace = reference.namespace.clone().unwrap_or_default();
        match self.queue(&namespace) {
            Some(mut queue) => queue.send(reference).await.is_ok(),
            None => true,
        }
    }

    fn queue(&self, namespace: &str) -> Option<mpsc::Sender<ObjectRef<Guarded>>> {
        let has = |scope: &Option<String>| scope.as_deref().is_none_or(|scope| scope == namespace);
        self.queues.iter().find(|(scope, _)| has(scope)).map(|(_, queue)| queue.clone())
    }

    /// Has a pass made over a resource. A full queue is no loss: it is looked at again later.
    pub(super) fn poke(&self, namespace: &str, name: &str) {
        if let Some(mut queue) = self.queue(namespace) {
            drop(queue.try_send(ObjectRef::new(name).within(namespace)));
        }
    }
}
