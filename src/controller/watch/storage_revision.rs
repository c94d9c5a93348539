//! Notices that the API server's storage was restored from a snapshot.
//!
//! Its revision goes back then, and with it the resourceVersions of new changes. A watch that continues
//! from a later resourceVersion reports nothing until the revision has caught up, and no error. So the
//! revision is read regularly, and all watches begin with a list again when it has gone back.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream};
use kube::{Api, Client, api::ListParams};
use tokio::sync::watch as channel;

use super::{super::kube_call::kube_call, enqueue::namespaced_api};
use crate::api::ClientSecretRotation;

/// How often the revision is read, with a list of at most one resource.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// How often the storage was seen to be restored, for all watches of this process.
static RESTORES: LazyLock<channel::Sender<u64>> = LazyLock::new(|| channel::Sender::new(0));

/// The highest revision that was seen since the last restore.
static HIGHEST: AtomicU64 = AtomicU64::new(0);

/// Records the resourceVersion of an object that was read live or written.
pub(crate) fn record_version(version: &str) {
    if let Ok(revision) = version.parse() {
        HIGHEST.fetch_max(revision, Ordering::Relaxed);
    }
}

/// Returns how often the storage was seen to be restored.
pub(crate) fn restores() -> u64 {
    *RESTORES.borrow()
}

/// Reads the revision regularly, through resources of this namespace, or of all.
pub(crate) async fn detect_restores(client: Client, namespace: Option<String>) {
    let resources: Api<ClientSecretRotation> = namespaced_api(&client, namespace.as_deref());
    loop {
        if let Some(revision) = read_revision(&resources).await {
            let highest = HIGHEST.swap(revision, Ordering::Relaxed);
            if revision < highest {
                tracing::warn!(
                    revision,
                    highest,
                    "the API server's storage was restored from a snapshot; restarting all watches"
                );
                RESTORES.send_modify(|restores| *restores += 1);
            }
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

/// Returns the revision of the storage: the resourceVersion of a list that is not read from a cache.
async fn read_revision(resources: &Api<ClientSecretRotation>) -> Option<u64> {
    let params = ListParams::default().limit(1);
    let list = resources.list_metadata(&params);
    match kube_call("reading the revision of the storage", list).await {
        Ok(list) => list.metadata.resource_version?.parse().ok(),
        Err(error) => {
            tracing::debug!(%error, "failed to read the revision of the storage");
            None
        }
    }
}

/// Returns the items of a watch, which starts again when the storage was restored.
pub(super) fn restarting<S>(watch: impl Fn() -> S) -> impl Stream<Item = S::Item>
where
    S: Stream + Send + 'static,
{
    restarting_on(RESTORES.subscribe(), watch)
}

fn restarting_on<S>(
    restores: channel::Receiver<u64>,
    watch: impl Fn() -> S,
) -> impl Stream<Item = S::Item>
where
    S: Stream + Send + 'static,
{
    let first = watch().boxed();
    stream::unfold((first, restores, watch), async |(mut items, mut restores, watch)| {
        loop {
            tokio::select! {
                item = items.next() => return Some((item?, (items, restores, watch))),
                // The sender is never dropped, except in tests.
                Ok(()) = restores.changed() => items = watch().boxed(),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[tokio::test]
    async fn silent_watch_starts_again_after_a_restore() {
        let sender = channel::Sender::new(0);
        let starts = AtomicU32::new(0);
        let watch = || {
            let start = starts.fetch_add(1, Ordering::Relaxed);
            stream::iter([start]).chain(stream::pending())
        };
        let mut items = std::pin::pin!(restarting_on(sender.subscribe(), watch));
        assert_eq!(items.next().await, Some(0));
        sender.send_replace(1);
        assert_eq!(items.next().await, Some(1));
        sender.send_replace(2);
        assert_eq!(items.next().await, Some(2));
    }
}
