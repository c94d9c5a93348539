//! Index of the tenants by the Secret with their credentials and by the origin that they call.
//!
//! It returns names only; callers read the tenants from the store.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use futures::{Stream, StreamExt as _};
use kube::{core::DeserializeGuard, runtime::watcher::Event};
use parking_lot::RwLock;

use super::{super::object_key::ObjectKey, index::remove_from};
use crate::api::TenantResource;

/// Index of the tenants of one watch.
#[derive(Clone, Default)]
pub(crate) struct TenantIndex(Arc<RwLock<Entries>>);

#[derive(Default)]
struct Entries {
    /// By the credentials Secret. Its namespace is that of the tenant, and so is empty for
    /// ClusterAuth0Tenants.
    by_credentials: HashMap<ObjectKey, BTreeSet<ObjectKey>>,
    by_origin: HashMap<String, BTreeSet<ObjectKey>>,
    named: HashMap<ObjectKey, Named>,
    /// The keys that a restarted watch has listed so far.
    listed: Option<HashSet<ObjectKey>>,
}

/// The objects that a tenant refers to.
#[derive(PartialEq, Eq)]
struct Named {
    credentials: Option<ObjectKey>,
    origin: Option<String>,
}

impl TenantIndex {
    /// Updates the index from a watch. It must come before the store, so that the store holds nothing
    /// that the index does not know.
    pub(crate) fn follow<T, E, S>(
        &self,
        events: S,
    ) -> impl Stream<Item = Result<Event<DeserializeGuard<T>>, E>> + use<T, E, S>
    where
        T: TenantResource,
        S: Stream<Item = Result<Event<DeserializeGuard<T>>, E>>,
    {
        let index = self.clone();
        events.inspect(move |event| {
            if let Ok(event) = event {
                index.0.write().apply(event);
            }
        })
    }

    /// Returns the tenants whose credentials are in this Secret.
    pub(crate) fn with_credentials(&self, secret: &ObjectKey) -> Vec<ObjectKey> {
        self.0.read().by_credentials.get(secret).into_iter().flatten().cloned().collect()
    }

    /// Returns the tenants that call this origin.
    pub(crate) fn calling(&self, origin: &str) -> Vec<ObjectKey> {
        self.0.read().by_origin.get(origin).into_iter().flatten().cloned().collect()
    }
}

impl Entries {
    fn apply<T: TenantResource>(&mut self, event: &Event<DeserializeGuard<T>>) {
        match event {
            Event::Init => self.listed = Some(HashSet::new()),
            Event::InitApply(tenant) => {
                let key = ObjectKey::of(tenant);
                if let Some(listed) = &mut self.listed {
                    listed.insert(key.clone());
                }
                self.insert(key, tenant);
            }
            Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let gone: Vec<_> =
                    self.named.keys().filter(|key| !listed.contains(*key)).cloned().collect();
                gone.iter().for_each(|key| self.remove(key));
            }
            Event::Apply(tenant) => self.insert(ObjectKey::of(tenant), tenant),
            Event::Delete(tenant) => self.remove(&ObjectKey::of(tenant)),
        }
    }

    fn insert<T: TenantResource>(&mut self, key: ObjectKey, tenant: &DeserializeGuard<T>) {
        let Ok(tenant) = &tenant.0 else { return self.remove(&key) };
        let access = tenant.access();
        let credentials = access.credentials.secret_name();
        let named = Named {
            credentials: credentials.map(|name| ObjectKey::new(&key.namespace, name)),
            origin: access.endpoint_origin(),
        };
        if self.named.get(&key) == Some(&named) {
            return;
        }
        self.remove(&key);
        if let Some(credentials) = &named.credentials {
            self.by_credentials.entry(credentials.clone()).or_default().insert(key.clone());
        }
        if let Some(origin) = &named.origin {
            self.by_origin.entry(origin.clone()).or_default().insert(key.clone());
        }
        self.named.insert(key, named);
    }

    fn remove(&mut self, key: &ObjectKey) {
        let Some(Named { credentials, origin }) = self.named.remove(key) else { return };
        if let Some(credentials) = credentials {
            remove_from(&mut self.by_credentials, &credentials, key);
        }
        if let Some(origin) = origin {
            remove_from(&mut self.by_origin, &origin, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use serde_json::json;

    use super::*;
    use crate::api::{Auth0Tenant, ParsedTenant};

    fn tenant(name: &str, domain: &str, secret: &str) -> ParsedTenant {
        serde_json::from_value(json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "Auth0Tenant",
            "metadata": { "name": name, "namespace": "shop" },
            "spec": {
                "domain": domain,
                "credentials": { "clientSecret": { "secretRef": { "name": secret } } },
            },
        }))
        .unwrap()
    }

    /// Returns the tenants with the credentials `s`, and those that call `acme.auth0.com`, after these
    /// events.
    async fn after(events: Vec<Event<ParsedTenant>>) -> (Vec<String>, Vec<String>) {
        let index = TenantIndex::default();
        let events = stream::iter(events.into_iter().map(Ok::<_, Infallible>));
        index.follow::<Auth0Tenant, _, _>(events).for_each(|_| async {}).await;
        let names = |keys: Vec<ObjectKey>| keys.into_iter().map(|key| key.name).collect();
        let secret = ObjectKey::new("shop", "s");
        (names(index.with_credentials(&secret)), names(index.calling("https://acme.auth0.com")))
    }

    #[tokio::test]
    async fn finds_a_tenant_until_it_changes_or_is_deleted() {
        let put = vec![
            Event::Apply(tenant("a", "acme.auth0.com", "s")),
            Event::Apply(tenant("b", "acme.auth0.com", "t")),
        ];
        assert_eq!(after(put.clone()).await, (vec!["a".into()], vec!["a".into(), "b".into()]));
        let moved = vec![Event::Apply(tenant("a", "else.auth0.com", "t"))];
        let changed = [put.clone(), moved].concat();
        assert_eq!(after(changed).await, (vec![], vec!["b".into()]));
        let gone = [put.clone(), vec![Event::Delete(tenant("a", "acme.auth0.com", "s"))]].concat();
        assert_eq!(after(gone).await, (vec![], vec!["b".into()]));
        let listed = Event::InitApply(tenant("b", "acme.auth0.com", "t"));
        let restarted = [put, vec![Event::Init, listed, Event::InitDone]].concat();
        assert_eq!(after(restarted).await, (vec![], vec!["b".into()]));
    }
}
