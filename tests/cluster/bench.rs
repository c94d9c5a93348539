//! What a test works with: a namespace, a simulated Auth0 tenant and an operator.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use auth0_rotator::api::{Auth0Tenant, ClientSecretRotation};
use auth0_simulator::{ClientSeed, Simulator};
use k8s_openapi::api::{
    authorization::v1::SubjectAccessReview,
    core::v1::Secret,
    events::v1::Event,
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Client, Resource,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use local_cluster::ControlPlane;
use secrecy::ExposeSecret as _;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    cluster::{LEASE_ROLE, OPERATOR, another_control_plane, control_plane, install_manifest},
    leaks::Published,
    operator::Operator,
};

/// The propagation window that operators are started with.
pub(crate) const WINDOW: Duration = Duration::from_secs(3);

/// How long a test waits for what has to happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(40);

/// The management client, and all that the operator may use of it.
pub(crate) const MANAGER: &str = "manager";
pub(crate) const SCOPES: [&str; 3] = ["read:clients", "read:client_keys", "update:client_keys"];

pub(crate) struct Bench {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) simulator: Simulator,
    pub(crate) operator: Option<Operator>,
    pub(crate) folder: TempDir,
    pub(crate) kubeconfig: PathBuf,
    /// The control plane, if it is not the one that tests share.
    pub(crate) own: Option<ControlPlane>,
    /// What must not leak, beside the values that Auth0 ever had.
    pub(crate) confidential: Vec<String>,
    /// What the operator ever published, be it at Auth0 or not.
    pub(crate) published: Published,
}

impl Bench {
    /// A namespace with a tenant that works and an operator, and Auth0 answering within a second.
    pub(crate) async fn start() -> Bench {
        let mut bench = Bench::without_operator().await;
        bench.start_operator();
        bench
    }

    pub(crate) async fn without_operator() -> Bench {
        let simulator = Simulator::builder()
            .propagation(Duration::ZERO..=Duration::from_secs(1))
            .client(ClientSeed::new(MANAGER).scopes(SCOPES))
            .start()
            .await
            .unwrap();
        Bench::with(simulator).await
    }

    pub(crate) async fn with(simulator: Simulator) -> Bench {
        Bench::on(control_plane().await, simulator).await
    }

    /// A cluster of its own, whose operator works for all namespaces. Its own is the one that this
    /// bench is in, where the credentials of the cluster's tenants are.
    pub(crate) async fn with_cluster(simulator: Simulator) -> Bench {
        let own = another_control_plane().await;
        let mut bench = Bench::on(&own, simulator).await;
        bench.own = Some(own);
        bench.start_cluster_operator();
        bench
    }

    /// A cluster of its own, without an operator.
    pub(crate) async fn on_its_own(simulator: Simulator) -> Bench {
        let own = another_control_plane().await;
        let mut bench = Bench::on(&own, simulator).await;
        bench.own = Some(own);
        bench
    }

    /// An operator for all namespaces.
    pub(crate) fn start_cluster_operator(&mut self) {
        self.start_cluster_operator_with(&[]);
    }

    /// The same with more arguments.
    pub(crate) fn start_cluster_operator_with(&mut self, more: &[&str]) {
        let window = format!("{}s", WINDOW.as_secs());
        let mut arguments = vec!["--operator-namespace", &self.namespace, "--propagation-window"];
        arguments.extend([window.as_str(), "--allow-http-endpoints"]);
        arguments.extend(more);
        self.operator = Some(Operator::start(self.folder.path(), &self.kubeconfig, &arguments));
    }

    /// A namespace whose operator has the permissions of `deploy/namespaced.yaml` in it, and none
    /// elsewhere.
    pub(crate) async fn with_role(simulator: Simulator) -> Bench {
        let namespace = format!("test-{}", uuid::Uuid::new_v4().simple());
        let user = format!("system:serviceaccount:{namespace}:auth0-rotator");
        let control_plane = control_plane().await;
        let bench = Bench::on_as(control_plane, simulator, namespace, &user).await;
        let client = bench.client.clone();
        install_manifest(&client, "deploy/namespaced.yaml", Some(&bench.namespace)).await;
        bench
    }

    /// Gives the operator in this namespace what `deploy/operator.yaml` gives it in its own: the
    /// Lease.
    pub(crate) async fn allow_leases(&self) {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/operator.yaml");
        let text = fs::read_to_string(path).unwrap();
        let all = text.split("\n---\n");
        let documents = all.map(|text| serde_norway::from_str::<Value>(text).unwrap());
        let params = PatchParams::apply("tests");
        for object in documents {
            match object["kind"].as_str().unwrap() {
                "Role" => {
                    let patch = Patch::Apply(in_no_namespace(object));
                    self.api::<Role>().patch(LEASE_ROLE, &params, &patch).await.unwrap();
                }
                "RoleBinding" => {
                    let patch = Patch::Apply(in_no_namespace(object));
                    self.api::<RoleBinding>().patch(LEASE_ROLE, &params, &patch).await.unwrap();
                }
                _ => {}
            }
        }
        self.wait_for_leases().await;
    }

    /// Roles come into force a moment after they are made.
    async fn wait_for_leases(&self) {
        let deadline = Instant::now() + DEADLINE;
        let wanted = json!({
            "namespace": self.namespace, "verb": "get", "group": "coordination.k8s.io",
            "resource": "leases", "name": "auth0-rotator",
        });
        let review = json!({ "spec": { "user": OPERATOR, "resourceAttributes": wanted } });
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        loop {
            let answer = reviews.create(&PostParams::default(), &from(review.clone())).await;
            if answer.unwrap().status.unwrap().allowed {
                return;
            }
            assert!(Instant::now() < deadline, "the role never comes into force");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn on(control_plane: &ControlPlane, simulator: Simulator) -> Bench {
        let namespace = format!("test-{}", uuid::Uuid::new_v4().simple());
        Bench::on_as(control_plane, simulator, namespace, OPERATOR).await
    }

    async fn on_as(
        control_plane: &ControlPlane,
        simulator: Simulator,
        namespace: String,
        user: &str,
    ) -> Bench {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::try_from(control_plane.client_config()).unwrap();
        let groups = &["system:serviceaccounts"];
        let kubeconfig = control_plane.kubeconfig_for(user, groups).unwrap();
        let published = Published::watch(client.clone(), namespace.clone());
        let bench = Bench {
            client,
            namespace,
            simulator,
            operator: None,
            folder: TempDir::with_prefix("auth0-rotator-test-").unwrap(),
            kubeconfig,
            own: None,
            confidential: Vec::new(),
            published,
        };
        bench.create_namespace(&bench.namespace, json!({})).await;
        bench.create_tenant(json!({})).await;
        bench
    }

    pub(crate) async fn create_namespace(&self, name: &str, labels: Value) {
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels },
        });
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client.clone());
        namespaces.create(&PostParams::default(), &from(namespace)).await.unwrap();
    }

    /// The tenant `acme`, with its credentials, and `over` merged over its spec.
    pub(crate) async fn create_tenant(&self, over: Value) {
        let secret = self.simulator.client_secret(MANAGER).unwrap();
        self.write_secret(
            "auth0-management",
            &[("client_id", MANAGER), ("client_secret", secret.expose_secret())],
        )
        .await;
        let mut spec = json!({
            "domain": "acme.eu.auth0.com",
            "endpoint": self.simulator.url(),
            "credentials": { "clientSecret": { "secretRef": { "name": "auth0-management" } } },
            "rateLimit": { "requestsPerSecond": 1000, "burst": 1000 },
        });
        merge(&mut spec, over);
        let tenant = json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "Auth0Tenant",
            "metadata": { "name": "acme" }, "spec": spec,
        });
        self.apply::<Auth0Tenant>("acme", tenant).await.unwrap();
    }

    pub(crate) fn start_operator(&mut self) {
        self.start_operator_with(&["--allow-http-endpoints"]);
    }

    pub(crate) fn start_operator_with(&mut self, arguments: &[&str]) {
        let window = format!("{}s", WINDOW.as_secs());
        let mut all = vec!["--namespace", &self.namespace, "--propagation-window", &window];
        all.extend(arguments);
        self.operator = Some(Operator::start(self.folder.path(), &self.kubeconfig, &all));
    }

    pub(crate) fn operator(&self) -> &Operator {
        self.operator.as_ref().unwrap()
    }

    pub(crate) fn take_operator(&mut self) -> Operator {
        self.operator.take().unwrap()
    }

    /// A client at Auth0 and a resource of the same name, with `over` merged over its spec.
    pub(crate) async fn rotation(&self, name: &str, over: Value) {
        if self.simulator.client_secret(name).is_none() {
            let seed = ClientSeed::new(name).grant("https://api.example.com", ["read:things"]);
            self.simulator.add_client(seed).unwrap();
        }
        self.try_rotation(name, over).await.unwrap();
    }

    pub(crate) async fn try_rotation(&self, name: &str, over: Value) -> Result<(), kube::Error> {
        let mut spec = json!({
            "clientId": name,
            "tenantRef": { "name": "acme" },
            "gracePeriod": "3s",
            "target": { "name": format!("{name}-auth0") },
        });
        merge(&mut spec, over);
        let resource = json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "ClientSecretRotation",
            "metadata": { "name": name }, "spec": spec,
        });
        self.apply::<ClientSecretRotation>(name, resource).await
    }

    /// Asks for a rotation.
    pub(crate) async fn request(&self, name: &str, text: &str) {
        let annotation = json!({ "auth0-rotator.dev/request": text });
        let patch = json!({ "metadata": { "annotations": annotation } });
        let api = self.api::<ClientSecretRotation>();
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn apply<K>(&self, name: &str, object: Value) -> Result<(), kube::Error>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let params = PatchParams::apply("tests").force();
        self.api::<K>().patch(name, &params, &Patch::Apply(object)).await.map(drop)
    }

    pub(crate) async fn get(&self, name: &str) -> ClientSecretRotation {
        self.api().get(name).await.unwrap()
    }

    /// Waits until a resource is as it has to be.
    pub(crate) async fn wait(
        &self,
        name: &str,
        what: &str,
        is: impl Fn(&ClientSecretRotation) -> bool,
    ) -> ClientSecretRotation {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let resource = self.get(name).await;
            if is(&resource) {
                return resource;
            }
            let status = serde_json::to_string_pretty(&resource.status).unwrap();
            assert!(
                Instant::now() < deadline,
                "{name} is never {what}: {status}\n{}",
                self.where_to_look()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until number `current` is the only one.
    pub(crate) async fn rotated(&self, name: &str, current: u64) -> ClientSecretRotation {
        self.wait(name, &format!("at rest with number {current}"), |resource| {
            let status = resource.status.clone().unwrap_or_default();
            status.current == Some(current)
                && status.rotation.is_none()
                && rotation::is_condition_true(&status.conditions, "Ready")
        })
        .await
    }

    /// Waits for a condition's reason, and gives its message.
    pub(crate) async fn reason(&self, name: &str, kind: &str, reason: &str) -> String {
        let found = |resource: &ClientSecretRotation| {
            let status = resource.status.clone().unwrap_or_default();
            rotation::find_condition(&status.conditions, kind)
                .cloned()
                .filter(|found| found.reason == reason)
        };
        let is = |resource: &ClientSecretRotation| found(resource).is_some();
        let resource = self.wait(name, &format!("{kind} because of {reason}"), is).await;
        found(&resource).unwrap().message
    }

    pub(crate) async fn secret(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let secret = self.api::<Secret>().get_opt(name).await.unwrap()?;
        let text = |bytes: k8s_openapi::ByteString| String::from_utf8(bytes.0).unwrap();
        Some(
            secret
                .data
                .unwrap_or_default()
                .into_iter()
                .map(|(key, value)| (key, text(value)))
                .collect(),
        )
    }

    /// The values to try, in order, as an application reads them from the Secret of `name`.
    pub(crate) async fn list(&self, name: &str) -> Vec<String> {
        let data = self.secret(&format!("{name}-auth0")).await.unwrap();
        let list: Vec<String> = serde_json::from_str(&data["client_secrets"]).unwrap();
        assert_eq!(list[0], data["client_secret"]);
        assert_eq!(list.get(1), data.get("client_secret_fallback"));
        list
    }

    pub(crate) async fn write_secret(&self, name: &str, data: &[(&str, &str)]) {
        let data: BTreeMap<_, _> = data.iter().copied().collect();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data,
        });
        let api = self.api::<Secret>();
        let _ = api.delete(name, &Default::default()).await;
        api.create(&PostParams::default(), &from(secret)).await.unwrap();
    }

    /// What Auth0 has now is first in the Secret, and Auth0 accepts it.
    pub(crate) async fn assert_published(&self, name: &str) {
        let secret = self.simulator.client_secret(name).unwrap();
        let list = self.list(name).await;
        assert!(list[0] == secret.expose_secret(), "what Auth0 has is not first in the Secret");
    }

    pub(crate) fn rotations(&self, name: &str) -> u64 {
        self.simulator.counters().client(name).effects.rotations
    }

    pub(crate) fn where_to_look(&self) -> String {
        let log = self.operator.as_ref().map(|operator| {
            let lines = operator.log();
            let last = lines.len().saturating_sub(25);
            lines[last..].iter().map(|line| format!("{line}\n")).collect::<String>()
        });
        log.unwrap_or_default()
    }
}

fn in_no_namespace(mut object: Value) -> Value {
    object["metadata"]["namespace"].take();
    object
}

/// JSON as a typed object.
pub(crate) fn from<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// Merges objects; null removes.
pub(crate) fn merge(into: &mut Value, over: Value) {
    match (into, over) {
        (Value::Object(into), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, over) => *into = over,
    }
}

impl Bench {
    /// Waits until something is so.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&Bench) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !is(self) {
            assert!(Instant::now() < deadline, "never: {what}\n{}", self.where_to_look());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a Secret's data is as it has to be.
    pub(crate) async fn wait_for_data(
        &self,
        name: &str,
        is: impl Fn(&BTreeMap<String, String>) -> bool,
    ) {
        let deadline = Instant::now() + DEADLINE;
        while !self.secret(name).await.is_some_and(|data| is(&data)) {
            assert!(Instant::now() < deadline, "{name} never has it\n{}", self.where_to_look());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a resource is gone.
    pub(crate) async fn gone(&self, name: &str) {
        let deadline = Instant::now() + DEADLINE;
        while self.api::<ClientSecretRotation>().get_opt(name).await.unwrap().is_some() {
            assert!(Instant::now() < deadline, "{name} never goes\n{}", self.where_to_look());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for an Event with that reason.
    pub(crate) async fn event(&self, reason: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let events = self.api::<Event>().list(&ListParams::default()).await.unwrap();
            let mut reasons = events.items.into_iter().filter_map(|event| event.reason);
            if reasons.any(|told| told == reason) {
                return;
            }
            assert!(Instant::now() < deadline, "no Event {reason}\n{}", self.where_to_look());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
