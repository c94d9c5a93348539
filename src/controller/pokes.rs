//! Reasons to look at a resource that no watch tells of.

use futures::channel::mpsc;
use kube::runtime::reflector::ObjectRef;

use super::cache::{Guarded, GuardedTenant};

/// Puts resources and tenants into the queues of their scope.
#[derive(Clone)]
pub(super) struct Pokes {
    /// The queues of each namespace; of all when there is no name.
    queues: Vec<Queues>,
}

/// A namespace, and its queues of resources and of tenants.
pub(super) type Queues =
    (Option<String>, mpsc::Sender<ObjectRef<Guarded>>, mpsc::Sender<ObjectRef<GuardedTenant>>);

impl Pokes {
    pub(super) fn new(queues: Vec<Queues>) -> Pokes {
        Pokes { queues }
    }

    /// Has a pass made over a resource. A full queue is no loss: it is looked at again later.
    pub(super) fn poke(&self, namespace: &str, name: &str) {
        if let Some((_, queue, _)) = self.of(namespace) {
            drop(queue.clone().try_send(ObjectRef::new(name).within(namespace)));
        }
    }

    /// Has a tenant looked at.
    pub(super) fn poke_tenant(&self, namespace: &str, name: &str) {
        if let Some((_, _, queue)) = self.of(namespace) {
            drop(queue.clone().try_send(ObjectRef::new(name).within(namespace)));
        }
    }

    fn of(&self, namespace: &str) -> Option<&Queues> {
        let has = |scope: &Option<String>| scope.as_deref().is_none_or(|scope| scope == namespace);
        self.queues.iter().find(|(scope, ..)| has(scope))
    }
}
