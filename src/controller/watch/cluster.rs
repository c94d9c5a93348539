//! The watches that exist once for all namespaces: ClusterAuth0Tenants, and the labels of namespaces
//! by which they select.

use futures::channel::mpsc;
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use tokio::task::JoinSet;

use super::{
    QUEUE_CAPACITY, WatchContext,
    enqueue::{
        WatchedStore, cluster_users_of, enqueue_affected, events, with_credentials_as_target,
    },
    stores::{NamespaceMetadata, Stores},
    tenant_index::TenantIndex,
};
use crate::api::{ParsedClusterTenant, TenantKind, TenantRef};

/// The watches of the cluster, before they start.
pub(crate) struct ClusterWatch {
    client: Client,
    sender: mpsc::Sender<ObjectRef<ParsedClusterTenant>>,
    queue: mpsc::Receiver<ObjectRef<ParsedClusterTenant>>,
    tenants: WatchedStore<ParsedClusterTenant>,
    tenant_index: TenantIndex,
    namespaces: WatchedStore<NamespaceMetadata>,
}

/// Stores and queues that running watches fill for the tenant reconciler.
pub(crate) struct ClusterFeed {
    pub(crate) tenants: Store<ParsedClusterTenant>,
    pub(crate) queue: mpsc::Receiver<ObjectRef<ParsedClusterTenant>>,
}

impl ClusterWatch {
    pub(crate) fn new(client: &Client) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE_CAPACITY);
        Self {
            client: client.clone(),
            sender,
            queue,
            tenants: WatchedStore::new(),
            tenant_index: TenantIndex::default(),
            namespaces: WatchedStore::new(),
        }
    }

    /// Adds the stores of the cluster to those of the namespaces.
    pub(crate) fn register(&self, stores: &mut Stores) {
        stores.cluster_tenants = Some(self.tenants.store.clone());
        stores.cluster_tenant_index = Some(self.tenant_index.clone());
        stores.namespaces = Some(self.namespaces.store.clone());
    }

    pub(crate) fn sender(&self) -> mpsc::Sender<ObjectRef<ParsedClusterTenant>> {
        self.sender.clone()
    }

    /// Starts the watches, in tasks that never end. Once `is_leading` is true, events enqueue the
    /// tenants, and the resources whose permission they could change.
    pub(crate) fn start(self, context: &WatchContext, tasks: &mut JoinSet<()>) -> ClusterFeed {
        let WatchContext { stores, trigger, is_leading, health } = context;
        let feed = ClusterFeed { tenants: self.tenants.store.clone(), queue: self.queue };

        let tenants =
            events(Api::all(self.client.clone()), watcher::Config::default(), &stores.selector);
        let tenants = self.tenant_index.follow(tenants);
        let (all_stores, tenant_trigger) = (stores.clone(), trigger.clone());
        let affected = move |tenant: &ParsedClusterTenant| {
            tenant_trigger.tenant("", &reference_to(tenant));
            let name = tenant.name_any();
            let mut affected = cluster_users_of(&all_stores, |_, reference| reference.name == name);
            let namespace = &all_stores.operator_namespace;
            affected.extend(with_credentials_as_target(&all_stores, tenant, namespace));
            affected
        };
        let (all_stores, tenant_trigger, store) =
            (stores.clone(), trigger.clone(), feed.tenants.clone());
        let everything = move || {
            for tenant in store.state() {
                tenant_trigger.tenant("", &reference_to(&tenant));
            }
            cluster_users_of(&all_stores, |_, _| true)
        };
        tasks.spawn(enqueue_affected(
            self.tenants.reflect(tenants),
            affected,
            everything,
            trigger.clone(),
            is_leading.clone(),
            health.register("ClusterAuth0Tenant", None),
        ));

        let namespaces =
            events(Api::all(self.client), watcher::Config::default(), &stores.selector);
        let all_stores = stores.clone();
        let affected = move |namespace: &NamespaceMetadata| {
            let name = namespace.name_any();
            cluster_users_of(&all_stores, |namespace, _| namespace == name)
        };
        let all_stores = stores.clone();
        tasks.spawn(enqueue_affected(
            self.namespaces.reflect(namespaces),
            affected,
            move || cluster_users_of(&all_stores, |_, _| true),
            trigger.clone(),
            is_leading.clone(),
            health.register("Namespace", None),
        ));
        feed
    }
}

fn reference_to(tenant: &ParsedClusterTenant) -> TenantRef {
    TenantRef { kind: TenantKind::ClusterAuth0Tenant, name: tenant.name_any() }
}
