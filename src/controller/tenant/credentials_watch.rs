//! Tenants whose credentials Auth0 rejects, or that have none: their Secret is watched, so that a
//! corrected one is used at once and not after the backoff. The watch ends when the tenant is ready
//! or fails for another reason.

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, future::ready};
use kube::{
    Api, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use rotation::{Reason, condition_types, is_condition_true};

use super::{credentials::SecretVersion, registry::TenantRegistry};
use crate::{
    api::{TenantRef, TenantResource},
    controller::{
        error::Error,
        state::AbortOnDrop,
        watch::{PAGE_SIZE, SecretMetadata, SlowReset, WATCH_TIMEOUT},
    },
};

/// Shortest time between two attempts: a Secret that is written all the time must not cause a storm
/// of rejected logins.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// The watch on a tenant's credentials Secret.
pub(super) struct CredentialsWatch {
    /// The generation of the tenant that the watch is for.
    generation: Option<i64>,
    task: AbortOnDrop,
}

/// Returns whether the credentials Secret has to change.
fn concerns_credentials(error: &Error) -> bool {
    matches!(error.reason(), Reason::CredentialsRejected | Reason::CredentialsUnreadable)
}

/// Starts or ends the watch, depending on how the last check of the tenant failed.
pub(super) fn update<T: TenantResource>(
    resource: &T,
    failure: Option<&Error>,
    registry: &TenantRegistry,
) {
    let uid = resource.uid().unwrap_or_default();
    let generation = resource.meta().generation;
    let is_wanted = failure.is_some_and(concerns_credentials);
    let name = resource.access().credentials.secret_name().filter(|_| is_wanted);
    let handle = registry.handle(resource).ok();
    registry.states.with(&uid, |state| {
        let (Some(name), Some(handle)) = (name, handle) else {
            state.credentials_watch = None;
            return;
        };
        if handle.credentials_version() == SecretVersion::Forbidden {
            state.credentials_watch = None;
            return;
        }
        if let Some(running) = &state.credentials_watch
            && running.generation == generation
            && !running.task.is_finished()
        {
            return;
        }
        let context = &registry.context;
        let api = Api::namespaced(context.client.clone(), &handle.credentials.namespace);
        let changes = changes(api, name, handle.credentials_version());
        let namespace = resource.namespace().unwrap_or_default();
        let reference = TenantRef { kind: T::KIND, name: resource.name_any() };
        let (trigger, client) = (context.trigger.clone(), Arc::clone(&handle.client));
        let task = AbortOnDrop::spawn(async move {
            let mut changes = std::pin::pin!(changes);
            while changes.next().await.is_some() {
                client.clear_token_failure();
                trigger.tenant(&namespace, &reference);
                tokio::time::sleep(MIN_INTERVAL).await;
            }
        });
        state.credentials_watch = Some(CredentialsWatch { generation, task });
    });
}

impl TenantRegistry {
    /// Triggers a reconcile of a ready tenant when one of its resources is the first to find that
    /// its credentials are rejected.
    pub(crate) fn report_failure(&self, namespace: &str, reference: &TenantRef, error: &Error) {
        if !concerns_credentials(error) {
            return;
        }
        let Some(tenant) = self.context.stores.tenant(namespace, reference) else { return };
        let Some(status) = tenant.status() else { return };
        if is_condition_true(&status.conditions, condition_types::READY) {
            self.context.trigger.tenant(namespace, reference);
        }
    }
}

/// Returns an item for each change of a Secret since the version that was last read.
fn changes(
    api: Api<SecretMetadata>,
    name: &str,
    last_read: SecretVersion,
) -> impl Stream<Item = ()> + use<> {
    let only = format!("metadata.name={name}");
    let config = watcher::Config::default().fields(&only);
    let config = config.timeout(WATCH_TIMEOUT).page_size(PAGE_SIZE);
    let version = |secret: SecretMetadata| {
        secret.metadata.resource_version.map_or(SecretVersion::Unknown, SecretVersion::Present)
    };
    let mut listed = SecretVersion::Absent;
    let mut last = last_read;
    watcher(api, config).backoff(SlowReset::default()).filter_map(move |event| {
        let present = match event {
            Ok(Event::Init) => {
                listed = SecretVersion::Absent;
                None
            }
            Ok(Event::InitApply(secret)) => {
                listed = version(secret);
                None
            }
            Ok(Event::InitDone) => Some(listed.clone()),
            Ok(Event::Apply(secret)) => Some(version(secret)),
            Ok(Event::Delete(_)) => Some(SecretVersion::Absent),
            Err(error) => {
                tracing::warn!(%error, "watch of a credentials Secret failed; restarting it");
                None
            }
        };
        // If the Secret was never read, the first version is the one that the tenant failed with.
        let is_changed = present.is_some_and(|present| {
            let before = std::mem::replace(&mut last, present.clone());
            before != SecretVersion::Unknown && before != present
        });
        ready(is_changed.then_some(()))
    })
}
