//! Which resources name the same client or the same target Secret, so that finding them takes no
//! look at all the others.
//!
//! An index says where to look, no more: whoever uses it looks at the resources themselves.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::Hash,
    sync::{Arc, PoisonError, RwLock},
};

use futures::{Stream, StreamExt as _};
use kube::{ResourceExt as _, runtime::watcher::Event};

use super::{cache::Guarded, places::Key};

/// An index of the resources of one watch.
#[derive(Clone, Default)]
pub(super) struct Index(Arc<RwLock<Entries>>);

#[derive(Default)]
struct Entries {
    by_client: HashMap<String, BTreeSet<Key>>,
    by_target: HashMap<Key, BTreeSet<Key>>,
    named: HashMap<Key, Named>,
    /// What a watch that begins anew has told so far.
    told: Option<HashSet<Key>>,
}

/// What a resource names.
#[derive(PartialEq, Eq)]
struct Named {
    client: String,
    target: Key,
}

impl Index {
    /// Keeps up with a watch. To stand before the cache, so that nothing is in the cache that the
    /// index doesn't know.
    pub(super) fn follow<E, S>(
        &self,
        changes: S,
    ) -> impl Stream<Item = Result<Event<Guarded>, E>> + use<E, S>
    where
        S: Stream<Item = Result<Event<Guarded>, E>>,
    {
        let index = self.clone();
        changes.inspect(move |change| {
            if let Ok(event) = change {
                index.0.write().unwrap_or_else(PoisonError::into_inner).apply(event);
            }
        })
    }

    /// The resources that name this client, in any namespace.
    pub(super) fn of_client(&self, client: &str) -> Vec<Key> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        entries.by_client.get(client).into_iter().flatten().cloned().collect()
    }

    /// The resources whose target is this Secret.
    pub(super) fn of_target(&self, target: &Key) -> Vec<Key> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        entries.by_target.get(target).into_iter().flatten().cloned().collect()
    }
}

impl Entries {
    fn apply(&mut self, event: &Event<Guarded>) {
        match event {
            Event::Init => self.told = Some(HashSet::new()),
            Event::InitApply(resource) => {
                let key = key(resource);
                if let Some(told) = &mut self.told {
                    told.insert(key.clone());
                }
                self.put(key, resource);
            }
            Event::InitDone => {
                let told = self.told.take().unwrap_or_default();
                let gone: Vec<_> =
                    self.named.keys().filter(|key| !told.contains(*key)).cloned().collect();
                gone.iter().for_each(|key| self.remove(key));
            }
            Event::Apply(resource) => self.put(key(resource), resource),
            Event::Delete(resource) => self.remove(&key(resource)),
        }
    }

    fn put(&mut self, key: Key, resource: &Guarded) {
        // One that can't be parsed claims nothing.
        let Ok(resource) = &resource.0 else { return self.remove(&key) };
        let target =
            Key { namespace: key.namespace.clone(), name: resource.spec.target.name.clone() };
        let named = Named { client: resource.spec.client_id.clone(), target };
        if self.named.get(&key) == Some(&named) {
            return;
        }
        self.remove(&key);
        self.by_client.entry(named.client.clone()).or_default().insert(key.clone());
        self.by_target.entry(named.target.clone()).or_default().insert(key.clone());
        self.named.insert(key, named);
    }

    fn remove(&mut self, key: &Key) {
        if let Some(Named { client, target }) = self.named.remove(key) {
            take(&mut self.by_client, &client, key);
            take(&mut self.by_target, &target, key);
        }
    }
}

fn take<T: Eq + Hash>(from: &mut HashMap<T, BTreeSet<Key>>, under: &T, key: &Key) {
    if let Some(keys) = from.get_mut(under) {
        keys.remove(key);
        if keys.is_empty() {
            from.remove(under);
        }
    }
}

fn key(resource: &Guarded) -> Key {
    Key { namespace: resource.namespace().unwrap_or_default(), name: resource.name_any() }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use serde_json::json;

    use super::*;

    fn made(name: &str, client: &str, target: &str) -> Guarded {
        serde_json::from_value(json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "ClientSecretRotation",
            "metadata": { "name": name, "namespace": "shop" },
            "spec": {
                "clientId": client, "tenantRef": { "name": "acme" }, "target": { "name": target },
            },
        }))
        .unwrap()
    }

    /// The names of those that name the client `c`, and of those whose target is `t`, after events.
    async fn after(events: Vec<Event<Guarded>>) -> (Vec<String>, Vec<String>) {
        let index = Index::default();
        let events = stream::iter(events.into_iter().map(Ok::<_, Infallible>));
        index.follow(events).for_each(|_| async {}).await;
        let names = |keys: Vec<Key>| keys.into_iter().map(|key| key.name).collect();
        let target = Key { namespace: "shop".into(), name: "t".into() };
        let entries = index.0.read().unwrap();
        assert_eq!(entries.named.is_empty(), entries.by_client.is_empty(), "nothing is left over");
        assert_eq!(entries.named.is_empty(), entries.by_target.is_empty(), "nothing is left over");
        drop(entries);
        (names(index.of_client("c")), names(index.of_target(&target)))
    }

    #[tokio::test]
    async fn who_names_the_same_is_found_until_it_names_something_else_or_goes() {
        let (both, other) = (made("a", "c", "t"), made("b", "c", "u"));
        let put = vec![Event::Apply(both), Event::Apply(other)];
        assert_eq!(after(put.clone()).await, (vec!["a".into(), "b".into()], vec!["a".into()]));
        let changed = [put.clone(), vec![Event::Apply(made("a", "d", "t"))]].concat();
        assert_eq!(after(changed).await, (vec!["b".into()], vec!["a".into()]));
        let gone = [put, vec![Event::Delete(made("a", "c", "t"))]].concat();
        assert_eq!(after(gone.clone()).await, (vec!["b".into()], vec![]));
        let all_gone = [gone, vec![Event::Delete(made("b", "c", "u"))]].concat();
        assert_eq!(after(all_gone).await, (vec![], vec![]));
    }

    #[tokio::test]
    async fn what_went_while_the_watch_was_down_is_forgotten_and_nothing_before_it_is_known() {
        let before = vec![Event::Apply(made("a", "c", "t")), Event::Apply(made("b", "c", "u"))];
        let begun = [before, vec![Event::Init, Event::InitApply(made("b", "c", "u"))]].concat();
        assert_eq!(after(begun.clone()).await.0, ["a", "b"]);
        let done = [begun, vec![Event::InitDone]].concat();
        assert_eq!(after(done).await.0, ["b"]);
    }
}
