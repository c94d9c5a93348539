//! What every pass shares.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use kube::Client;
use rotation::Span;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, watch};

use super::{
    cache::Watched, events::Announcer, memory::Memory, pokes::Pokes, precedence::Precedence,
    target::SecretStore, tenants::Tenants,
};
use crate::metrics::Metrics;

/// How the operator is to work.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespaces to work in; all when empty.
    pub namespaces: Vec<String>,
    /// How long Auth0 may take to accept a new secret and to refuse the old one.
    pub propagation_window: Span,
    /// Tenants may have plain HTTP endpoints, for a simulator.
    pub allow_http: bool,
    /// How many resources are worked on at a time.
    pub concurrency: u16,
    /// Where the credentials of the cluster's tenants are; the namespace of the client when absent.
    pub operator_namespace: Option<String>,
    /// Tenants of the cluster may be used; only without `namespaces` when absent.
    pub cluster_tenants: Option<bool>,
}

/// What every pass shares.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) settings: Settings,
    pub(super) secrets: SecretStore,
    pub(super) tenants: Tenants,
    pub(super) memory: Arc<Memory>,
    pub(super) precedence: Precedence,
    pub(super) announcer: Announcer,
    pub(super) metrics: Arc<Metrics>,
    pub(super) watched: Watched,
    pub(super) pokes: Pokes,
    pub(super) places: Places,
    /// True once the process has been asked to stop: nothing new is begun.
    pub(super) stopping: watch::Receiver<bool>,
}

impl Context {
    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// A place to work on a resource. `None` when its tenant has its share already. Who has an
    /// answer in hand needs no place.
    pub(super) fn place<'a>(
        &'a self,
        uid: &str,
        tenant: &str,
    ) -> Option<impl Future<Output = Place<'a>>> {
        let in_hand = self.memory.with(uid, |known| known.answer.is_some());
        let share = if in_hand { None } else { Some(self.places.share(tenant)?) };
        Some(async move {
            // The semaphore is never closed.
            let place = if in_hand { None } else { self.places.all.acquire().await.ok() };
            Place { _place: place, _share: share }
        })
    }
}

/// Places for the resources that may be worked on at a time, over all namespaces. One tenant that
/// is slow can't have them all.
pub(super) struct Places {
    all: Semaphore,
    tenants: Mutex<HashMap<String, Arc<Semaphore>>>,
    share: usize,
}

/// A place that is taken, until this is dropped.
pub(super) struct Place<'a> {
    _place: Option<SemaphorePermit<'a>>,
    _share: Option<OwnedSemaphorePermit>,
}

impl Places {
    pub(super) fn new(concurrency: u16) -> Places {
        let all = usize::from(concurrency.max(1));
        // Half of them, so that two slow tenants are needed to hold up a third.
        Places { all: Semaphore::new(all), tenants: Mutex::default(), share: all.div_ceil(2) }
    }

    fn share(&self, tenant: &str) -> Option<OwnedSemaphorePermit> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let share = tenants
            .entry(tenant.to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(self.share)))
            .clone();
        share.try_acquire_owned().ok()
    }

    /// Forgets tenants of which no resource is being worked on.
    pub(super) fn prune(&self) {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.retain(|_, share| share.available_permits() < self.share);
    }
}
