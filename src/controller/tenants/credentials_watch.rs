//! Tenants whose credentials Auth0 refuses, or that have none: their Secret is watched, so that a
//! corrected one is seen at once and not after the backoff. Once the tenant is ready, or fails for
//! another reason, the watch ends.

use std::time::Duration;

use futures::{Stream, StreamExt as _, future::ready};
use kube::{
    Api, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use rotation::{Failure, Reason, condition_types, is_condition_true};

use super::{credentials::secret_name, kinds::TenantResource};
use crate::api::{Auth0TenantStatus, TenantRef};
use crate::controller::{
    cache::SecretMetadata, context::Context, memory::Watching, watch::WATCH_SECONDS,
};

/// The least time between two looks: whoever writes the Secret all the time causes no storm of
/// refused log-ins.
const PAUSE: Duration = Duration::from_secs(1);

/// The watch on a tenant's credentials Secret, and the generation of the tenant that it is for.
pub(in crate::controller) struct CredentialsWatch {
    generation: Option<i64>,
    task: Watching,
}

/// Whether the Secret is what has to change.
fn is_of_credentials(trouble: &Failure) -> bool {
    matches!(trouble.reason, Reason::CredentialsRejected | Reason::CredentialsUnreadable)
}

/// Begins or ends the watch, by what a look at the tenant has met with.
pub(in crate::controller) fn follow<T: TenantResource>(
    resource: &T,
    failure: Option<&Failure>,
    context: &Context,
) {
    let uid = resource.uid().unwrap_or_default();
    let generation = resource.meta().generation;
    let wanted = failure.filter(|trouble| is_of_credentials(trouble));
    let name = wanted.and_then(|_| secret_name(&resource.access().credentials));
    let usable = context.tenants.usable(resource).ok();
    context.memory.with(&uid, |known| {
        let (Some(name), Some(usable)) = (name, usable) else {
            known.credentials_watch = None;
            return;
        };
        let running = known.credentials_watch.as_ref();
        if running.is_some_and(|it| it.generation == generation && !it.task.is_over()) {
            return;
        }
        let api = Api::namespaced(context.client.clone(), &usable.credentials.0);
        let namespace = resource.namespace().unwrap_or_default();
        let reference = TenantRef { kind: T::KIND, name: resource.name_any() };
        let seen = usable.seen.version();
        let (name, pokes, tenant) = (name.to_owned(), context.pokes.clone(), usable.tenant);
        let task = Watching(tokio::spawn(async move {
            let mut changes = std::pin::pin!(changes(api, &name, seen));
            while changes.next().await.is_some() {
                tenant.clear_token_failure();
                pokes.poke_tenant(&namespace, &reference);
                tokio::time::sleep(PAUSE).await;
            }
        }));
        known.credentials_watch = Some(CredentialsWatch { generation, task });
    });
}

/// Has a tenant looked at when a resource that refers to it is the first to meet refused credentials.
pub(in crate::controller) fn doubt(
    namespace: &str,
    reference: &TenantRef,
    trouble: &Failure,
    context: &Context,
) {
    let is_ready =
        |status: &Auth0TenantStatus| is_condition_true(&status.conditions, condition_types::READY);
    let tenant = context.watched.tenant(namespace, reference);
    if is_of_credentials(trouble) && tenant.is_some_and(|tenant| tenant.status_is(is_ready)) {
        context.pokes.poke_tenant(namespace, reference);
    }
}

/// The changes of one Secret since the version that was last `seen`.
fn changes(
    api: Api<SecretMetadata>,
    name: &str,
    seen: Option<Option<String>>,
) -> impl Stream<Item = ()> + use<> {
    let only = format!("metadata.name={name}");
    let config = watcher::Config::default().fields(&only).timeout(WATCH_SECONDS);
    let version = |secret: SecretMetadata| secret.metadata.resource_version;
    // The version that is there now, as far as it has been listed, and the one that was there last.
    let (mut listed, mut last) = (None, seen);
    watcher(api, config).default_backoff().filter_map(move |event| {
        let present = match event {
            Ok(Event::Init) => {
                listed = None;
                None
            }
            Ok(Event::InitApply(secret)) => {
                listed = version(secret);
                None
            }
            Ok(Event::InitDone) => Some(listed.take()),
            Ok(Event::Apply(secret)) => Some(version(secret)),
            Ok(Event::Delete(_)) => Some(None),
            Err(error) => {
                tracing::warn!(%error, "the watch of a credentials Secret failed, it is opened anew");
                None
            }
        };
        // When nothing was seen before, the first is what the tenant has failed with.
        let changed = present.filter(|present| last.replace(present.clone()).is_some_and(|it| it != *present));
        ready(changed.map(drop))
    })
}
