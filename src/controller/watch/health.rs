//! Which watches work. A namespace whose permissions are missing must not keep the operator from the
//! others, and a process that can watch nothing must not lead.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kube::runtime::watcher::{self, Event};
use tokio::sync::watch as channel;

/// How long missing permissions may be on their way before the operator starts without a namespace.
const FORBIDDEN_GRACE: Duration = Duration::from_secs(10);

/// How long a forbidden watch waits for its next attempt.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(3);

/// Status of a response to a request that RBAC denies.
const FORBIDDEN: u16 = 403;

/// Status of a response to a request for a kind without a definition.
const NOT_FOUND: u16 = 404;

/// One watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct WatchId {
    /// `None` for a watch of all namespaces, or of a kind that has none.
    namespace: Option<String>,
    kind: &'static str,
}

/// Progress of one watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// The initial list is not complete.
    Pending,
    /// The operator may not list or watch it.
    Forbidden,
    /// The initial list was completed.
    Listed,
}

type Watches = BTreeMap<WatchId, Progress>;

/// The progress of all watches that the operator needs.
#[derive(Clone)]
pub(crate) struct WatchHealth(Arc<Inner>);

struct Inner {
    watches: channel::Sender<Watches>,
    /// Counts the responses that a kind is not served.
    not_served: channel::Sender<u64>,
}

/// Reports the progress of one watch.
#[derive(Clone)]
pub(super) struct WatchReporter {
    health: WatchHealth,
    /// `None` if the operator works without the watch.
    id: Option<WatchId>,
}

impl WatchHealth {
    /// `not_served` counts the responses that a kind is not served: its definition is gone.
    pub(crate) fn new(not_served: channel::Sender<u64>) -> Self {
        Self(Arc::new(Inner { watches: channel::Sender::new(Watches::new()), not_served }))
    }

    /// Returns the reporter of a watch that has not started.
    pub(super) fn register(&self, kind: &'static str, namespace: Option<&str>) -> WatchReporter {
        let id = WatchId { namespace: namespace.map(str::to_owned), kind };
        self.0.watches.send_modify(|watches| {
            watches.insert(id.clone(), Progress::Pending);
        });
        WatchReporter { health: self.clone(), id: Some(id) }
    }

    /// Returns the reporter of a watch without which the operator works.
    pub(super) fn optional(&self) -> WatchReporter {
        WatchReporter { health: self.clone(), id: None }
    }

    /// Waits until every watch has completed its initial list, except in namespaces without
    /// permission if there are others. All watches must be registered.
    pub(crate) async fn wait_synced(&self) {
        let mut watches = self.0.watches.subscribe();
        loop {
            // The sender is in `self`.
            drop(watches.wait_for(can_start).await);
            let all =
                watches.wait_for(|watches| forbidden(watches).is_empty() && can_start(watches));
            if tokio::time::timeout(FORBIDDEN_GRACE, all).await.is_ok() {
                return;
            }
            let watches = watches.borrow_and_update();
            if can_start(&watches) {
                let namespaces = forbidden(&watches);
                tracing::warn!(
                    ?namespaces,
                    "no permission to watch these namespaces; starting without them, and retrying"
                );
                return;
            }
        }
    }
}

impl WatchReporter {
    /// Records an event of the watch, or its failure. After a failure for lack of permission, waits
    /// for a while.
    pub(super) async fn record<K>(&self, event: &watcher::Result<Event<K>>) {
        match event {
            Ok(Event::InitDone) => {
                self.set(Progress::Listed);
            }
            Ok(_) => {}
            Err(error) => match status_code(error) {
                Some(FORBIDDEN) => {
                    if self.set(Progress::Forbidden) {
                        tracing::warn!(%error, "watch failed; retrying every few seconds");
                    }
                    tokio::time::sleep(FORBIDDEN_PAUSE).await;
                }
                code => {
                    if code == Some(NOT_FOUND) {
                        self.health.0.not_served.send_modify(|count| *count += 1);
                    }
                    tracing::warn!(%error, "watch failed; restarting it");
                }
            },
        }
    }

    /// Returns whether the progress is another one than before. A watch that was listed is needed no
    /// more to start.
    fn set(&self, progress: Progress) -> bool {
        let Some(id) = &self.id else { return false };
        self.health.0.watches.send_if_modified(|watches| match watches.get_mut(id) {
            Some(known) if *known != progress && *known != Progress::Listed => {
                *known = progress;
                true
            }
            _ => false,
        })
    }
}

/// Returns whether the operator can start: it can watch at least one namespace, and the resources that
/// are cluster-scoped.
fn can_start(watches: &Watches) -> bool {
    let forbidden = forbidden(watches);
    let works = |id: &WatchId, progress: Progress| match &id.namespace {
        Some(namespace) if forbidden.contains(namespace) => true,
        _ => progress == Progress::Listed,
    };
    let mut namespaces = watches.keys().filter_map(|id| id.namespace.as_ref());
    let has_namespace = watches.keys().all(|id| id.namespace.is_none())
        || namespaces.any(|namespace| !forbidden.contains(namespace));
    !watches.is_empty()
        && has_namespace
        && watches.iter().all(|(id, progress)| works(id, *progress))
}

/// Returns the namespaces that can't be watched for lack of permission.
fn forbidden(watches: &Watches) -> Vec<String> {
    let mut namespaces = Vec::new();
    for (id, progress) in watches {
        if let Some(namespace) = &id.namespace
            && *progress == Progress::Forbidden
            && !namespaces.contains(namespace)
        {
            namespaces.push(namespace.clone());
        }
    }
    namespaces
}

fn status_code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watches(list: &[(Option<&str>, &'static str, Progress)]) -> Watches {
        let entry = |(namespace, kind, progress): &(Option<&str>, &'static str, Progress)| {
            (WatchId { namespace: namespace.map(str::to_owned), kind }, *progress)
        };
        list.iter().map(entry).collect()
    }

    #[test]
    fn starts_without_forbidden_namespaces_if_another_one_works() {
        use Progress::{Forbidden, Listed, Pending};
        for (list, expected) in [
            (vec![(None, "a", Listed)], true),
            (vec![(None, "a", Forbidden)], false),
            (vec![(Some("x"), "a", Listed), (Some("y"), "a", Listed)], true),
            (vec![(Some("x"), "a", Listed), (Some("y"), "a", Pending)], false),
            (vec![(Some("x"), "a", Listed), (Some("y"), "a", Forbidden)], true),
            (vec![(Some("x"), "a", Forbidden), (Some("y"), "a", Forbidden)], false),
            (vec![(Some("x"), "a", Forbidden)], false),
            (vec![(Some("x"), "a", Listed), (Some("x"), "b", Forbidden)], false),
            (vec![(Some("x"), "a", Listed), (None, "b", Forbidden)], false),
            (vec![], false),
        ] {
            assert_eq!(can_start(&watches(&list)), expected, "{list:?}");
        }
    }
}
