//! Tenants: the clients that call them, their credentials, the permission to use them, and the
//! reconciler of their status.

mod registry;
mod credentials;
mod endpoint_policy;
mod permission;
mod proof;
mod status;
mod credentials_watch;
mod state;

use std::sync::Arc;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use credentials::parse_list;
use futures::{FutureExt as _, Stream, StreamExt as _, channel::mpsc};
use kube::{
    core::DeserializeGuard,
    runtime::{
        Config, applier,
        controller::Action,
        reflector::{ObjectRef, Store},
    },
};
pub(crate) use permission::{Permission, client_not_allowed};
pub(crate) use proof::CredentialsUse;
pub(crate) use registry::{TenantHandle, TenantIdentity, TenantParams, TenantRegistry};
use tokio::sync::watch as channel;

use super::queue::{reconcile_requests, spawn_reconcile};
use crate::api::TenantResource;

/// Reconciles all tenants of a store, then those that are enqueued, until the shutdown.
pub(crate) fn run<T: TenantResource>(
    registry: &Arc<TenantRegistry>,
    store: Store<DeserializeGuard<T>>,
    queue: mpsc::Receiver<ObjectRef<DeserializeGuard<T>>>,
    shutdown: &channel::Receiver<bool>,
) -> impl Stream<Item = ()> + Send + 'static + use<T> {
    let requests = reconcile_requests(&store, queue, shutdown);
    applier(
        |tenant, registry| spawn_reconcile(status::reconcile(tenant, registry)).boxed(),
        |_, _, _| Action::await_change(),
        registry.clone(),
        store,
        requests,
        // Namespaces have limits: see `TenantRegistry::checks`.
        Config::default(),
    )
    .map(drop)
}
