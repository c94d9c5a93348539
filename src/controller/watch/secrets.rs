//! The watch of target Secrets: with all namespaces, with one, or with each in which the operator may
//! use Secrets.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::{
    Client,
    runtime::{
        reflector::Store,
        utils::Backoff,
        watcher::{self, DefaultBackoff},
    },
};
use tokio::task::JoinSet;

use super::{
    WatchContext,
    enqueue::{all_of, enqueue_affected, events, events_with_backoff, namespaced_api, owners_of},
    secret_versions::SecretVersions,
    stores::{SecretMetadata, Stores},
};
use crate::api::{MANAGED_LABEL, ParsedRotation};

/// How long a watch has to work before its next failure counts as the first.
const BACKOFF_RESET: Duration = Duration::from_secs(120);

/// The watch of the target Secrets in one namespace, or in all, before it starts.
pub(super) struct SecretWatch {
    namespace: Option<String>,
    /// Whether permissions on Secrets may be missing, which must not delay other namespaces.
    may_be_forbidden: bool,
    secrets: SecretVersions,
}

impl SecretWatch {
    /// Returns the watches for the resources of a namespace, or of all. If `selected` has
    /// namespaces, Secrets are watched only there.
    pub(super) fn for_resources_in(namespace: Option<&str>, selected: &[String]) -> Vec<Self> {
        let watch = |namespace: Option<&str>, may_be_forbidden| Self {
            namespace: namespace.map(str::to_owned),
            may_be_forbidden,
            secrets: SecretVersions::new(),
        };
        if selected.is_empty() {
            return vec![watch(namespace, false)];
        }
        selected.iter().map(|namespace| watch(Some(namespace), true)).collect()
    }

    pub(super) fn register(&self, stores: &mut Stores) {
        stores.secrets.push(self.secrets.clone());
    }

    /// Starts the watch, in a task that never ends. `rotations` has the resources to enqueue when
    /// the watch restarts.
    pub(super) fn start(
        self,
        client: &Client,
        rotations: &Store<ParsedRotation>,
        context: &WatchContext,
        tasks: &mut JoinSet<()>,
    ) {
        let WatchContext { stores, trigger, is_leading, health } = context;
        let api = namespaced_api(client, self.namespace.as_deref());
        let config = watcher::Config::default().labels(&format!("{MANAGED_LABEL}=true"));
        let secrets = if self.may_be_forbidden {
            events_with_backoff::<_, SlowReset>(api, config, &stores.selector).left_stream()
        } else {
            events(api, config, &stores.selector).right_stream()
        };
        // Permissions that may be missing must not delay other namespaces.
        let reporter = if self.may_be_forbidden {
            health.optional()
        } else {
            health.register("Secret", self.namespace.as_deref())
        };
        let all_stores = stores.clone();
        let affected = move |secret: &SecretMetadata| owners_of(&all_stores, secret);
        let (rotations, namespace) = (rotations.clone(), self.namespace);
        let everything = move || {
            let mut references = all_of(&rotations);
            if let Some(namespace) = &namespace {
                references
                    .retain(|reference| reference.namespace.as_deref() == Some(namespace.as_str()));
            }
            references
        };
        tasks.spawn(enqueue_affected(
            self.secrets.follow(secrets),
            affected,
            everything,
            trigger.clone(),
            is_leading.clone(),
            reporter,
        ));
    }
}

/// Backoff of a watch that may be forbidden for a long time. The stream of a watch resets its backoff
/// on every event, and one event precedes each list, so this one ignores that and goes by time.
#[derive(Default)]
pub(crate) struct SlowReset {
    backoff: DefaultBackoff,
    last: Option<Instant>,
}

impl Iterator for SlowReset {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if self.last.is_some_and(|last| now > last + BACKOFF_RESET) {
            self.backoff.reset();
        }
        self.last = Some(now);
        self.backoff.next()
    }
}

impl Backoff for SlowReset {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_although_a_list_begins_with_an_event() {
        let mut backoff = SlowReset::default();
        let mut waits = Vec::new();
        for _ in 0..10 {
            waits.extend(backoff.next());
            backoff.reset();
        }
        assert!(waits[9] >= Duration::from_secs(15), "{waits:?}");
    }
}
