//! The permissions that are shipped are those that are used: no more, and no less.
//!
//! Every feature is gone through under exactly the shipped rules. The API server's audit log tells
//! which of them were used, and whether anything was forbidden.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use auth0_rotator::api::Auth0Tenant;
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
    fixture::{DEADLINE, Fixture, NamespaceFixture, from_json, shared_control_plane},
    manifests::merge,
};

/// A verb on a resource, as rules and audit logs name it, and the only name that it may have.
type Use = (String, String, String, Option<String>);

#[tokio::test]
async fn the_cluster_role_is_used_and_suffices() {
    let clients = ["plain", "staged", "owned", "adopted", "drifting", "shared"];
    let mut bench = Fixture::cluster_wide(tenant_with_clients(&clients).await).await;
    bench.operator().wait_until_ready().await;
    bench.stop_operator().await;
    bench.grant_lease_access().await;
    bench.start_cluster_operator_with(&["--leader-elect"]);
    tour(&bench, &bench.operator_namespace()).await;
    bench
        .apply_shared_tenant(
            json!([{ "namespaces": { "matchLabels": { "a": "b" } }, "clientIds": ["*"] }]),
        )
        .await;
    let place = bench.create_namespace("shared", json!({ "a": "b" })).await;
    place.apply_rotation_of("shared", "shared", json!({})).await;
    place.wait_until_rotated("shared", 1).await;
    place.request("shared", "rotate/now").await;
    place.wait_until_rotated("shared", 2).await;
    judge("deploy/operator.yaml", bench.dedicated_control_plane.as_ref().unwrap(), OPERATOR_USER);
    bench.finish().await;
}

#[tokio::test]
async fn the_role_of_one_namespace_is_used_and_suffices() {
    let clients = ["plain", "staged", "owned", "adopted", "drifting"];
    let mut bench = Fixture::with_namespaced_role(tenant_with_clients(&clients).await).await;
    let namespace = bench.namespace.clone();
    let election = ["--leader-elect", "--operator-namespace", &namespace];
    bench.start_operator_with(&[["--allow-http-endpoints"].as_slice(), &election].concat());
    tour(&bench, &bench.operator_namespace()).await;
    let user = format!("system:serviceaccount:{}:auth0-rotator", bench.namespace);
    judge("deploy/namespaced.yaml", shared_control_plane().await, &user);
    bench.finish().await;
}

/// All that the operator does, with a tenant of the namespace.
async fn tour(bench: &Fixture, place: &NamespaceFixture) {
    let spec = |over: Value| {
        let mut spec = json!({ "tenantRef": { "kind": "Auth0Tenant", "name": "acme" } });
        merge(&mut spec, over);
        spec
    };
    place.apply_rotation_of("plain", "plain", spec(json!({}))).await;
    place
        .apply_rotation_of(
            "owned",
            "owned",
            spec(json!({ "target": { "deletionPolicy": "Delete" } })),
        )
        .await;
    place.write_annotated_secret("adopted-auth0", json!({ "theirs": "x" }), json!({})).await;
    place
        .apply_rotation_of("adopted", "adopted", spec(json!({ "target": { "adopt": true } })))
        .await;
    let drift = json!({ "driftCheck": { "every": "1s" } });
    place.apply_rotation_of("drifting", "drifting", spec(drift)).await;
    for name in ["plain", "owned", "adopted", "drifting"] {
        place.wait_until_rotated(name, 1).await;
    }
    place.request("plain", "rotate/now").await;
    place.wait_until_rotated("plain", 2).await;
    place.api::<Secret>().delete("plain-auth0", &Default::default()).await.unwrap();
    bench.simulator.dashboard_rotate("drifting").unwrap();
    place.wait_until_rotated("drifting", 2).await;

    consumers(place).await;
    let restart = ["Deployment", "StatefulSet", "DaemonSet"]
        .map(|kind| json!({ "kind": kind, "name": "web" }));
    let staged = json!({
        "strategy": "Staged",
        "consumers": { "restart": restart, "rolloutTimeout": "1s" },
    });
    place.apply_rotation_of("staged", "staged", spec(staged)).await;
    place.wait_until_rotated("staged", 1).await;
    place.request("staged", "rotate/now").await;
    place.wait_until_stalled("staged", "RolloutInProgress").await;
    rolled_out(place).await;
    place.wait_until_rotated("staged", 2).await;
    wrong_credentials(bench, place).await;
}

/// Credentials that are corrected are seen by a watch.
async fn wrong_credentials(bench: &Fixture, place: &NamespaceFixture) {
    let wrong = json!({ "client_id": MANAGER, "client_secret": "wrong" });
    place.write_annotated_secret("other-management", wrong, json!({})).await;
    let tenant = json!({
        "domain": "acme.eu.auth0.com", "endpoint": bench.simulator.url(),
        "credentials": { "clientSecret": { "secretRef": { "name": "other-management" } } },
    });
    place.try_apply_tenant("other", tenant).await.unwrap();
    tenant_is(place, "CredentialsRejected").await;
    let secret = bench.simulator.client_secret(MANAGER).unwrap();
    let right = json!({ "stringData": { "client_secret": secret.expose_secret() } });
    let params = PatchParams::default();
    let secrets = place.api::<Secret>();
    secrets.patch("other-management", &params, &Patch::Merge(right)).await.unwrap();
    tenant_is(place, "Usable").await;
}

async fn tenant_is(place: &NamespaceFixture, reason: &str) {
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        let status = place.api::<Auth0Tenant>().get("other").await.unwrap().status;
        let conditions = status.unwrap_or_default().conditions;
        if rotation::find_condition(&conditions, "Ready")
            .is_some_and(|ready| ready.reason == reason)
        {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "never {reason}: {conditions:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// One workload of each kind, whose pods a controller manager would have to make.
async fn consumers(place: &NamespaceFixture) {
    let labels = json!({ "app": "web" });
    let object = |more: Value| {
        let mut object = json!({
            "metadata": { "name": "web" },
            "spec": {
                "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels },
                    "spec": { "containers": [{ "name": "app", "image": "none" }] },
                },
            },
        });
        merge(&mut object, more);
        object
    };
    create::<Deployment>(place, object(json!({ "spec": { "replicas": 1 } }))).await;
    let stateful = json!({ "spec": { "replicas": 1, "serviceName": "web" } });
    create::<StatefulSet>(place, object(stateful)).await;
    create::<DaemonSet>(place, object(json!({}))).await;
}

async fn create<K>(place: &NamespaceFixture, object: Value)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    place.api::<K>().create(&PostParams::default(), &from_json(object)).await.unwrap();
}

/// What the controllers would say once all pods are new and ready.
async fn rolled_out(place: &NamespaceFixture) {
    let done = json!({
        "observedGeneration": 100, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1,
        "availableReplicas": 1,
    });
    let of_daemons = json!({
        "observedGeneration": 100, "currentNumberScheduled": 1, "desiredNumberScheduled": 1,
        "numberMisscheduled": 0, "numberReady": 1, "updatedNumberScheduled": 1, "numberAvailable": 1,
    });
    let params = PatchParams::default();
    let (done, of_daemons) = (json!({ "status": done }), json!({ "status": of_daemons }));
    let patch = Patch::Merge(done);
    place.api::<Deployment>().patch_status("web", &params, &patch).await.unwrap();
    place.api::<StatefulSet>().patch_status("web", &params, &patch).await.unwrap();
    let patch = Patch::Merge(of_daemons);
    place.api::<DaemonSet>().patch_status("web", &params, &patch).await.unwrap();
}

/// Compares the rules that a manifest ships with what its user did.
#[expect(clippy::print_stdout, reason = "a figure, shown with --nocapture")]
fn judge(manifest: &str, control_plane: &ControlPlane, user: &str) {
    let shipped = rules(manifest);
    let (used, forbidden) = uses(control_plane.audit_log_path().unwrap(), user, &shipped);
    let unused: Vec<_> = shipped.difference(&used).collect();
    let shipped_and_used = shipped.intersection(&used).count();
    println!(
        "{manifest}: {} rules shipped, {shipped_and_used} used, {} unused, {} forbidden",
        shipped.len(),
        unused.len(),
        forbidden.len()
    );
    assert!(forbidden.is_empty(), "{manifest} forbids {forbidden:?}");
    assert!(unused.is_empty(), "{manifest} allows what nobody uses: {unused:?}");
}

/// Every verb on every resource, and on every name if there are any, that the manifest's role allows.
fn rules(manifest: &str) -> BTreeSet<Use> {
    let path = format!("{}/{manifest}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap();
    let mut all = BTreeSet::new();
    for document in text.split("\n---\n") {
        let object: Value = serde_norway::from_str(document).unwrap();
        if !matches!(object["kind"].as_str(), Some("ClusterRole" | "Role")) {
            continue;
        }
        let rules: Vec<PolicyRule> = serde_json::from_value(object["rules"].clone()).unwrap();
        for rule in rules {
            assert!(rule.non_resource_urls.is_none());
            let names = rule.resource_names.unwrap_or_default().into_iter().map(Some);
            let names: Vec<_> = names.collect();
            let names = if names.is_empty() { vec![None] } else { names };
            for group in rule.api_groups.unwrap_or_default() {
                for resource in rule.resources.clone().unwrap_or_default() {
                    for verb in &rule.verbs {
                        assert!(![&group, &resource, verb].into_iter().any(|name| name == "*"));
                        let one = (group.clone(), resource.clone(), verb.clone());
                        let (group, resource, verb) = one;
                        all.extend(names.iter().map(|name| {
                            (group.clone(), resource.clone(), verb.clone(), name.clone())
                        }));
                    }
                }
            }
        }
    }
    all
}

/// What a user did, by the rules that allow it, and what it was forbidden.
fn uses(audit_log: &Path, user: &str, shipped: &BTreeSet<Use>) -> (BTreeSet<Use>, BTreeSet<Use>) {
    let (mut used, mut forbidden) = (BTreeSet::new(), BTreeSet::new());
    let log = fs::read_to_string(audit_log).unwrap();
    for event in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if event["user"]["username"] != user {
            continue;
        }
        let object = &event["objectRef"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let subresource = object["subresource"].as_str().map(|name| format!("/{name}"));
        let resource = text(&object["resource"]) + &subresource.unwrap_or_default();
        let name = object["name"].as_str().map(str::to_owned);
        let named = (text(&object["apiGroup"]), resource, text(&event["verb"]), name);
        let one = if shipped.contains(&named) { named } else { (named.0, named.1, named.2, None) };
        if event["responseStatus"]["code"] == 403 {
            forbidden.insert(one);
        } else {
            used.insert(one);
        }
    }
    (used, forbidden)
}
