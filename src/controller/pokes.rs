//! Reasons to look at a resource that no watch tells of.

use futures::channel::mpsc;
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

    /// Has a pass made over a resource. A full queue is no loss: it is looked at again later.
    pub(super) fn poke(&self, namespace: &str, name: &str) {
        let has = |scope: &Option<String>| scope.as_deref().is_none_or(|scope| scope == namespace);
        if let Some((_, queue)) = self.queues.iter().find(|(scope, _)| has(scope)) {
            let reference = ObjectRef::new(name).within(namespace);
            drop(queue.clone().try_send(reference));
        }
    }
}
