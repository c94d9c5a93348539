//! Reasons to look at a resource that no watch tells of.

use futures::{SinkExt as _, channel::mpsc};
use kube::runtime::reflector::ObjectRef;

use super::cache::{Guarded, GuardedClusterTenant, GuardedTenant};
use crate::api::{TenantKind, TenantRef};

/// Puts resources and tenants into the queues of their scope.
#[derive(Clone)]
pub(super) struct Pokes {
    /// The queues of each namespace; of all when there is no name.
    queues: Vec<Queues>,
    /// The queue of the cluster's tenants, where there are any.
    cluster: Option<mpsc::Sender<ObjectRef<GuardedClusterTenant>>>,
}

/// A namespace, and its queues of resources and of tenants.
pub(super) type Queues =
    (Option<String>, mpsc::Sender<ObjectRef<Guarded>>, mpsc::Sender<ObjectRef<GuardedTenant>>);

impl Pokes {
    pub(super) fn new(
        queues: Vec<Queues>,
        cluster: Option<mpsc::Sender<ObjectRef<GuardedClusterTenant>>>,
    ) -> Pokes {
        Pokes { queues, cluster }
    }

    /// Has a pass made over a resource, as soon as there is room in the queue. False when the queue
    /// is gone.
    pub(super) async fn put(&self, reference: ObjectRef<Guarded>) -> bool {
        let namespace = reference.namespace.clone().unwrap_or_default();
        match self.of(&namespace) {
            Some((_, queue, _)) => queue.clone().send(reference).await.is_ok(),
            None => true,
        }
    }

    /// Has a pass made over a resource. A full queue is no loss: it is looked at again later.
    pub(super) fn poke(&self, namespace: &str, name: &str) {
        if let Some((_, queue, _)) = self.of(namespace) {
            drop(queue.clone().try_send(ObjectRef::new(name).within(namespace)));
        }
    }

    /// Has a tenant looked at that resources of a namespace refer to.
    pub(super) fn poke_tenant(&self, namespace: &str, reference: &TenantRef) {
        match (reference.kind, self.of(namespace), &self.cluster) {
            (TenantKind::Auth0Tenant, Some((_, _, queue)), _) => {
                drop(queue.clone().try_send(ObjectRef::new(&reference.name).within(namespace)));
            }
            (TenantKind::ClusterAuth0Tenant, _, Some(queue)) => {
                drop(queue.clone().try_send(ObjectRef::new(&reference.name)));
            }
            _ => {}
        }
    }

    fn of(&self, namespace: &str) -> Option<&Queues> {
        let has = |scope: &Option<String>| scope.as_deref().is_none_or(|scope| scope == namespace);
        self.queues.iter().find(|(scope, ..)| has(scope))
    }
}
