//! The watches of one namespace, or of all: resources, their tenants and their target Secrets.

use futures::channel::mpsc;
use kube::{
    Client, ResourceExt as _,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use tokio::task::JoinSet;

use super::{
    super::queue::NamespaceSenders,
    QUEUE_CAPACITY, WatchContext,
    enqueue::{
        WatchedStore, all_of, claimants_affected_by, enqueue_affected, events, namespaced_api,
        users_of, with_credentials_as_target,
    },
    index::Index,
    secrets::SecretWatch,
    stores::Stores,
    tenant_index::TenantIndex,
};
use crate::api::{ParsedRotation, ParsedTenant, TenantKind, TenantRef};

/// The watches of one namespace, or of all, before they start.
pub(crate) struct NamespaceWatch {
    client: Client,
    senders: NamespaceSenders,
    rotation_queue: mpsc::Receiver<ObjectRef<ParsedRotation>>,
    tenant_queue: mpsc::Receiver<ObjectRef<ParsedTenant>>,
    rotations: WatchedStore<ParsedRotation>,
    tenants: WatchedStore<ParsedTenant>,
    secrets: Vec<SecretWatch>,
    index: Index,
    tenant_index: TenantIndex,
}

/// Stores and queues that running watches fill for the reconcilers.
pub(crate) struct NamespaceFeed {
    pub(crate) rotations: Store<ParsedRotation>,
    pub(crate) tenants: Store<ParsedTenant>,
    pub(crate) rotation_queue: mpsc::Receiver<ObjectRef<ParsedRotation>>,
    pub(crate) tenant_queue: mpsc::Receiver<ObjectRef<ParsedTenant>>,
}

impl NamespaceWatch {
    /// Returns the watches of a namespace; `None` for all namespaces. If `secret_namespaces` has
    /// any, Secrets are watched only there.
    pub(crate) fn new(
        client: &Client,
        namespace: Option<String>,
        secret_namespaces: &[String],
    ) -> Self {
        let secrets = SecretWatch::for_resources_in(namespace.as_deref(), secret_namespaces);
        let (rotations, rotation_queue) = mpsc::channel(QUEUE_CAPACITY);
        let (tenants, tenant_queue) = mpsc::channel(QUEUE_CAPACITY);
        Self {
            client: client.clone(),
            senders: NamespaceSenders { namespace, rotations, tenants },
            rotation_queue,
            tenant_queue,
            rotations: WatchedStore::new(),
            tenants: WatchedStore::new(),
            secrets,
            index: Index::default(),
            tenant_index: TenantIndex::default(),
        }
    }

    /// Adds the stores of this namespace to those of the others.
    pub(crate) fn register(&self, stores: &mut Stores) {
        stores.rotations.push(self.rotations.store.clone());
        stores.indexes.push(self.index.clone());
        stores.tenants.push(self.tenants.store.clone());
        stores.tenant_indexes.push(self.tenant_index.clone());
        self.secrets.iter().for_each(|watch| watch.register(stores));
    }

    pub(crate) fn senders(&self) -> NamespaceSenders {
        self.senders.clone()
    }

    /// Starts the watches, in tasks that never end. Once `is_leading` is true, events enqueue the
    /// resources and tenants that they affect.
    pub(crate) fn start(self, context: &WatchContext, tasks: &mut JoinSet<()>) -> NamespaceFeed {
        let WatchContext { stores, trigger, is_leading, health } = context;
        let namespace = self.senders.namespace.as_deref();
        let config = watcher::Config::default;
        let selector = &stores.selector;
        let feed = NamespaceFeed {
            rotations: self.rotations.store.clone(),
            tenants: self.tenants.store.clone(),
            rotation_queue: self.rotation_queue,
            tenant_queue: self.tenant_queue,
        };
        let everything = || {
            let rotations = feed.rotations.clone();
            move || all_of(&rotations)
        };

        let rotations = events(namespaced_api(&self.client, namespace), config(), selector);
        let rotations = self.rotations.reflect(self.index.follow(rotations));
        let all_stores = stores.clone();
        let affected = move |resource: &ParsedRotation| {
            let mut affected = vec![ObjectRef::from_obj(resource)];
            affected.extend(claimants_affected_by(&all_stores, resource));
            affected
        };
        let enqueue = enqueue_affected(
            rotations,
            affected,
            everything(),
            trigger.clone(),
            is_leading.clone(),
            health.register("ClientSecretRotation", namespace),
        );
        tasks.spawn(enqueue);

        for secrets in self.secrets {
            secrets.start(&self.client, &feed.rotations, context, tasks);
        }

        let tenants = events(namespaced_api(&self.client, namespace), config(), selector);
        let tenants = self.tenant_index.follow(tenants);
        let (all_stores, tenant_trigger) = (stores.clone(), trigger.clone());
        let affected = move |tenant: &ParsedTenant| {
            let (namespace, reference) = reference_to(tenant);
            tenant_trigger.tenant(&namespace, &reference);
            let mut affected =
                users_of(&all_stores, |of, used| of == namespace && *used == reference);
            affected.extend(with_credentials_as_target(&all_stores, tenant, &namespace));
            affected
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
            health.register("Auth0Tenant", namespace),
        ));
        feed
    }
}

fn reference_to(tenant: &ParsedTenant) -> (String, TenantRef) {
    let reference = TenantRef { kind: TenantKind::Auth0Tenant, name: tenant.name_any() };
    (tenant.namespace().unwrap_or_default(), reference)
}
