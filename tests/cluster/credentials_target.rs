//! Credentials of tenants are no target of other clients, and management clients are rotated only where
//! their credentials are.

use std::{collections::BTreeMap, fs};

use auth0_rotator::api::{Auth0Tenant, ClientSecretRotation};
use auth0_simulator::{ClientSeed, Simulator};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::{
    auth0::{self, MANAGER, SCOPES, tenant_with_clients},
    fixture::{Fixture, NamespaceFixture},
};

/// Client ID of the management client of a namespace's own tenant.
const SHOP_MANAGER: &str = "shop-manager";

/// Returns the spec of a tenant at a simulator, with the credentials in this Secret.
fn tenant_at(simulator: &Simulator, secret: &str) -> Value {
    json!({
        "domain": "acme.eu.auth0.com",
        "endpoint": simulator.url(),
        "credentials": { "clientSecret": { "secretRef": { "name": secret } } },
        "rateLimit": { "requestsPerSecond": 1000, "burst": 1000 },
    })
}

/// Writes the credentials of a client to a Secret.
async fn write_credentials(
    namespace: &NamespaceFixture,
    name: &str,
    simulator: &Simulator,
    client_id: &str,
) {
    let secret = simulator.client_secret(client_id).unwrap();
    let data = [("client_id", client_id), ("client_secret", secret.expose_secret())];
    namespace.write_secret(name, &data).await;
}

/// Returns overrides that make a resource take over a Secret, with a tenant of its namespace.
fn adopt(secret: &str, tenant: &str) -> Value {
    json!({
        "tenantRef": { "kind": "Auth0Tenant", "name": tenant },
        "target": { "name": secret, "adopt": true },
        "initial": "Rotate",
    })
}

async fn data(namespace: &NamespaceFixture, secret: &str) -> BTreeMap<String, String> {
    namespace.secret_data(secret).await.unwrap()
}

/// Creates the tenant `mine` of an attacker in the fixture's namespace, at a server of the attacker
/// that has the clients `app` and [`MANAGER`].
async fn create_attackers_tenant(fixture: &Fixture, user: &NamespaceFixture) -> Simulator {
    let fake = auth0::tenant().client(auth0::application("app")).start().await.unwrap();
    let own = fixture.operator_namespace();
    write_credentials(&own, "mine-management", &fake, MANAGER).await;
    user.try_apply_tenant("mine", tenant_at(&fake, "mine-management")).await.unwrap();
    fake
}

#[tokio::test]
async fn credentials_of_another_tenant_are_no_target() {
    let fixture = Fixture::start().await;
    let user = fixture.restricted_user("mallory").await;
    let _fake = create_attackers_tenant(&fixture, &user).await;
    fixture.write_secret("signing-key", &[("tls.key", "a key"), ("client_id", MANAGER)]).await;
    let key = json!({ "clientId": MANAGER, "keyRef": { "name": "signing-key" } });
    let keyed = json!({
        "domain": "acme.eu.auth0.com", "endpoint": fixture.simulator.url(),
        "credentials": { "privateKeyJwt": key },
    });
    fixture.try_apply_tenant("keyed", keyed).await.unwrap();
    let secrets = ["auth0-management", "signing-key"];
    let before = [data(&fixture, secrets[0]).await, data(&fixture, secrets[1]).await];
    for (name, client_id, secret) in [
        ("other-client", "app", secrets[0]),
        // The client ID is the same, at another host.
        ("same-client", MANAGER, secrets[0]),
        ("key", "app", secrets[1]),
        ("key-of-client", MANAGER, secrets[1]),
    ] {
        user.apply_rotation_of(name, client_id, adopt(secret, "mine")).await;
        let message = user.wait_until_stalled(name, "CredentialsTarget").await;
        assert!(message.contains("Auth0Tenant"), "{message}");
        user.api::<ClientSecretRotation>().delete(name, &Default::default()).await.unwrap();
        user.wait_until_deleted(name).await;
    }
    let other_keys = json!({ "target": {
        "name": secrets[0], "adopt": true, "keys": { "current": "x", "clientId": "y" },
    } });
    user.apply_rotation_of("other-keys", "app", other_keys).await;
    user.wait_until_stalled("other-keys", "CredentialsTarget").await;
    assert_eq!([data(&fixture, secrets[0]).await, data(&fixture, secrets[1]).await], before);
    // The client's own credentials still are a target.
    let own = json!({ "target": { "name": secrets[0], "adopt": true } });
    user.apply_rotation_of("own", MANAGER, own).await;
    user.wait_until_rotated("own", 1).await;
    user.request("own", "rotate/now").await;
    user.wait_until_rotated("own", 2).await;
    fixture.finish().await;
}

#[tokio::test]
async fn credentials_of_a_cluster_tenant_are_no_target_in_the_operators_namespace() {
    let fixture = Fixture::cluster_wide(tenant_with_clients(&["web"]).await).await;
    fixture.apply_shared_tenant(json!([{ "namespaces": {}, "clientIds": ["*"] }])).await;
    fixture.api::<Auth0Tenant>().delete("acme", &Default::default()).await.unwrap();
    let user = fixture.operator_namespace().restricted_user("mallory").await;
    let _fake = create_attackers_tenant(&fixture, &user).await;
    let before = data(&fixture, "auth0-management").await;
    for (name, client_id) in [("other-client", "app"), ("same-client", MANAGER)] {
        user.apply_rotation_of(name, client_id, adopt("auth0-management", "mine")).await;
        let message = user.wait_until_stalled(name, "CredentialsTarget").await;
        assert!(!message.contains("shared"), "{message}");
    }
    assert_eq!(data(&fixture, "auth0-management").await, before);
    fixture.finish().await;
}

#[tokio::test]
async fn tenant_that_names_a_target_later_takes_nothing_from_its_resource() {
    let fixture = Fixture::start().await;
    let user = fixture.restricted_user("mallory").await;
    let fake = create_attackers_tenant(&fixture, &user).await;
    fixture.apply_rotation("app", json!({})).await;
    fixture.wait_until_rotated("app", 1).await;
    // The attacker's tenants name the published Secret, at the attacker's server and at the real one.
    for (name, simulator) in [("later-fake", &fake), ("later-real", &fixture.simulator)] {
        user.try_apply_tenant(name, tenant_at(simulator, "app-auth0")).await.unwrap();
    }
    fixture.request("app", "rotate/now").await;
    fixture.wait_until_rotated("app", 2).await;
    fixture.assert_published("app").await;

    // A Secret that does not exist yet belongs to the tenant that names it.
    user.try_apply_tenant("early", tenant_at(&fixture.simulator, "early-auth0")).await.unwrap();
    user.apply_rotation_of("early", "app", json!({ "tenantRef": { "name": "mine" } })).await;
    user.wait_until_stalled("early", "CredentialsTarget").await;
    assert_eq!(fixture.secret_data("early-auth0").await, None);
    user.api::<Auth0Tenant>().delete("early", &Default::default()).await.unwrap();
    user.wait_until_rotated("early", 1).await;
    fixture.finish().await;
}

/// Creates the namespace `shop`, whose tenant authenticates as [`SHOP_MANAGER`], and lets all
/// namespaces use all clients of the ClusterAuth0Tenant.
async fn create_shop(fixture: &Fixture) -> NamespaceFixture {
    for client_id in [SHOP_MANAGER, "next-manager"] {
        fixture.simulator.add_client(ClientSeed::new(client_id).scopes(SCOPES)).unwrap();
    }
    fixture.apply_shared_tenant(json!([{ "namespaces": {}, "clientIds": ["*"] }])).await;
    let shop = fixture.create_namespace("shop", json!({})).await;
    write_credentials(&shop, "shop-management", &fixture.simulator, SHOP_MANAGER).await;
    let spec = tenant_at(&fixture.simulator, "shop-management");
    shop.try_apply_tenant("own", spec).await.unwrap();
    crate::tenant_status::wait_for_tenant_reason(&shop, "own", "Usable").await;
    shop
}

#[tokio::test]
async fn management_client_of_any_tenant_is_rotated_in_its_credentials_only() {
    let fixture = Fixture::cluster_wide(tenant_with_clients(&["web"]).await).await;
    let shop = create_shop(&fixture).await;
    let mallory = fixture.create_namespace("mallory", json!({})).await;
    let user = mallory.restricted_user("mallory").await;
    let rotate = json!({ "initial": "Rotate" });
    user.apply_rotation_of("shops", SHOP_MANAGER, rotate.clone()).await;
    let message = user.wait_until_stalled("shops", "ManagementClient").await;
    assert!(!message.contains("shop"), "{message}");
    // The credentials change. The operator still has tokens for the clients that were in them.
    write_credentials(&shop, "shop-management", &fixture.simulator, "next-manager").await;
    user.apply_rotation_of("next", "next-manager", rotate.clone()).await;
    user.wait_until_stalled("next", "ManagementClient").await;
    let operator = fixture.operator_namespace();
    write_credentials(&operator, "auth0-management", &fixture.simulator, "web").await;
    user.apply_rotation_of("own", "web", rotate.clone()).await;
    user.wait_until_stalled("own", "ManagementClient").await;
    for (name, client_id) in [("shops", SHOP_MANAGER), ("next", "next-manager"), ("own", "web")] {
        assert_eq!(user.get(name).await.status.unwrap().current, None, "{name}");
        assert_eq!(fixture.rotation_count(client_id), 0, "{client_id}");
    }
    // A former management client is an ordinary client, and a tenant at another host makes
    // no client one.
    let fake =
        auth0::tenant().client(ClientSeed::new("free").scopes(SCOPES)).start().await.unwrap();
    write_credentials(&shop, "fake-management", &fake, "free").await;
    shop.try_apply_tenant("fake", tenant_at(&fake, "fake-management")).await.unwrap();
    crate::tenant_status::wait_for_tenant_reason(&shop, "fake", "Usable").await;
    fixture.simulator.add_client(auth0::application("free")).unwrap();
    user.apply_rotation_of("free", "free", rotate).await;
    user.wait_until_rotated("free", 2).await;
    fixture.finish().await;
}

#[tokio::test]
async fn tenants_are_listed_only_before_the_first_write_of_an_existing_secret() {
    let fixture = Fixture::cluster_wide(tenant_with_clients(&["web", "created"]).await).await;
    fixture.apply_shared_tenant(json!([{ "namespaces": {}, "clientIds": ["*"] }])).await;
    let shop = fixture.create_namespace("shop", json!({})).await;
    shop.write_secret("web-auth0", &[("other", "text")]).await;
    let adopted = json!({ "target": { "adopt": true } });
    shop.apply_rotation_of("web", "web", adopted).await;
    shop.wait_until_rotated("web", 1).await;
    shop.apply_rotation_of("created", "created", json!({})).await;
    shop.wait_until_rotated("created", 1).await;
    for number in 2..=4 {
        shop.request("web", &format!("rotate/{number}")).await;
        shop.wait_until_rotated("web", number).await;
    }
    let params = PatchParams::default();
    let edited = Patch::Merge(json!({ "stringData": { "client_secret": "edited" } }));
    shop.api::<Secret>().patch("web-auth0", &params, &edited).await.unwrap();
    let is_repaired = |data: &BTreeMap<String, String>| data["client_secret"] != "edited";
    shop.wait_for_secret_data("web-auth0", is_repaired).await;
    let path = fixture.dedicated_control_plane.as_ref().unwrap().audit_log_path().unwrap();
    let log = fs::read_to_string(path).unwrap();
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lists = events.filter(|event| {
        let uri = event["requestURI"].as_str().unwrap_or_default();
        event["stage"] == "ResponseComplete" && uri.contains("/namespaces/shop/auth0tenants?")
    });
    assert_eq!(lists.count(), 1);
    fixture.finish().await;
}

#[tokio::test]
async fn status_names_no_secret_of_the_operators_namespace() {
    let fixture = Fixture::cluster_wide(tenant_with_clients(&["web"]).await).await;
    fixture.api::<Secret>().delete("auth0-management", &Default::default()).await.unwrap();
    fixture.apply_shared_tenant(json!([{ "namespaces": {}, "clientIds": ["*"] }])).await;
    let shop = fixture.create_namespace("shop", json!({})).await;
    let user = shop.restricted_user("user").await;
    user.apply_rotation_of("web", "web", json!({})).await;
    user.wait_for_reason("web", "Ready", "CredentialsUnreadable").await;
    user.wait_for_reason("web", "TenantReady", "CredentialsUnreadable").await;
    let status = serde_json::to_string(&user.get("web").await.status).unwrap();
    assert!(status.contains("ClusterAuth0Tenant shared"), "{status}");
    assert!(!status.contains("auth0-management"), "{status}");
    fixture.finish().await;
}
