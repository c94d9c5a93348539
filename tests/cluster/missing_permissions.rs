//! An operator for several namespaces that has no permission in one of them, or in any.

use k8s_openapi::api::{coordination::v1::Lease, rbac::v1::RoleBinding};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, PostParams},
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::{
    auth0::{MANAGER, tenant_with_clients},
    fixture::{Fixture, NamespaceFixture, from_json},
    manifests,
};

/// Name of the operator's Role and RoleBinding, and of its Lease.
const OPERATOR: &str = "auth0-rotator";

/// Returns a fixture with the roles of an operator for its namespace, and those roles.
async fn start() -> (Fixture, Vec<Value>) {
    let simulator = tenant_with_clients(&["shop", "pay"]).await;
    let manifests = manifests::read("deploy/namespaced.yaml").unwrap();
    Fixture::with_roles(simulator, manifests, None).await
}

/// Starts an operator for the fixture's namespace and another one.
fn start_operator(fixture: &mut Fixture, other: &str) {
    let namespace = fixture.namespace.clone();
    let flags = ["--namespace", other, "--allow-http-endpoints", "--leader-elect"];
    let flags = [&flags[..], &["--operator-namespace", &namespace]].concat();
    fixture.operator = Some(fixture.operator_command().args(flags).spawn().unwrap());
}

/// Applies the tenant `acme` in a namespace.
async fn apply_tenant(fixture: &Fixture, namespace: &NamespaceFixture) {
    let secret = fixture.simulator.client_secret(MANAGER).unwrap();
    let credentials = [("client_id", MANAGER), ("client_secret", secret.expose_secret())];
    namespace.write_secret("auth0-management", &credentials).await;
    let tenant = json!({
        "domain": "acme.eu.auth0.com", "endpoint": fixture.simulator.url(),
        "credentials": { "clientSecret": { "secretRef": { "name": "auth0-management" } } },
    });
    namespace.try_apply_tenant("acme", tenant).await.unwrap();
}

fn own_tenant() -> Value {
    json!({ "tenantRef": { "kind": "Auth0Tenant", "name": "acme" } })
}

/// Creates what binds the operator's roles in a namespace: its Role and RoleBinding.
async fn bind(namespace: &NamespaceFixture, roles: &[Value]) {
    use k8s_openapi::api::rbac::v1::Role;
    let params = PostParams::default();
    for object in roles.iter().filter(|object| object["metadata"]["name"] == OPERATOR) {
        let mut object = object.clone();
        object["metadata"] = json!({ "name": OPERATOR, "namespace": namespace.namespace });
        match object["kind"].as_str() {
            Some("Role") => {
                namespace.api::<Role>().create(&params, &from_json(object)).await.unwrap();
            }
            Some("RoleBinding") => {
                namespace.api::<RoleBinding>().create(&params, &from_json(object)).await.unwrap();
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn namespace_without_permission_does_not_stop_the_others() {
    let (mut fixture, roles) = start().await;
    let pay = fixture.create_namespace("pay", json!({})).await;
    apply_tenant(&fixture, &pay).await;
    pay.apply_rotation_of("pay", "pay", own_tenant()).await;
    start_operator(&mut fixture, "pay");
    fixture.operator().wait_until_ready().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.assert_no_requests("pay");
    assert!(fixture.operator().has_logged("starting without them"));

    // With the permission, its resources are reconciled, and it does not stop the others when it goes.
    bind(&pay, &roles).await;
    pay.wait_until_rotated("pay", 1).await;
    pay.request("pay", "rotate/now").await;
    pay.wait_until_rotated("pay", 2).await;
    pay.api::<RoleBinding>().delete(OPERATOR, &DeleteParams::default()).await.unwrap();
    fixture.stop_operator().await;
    start_operator(&mut fixture, "pay");
    fixture.operator().wait_until_ready().await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.finish().await;
}

#[tokio::test]
async fn process_that_can_not_work_does_not_hold_the_lease() {
    let (mut fixture, roles) = start().await;
    let bindings = fixture.api::<RoleBinding>();
    bindings.delete(OPERATOR, &DeleteParams::default()).await.unwrap();
    start_operator(&mut fixture, "pay");
    let is_denied = async || fixture.operator().has_logged("is forbidden");
    fixture.wait_until_async("the watches are denied", is_denied).await;
    // Longer than an election takes.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let leases: Api<Lease> = Api::namespaced(fixture.client.clone(), &fixture.namespace);
    let held: Vec<_> = leases.list(&Default::default()).await.unwrap().items;
    assert!(held.is_empty(), "{:?}", held.iter().map(|lease| lease.name_any()).collect::<Vec<_>>());
    let binding = roles
        .iter()
        .find(|object| object["kind"] == "RoleBinding" && object["metadata"]["name"] == OPERATOR);
    let binding: RoleBinding = from_json(binding.unwrap().clone());
    bindings.create(&PostParams::default(), &binding).await.unwrap();
    fixture.operator().wait_until_ready().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.finish().await;
}
