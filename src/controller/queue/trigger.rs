//! Explicit triggers: reasons to reconcile that no watch reports.

use std::sync::Arc;

use futures::{SinkExt as _, channel::mpsc};
use kube::runtime::reflector::ObjectRef;
use tokio::sync::Notify;

use super::super::object_key::ObjectKey;
use crate::api::{ParsedClusterTenant, ParsedRotation, ParsedTenant, TenantKind, TenantRef};

/// Enqueues resources and tenants in the queue of their namespace.
#[derive(Clone)]
pub(crate) struct Trigger {
    namespaces: Vec<NamespaceSenders>,
    /// The queue of ClusterAuth0Tenants, where they may be used.
    cluster_tenants: Option<mpsc::Sender<ObjectRef<ParsedClusterTenant>>>,
    /// Notified when a store has changed.
    changes: Arc<Notify>,
}

/// The queues of one watched namespace, or of all.
#[derive(Clone)]
pub(crate) struct NamespaceSenders {
    /// The namespace; `None` for all.
    pub(crate) namespace: Option<String>,
    pub(crate) rotations: mpsc::Sender<ObjectRef<ParsedRotation>>,
    pub(crate) tenants: mpsc::Sender<ObjectRef<ParsedTenant>>,
}

impl Trigger {
    pub(crate) fn new(
        namespaces: Vec<NamespaceSenders>,
        cluster_tenants: Option<mpsc::Sender<ObjectRef<ParsedClusterTenant>>>,
    ) -> Self {
        Self { namespaces, cluster_tenants, changes: Arc::default() }
    }

    /// Enqueues a resource, waiting for room in the queue. Returns false when the queue is closed.
    pub(crate) async fn enqueue(&self, reference: ObjectRef<ParsedRotation>) -> bool {
        let namespace = reference.namespace.clone().unwrap_or_default();
        match self.senders(&namespace) {
            Some(senders) => senders.rotations.clone().send(reference).await.is_ok(),
            None => true,
        }
    }

    /// Enqueues a resource without waiting. Each call has a sender of its own, and so its own room
    /// in the queue: none is lost. The number of resources bounds theirs, because the queue's reader
    /// keeps each name once.
    pub(crate) fn rotation(&self, key: &ObjectKey) {
        if let Some(senders) = self.senders(&key.namespace) {
            drop(senders.rotations.clone().try_send(key.object_ref()));
        }
    }

    /// Enqueues the tenant that resources of a namespace refer to.
    pub(crate) fn tenant(&self, namespace: &str, reference: &TenantRef) {
        match reference.kind {
            TenantKind::Auth0Tenant => {
                if let Some(senders) = self.senders(namespace) {
                    let tenant = ObjectRef::new(&reference.name).within(namespace);
                    drop(senders.tenants.clone().try_send(tenant));
                }
            }
            TenantKind::ClusterAuth0Tenant => {
                if let Some(sender) = &self.cluster_tenants {
                    drop(sender.clone().try_send(ObjectRef::new(&reference.name)));
                }
            }
        }
    }

    /// Records that a store has changed.
    pub(crate) fn note_change(&self) {
        self.changes.notify_one();
    }

    /// Waits until a store has changed since the last call. For one caller at a time.
    pub(crate) async fn changed(&self) {
        self.changes.notified().await;
    }

    fn senders(&self, namespace: &str) -> Option<&NamespaceSenders> {
        self.namespaces.iter().find(|senders| match &senders.namespace {
            None => true,
            Some(watched) => watched == namespace,
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn no_trigger_is_lost() {
        let (rotations, queue) = mpsc::channel(1);
        let tenants = mpsc::channel(1).0;
        let trigger =
            Trigger::new(vec![NamespaceSenders { namespace: None, rotations, tenants }], None);
        for number in 0..100 {
            trigger.rotation(&ObjectKey::new("shop", number.to_string()));
        }
        drop(trigger);
        assert_eq!(queue.count().await, 100);
    }
}
