//! The shipped roles grant exactly the permissions that the operator uses, in each tier and with each
//! switch.
//!
//! The operator runs with the shipped rules while a test exercises every feature. The API server's
//! audit log has the rules that it used and the requests that were forbidden.

use auth0_rotator::api::ClusterAuth0Tenant;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{DaemonSet, Deployment, StatefulSet},
        core::v1::Secret,
    },
};
use kube::{
    Api, Resource,
    api::{Patch, PatchParams, PostParams},
};
use rotation::find_condition;
use secrecy::ExposeSecret as _;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use testkit::{
    auth0::{MANAGER, tenant_with_clients},
    fixture::{Fixture, NamespaceFixture, from_json},
    manifests::{self, checkout_path, merge},
};
use xtask::Helm;

use crate::{
    argo_rollouts, metrics_auth, rbac_audit::assert_roles_match_use,
    tenant_status::wait_for_tenant_reason,
};

const CLIENTS: [&str; 6] = ["plain", "staged", "owned", "adopted", "drifting", "shared"];

/// Features that a switch of the chart turns off.
#[derive(Clone, Copy)]
struct Features {
    restarts: bool,
    argo_rollouts: bool,
    cluster_tenants: bool,
    metrics_auth: bool,
}

const ALL_FEATURES: Features =
    Features { restarts: true, argo_rollouts: false, cluster_tenants: true, metrics_auth: true };

#[tokio::test]
async fn cluster_role_grants_exactly_what_the_operator_uses() {
    check("deploy/operator.yaml", shipped("deploy/operator.yaml"), ALL_FEATURES, &[]).await;
}

#[tokio::test]
async fn selected_role_grants_exactly_what_the_operator_uses() {
    let manifests = shipped("deploy/selected.yaml");
    let flags = ["--secret-namespace=shop"];
    let simulator = tenant_with_clients(&CLIENTS).await;
    let (mut fixture, roles) = Fixture::with_roles(simulator, manifests, Some("shop")).await;
    fixture
        .start_cluster_operator_with(&[&["--leader-elect", "--metrics-auth"], &flags[..]].concat());
    let shop = fixture.namespace_fixture_of("shop");
    exercise(&fixture, &shop, ALL_FEATURES).await;
    read_metrics(&mut fixture).await;
    assert_roles_match_use("deploy/selected.yaml", &roles, &fixture);
    fixture.finish().await;
}

#[tokio::test]
async fn namespaced_role_grants_exactly_what_the_operator_uses() {
    let manifests = shipped("deploy/namespaced.yaml");
    let features = Features { cluster_tenants: false, metrics_auth: false, ..ALL_FEATURES };
    check("deploy/namespaced.yaml", manifests, features, &["--namespace"]).await;
}

#[tokio::test]
async fn namespaced_role_with_cluster_tenants_grants_exactly_what_the_operator_uses() {
    let manifests = rendered(&["scope=namespaced", "clusterTenants=true"]).await;
    let flags = ["--cluster-tenants", "--namespace"];
    let features = Features { metrics_auth: false, ..ALL_FEATURES };
    check("scope=namespaced,clusterTenants=true", manifests, features, &flags).await;
}

#[tokio::test]
async fn role_without_restarts_grants_exactly_what_the_operator_uses() {
    let manifests = rendered(&["restarts.enabled=false"]).await;
    let features = Features { restarts: false, ..ALL_FEATURES };
    check("restarts.enabled=false", manifests, features, &["--restarts=false"]).await;
}

#[tokio::test]
async fn role_with_argo_rollouts_grants_exactly_what_the_operator_uses() {
    let manifests = rendered(&["restarts.argoRollouts=true"]).await;
    let features = Features { argo_rollouts: true, ..ALL_FEATURES };
    check("restarts.argoRollouts=true", manifests, features, &[]).await;
}

#[tokio::test]
async fn role_without_pod_detection_grants_exactly_what_the_operator_uses() {
    let manifests = rendered(&["podDetection.enabled=false"]).await;
    let flags = ["--pod-detection=false"];
    check("podDetection.enabled=false", manifests, ALL_FEATURES, &flags).await;
}

/// Runs the operator with the roles of these manifests and compares them with the rules in use. A
/// trailing `--namespace` gets the name of the fixture's namespace.
async fn check(name: &str, manifests: Vec<Value>, features: Features, flags: &[&str]) {
    let simulator = tenant_with_clients(&CLIENTS).await;
    let (mut fixture, roles) = Fixture::with_roles(simulator, manifests, None).await;
    let namespace = fixture.namespace.clone();
    let mut arguments = [&["--leader-elect"], flags].concat();
    if features.metrics_auth {
        arguments.insert(0, "--metrics-auth");
    }
    if flags.last() == Some(&"--namespace") {
        arguments.push(&namespace);
    }
    fixture.start_cluster_operator_with(&arguments);
    exercise(&fixture, &fixture.operator_namespace(), features).await;
    if features.metrics_auth {
        read_metrics(&mut fixture).await;
    }
    assert_roles_match_use(name, &roles, &fixture);
    fixture.finish().await;
}

/// Reads the metrics as a user who may.
async fn read_metrics(fixture: &mut Fixture) {
    let token = metrics_auth::token(fixture, "reader").await;
    metrics_auth::grant(fixture, "reader").await;
    let is_allowed = async || metrics_auth::status(fixture, Some(&token)).await == 200;
    fixture.wait_until_async("the reader is allowed", is_allowed).await;
    fixture.operator.as_mut().unwrap().metrics_token = Some(token);
}

fn shipped(manifest: &str) -> Vec<Value> {
    manifests::read(manifest).unwrap()
}

/// Renders the chart with these values.
async fn rendered(sets: &'static [&str]) -> Vec<Value> {
    let render = || {
        let chart = checkout_path(xtask::CHART_DIR);
        Helm::find_or_build().unwrap().template(&chart, "auth0-rotator", sets).unwrap()
    };
    let text = tokio::task::spawn_blocking(render).await.unwrap();
    manifests::parse(&text).unwrap()
}

/// Makes the operator do everything that it can do.
async fn exercise(fixture: &Fixture, namespace: &NamespaceFixture, features: Features) {
    apply_tenant(fixture, namespace).await;
    exercise_rotations(fixture, namespace).await;
    exercise_consumers(namespace, features).await;
    correct_credentials(fixture, namespace).await;
    if features.cluster_tenants {
        exercise_cluster_tenants(fixture, namespace).await;
    }
}

/// Applies the Auth0Tenant `acme` and its credentials.
async fn apply_tenant(fixture: &Fixture, namespace: &NamespaceFixture) {
    let secret = fixture.simulator.client_secret(MANAGER).unwrap();
    let credentials = [("client_id", MANAGER), ("client_secret", secret.expose_secret())];
    namespace.write_secret("auth0-management", &credentials).await;
    let tenant = tenant_spec(fixture, "auth0-management");
    namespace.try_apply_tenant("acme", tenant).await.unwrap();
}

fn tenant_spec(fixture: &Fixture, secret: &str) -> Value {
    json!({
        "domain": "acme.eu.auth0.com", "endpoint": fixture.simulator.url(),
        "credentials": { "clientSecret": { "secretRef": { "name": secret } } },
        "rateLimit": { "requestsPerSecond": 1000, "burst": 1000 },
        "driftCheck": { "minInterval": "1s" },
    })
}

async fn exercise_rotations(fixture: &Fixture, namespace: &NamespaceFixture) {
    let owned = spec(json!({ "target": { "deletionPolicy": "Delete" } }));
    let adopted = spec(json!({ "target": { "adopt": true } }));
    let drifting = spec(json!({ "driftCheck": { "every": "1s" } }));
    namespace.apply_rotation_of("plain", "plain", spec(json!({}))).await;
    namespace.apply_rotation_of("owned", "owned", owned).await;
    namespace.write_annotated_secret("adopted-auth0", json!({ "theirs": "x" }), json!({})).await;
    namespace.apply_rotation_of("adopted", "adopted", adopted).await;
    namespace.apply_rotation_of("drifting", "drifting", drifting).await;
    for name in ["plain", "owned", "adopted", "drifting"] {
        namespace.wait_until_rotated(name, 1).await;
    }
    namespace.request("plain", "rotate/now").await;
    namespace.wait_until_rotated("plain", 2).await;
    namespace.api::<Secret>().delete("plain-auth0", &Default::default()).await.unwrap();
    fixture.simulator.dashboard_rotate("drifting").unwrap();
    namespace.wait_until_rotated("drifting", 2).await;
}

/// Rotates a secret with restarts of its consumers. Without restarts, the resource that asks for
/// them is not rotated.
async fn exercise_consumers(namespace: &NamespaceFixture, features: Features) {
    create_workloads(namespace).await;
    let mut kinds = vec!["Deployment", "StatefulSet", "DaemonSet"];
    if features.argo_rollouts {
        argo_rollouts::install(&namespace.client).await;
        argo_rollouts::create(namespace, "web", "staged-auth0").await;
        kinds.push("Rollout");
    }
    let restart: Vec<Value> =
        kinds.into_iter().map(|kind| json!({ "kind": kind, "name": "web" })).collect();
    let staged = spec(json!({
        "strategy": "Staged",
        "consumers": { "restart": restart, "rolloutTimeout": "1s" },
    }));
    namespace.apply_rotation_of("staged", "staged", staged).await;
    if features.restarts {
        namespace.wait_until_rotated("staged", 1).await;
        namespace.request("staged", "rotate/now").await;
        namespace.wait_until_stalled("staged", "RolloutInProgress").await;
        complete_rollouts(namespace).await;
        if features.argo_rollouts {
            argo_rollouts::complete_restart(namespace, "web").await;
        }
        namespace.wait_until_rotated("staged", 2).await;
    } else {
        namespace.wait_until_stalled("staged", "RestartsDisabled").await;
    }
}

/// Uses a ClusterAuth0Tenant, and corrects the credentials of another.
async fn exercise_cluster_tenants(fixture: &Fixture, namespace: &NamespaceFixture) {
    let rules = json!([{ "namespaces": { "matchLabels": { "a": "b" } }, "clientIds": ["*"] }]);
    fixture.apply_shared_tenant(rules).await;
    namespace.label(json!({ "a": "b" })).await;
    namespace.apply_rotation_of("shared", "shared", json!({})).await;
    namespace.wait_until_rotated("shared", 1).await;
    namespace.request("shared", "rotate/now").await;
    namespace.wait_until_rotated("shared", 2).await;

    let operator_namespace = fixture.operator_namespace();
    write_wrong_credentials(&operator_namespace, "wrong-management").await;
    let mut spec = tenant_spec(fixture, "wrong-management");
    merge(&mut spec, json!({ "allow": [] }));
    let tenant = json!({
        "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "ClusterAuth0Tenant",
        "metadata": { "name": "wrong" }, "spec": spec,
    });
    let api: Api<ClusterAuth0Tenant> = Api::all(fixture.client.clone());
    let params = PatchParams::apply("tests").force();
    api.patch("wrong", &params, &Patch::Apply(tenant)).await.unwrap();
    let has_reason = async |reason: &str| {
        let status = api.get("wrong").await.unwrap().status.unwrap_or_default();
        find_condition(&status.conditions, "Ready").is_some_and(|ready| ready.reason == reason)
    };
    let is_rejected = async || has_reason("CredentialsRejected").await;
    namespace.wait_until_async("the credentials are rejected", is_rejected).await;
    correct(fixture, &operator_namespace, "wrong-management").await;
    let is_usable = async || has_reason("Usable").await;
    namespace.wait_until_async("the corrected credentials are used", is_usable).await;
}

/// Returns the spec of a ClientSecretRotation that uses the Auth0Tenant `acme`.
fn spec(overrides: Value) -> Value {
    let mut spec = json!({ "tenantRef": { "kind": "Auth0Tenant", "name": "acme" } });
    merge(&mut spec, overrides);
    spec
}

/// Corrects wrong credentials of a tenant, which the operator has to notice by a watch.
async fn correct_credentials(fixture: &Fixture, namespace: &NamespaceFixture) {
    write_wrong_credentials(namespace, "other-management").await;
    let tenant = tenant_spec(fixture, "other-management");
    namespace.try_apply_tenant("other", tenant).await.unwrap();
    wait_for_tenant_reason(namespace, "other", "CredentialsRejected").await;
    correct(fixture, namespace, "other-management").await;
    wait_for_tenant_reason(namespace, "other", "Usable").await;
}

async fn write_wrong_credentials(namespace: &NamespaceFixture, name: &str) {
    let wrong = json!({ "client_id": MANAGER, "client_secret": "wrong" });
    namespace.write_annotated_secret(name, wrong, json!({})).await;
}

async fn correct(fixture: &Fixture, namespace: &NamespaceFixture, name: &str) {
    let secret = fixture.simulator.client_secret(MANAGER).unwrap();
    let correct = json!({ "stringData": { "client_secret": secret.expose_secret() } });
    let secrets = namespace.api::<Secret>();
    secrets.patch(name, &PatchParams::default(), &Patch::Merge(correct)).await.unwrap();
}

/// Creates one workload of each kind. They get no Pods, because no controller manager runs.
async fn create_workloads(namespace: &NamespaceFixture) {
    create_workload::<Deployment>(namespace, json!({ "replicas": 1 })).await;
    create_workload::<StatefulSet>(namespace, json!({ "replicas": 1, "serviceName": "web" })).await;
    create_workload::<DaemonSet>(namespace, json!({})).await;
}

/// Creates the workload `web`, with `overrides` merged into its spec.
async fn create_workload<K>(namespace: &NamespaceFixture, overrides: Value)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let labels = json!({ "app": "web" });
    let mut spec = json!({
        "selector": { "matchLabels": labels },
        "template": {
            "metadata": { "labels": labels },
            "spec": { "containers": [{ "name": "app", "image": "none" }] },
        },
    });
    merge(&mut spec, overrides);
    let workload = from_json(json!({ "metadata": { "name": "web" }, "spec": spec }));
    namespace.api::<K>().create(&PostParams::default(), &workload).await.unwrap();
}

/// Writes the statuses that the workload controllers write once all Pods are updated and ready.
async fn complete_rollouts(namespace: &NamespaceFixture) {
    let params = PatchParams::default();
    let replicas = Patch::Merge(json!({ "status": {
        "observedGeneration": 100, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1,
        "availableReplicas": 1,
    } }));
    namespace.api::<Deployment>().patch_status("web", &params, &replicas).await.unwrap();
    namespace.api::<StatefulSet>().patch_status("web", &params, &replicas).await.unwrap();
    let daemons = Patch::Merge(json!({ "status": {
        "observedGeneration": 100, "currentNumberScheduled": 1, "desiredNumberScheduled": 1,
        "numberMisscheduled": 0, "numberReady": 1, "updatedNumberScheduled": 1, "numberAvailable": 1,
    } }));
    namespace.api::<DaemonSet>().patch_status("web", &params, &daemons).await.unwrap();
}
