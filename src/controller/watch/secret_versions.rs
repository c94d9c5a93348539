//! Versions of the Secrets with our label.
//!
//! Any user who may create Secrets can set the label, so a Secret of any size costs 16 bytes
//! here: the hash of its name and the hash of its resourceVersion. The keys of the hash function
//! are random, so users can't choose names that collide.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use futures::{Stream, StreamExt as _};
use kube::runtime::watcher::Event;
use parking_lot::RwLock;

use super::{super::object_key::ObjectKey, stores::SecretMetadata};

/// Versions of the Secrets of one watch.
#[derive(Clone)]
pub(crate) struct SecretVersions(Arc<Inner>);

struct Inner {
    hasher: RandomState,
    entries: RwLock<Entries>,
}

#[derive(Default)]
struct Entries {
    /// Hashes of resourceVersions by hashes of names.
    versions: HashMap<u64, u64>,
    /// The entries that a restarted watch has listed so far.
    listed: HashMap<u64, u64>,
    /// Whether the initial list is complete, which it never is without permission.
    is_complete: bool,
}

impl SecretVersions {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner { hasher: RandomState::new(), entries: RwLock::default() }))
    }

    /// Returns the events of a watch, each of which updates the versions before it is returned.
    pub(super) fn follow<E, S>(
        &self,
        events: S,
    ) -> impl Stream<Item = Result<Event<SecretMetadata>, E>> + use<E, S>
    where
        S: Stream<Item = Result<Event<SecretMetadata>, E>>,
    {
        let versions = self.clone();
        events.inspect(move |event| {
            if let Ok(event) = event {
                versions.apply(event);
            }
        })
    }

    /// Returns whether the watch has completed its initial list.
    pub(super) fn is_complete(&self) -> bool {
        self.0.entries.read().is_complete
    }

    /// Returns whether the version of a Secret is one of these; `None` if there is no such Secret.
    pub(super) fn is_one_of(&self, key: &ObjectKey, versions: &[String]) -> Option<bool> {
        let present = *self.0.entries.read().versions.get(&self.hash(key))?;
        Some(versions.iter().any(|version| self.hash(version.as_str()) == present))
    }

    fn apply(&self, event: &Event<SecretMetadata>) {
        let mut entries = self.0.entries.write();
        match event {
            Event::Init => entries.listed = HashMap::new(),
            Event::InitApply(secret) => {
                let (key, version) = self.entry(secret);
                entries.listed.insert(key, version);
            }
            Event::InitDone => {
                entries.versions = std::mem::take(&mut entries.listed);
                entries.is_complete = true;
            }
            Event::Apply(secret) => {
                let (key, version) = self.entry(secret);
                entries.versions.insert(key, version);
            }
            Event::Delete(secret) => {
                entries.versions.remove(&self.hash(&ObjectKey::of(secret)));
            }
        }
    }

    fn entry(&self, secret: &SecretMetadata) -> (u64, u64) {
        let version = secret.metadata.resource_version.as_deref().unwrap_or_default();
        (self.hash(&ObjectKey::of(secret)), self.hash(version))
    }

    fn hash<T: std::hash::Hash + ?Sized>(&self, value: &T) -> u64 {
        self.0.hasher.hash_one(value)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use serde_json::json;

    use super::*;

    fn secret(name: &str, version: &str) -> SecretMetadata {
        let metadata = json!({ "name": name, "namespace": "shop", "resourceVersion": version });
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    /// Returns whether the Secrets `a` and `b` have version 1 after these events.
    async fn after(events: Vec<Event<SecretMetadata>>) -> [Option<bool>; 2] {
        let versions = SecretVersions::new();
        let events = stream::iter(events.into_iter().map(Ok::<_, Infallible>));
        versions.follow(events).for_each(|_| async {}).await;
        ["a", "b"].map(|name| versions.is_one_of(&ObjectKey::new("shop", name), &["1".into()]))
    }

    #[tokio::test]
    async fn knows_the_version_of_a_secret_until_it_is_deleted() {
        let listed = vec![
            Event::Init,
            Event::InitApply(secret("a", "1")),
            Event::InitApply(secret("b", "2")),
            Event::InitDone,
        ];
        assert_eq!(after(listed.clone()).await, [Some(true), Some(false)]);
        let changed = [listed.clone(), vec![Event::Apply(secret("a", "3"))]].concat();
        assert_eq!(after(changed).await, [Some(false), Some(false)]);
        let deleted = [listed.clone(), vec![Event::Delete(secret("a", "4"))]].concat();
        assert_eq!(after(deleted).await, [None, Some(false)]);
        let restarted = [listed, vec![Event::Init, Event::InitApply(secret("b", "1"))]].concat();
        assert_eq!(after(restarted.clone()).await, [Some(true), Some(false)]);
        let relisted = [restarted, vec![Event::InitDone]].concat();
        assert_eq!(after(relisted).await, [None, Some(true)]);
    }
}
