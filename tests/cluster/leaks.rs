//! The search for secrets in all that leaves the operator, at the end of every test.

use std::{
    collections::BTreeSet,
    fs,
    sync::{Arc, Mutex},
};

use auth0_rotator::api::{Auth0Tenant, ClientSecretRotation, ClusterAuth0Tenant, KEYS_ANNOTATION};
use futures::TryStreamExt as _;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    coordination::v1::Lease,
    core::v1::{ConfigMap, Namespace, Secret},
    events::v1::Event,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::ListParams,
    runtime::{WatchStreamExt as _, watcher},
};
use secrecy::ExposeSecret as _;
use serde::{Serialize, de::DeserializeOwned};
use testbed::needles::Needles;
use tokio::task::JoinHandle;

use crate::{bench::Bench, operator::Operator};

/// The shortest text that is taken for a value: what a test puts there as junk is shorter.
const SHORTEST: usize = 32;

/// The values that were ever in the target Secrets of a namespace, also those that were withdrawn
/// before Auth0 had them.
pub(crate) struct Published {
    values: Arc<Mutex<BTreeSet<String>>>,
    watch: JoinHandle<()>,
}

impl Published {
    pub(crate) fn watch(client: Client, namespace: String) -> Published {
        let values = Arc::new(Mutex::new(BTreeSet::new()));
        let seen = values.clone();
        let watch = tokio::spawn(async move {
            let secrets: Api<Secret> = Api::namespaced(client, &namespace);
            // Failures are tried again by the watch itself; it goes on until the test ends.
            let mut changes = std::pin::pin!(
                watcher(secrets, watcher::Config::default()).default_backoff().applied_objects()
            );
            loop {
                match changes.try_next().await {
                    Ok(Some(secret)) => seen.lock().unwrap().extend(values_of(&secret)),
                    Ok(None) => return,
                    Err(_) => {}
                }
            }
        });
        Published { values, watch }
    }

    fn all(&self) -> BTreeSet<String> {
        self.values.lock().unwrap().clone()
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// What stands under the keys that the operator wrote values to.
fn values_of(secret: &Secret) -> Vec<String> {
    let keys = secret.annotations().get(KEYS_ANNOTATION).cloned().unwrap_or_default();
    let data = secret.data.clone().unwrap_or_default();
    let values = keys.split(',').filter_map(|key| data.get(key));
    let texts = values.filter_map(|value| String::from_utf8(value.0.clone()).ok());
    texts.filter(|text| text.len() >= SHORTEST).collect()
}

impl Bench {
    /// Ends the test: the operator stops cleanly, and nothing that it left behind has a secret in it.
    pub(crate) async fn finish(mut self) {
        if let Some(operator) = self.operator.take() {
            operator.ready().await;
            fs::write(self.folder.path().join("answers"), answers(&operator).await).unwrap();
            assert!(operator.stop().await.success());
        }
        self.search_for_leaks().await;
    }

    /// Searches for every value that Auth0 ever had, that was ever published, every token and every
    /// assertion, in every shape it could be written in.
    async fn search_for_leaks(&self) {
        let ever = self.simulator.value_history();
        assert_eq!(ever.evicted, 0);
        let published = self.published.all();
        let values = ever.secrets.iter().chain(&ever.tokens).map(|value| value.expose_secret());
        let values = values.chain(self.confidential.iter().chain(&published).map(String::as_str));
        let needles = Needles::new(values).unwrap();
        for (place, text) in self.objects().await {
            assert_eq!(needles.find(&text), None, "a secret is in {place}");
        }
        for file in fs::read_dir(self.folder.path()).unwrap() {
            let path = file.unwrap().path();
            let found = needles.find_in_file(&path).unwrap();
            assert_eq!(found, None, "a secret is in {}", path.display());
        }
    }

    /// All that the operator could have written to, as the API server has it; of Secrets, what is not
    /// data.
    async fn objects(&self) -> Vec<(&'static str, String)> {
        let secrets = self.everywhere::<Secret>().list_metadata(&ListParams::default()).await;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let cluster_tenants: Api<ClusterAuth0Tenant> = Api::all(self.client.clone());
        vec![
            ("resources", self.dump::<ClientSecretRotation>().await),
            ("tenants", self.dump::<Auth0Tenant>().await),
            ("cluster-wide tenants", dump(&cluster_tenants).await),
            ("events", self.dump::<Event>().await),
            ("metadata of secrets", serde_json::to_string(&secrets.unwrap().items).unwrap()),
            ("deployments", self.dump::<Deployment>().await),
            ("stateful sets", self.dump::<StatefulSet>().await),
            ("daemon sets", self.dump::<DaemonSet>().await),
            ("leases", self.dump::<Lease>().await),
            ("config maps", self.dump::<ConfigMap>().await),
            ("namespaces", dump(&namespaces).await),
        ]
    }

    async fn dump<K>(&self) -> String
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
    {
        dump(&self.everywhere::<K>()).await
    }

    /// All that the operator works for.
    fn everywhere<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        match self.own {
            Some(_) => Api::all(self.client.clone()),
            None => self.api(),
        }
    }
}

async fn dump<K: Clone + std::fmt::Debug + Serialize + DeserializeOwned>(api: &Api<K>) -> String {
    serde_json::to_string(&api.list(&ListParams::default()).await.unwrap().items).unwrap()
}

/// What the operator's servers answer, also to what they don't have.
async fn answers(operator: &Operator) -> String {
    let mut answers = operator.metrics().await;
    for server in ["metrics", "health"] {
        let address = operator.address(server).await;
        for path in ["livez", "readyz", "healthz", "metrics", "debug/pprof", "nothing?x=%00"] {
            let answer = reqwest::get(format!("http://{address}/{path}")).await.unwrap();
            answers +=
                &format!("{:?}\n{}\n", answer.headers().clone(), answer.text().await.unwrap());
        }
    }
    answers
}
