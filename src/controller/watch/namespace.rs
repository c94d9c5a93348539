//! The watches of one namespace, or of all: resources, their tenants and their target Secrets.

use futures::channel::mpsc;
use kube::{
    Client, ResourceExt as _,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use tokio::{sync::watch as channel, task::JoinSet};

use super::{
    super::queue::{NamespaceSenders, Trigger},
    QUEUE_CAPACITY,
    enqueue::{
        WatchedStore, all_of, enqueue_affected, events, namespaced_api, owners_of,
        rejected_claimants, users_of,
    },
    index::Index,
    stores::{SecretMetadata, Stores},
};
use crate::api::{MANAGED_LABEL, ParsedRotation, ParsedTenant, TenantKind, TenantRef};

/// The watches of one namespace, or of all, before they start.
pub(crate) struct NamespaceWatch {
    client: Client,
    senders: NamespaceSenders,
    rotation_queue: mpsc::Receiver<ObjectRef<ParsedRotation>>,
    tenant_queue: mpsc::Receiver<ObjectRef<ParsedTenant>>,
    rotations: WatchedStore<ParsedRotation>,
    tenants: WatchedStore<ParsedTenant>,
    secrets: WatchedStore<SecretMetadata>,
    index: Index,
}

/// Stores and queues that running watches fill for the reconcilers.
pub(crate) struct NamespaceFeed {
    pub(crate) rotations: Store<ParsedRotation>,
    pub(crate) tenants: Store<ParsedTenant>,
    pub(crate) rotation_queue: mpsc::Receiver<ObjectRef<ParsedRotation>>,
    pub(crate) tenant_queue: mpsc::Receiver<ObjectRef<ParsedTenant>>,
    secrets: Store<SecretMetadata>,
}

impl NamespaceWatch {
    /// Returns the watches of a namespace; `None` for all namespaces.
    pub(crate) fn new(client: &Client, namespace: Option<String>) -> Self {
        let (rotations, rotation_queue) = mpsc::channel(QUEUE_CAPACITY);
        let (tenants, tenant_queue) = mpsc::channel(QUEUE_CAPACITY);
        Self {
            client: client.clone(),
            senders: NamespaceSenders { namespace, rotations, tenants },
            rotation_queue,
            tenant_queue,
            rotations: WatchedStore::new(),
            tenants: WatchedStore::new(),
            secrets: WatchedStore::new(),
            index: Index::default(),
        }
    }

    /// Adds the stores of this namespace to those of the others.
    pub(crate) fn register(&self, stores: &mut Stores) {
        stores.rotations.push(self.rotations.store.clone());
        stores.indexes.push(self.index.clone());
        stores.tenants.push(self.tenants.store.clone());
        stores.secrets.push(self.secrets.store.clone());
    }

    pub(crate) fn senders(&self) -> NamespaceSenders {
        self.senders.clone()
    }

    /// Starts the watches, in tasks that never end. Once `is_leading` is true, events enqueue the
    /// resources and tenants that they affect.
    pub(crate) fn start(
        self,
        stores: &Stores,
        trigger: &Trigger,
        is_leading: &channel::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) -> NamespaceFeed {
        let namespace = self.senders.namespace.as_deref();
        let config = watcher::Config::default;
        let feed = NamespaceFeed {
            rotations: self.rotations.store.clone(),
            tenants: self.tenants.store.clone(),
            secrets: self.secrets.store.clone(),
            rotation_queue: self.rotation_queue,
            tenant_queue: self.tenant_queue,
        };
        let everything = || {
            let rotations = feed.rotations.clone();
            move || all_of(&rotations)
        };

        let rotations = events(namespaced_api(&self.client, namespace), config());
        let rotations = self.rotations.reflect(self.index.follow(rotations));
        let all_stores = stores.clone();
        let affected = move |resource: &ParsedRotation| {
            let mut affected = vec![ObjectRef::from_obj(resource)];
            affected.extend(rejected_claimants(&all_stores, resource));
            affected
        };
        let enqueue = enqueue_affected(
            rotations,
            affected,
            everything(),
            trigger.clone(),
            is_leading.clone(),
        );
        tasks.spawn(enqueue);

        let secrets = config().labels(&format!("{MANAGED_LABEL}=true"));
        let secrets = events(namespaced_api(&self.client, namespace), secrets);
        let all_stores = stores.clone();
        let affected = move |secret: &SecretMetadata| owners_of(&all_stores, secret);
        tasks.spawn(enqueue_affected(
            self.secrets.reflect(secrets),
            affected,
            everything(),
            trigger.clone(),
            is_leading.clone(),
        ));

        let tenants = events(namespaced_api(&self.client, namespace), config());
        let (all_stores, tenant_trigger) = (stores.clone(), trigger.clone());
        let affected = move |tenant: &ParsedTenant| {
            let (namespace, reference) = reference_to(tenant);
            tenant_trigger.tenant(&namespace, &reference);
            users_of(&all_stores, |of, used| of == namespace && *used == reference)
        };
        let (store, tenant_trigger, rotations) =
            (feed.tenants.clone(), trigger.clone(), everything());
        let everything = move || {
            for tenant in store.state() {
                let (namespace, reference) = reference_to(&tenant);
                tenant_trigger.tenant(&namespace, &reference);
            }
            rotations()
        };
        tasks.spawn(enqueue_affected(
            self.tenants.reflect(tenants),
            affected,
            everything,
            trigger.clone(),
            is_leading.clone(),
        ));
        feed
    }
}

impl NamespaceFeed {
    /// Waits until each store holds the initial list of its watch. To be called once: a store wakes
    /// one waiter only.
    pub(crate) async fn wait_synced(&self) {
        // An error means that a watch ended for good, which the end of its task reports as well.
        drop(futures::join!(
            self.rotations.wait_until_ready(),
            self.tenants.wait_until_ready(),
            self.secrets.wait_until_ready(),
        ));
    }
}

fn reference_to(tenant: &ParsedTenant) -> (String, TenantRef) {
    let reference = TenantRef { kind: TenantKind::Auth0Tenant, name: tenant.name_any() };
    (tenant.namespace().unwrap_or_default(), reference)
}
