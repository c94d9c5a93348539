//! Which resource owns a client: decided by the hosts that issued tokens, not by the names in specs.

use auth0_rotator::api::{Auth0Tenant, ClientSecretRotation};
use auth0_simulator::Simulator;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, Patch, PatchParams};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::{
    auth0::{self, MANAGER, tenant_with_clients},
    fixture::{Fixture, NamespaceFixture},
    manifests::merge,
};

use crate::tenant_status::wait_for_tenant_reason;

const VICTIMS: [&str; 3] = ["victim-1", "victim-2", "victim-3"];

/// Starts a server that behaves like Auth0 and belongs to an attacker. It has clients with the IDs of
/// the victims.
async fn fake_auth0(audience: &str) -> Simulator {
    let mut builder = auth0::tenant().audience(audience);
    for client_id in VICTIMS {
        builder = builder.client(auth0::application(client_id));
    }
    builder.start().await.unwrap()
}

/// Returns the spec of a tenant at a simulator, whose credentials are in the Secret `management`.
fn tenant_at(simulator: &Simulator, overrides: Value) -> Value {
    let mut spec = json!({
        "domain": "acme.eu.auth0.com",
        "endpoint": simulator.url(),
        "credentials": { "clientSecret": { "secretRef": { "name": "management" } } },
        "rateLimit": { "requestsPerSecond": 1000, "burst": 1000 },
    });
    merge(&mut spec, overrides);
    spec
}

/// Writes the credentials of a simulator's management client to the Secret `management`.
async fn write_credentials(namespace: &NamespaceFixture, simulator: &Simulator) {
    let secret = simulator.client_secret(MANAGER).unwrap();
    let data = [("client_id", MANAGER), ("client_secret", secret.expose_secret())];
    namespace.write_secret("management", &data).await;
}

fn of_tenant(name: &str) -> Value {
    json!({ "tenantRef": { "kind": "Auth0Tenant", "name": name } })
}

/// Creates the namespace `shop` with the tenant `acme` at the real Auth0.
async fn create_shop(fixture: &Fixture) -> NamespaceFixture {
    let shop = fixture.create_namespace("shop", json!({ "team": "shop" })).await;
    write_credentials(&shop, &fixture.simulator).await;
    shop.try_apply_tenant("acme", tenant_at(&fixture.simulator, json!({}))).await.unwrap();
    shop
}

/// Asserts that the value in a namespace is the one that the real Auth0 has.
async fn assert_real(fixture: &Fixture, namespace: &NamespaceFixture, name: &str) {
    let secret = fixture.simulator.client_secret(name).unwrap();
    assert_eq!(namespace.current_value(name).await.as_deref(), Some(secret.expose_secret()));
}

/// Asserts that no Event in a namespace names another one.
async fn assert_events_do_not_name(namespace: &NamespaceFixture, other: &str) {
    let events = namespace.api::<Event>().list(&ListParams::default()).await.unwrap();
    for note in events.items.into_iter().filter_map(|event| event.note) {
        assert!(!note.contains(other), "{note}");
    }
}

#[tokio::test]
async fn fake_tenant_keeps_no_client_from_its_owner() {
    let fixture = Fixture::cluster_wide(tenant_with_clients(&VICTIMS).await).await;
    let audience = "https://acme.eu.auth0.com/api/v2/";
    let fake = fake_auth0(audience).await;
    let mallory = fixture.create_namespace("mallory", json!({})).await;
    write_credentials(&mallory, &fake).await;
    let user = mallory.restricted_user("mallory").await;
    // The attacker is there first. Two resources work, at the attacker's server; the third one names
    // the real server, which rejects its credentials.
    let elsewhere = json!({ "domain": "mallory.eu.auth0.com", "audience": audience });
    let real = json!({ "endpoint": fixture.simulator.url() });
    for (name, victim, overrides) in [
        ("domain", "victim-1", json!({ "audience": audience })),
        ("audience", "victim-2", elsewhere),
        ("endpoint", "victim-3", real),
    ] {
        user.try_apply_tenant(name, tenant_at(&fake, overrides)).await.unwrap();
        user.apply_rotation_of(name, victim, of_tenant(name)).await;
    }
    user.wait_until_rotated("domain", 1).await;
    user.wait_until_rotated("audience", 1).await;
    wait_for_tenant_reason(&user, "endpoint", "CredentialsRejected").await;
    // A forged status proves nothing either: this process has asked the host.
    let forged = Patch::Merge(json!({ "status": { "origin": fixture.simulator.url() } }));
    for name in ["domain", "endpoint"] {
        let api = mallory.api::<Auth0Tenant>();
        api.patch_status(name, &PatchParams::default(), &forged).await.unwrap();
    }

    let shop = create_shop(&fixture).await;
    for name in VICTIMS {
        shop.apply_rotation_of(name, name, of_tenant("acme")).await;
        shop.wait_until_rotated(name, 1).await;
        shop.request(name, "rotate/now").await;
        shop.wait_until_rotated(name, 2).await;
        assert_real(&fixture, &shop, name).await;
    }
    user.wait_until_stalled("endpoint", "ClientClaimed").await;
    assert_eq!(user.get("domain").await.status.unwrap().current, Some(1));
    fixture.finish().await;
}

#[tokio::test]
async fn tenant_that_names_a_proven_host_loses_its_clients_to_it() {
    let fixture = Fixture::cluster_wide(tenant_with_clients(&VICTIMS).await).await;
    let audience = format!("{}/api/v2/", fixture.simulator.url());
    let fake = fake_auth0(&audience).await;
    let mallory = fixture.create_namespace("mallory", json!({})).await;
    write_credentials(&mallory, &fake).await;
    let user = mallory.restricted_user("mallory").await;
    let overrides = json!({ "domain": "login.acme.com", "audience": audience });
    user.try_apply_tenant("fake", tenant_at(&fake, overrides)).await.unwrap();
    user.apply_rotation_of("victim-1", "victim-1", of_tenant("fake")).await;
    user.wait_until_rotated("victim-1", 1).await;

    let shop = create_shop(&fixture).await;
    shop.apply_rotation_of("victim-1", "victim-1", of_tenant("acme")).await;
    shop.wait_until_rotated("victim-1", 1).await;
    let message = user.wait_until_stalled("victim-1", "ClientClaimed").await;
    assert!(message.contains("in another namespace") && !message.contains("shop"), "{message}");
    assert_events_do_not_name(&mallory, "shop").await;
    // Without the name, the two are different tenants again.
    let overrides = json!({ "domain": "login.acme.com", "audience": null });
    user.try_apply_tenant("fake", tenant_at(&fake, overrides)).await.unwrap();
    let is_unclaimed = |resource: &ClientSecretRotation| {
        let conditions = &resource.status.as_ref().unwrap().conditions;
        conditions.iter().all(|condition| condition.reason != "ClientClaimed")
    };
    user.wait_for("victim-1", "unclaimed", is_unclaimed).await;
    fixture.finish().await;
}

#[tokio::test]
async fn tenant_that_moves_to_the_real_host_takes_no_client() {
    let fixture = Fixture::cluster_wide(tenant_with_clients(&VICTIMS).await).await;
    let fake = fake_auth0("https://acme.eu.auth0.com/api/v2/").await;
    let mallory = fixture.create_namespace("mallory", json!({})).await;
    write_credentials(&mallory, &fake).await;
    let user = mallory.restricted_user("mallory").await;
    user.try_apply_tenant("moving", tenant_at(&fake, json!({}))).await.unwrap();
    user.apply_rotation_of("victim-1", "victim-1", of_tenant("moving")).await;
    user.wait_until_rotated("victim-1", 1).await;
    fixture.apply_shared_tenant(json!([{ "namespaces": {}, "clientIds": ["victim-1"] }])).await;
    let shop = fixture.create_namespace("shop", json!({})).await;
    shop.apply_rotation_of("victim-1", "victim-1", json!({})).await;
    shop.wait_until_rotated("victim-1", 1).await;
    // First without, then with credentials of the real host.
    user.try_apply_tenant("moving", tenant_at(&fixture.simulator, json!({}))).await.unwrap();
    wait_for_tenant_reason(&user, "moving", "CredentialsRejected").await;
    user.wait_until_stalled("victim-1", "ClientClaimed").await;
    write_credentials(&mallory, &fixture.simulator).await;
    wait_for_tenant_reason(&user, "moving", "Usable").await;
    user.request("victim-1", "rotate/now").await;
    shop.request("victim-1", "rotate/now").await;
    shop.wait_until_rotated("victim-1", 2).await;
    user.wait_until_stalled("victim-1", "ClientClaimed").await;
    assert_eq!(fixture.rotation_count("victim-1"), 1);
    assert_real(&fixture, &shop, "victim-1").await;
    fixture.finish().await;
}

#[tokio::test]
async fn restarted_operator_knows_the_owner() {
    let mut fixture = Fixture::cluster_wide(tenant_with_clients(&VICTIMS).await).await;
    let shop = create_shop(&fixture).await;
    shop.apply_rotation_of("victim-1", "victim-1", of_tenant("acme")).await;
    shop.wait_until_rotated("victim-1", 1).await;
    let mallory = fixture.create_namespace("mallory", json!({})).await;
    write_credentials(&mallory, &fixture.simulator).await;
    let user = mallory.restricted_user("mallory").await;
    user.try_apply_tenant("real", tenant_at(&fixture.simulator, json!({}))).await.unwrap();
    user.apply_rotation_of("victim-1", "victim-1", of_tenant("real")).await;
    user.wait_until_stalled("victim-1", "ClientClaimed").await;
    for (namespace, name) in [(&shop, "acme"), (&mallory, "real")] {
        wait_for_tenant_reason(namespace, name, "Usable").await;
        let tenant = namespace.api::<Auth0Tenant>().get(name).await.unwrap();
        let origin = tenant.status.unwrap().origin;
        assert_eq!(origin.as_deref(), Some(fixture.simulator.url()), "{name}");
    }
    fixture.take_operator().kill();
    fixture.start_cluster_operator_with(&[]);
    user.request("victim-1", "rotate/now").await;
    shop.request("victim-1", "rotate/now").await;
    shop.wait_until_rotated("victim-1", 2).await;
    user.wait_until_stalled("victim-1", "ClientClaimed").await;
    assert_eq!(fixture.rotation_count("victim-1"), 1);
    assert_eq!(user.get("victim-1").await.status.unwrap().current, None);
    fixture.finish().await;
}

#[tokio::test]
async fn rule_of_a_cluster_tenant_precedes_a_namespaced_tenant() {
    let fixture = Fixture::cluster_wide(tenant_with_clients(&VICTIMS).await).await;
    let mallory = fixture.create_namespace("mallory", json!({})).await;
    write_credentials(&mallory, &fixture.simulator).await;
    let user = mallory.restricted_user("mallory").await;
    user.try_apply_tenant("real", tenant_at(&fixture.simulator, json!({}))).await.unwrap();
    user.apply_rotation_of("victim-1", "victim-1", of_tenant("real")).await;
    user.wait_until_rotated("victim-1", 1).await;
    let rule = json!([
        { "namespaces": { "matchLabels": { "team": "shop" } }, "clientIds": ["victim-1"] },
    ]);
    fixture.apply_shared_tenant(rule).await;
    // Without the rule, the first one keeps the client.
    let other = fixture.create_namespace("other", json!({})).await;
    other.apply_rotation_of("victim-1", "victim-1", json!({})).await;
    other.wait_until_stalled("victim-1", "NotAllowed").await;
    user.request("victim-1", "rotate/now").await;
    user.wait_until_rotated("victim-1", 2).await;
    let shop = fixture.create_namespace("shop", json!({ "team": "shop" })).await;
    shop.apply_rotation_of("victim-1", "victim-1", json!({})).await;
    shop.wait_until_rotated("victim-1", 1).await;
    user.wait_until_stalled("victim-1", "ClientClaimed").await;
    shop.request("victim-1", "rotate/now").await;
    shop.wait_until_rotated("victim-1", 2).await;
    assert_eq!(fixture.rotation_count("victim-1"), 2);
    // When the rule is withdrawn, the resource doesn't keep the client from others.
    fixture.apply_shared_tenant(json!([])).await;
    shop.wait_until_stalled("victim-1", "NotAllowed").await;
    user.request("victim-1", "rotate/again").await;
    user.wait_until_rotated("victim-1", 4).await;
    fixture.finish().await;
}

#[tokio::test]
async fn claimants_do_not_multiply_the_work_for_an_owner() {
    const CLAIMANTS: usize = 150;
    let fixture = Fixture::cluster_wide(tenant_with_clients(&VICTIMS).await).await;
    let shop = create_shop(&fixture).await;
    shop.apply_rotation_of("victim-1", "victim-1", of_tenant("acme")).await;
    shop.wait_until_rotated("victim-1", 1).await;
    let mallory = fixture.create_namespace("mallory", json!({})).await;
    write_credentials(&mallory, &fixture.simulator).await;
    let user = mallory.restricted_user("mallory").await;
    user.try_apply_tenant("real", tenant_at(&fixture.simulator, json!({}))).await.unwrap();
    let names: Vec<_> = (0..CLAIMANTS).map(|number| format!("claimant-{number}")).collect();
    for name in &names {
        user.apply_rotation_of(name, "victim-1", of_tenant("real")).await;
    }
    for name in &names {
        user.wait_until_stalled(name, "ClientClaimed").await;
    }
    let reconciles = async || {
        let metric = |result: &str| format!("auth0_rotator_reconcile_total{{result=\"{result}\"}}");
        let unchanged = fixture.operator().metric(&metric("unchanged")).await;
        unchanged + fixture.operator().metric(&metric("ok")).await
    };
    let before = reconciles().await;
    for number in 2..=4 {
        shop.request("victim-1", &format!("rotate/{number}")).await;
        shop.wait_until_rotated("victim-1", number).await;
    }
    let made = reconciles().await - before;
    println!("{made} reconciles for three rotations with {CLAIMANTS} claimants");
    assert!(made < CLAIMANTS as f64, "{made} reconciles");
    // One of them gets the client when it becomes free.
    shop.api::<ClientSecretRotation>().delete("victim-1", &Default::default()).await.unwrap();
    user.wait_until_async("a claimant works", async || {
        let all = user.api::<ClientSecretRotation>();
        let all = all.list(&ListParams::default()).await.unwrap();
        let works = |resource: &ClientSecretRotation| {
            resource.status.as_ref().is_some_and(|status| status.current.is_some())
        };
        all.items.iter().filter(|resource| works(resource)).count() == 1
    })
    .await;
    fixture.finish().await;
}
