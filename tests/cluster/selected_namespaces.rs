//! An operator with `scope: selected`: it manages the resources of all namespaces, and may use Secrets
//! only in those that opt in.

use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::PostParams;
use serde_json::{Value, json};
use testkit::{
    auth0::tenant_with_clients,
    fixture::{Fixture, from_json},
    manifests,
};

use crate::{rbac_audit::audit_events, tenant_status::wait_for_tenant_reason};

const ALLOW_ALL: &str = r#"[{ "namespaces": {}, "clientIds": ["*"] }]"#;

/// Returns a fixture with the ClusterAuth0Tenant `shared`, whose operator may use the Secrets of
/// `shop`.
async fn fixture_with_shop() -> Fixture {
    let simulator = tenant_with_clients(&["shop", "pay", "own"]).await;
    let manifests = manifests::read("deploy/selected.yaml").unwrap();
    let (fixture, _) = Fixture::with_roles(simulator, manifests, Some("shop")).await;
    fixture.apply_shared_tenant(serde_json::from_str(ALLOW_ALL).unwrap()).await;
    fixture
}

/// Binds the shipped ClusterRole in a namespace, as the documentation says.
fn opt_in(namespace: &str) -> Value {
    json!({
        "metadata": { "name": "auth0-rotator-namespace-access", "namespace": namespace },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": "auth0-rotator-namespace-access",
        },
        "subjects": [{
            "kind": "ServiceAccount", "name": "auth0-rotator", "namespace": "auth0-rotator",
        }],
    })
}

#[tokio::test]
async fn namespace_without_access_is_reported_and_delays_no_other() {
    let mut fixture = fixture_with_shop().await;
    let pay = fixture.create_namespace("pay", json!({})).await;
    let shop = fixture.namespace_fixture_of("shop");
    pay.apply_rotation_of("pay", "pay", json!({})).await;
    pay.write_secret("auth0-management", &[("client_id", "x"), ("client_secret", "x")]).await;
    let tenant = json!({
        "domain": "acme.eu.auth0.com", "endpoint": fixture.simulator.url(),
        "credentials": { "clientSecret": { "secretRef": { "name": "auth0-management" } } },
    });
    pay.try_apply_tenant("own", tenant).await.unwrap();
    // One of the operator's namespaces doesn't let it watch Secrets, which must not keep it from
    // starting.
    let flags = ["--leader-elect", "--secret-namespace=shop,pay"];
    fixture.start_cluster_operator_with(&flags);
    fixture.operator().wait_until_ready().await;
    shop.apply_rotation_of("shop", "shop", json!({})).await;
    shop.wait_until_rotated("shop", 1).await;
    let message = pay.wait_until_stalled("pay", "SecretForbidden").await;
    assert!(message.contains("bind the ClusterRole auth0-rotator-namespace-access"), "{message}");
    let message = wait_for_tenant_reason(&pay, "own", "CredentialsUnreadable").await;
    assert!(message.contains("bind the ClusterRole"), "{message}");
    fixture.assert_no_requests("pay");

    shop.request("shop", "rotate/now").await;
    shop.wait_until_rotated("shop", 2).await;
    let events = audit_events(&fixture);
    let is_forbidden = |event: &&Value| event["responseStatus"]["code"] == 403;
    let forbidden = events.iter().filter(is_forbidden).count();
    assert!((3..40).contains(&forbidden), "{forbidden} forbidden requests");

    let binding: RoleBinding = from_json(opt_in("pay"));
    pay.api::<RoleBinding>().create(&PostParams::default(), &binding).await.unwrap();
    pay.wait_until_rotated("pay", 1).await;
    fixture.finish().await;
}

#[tokio::test]
async fn secrets_of_other_namespaces_are_out_of_reach() {
    let mut fixture = fixture_with_shop().await;
    let pay = fixture.create_namespace("pay", json!({})).await;
    pay.write_secret("database", &[("password", "pw")]).await;
    fixture.start_cluster_operator_with(&["--leader-elect", "--secret-namespace=shop"]);
    fixture.operator().wait_until_ready().await;
    let shop = fixture.namespace_fixture_of("shop");
    shop.apply_rotation_of("shop", "shop", json!({})).await;
    shop.wait_until_rotated("shop", 1).await;
    let may = |namespace: &'static str, resource: &'static str, verb: &'static str| {
        fixture.operator_may(namespace, resource, verb)
    };
    for (resource, verb) in [
        ("secrets", "get"),
        ("secrets", "list"),
        ("secrets", "create"),
        ("secrets", "patch"),
        ("deployments", "patch"),
        ("pods", "list"),
        ("events", "create"),
    ] {
        assert!(may("shop", resource, verb).await, "{verb} {resource} in shop");
        assert!(!may("pay", resource, verb).await, "{verb} {resource} in pay");
    }
    fixture.finish().await;
}

#[tokio::test]
async fn edited_secret_of_a_selected_namespace_is_restored_at_once() {
    let mut fixture = fixture_with_shop().await;
    fixture.start_cluster_operator_with(&["--leader-elect", "--secret-namespace=shop"]);
    let shop = fixture.namespace_fixture_of("shop");
    shop.apply_rotation_of("shop", "shop", json!({})).await;
    shop.wait_until_rotated("shop", 1).await;
    let secrets = shop.api::<k8s_openapi::api::core::v1::Secret>();
    secrets.delete("shop-auth0", &Default::default()).await.unwrap();
    shop.wait_for_secret_data("shop-auth0", |data| data.contains_key("client_secret")).await;
    fixture.finish().await;
}
