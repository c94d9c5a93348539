//! The shipped roles grant exactly the permissions that the operator uses.
//!
//! The operator runs with the shipped rules while a test exercises every feature. The API server's
//! audit log has the rules that it used and the requests that were forbidden.

use std::{collections::BTreeSet, fs, path::Path};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{DaemonSet, Deployment, StatefulSet},
        core::v1::Secret,
        rbac::v1::PolicyRule,
    },
};
use kube::{
    Resource,
    api::{Patch, PatchParams, PostParams},
};
use local_cluster::ControlPlane;
use secrecy::ExposeSecret as _;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use testkit::{
    auth0::{MANAGER, tenant_with_clients},
    cluster::OPERATOR_USER,
    fixture::{Fixture, NamespaceFixture, from_json, shared_control_plane},
    manifests::{self, merge},
};

use crate::tenant_status::wait_for_tenant_reason;

#[tokio::test]
async fn cluster_role_grants_exactly_what_the_operator_uses() {
    let clients = ["plain", "staged", "owned", "adopted", "drifting", "shared"];
    let mut fixture = Fixture::cluster_wide(tenant_with_clients(&clients).await).await;
    fixture.stop_operator().await;
    fixture.grant_lease_access().await;
    fixture.start_cluster_operator_with(&["--leader-elect"]);
    exercise_all_features(&fixture, &fixture.operator_namespace()).await;
    fixture
        .apply_shared_tenant(
            json!([{ "namespaces": { "matchLabels": { "a": "b" } }, "clientIds": ["*"] }]),
        )
        .await;
    let namespace = fixture.create_namespace("shared", json!({ "a": "b" })).await;
    namespace.apply_rotation_of("shared", "shared", json!({})).await;
    namespace.wait_until_rotated("shared", 1).await;
    namespace.request("shared", "rotate/now").await;
    namespace.wait_until_rotated("shared", 2).await;
    let control_plane = fixture.dedicated_control_plane.as_ref().unwrap();
    assert_role_matches_use("deploy/operator.yaml", control_plane, OPERATOR_USER);
    fixture.finish().await;
}

#[tokio::test]
async fn namespaced_role_grants_exactly_what_the_operator_uses() {
    let clients = ["plain", "staged", "owned", "adopted", "drifting"];
    let mut fixture = Fixture::with_namespaced_role(tenant_with_clients(&clients).await).await;
    let namespace = fixture.namespace.clone();
    let election = ["--leader-elect", "--operator-namespace", &namespace];
    fixture.start_operator_with(&[["--allow-http-endpoints"].as_slice(), &election].concat());
    exercise_all_features(&fixture, &fixture.operator_namespace()).await;
    let user = format!("system:serviceaccount:{namespace}:auth0-rotator");
    assert_role_matches_use("deploy/namespaced.yaml", shared_control_plane().await, &user);
    fixture.finish().await;
}

/// Makes the operator do everything that it can do with an Auth0Tenant.
async fn exercise_all_features(fixture: &Fixture, namespace: &NamespaceFixture) {
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

    create_workloads(namespace).await;
    let restart = ["Deployment", "StatefulSet", "DaemonSet"]
        .map(|kind| json!({ "kind": kind, "name": "web" }));
    let staged = spec(json!({
        "strategy": "Staged",
        "consumers": { "restart": restart, "rolloutTimeout": "1s" },
    }));
    namespace.apply_rotation_of("staged", "staged", staged).await;
    namespace.wait_until_rotated("staged", 1).await;
    namespace.request("staged", "rotate/now").await;
    namespace.wait_until_stalled("staged", "RolloutInProgress").await;
    complete_rollouts(namespace).await;
    namespace.wait_until_rotated("staged", 2).await;
    correct_credentials(fixture, namespace).await;
}

/// Returns the spec of a ClientSecretRotation that uses the Auth0Tenant `acme`.
fn spec(overrides: Value) -> Value {
    let mut spec = json!({ "tenantRef": { "kind": "Auth0Tenant", "name": "acme" } });
    merge(&mut spec, overrides);
    spec
}

/// Corrects wrong credentials of a tenant, which the operator has to notice by a watch.
async fn correct_credentials(fixture: &Fixture, namespace: &NamespaceFixture) {
    let wrong = json!({ "client_id": MANAGER, "client_secret": "wrong" });
    namespace.write_annotated_secret("other-management", wrong, json!({})).await;
    let tenant = json!({
        "domain": "acme.eu.auth0.com", "endpoint": fixture.simulator.url(),
        "credentials": { "clientSecret": { "secretRef": { "name": "other-management" } } },
    });
    namespace.try_apply_tenant("other", tenant).await.unwrap();
    wait_for_tenant_reason(namespace, "other", "CredentialsRejected").await;
    let secret = fixture.simulator.client_secret(MANAGER).unwrap();
    let correct = json!({ "stringData": { "client_secret": secret.expose_secret() } });
    let params = PatchParams::default();
    let secrets = namespace.api::<Secret>();
    secrets.patch("other-management", &params, &Patch::Merge(correct)).await.unwrap();
    wait_for_tenant_reason(namespace, "other", "Usable").await;
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

/// A verb on a resource, restricted to one name if `name` is set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Permission {
    group: String,
    resource: String,
    verb: String,
    name: Option<String>,
}

/// Asserts that a user has used every permission that a manifest grants, and that none of its
/// requests was forbidden.
#[expect(clippy::print_stdout, reason = "a figure, shown with --nocapture")]
fn assert_role_matches_use(manifest: &str, control_plane: &ControlPlane, user: &str) {
    let granted = granted_permissions(manifest);
    let Usage { used, forbidden } =
        audited_usage(control_plane.audit_log_path().unwrap(), user, &granted);
    let unused: Vec<_> = granted.difference(&used).collect();
    println!(
        "{manifest}: {} permissions granted, {} used, {} unused, {} forbidden",
        granted.len(),
        granted.intersection(&used).count(),
        unused.len(),
        forbidden.len()
    );
    assert!(forbidden.is_empty(), "{manifest} forbids {forbidden:?}");
    assert!(unused.is_empty(), "{manifest} grants permissions that are never used: {unused:?}");
}

/// Returns every permission that the roles of a manifest grant, one for each name if a rule has
/// names.
fn granted_permissions(manifest: &str) -> BTreeSet<Permission> {
    let mut granted = BTreeSet::new();
    for object in manifests::read(manifest).unwrap() {
        if !matches!(object["kind"].as_str(), Some("ClusterRole" | "Role")) {
            continue;
        }
        let rules: Vec<PolicyRule> = from_json(object["rules"].clone());
        for rule in rules {
            granted.extend(permissions_of(rule));
        }
    }
    granted
}

fn permissions_of(rule: PolicyRule) -> Vec<Permission> {
    assert!(rule.non_resource_urls.is_none());
    let names = rule.resource_names.unwrap_or_default();
    let names = match names.is_empty() {
        true => vec![None],
        false => names.into_iter().map(Some).collect(),
    };
    let mut permissions = Vec::new();
    for group in rule.api_groups.unwrap_or_default() {
        for resource in rule.resources.clone().unwrap_or_default() {
            for verb in &rule.verbs {
                assert!(![&group, &resource, verb].into_iter().any(|text| text == "*"));
                permissions.extend(names.iter().map(|name| Permission {
                    group: group.clone(),
                    resource: resource.clone(),
                    verb: verb.clone(),
                    name: name.clone(),
                }));
            }
        }
    }
    permissions
}

/// The permissions that a user's requests needed.
#[derive(Default)]
struct Usage {
    used: BTreeSet<Permission>,
    forbidden: BTreeSet<Permission>,
}

/// Reads a user's requests from an audit log. A request needs a permission for its object's name if
/// that is granted, and one for all names otherwise.
fn audited_usage(audit_log: &Path, user: &str, granted: &BTreeSet<Permission>) -> Usage {
    let mut usage = Usage::default();
    let log = fs::read_to_string(audit_log).unwrap();
    for event in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if event["user"]["username"] != user {
            continue;
        }
        let mut permission = permission_for(&event);
        if !granted.contains(&permission) {
            permission.name = None;
        }
        if event["responseStatus"]["code"] == 403 {
            usage.forbidden.insert(permission);
        } else {
            usage.used.insert(permission);
        }
    }
    usage
}

/// Returns the permission that an audited request needs, with the name of its object.
fn permission_for(event: &Value) -> Permission {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let mut resource = text(&object["resource"]);
    if let Some(subresource) = object["subresource"].as_str() {
        resource = format!("{resource}/{subresource}");
    }
    Permission {
        group: text(&object["apiGroup"]),
        resource,
        verb: text(&event["verb"]),
        name: object["name"].as_str().map(str::to_owned),
    }
}
