//! Index of the resources that name the same client or the same target Secret.
//!
//! It returns names only; callers read the resources from the store.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

use futures::{Stream, StreamExt as _};
use kube::runtime::watcher::Event;
use parking_lot::RwLock;

use super::super::object_key::ObjectKey;
use crate::api::ParsedRotation;

/// Index of the resources of one watch.
#[derive(Clone, Default)]
pub(crate) struct Index(Arc<RwLock<Entries>>);

#[derive(Default)]
struct Entries {
    by_client: HashMap<String, Keys>,
    by_target: HashMap<ObjectKey, Keys>,
    named: HashMap<Arc<ObjectKey>, Named>,
    /// The keys that a restarted watch has listed so far.
    listed: Option<HashSet<ObjectKey>>,
}

/// The resources of one entry. Most entries have one, for which a set would need half a kibibyte.
enum Keys {
    One(Arc<ObjectKey>),
    Several(BTreeSet<Arc<ObjectKey>>),
}

impl Keys {
    fn all(&self) -> Vec<ObjectKey> {
        match self {
            Self::One(key) => vec![ObjectKey::clone(key)],
            Self::Several(keys) => keys.iter().map(|key| ObjectKey::clone(key)).collect(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Several(keys) => keys.len(),
        }
    }

    fn insert(&mut self, key: Arc<ObjectKey>) {
        match self {
            Self::One(only) if *only == key => {}
            Self::One(only) => *self = Self::Several([only.clone(), key].into()),
            Self::Several(keys) => {
                keys.insert(key);
            }
        }
    }

    /// Returns whether the entry has no resource without this one.
    fn is_empty_without(&mut self, key: &ObjectKey) -> bool {
        match self {
            Self::One(only) => **only == *key,
            Self::Several(keys) => {
                keys.remove(key);
                keys.is_empty()
            }
        }
    }
}

/// Names that a resource refers to.
#[derive(PartialEq, Eq)]
struct Named {
    client: String,
    target: ObjectKey,
}

impl Index {
    /// Updates the index from a watch. It must come before the store, so that the store holds nothing
    /// that the index does not know.
    pub(crate) fn follow<E, S>(
        &self,
        events: S,
    ) -> impl Stream<Item = Result<Event<ParsedRotation>, E>> + use<E, S>
    where
        S: Stream<Item = Result<Event<ParsedRotation>, E>>,
    {
        let index = self.clone();
        events.inspect(move |event| {
            if let Ok(event) = event {
                index.0.write().apply(event);
            }
        })
    }

    /// Returns the resources that name this client, in any namespace.
    pub(crate) fn with_client(&self, client: &str) -> Vec<ObjectKey> {
        self.0.read().by_client.get(client).map(Keys::all).unwrap_or_default()
    }

    /// Returns how many resources name this client.
    pub(crate) fn count_with_client(&self, client: &str) -> usize {
        self.0.read().by_client.get(client).map_or(0, Keys::len)
    }

    /// Returns the resources whose target is this Secret.
    pub(crate) fn with_target(&self, target: &ObjectKey) -> Vec<ObjectKey> {
        self.0.read().by_target.get(target).map(Keys::all).unwrap_or_default()
    }
}

impl Entries {
    fn apply(&mut self, event: &Event<ParsedRotation>) {
        match event {
            Event::Init => self.listed = Some(HashSet::new()),
            Event::InitApply(resource) => {
                let key = ObjectKey::of(resource);
                if let Some(listed) = &mut self.listed {
                    listed.insert(key.clone());
                }
                self.insert(key, resource);
            }
            Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let is_gone = |key: &&Arc<ObjectKey>| !listed.contains(&***key);
                let gone: Vec<_> = self.named.keys().filter(is_gone).cloned().collect();
                gone.iter().for_each(|key| self.remove(key));
            }
            Event::Apply(resource) => self.insert(ObjectKey::of(resource), resource),
            Event::Delete(resource) => self.remove(&ObjectKey::of(resource)),
        }
    }

    fn insert(&mut self, key: ObjectKey, resource: &ParsedRotation) {
        // A resource that cannot be parsed claims nothing.
        let Ok(resource) = &resource.0 else { return self.remove(&key) };
        let target = ObjectKey::new(&key.namespace, &resource.spec.target.name);
        let named = Named { client: resource.spec.client_id.clone(), target };
        if self.named.get(&key) == Some(&named) {
            return;
        }
        self.remove(&key);
        let key = Arc::new(key);
        add_to(&mut self.by_client, &named.client, &key);
        add_to(&mut self.by_target, &named.target, &key);
        self.named.insert(key, named);
    }

    fn remove(&mut self, key: &ObjectKey) {
        if let Some(Named { client, target }) = self.named.remove(key) {
            remove(&mut self.by_client, &client, key);
            remove(&mut self.by_target, &target, key);
        }
    }
}

fn add_to<T: Clone + Eq + Hash>(map: &mut HashMap<T, Keys>, name: &T, key: &Arc<ObjectKey>) {
    match map.get_mut(name) {
        Some(keys) => keys.insert(key.clone()),
        None => {
            map.insert(name.clone(), Keys::One(key.clone()));
        }
    }
}

fn remove<T: Eq + Hash>(map: &mut HashMap<T, Keys>, name: &T, key: &ObjectKey) {
    if map.get_mut(name).is_some_and(|keys| keys.is_empty_without(key)) {
        map.remove(name);
    }
}

pub(super) fn remove_from<T: Eq + Hash>(
    map: &mut HashMap<T, BTreeSet<ObjectKey>>,
    entry: &T,
    key: &ObjectKey,
) {
    if let Some(keys) = map.get_mut(entry) {
        keys.remove(key);
        if keys.is_empty() {
            map.remove(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use serde_json::json;

    use super::*;

    fn resource(name: &str, client: &str, target: &str) -> ParsedRotation {
        serde_json::from_value(json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "ClientSecretRotation",
            "metadata": { "name": name, "namespace": "shop" },
            "spec": {
                "clientId": client, "tenantRef": { "name": "acme" }, "target": { "name": target },
            },
        }))
        .unwrap()
    }

    /// Returns which resources name the client `c`, and whose target is `t`, after these events.
    async fn after(events: Vec<Event<ParsedRotation>>) -> (Vec<String>, Vec<String>) {
        let index = Index::default();
        let events = stream::iter(events.into_iter().map(Ok::<_, Infallible>));
        index.follow(events).for_each(|_| async {}).await;
        let names = |keys: Vec<ObjectKey>| keys.into_iter().map(|key| key.name).collect();
        let entries = index.0.read();
        assert_eq!(entries.named.is_empty(), entries.by_client.is_empty(), "nothing is left over");
        assert_eq!(entries.named.is_empty(), entries.by_target.is_empty(), "nothing is left over");
        drop(entries);
        (names(index.with_client("c")), names(index.with_target(&ObjectKey::new("shop", "t"))))
    }

    #[tokio::test]
    async fn finds_a_resource_until_it_names_something_else_or_is_deleted() {
        let (both, other) = (resource("a", "c", "t"), resource("b", "c", "u"));
        let put = vec![Event::Apply(both), Event::Apply(other)];
        assert_eq!(after(put.clone()).await, (vec!["a".into(), "b".into()], vec!["a".into()]));
        let changed = [put.clone(), vec![Event::Apply(resource("a", "d", "t"))]].concat();
        assert_eq!(after(changed).await, (vec!["b".into()], vec!["a".into()]));
        let gone = [put, vec![Event::Delete(resource("a", "c", "t"))]].concat();
        assert_eq!(after(gone.clone()).await, (vec!["b".into()], vec![]));
        let all_gone = [gone, vec![Event::Delete(resource("b", "c", "u"))]].concat();
        assert_eq!(after(all_gone).await, (vec![], vec![]));
    }

    #[tokio::test]
    async fn drops_what_a_restarted_watch_does_not_list_but_not_before_the_list_is_complete() {
        let before =
            vec![Event::Apply(resource("a", "c", "t")), Event::Apply(resource("b", "c", "u"))];
        let started =
            [before, vec![Event::Init, Event::InitApply(resource("b", "c", "u"))]].concat();
        assert_eq!(after(started.clone()).await.0, ["a", "b"]);
        let done = [started, vec![Event::InitDone]].concat();
        assert_eq!(after(done).await.0, ["b"]);
    }
}
