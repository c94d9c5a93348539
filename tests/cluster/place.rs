//! A namespace in a cluster that has several, and the tenant that it may use in part.

use std::time::{Duration, Instant};

use auth0_rotator::api::{Auth0Tenant, ClientSecretRotation, ClusterAuth0Tenant};
use auth0_simulator::{ClientSeed, Simulator};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Resource,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::bench::{Bench, DEADLINE, MANAGER, SCOPES, from, merge};

/// Somewhere that resources are.
pub(crate) struct Place<'a> {
    bench: &'a Bench,
    pub(crate) namespace: String,
}

/// A client with which people who administer the tenant work.
pub(crate) const ADMINISTRATOR: &str = "administrator";

/// A simulated Auth0 with clients of those names.
pub(crate) async fn auth0(clients: &[&str]) -> Simulator {
    let simulator = Simulator::builder()
        .propagation(Duration::ZERO..=Duration::from_secs(1))
        .client(ClientSeed::new(MANAGER).scopes(SCOPES))
        .client(ClientSeed::new(ADMINISTRATOR).scopes(["read:clients", "update:clients"]))
        .start()
        .await
        .unwrap();
    for client in clients {
        let seed = ClientSeed::new(*client).grant("https://api.example.com", ["read:things"]);
        simulator.add_client(seed).unwrap();
    }
    simulator
}

impl Bench {
    /// The tenant `shared` of the cluster, with those rules.
    pub(crate) async fn share(&self, allow: Value) {
        let api: Api<ClusterAuth0Tenant> = Api::all(self.client.clone());
        let tenant = json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "ClusterAuth0Tenant",
            "metadata": { "name": "shared" },
            "spec": {
                "domain": "acme.eu.auth0.com",
                "endpoint": self.simulator.url(),
                "credentials": { "clientSecret": { "secretRef": { "name": "auth0-management" } } },
                "rateLimit": { "requestsPerSecond": 1000, "burst": 1000 },
                "allow": allow,
            },
        });
        let params = PatchParams::apply("tests").force();
        api.patch("shared", &params, &Patch::Apply(tenant)).await.unwrap();
    }

    /// A namespace with those labels.
    pub(crate) async fn place(&self, name: &str, labels: Value) -> Place<'_> {
        self.create_namespace(name, labels).await;
        Place { bench: self, namespace: name.to_owned() }
    }

    /// Nothing was asked of Auth0 about the client, and it has the secret that it had.
    pub(crate) fn assert_untouched(&self, client: &str) {
        let counters = self.simulator.counters().client(client);
        assert_eq!(counters, Default::default(), "{client} was touched");
    }
}

impl<'a> Place<'a> {
    /// Where the operator is.
    pub(crate) fn of(bench: &'a Bench) -> Place<'a> {
        Place { bench, namespace: bench.namespace.clone() }
    }
}

impl Place<'_> {
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.bench.client.clone(), &self.namespace)
    }

    pub(crate) async fn apply<K>(&self, name: &str, object: Value) -> Result<(), kube::Error>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
    {
        let params = PatchParams::apply("tests").force();
        self.api::<K>().patch(name, &params, &Patch::Apply(object)).await.map(drop)
    }

    /// A resource named `name` for a client of the tenant `shared`, with `over` merged over its spec.
    pub(crate) async fn rotation(&self, name: &str, client: &str, over: Value) {
        self.try_rotation(name, client, over).await.unwrap();
    }

    pub(crate) async fn try_rotation(
        &self,
        name: &str,
        client: &str,
        over: Value,
    ) -> Result<(), kube::Error> {
        let mut spec = json!({
            "clientId": client,
            "tenantRef": { "kind": "ClusterAuth0Tenant", "name": "shared" },
            "gracePeriod": "3s",
            "staging": { "period": "1s" },
            "target": { "name": format!("{name}-auth0") },
        });
        merge(&mut spec, over);
        let resource = json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "ClientSecretRotation",
            "metadata": { "name": name }, "spec": spec,
        });
        self.apply::<ClientSecretRotation>(name, resource).await
    }

    /// An `Auth0Tenant` of that name in this namespace.
    pub(crate) async fn tenant(&self, name: &str, spec: Value) -> Result<(), kube::Error> {
        let tenant = json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "Auth0Tenant",
            "metadata": { "name": name }, "spec": spec,
        });
        self.apply::<Auth0Tenant>(name, tenant).await
    }

    pub(crate) async fn write_secret(&self, name: &str, data: Value, annotations: Value) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": name, "annotations": annotations }, "stringData": data,
        });
        let api = self.api::<Secret>();
        let _ = api.delete(name, &Default::default()).await;
        api.create(&Default::default(), &from(secret)).await.unwrap();
    }

    pub(crate) async fn request(&self, name: &str, text: &str) {
        let annotation = json!({ "auth0-rotator.dev/request": text });
        self.patch(name, json!({ "metadata": { "annotations": annotation } })).await;
    }

    pub(crate) async fn patch(&self, name: &str, patch: Value) {
        let params = PatchParams::default();
        let api = self.api::<ClientSecretRotation>();
        api.patch(name, &params, &Patch::Merge(patch)).await.unwrap();
    }

    /// Changes the labels of this namespace.
    pub(crate) async fn label(&self, labels: Value) {
        let api: Api<Namespace> = Api::all(self.bench.client.clone());
        let patch = Patch::Merge(json!({ "metadata": { "labels": labels } }));
        api.patch(&self.namespace, &PatchParams::default(), &patch).await.unwrap();
    }

    pub(crate) async fn wait(
        &self,
        name: &str,
        what: &str,
        is: impl Fn(&ClientSecretRotation) -> bool,
    ) -> ClientSecretRotation {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let resource = self.api::<ClientSecretRotation>().get(name).await.unwrap();
            if is(&resource) {
                return resource;
            }
            let status = serde_json::to_string_pretty(&resource.status).unwrap();
            let log = self.bench.where_to_look();
            assert!(Instant::now() < deadline, "{name} is never {what}: {status}\n{log}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for the reason that `Stalled` has when it is true, and gives its message.
    pub(crate) async fn stalled(&self, name: &str, reason: &str) -> String {
        let message = |resource: &ClientSecretRotation| {
            let status = resource.status.clone().unwrap_or_default();
            let stalled = rotation::find_condition(&status.conditions, "Stalled").cloned()?;
            let is = rotation::is_condition_true(&status.conditions, "Stalled")
                && stalled.reason == reason;
            is.then_some(stalled.message)
        };
        let what = format!("stalled because of {reason}");
        let resource = self.wait(name, &what, |resource| message(resource).is_some()).await;
        message(&resource).unwrap()
    }

    /// Waits until number `current` is the only one.
    pub(crate) async fn rotated(&self, name: &str, current: u64) -> ClientSecretRotation {
        let what = format!("at rest with number {current}");
        let is = |resource: &ClientSecretRotation| {
            let status = resource.status.clone().unwrap_or_default();
            status.current == Some(current) && status.rotation.is_none()
        };
        self.wait(name, &what, is).await
    }

    /// The first value of the list in the Secret of `name`; none when there is no such Secret.
    pub(crate) async fn current(&self, name: &str) -> Option<String> {
        let secret = self.api::<Secret>().get_opt(&format!("{name}-auth0")).await.unwrap()?;
        let data = secret.data.unwrap_or_default();
        let value = data.get("client_secret")?;
        Some(String::from_utf8(value.0.clone()).unwrap())
    }
}
