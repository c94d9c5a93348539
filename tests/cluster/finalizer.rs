//! The finalizer is removed within its bound even if other calls fail, and a deleted namespace can end.

use std::time::Duration;

use auth0_rotator::api::{Auth0Tenant, ClientSecretRotation, ClusterAuth0Tenant};
use auth0_simulator::{Action, ClientSeed, Fault, Operation, When};
use k8s_openapi::api::{
    core::v1::{Namespace, Secret},
    rbac::v1::ClusterRole,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use rotation::{Phase, find_condition};
use serde_json::json;
use testkit::{
    auth0::tenant_with_clients,
    fixture::{Fixture, NamespaceFixture, PROPAGATION_WINDOW},
};

/// An unknown outcome delays a deletion by ten propagation windows, and a retry follows within ten
/// seconds.
const BOUND: Duration = Duration::from_secs(10 * PROPAGATION_WINDOW.as_secs() + 25);

fn unavailable(operation: Operation) -> Fault {
    Fault::new(Action::Status { status: 503, when: When::Before }).on(operation).unlimited()
}

/// Kills the operator while the outcome of `rotate-secret` is unknown.
async fn lose_outcome(fixture: &mut Fixture, namespace: &NamespaceFixture, name: &str) {
    let late = Fault::delay(Duration::from_secs(30)).on(Operation::RotateSecret);
    fixture.simulator.faults().inject(late).unwrap();
    namespace.request(name, "rotate/now").await;
    fixture.wait_until("Auth0 has rotated", || fixture.rotation_count(name) == 1).await;
    fixture.take_operator().kill();
    assert_eq!(namespace.get(name).await.metadata.finalizers.map(|list| list.len()), Some(1));
}

async fn delete_and_wait(namespace: &NamespaceFixture, name: &str) {
    let api = namespace.api::<ClientSecretRotation>();
    api.delete(name, &DeleteParams::default()).await.unwrap();
    let is_gone = async || api.get_opt(name).await.unwrap().is_none();
    namespace.wait_within(BOUND, "the resource is gone", is_gone).await;
}

#[tokio::test]
async fn goes_although_the_tenant_is_gone() {
    let mut fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    let namespace = fixture.namespace_fixture_of(&fixture.namespace);
    lose_outcome(&mut fixture, &namespace, "shop").await;
    fixture.api::<Auth0Tenant>().delete("acme", &DeleteParams::default()).await.unwrap();
    fixture.start_operator();
    delete_and_wait(&namespace, "shop").await;
}

#[tokio::test]
async fn goes_although_the_secret_can_not_be_read() {
    let simulator = tenant_with_clients(&["shop"]).await;
    let mut fixture = Fixture::with_dedicated_control_plane(simulator).await;
    fixture.start_operator();
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    let namespace = fixture.namespace_fixture_of(&fixture.namespace);
    lose_outcome(&mut fixture, &namespace, "shop").await;
    let roles: Api<ClusterRole> = Api::all(fixture.client.clone());
    let mut role = roles.get("auth0-rotator").await.unwrap();
    for rule in role.rules.iter_mut().flatten() {
        if rule.resources.iter().flatten().any(|resource| resource == "secrets") {
            rule.verbs.retain(|verb| verb != "get");
        }
    }
    roles.replace("auth0-rotator", &Default::default(), &role).await.unwrap();
    let is_denied = async || !fixture.operator_may(&fixture.namespace, "secrets", "get").await;
    fixture.wait_until_async("Secrets can't be read", is_denied).await;
    fixture.start_operator();
    delete_and_wait(&namespace, "shop").await;
}

#[tokio::test]
async fn goes_although_auth0_does_not_show_the_permission() {
    let simulator = tenant_with_clients(&[]).await;
    let metadata = json!({ "k8s-namespace": "shop" });
    simulator.add_client(ClientSeed::new("shop").field("client_metadata", metadata)).unwrap();
    let mut fixture = Fixture::cluster_wide(simulator).await;
    let rule = json!([{
        "namespaces": {}, "clientMetadata": { "key": "k8s-namespace", "value": "shop" },
    }]);
    fixture.apply_shared_tenant(rule).await;
    let shop = fixture.create_namespace("shop", json!({})).await;
    shop.apply_rotation_of("shop", "shop", json!({})).await;
    shop.wait_until_rotated("shop", 1).await;
    lose_outcome(&mut fixture, &shop, "shop").await;
    for operation in [Operation::GetClient, Operation::ListClients, Operation::Token] {
        fixture.simulator.faults().inject(unavailable(operation)).unwrap();
    }
    fixture.start_cluster_operator_with(&[]);
    delete_and_wait(&shop, "shop").await;
}

/// Waits until the rotation of a resource is in a phase.
async fn wait_for_phase(namespace: &NamespaceFixture, name: &str, phase: Phase) {
    let is_in_phase = async || {
        let status = namespace.get(name).await.status.unwrap_or_default();
        status.rotation.is_some_and(|rotation| rotation.phase == phase)
    };
    namespace.wait_until_async(&format!("{name} is in {phase:?}"), is_in_phase).await;
}

/// No namespace controller runs here: this deletes what it would delete, once.
async fn delete_namespace(namespace: &NamespaceFixture) {
    let namespaces: Api<Namespace> = Api::all(namespace.client.clone());
    let params = DeleteParams::default();
    namespaces.delete(&namespace.namespace, &params).await.unwrap();
    let all = Default::default();
    namespace.api::<Secret>().delete_collection(&params, &all).await.unwrap();
    namespace.api::<ClientSecretRotation>().delete_collection(&params, &all).await.unwrap();
}

#[tokio::test]
async fn namespaces_end_in_every_phase() {
    let names = ["idle", "grace", "staging", "confirming", "activating", "stalled"];
    let simulator = tenant_with_clients(&names).await;
    let fixture = Fixture::cluster_wide(simulator).await;
    fixture.apply_shared_tenant(json!([{ "namespaces": {}, "clientIds": ["*"] }])).await;
    let mut namespaces = Vec::new();
    for name in names {
        let namespace = fixture.create_namespace(name, json!({})).await;
        let spec = match name {
            "staging" => json!({ "strategy": "Staged", "staging": { "period": "1h" } }),
            "grace" => json!({ "gracePeriod": "1h" }),
            _ => json!({}),
        };
        namespace.apply_rotation_of(name, name, spec).await;
        namespace.wait_until_rotated(name, 1).await;
        namespaces.push(namespace);
    }
    for (name, phase) in [("grace", Phase::Grace), ("staging", Phase::Staging)] {
        let namespace = namespaces.iter().find(|namespace| namespace.namespace == name).unwrap();
        namespace.request(name, "rotate/now").await;
        wait_for_phase(namespace, name, phase).await;
    }
    let late = || Fault::delay(PROPAGATION_WINDOW / 2).on(Operation::RotateSecret);
    fixture.simulator.faults().inject(late()).unwrap();
    namespaces[3].request("confirming", "rotate/now").await;
    fixture.wait_until("Auth0 has rotated", || fixture.rotation_count("confirming") == 1).await;
    // Before activation, the operator needs an answer to its probes.
    fixture.simulator.faults().inject(unavailable(Operation::Revoke)).unwrap();
    wait_for_phase(&namespaces[3], "confirming", Phase::Confirming).await;
    fixture.simulator.faults().clear();
    fixture.simulator.faults().inject(late()).unwrap();
    namespaces[4].request("activating", "rotate/now").await;
    wait_for_phase(&namespaces[4], "activating", Phase::Activating).await;
    let immutable = Patch::Merge(json!({ "immutable": true }));
    let secrets = namespaces[5].api::<Secret>();
    secrets.patch("stalled-auth0", &PatchParams::default(), &immutable).await.unwrap();
    for namespace in &namespaces {
        delete_namespace(namespace).await;
    }
    for namespace in &namespaces {
        let api = namespace.api::<ClientSecretRotation>();
        let is_empty = async || api.list(&Default::default()).await.unwrap().items.is_empty();
        let expected = format!("{} can end", namespace.namespace);
        namespace.wait_within(BOUND, &expected, is_empty).await;
    }
    let tenants: Api<ClusterAuth0Tenant> = Api::all(fixture.client.clone());
    let conditions = tenants.get("shared").await.unwrap().status.unwrap_or_default().conditions;
    assert!(find_condition(&conditions, "Ready").is_some());
}
