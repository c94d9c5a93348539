//! ClusterAuth0Tenants: which namespaces may use which clients, and the rotation of the management
//! client.

use auth0_rotator::api::ClientSecretRotation;
use auth0_simulator::{ClientSeed, Operation};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use rotation::{Outcome, Phase, Status};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::{
    auth0::{ADMINISTRATOR, MANAGER, tenant_with_clients},
    fixture::{Fixture, NamespaceFixture},
    status::phase,
};

fn status(resource: &ClientSecretRotation) -> Status {
    resource.status.clone().unwrap_or_default()
}

/// Returns a rule that allows the namespaces of the team `shop` all clients.
fn allow_team_shop() -> Value {
    json!([{ "namespaces": { "matchLabels": { "team": "shop" } }, "clientIds": ["*"] }])
}

/// Creates a client whose metadata names the namespace `shop`.
fn create_client_of_shop(fixture: &Fixture, client_id: &str) {
    let metadata = json!({ "k8s-namespace": "shop" });
    let seed = ClientSeed::new(client_id).field("client_metadata", metadata);
    fixture.simulator.add_client(seed).unwrap();
}

/// Changes the metadata of a client, as an administrator of the tenant.
async fn set_metadata(fixture: &Fixture, client_id: &str, metadata: Value) {
    let (http, url) = (reqwest::Client::new(), fixture.simulator.url());
    let secret = fixture.simulator.client_secret(ADMINISTRATOR).unwrap();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", ADMINISTRATOR),
        ("client_secret", secret.expose_secret()),
        ("audience", &fixture.simulator.audience()),
    ];
    let response = http.post(format!("{url}/oauth/token")).form(&form).send().await.unwrap();
    let token: Value = response.json().await.unwrap();
    let response = http
        .patch(format!("{url}/api/v2/clients/{client_id}"))
        .bearer_auth(token["access_token"].as_str().unwrap())
        .json(&json!({ "client_metadata": metadata }))
        .send()
        .await
        .unwrap();
    assert!(response.status().is_success(), "{}", response.status());
}

#[tokio::test]
async fn rules_allow_clients_by_id_and_by_metadata() {
    let fixture =
        Fixture::cluster_wide(tenant_with_clients(&["shop-web", "shop-api", "billing"]).await)
            .await;
    create_client_of_shop(&fixture, "owned");
    fixture
        .apply_shared_tenant(json!([
            { "namespaces": { "matchLabels": { "team": "shop" } }, "clientIds": ["shop-*"] },
            { "namespaces": { "matchLabels": { "team": "shop" } },
              "clientMetadata": { "key": "k8s-namespace", "value": "shop" } },
            { "namespaces": { "matchExpressions": [
                { "key": "kubernetes.io/metadata.name", "operator": "In", "values": ["billing"] },
            ] }, "clientIds": ["billing"] },
        ]))
        .await;
    let shop = fixture.create_namespace("shop", json!({ "team": "shop" })).await;
    let billing = fixture.create_namespace("billing", json!({})).await;
    shop.apply_rotation_of("web", "shop-web", json!({})).await;
    shop.apply_rotation_of("owned", "owned", json!({})).await;
    billing.apply_rotation_of("billing", "billing", json!({ "strategy": "Staged" })).await;
    for (namespace, name, client_id) in
        [(&shop, "web", "shop-web"), (&shop, "owned", "owned"), (&billing, "billing", "billing")]
    {
        namespace.wait_until_rotated(name, 1).await;
        namespace.request(name, "rotate/now").await;
        namespace.wait_until_rotated(name, 2).await;
        let secret = fixture.simulator.client_secret(client_id).unwrap();
        assert_eq!(namespace.current_value(name).await.as_deref(), Some(secret.expose_secret()));
    }
    // The permission to use one client does not extend to another.
    billing.apply_rotation_of("theirs", "shop-api", json!({})).await;
    let message = billing.wait_until_stalled("theirs", "NotAllowed").await;
    assert!(message.contains("ClusterAuth0Tenant shared"), "{message}");
    fixture.assert_no_requests("shop-api");
    fixture.finish().await;
}

#[tokio::test]
async fn withdrawn_rule_ends_rotations_in_progress_and_starts_none() {
    let fixture =
        Fixture::cluster_wide(tenant_with_clients(&["staged", "rotated", "confirming"]).await)
            .await;
    fixture.apply_shared_tenant(allow_team_shop()).await;
    let shop = fixture.create_namespace("shop", json!({ "team": "shop" })).await;
    let staged = json!({ "strategy": "Staged", "staging": { "period": "30s" } });
    shop.apply_rotation_of("staged", "staged", staged).await;
    shop.apply_rotation_of("rotated", "rotated", json!({})).await;
    shop.apply_rotation_of("confirming", "confirming", json!({ "gracePeriod": "6s" })).await;
    for name in ["staged", "rotated", "confirming"] {
        shop.wait_until_rotated(name, 1).await;
    }
    shop.request("staged", "rotate/now").await;
    shop.request("confirming", "rotate/now").await;
    shop.wait_for("staged", "staging", |resource| phase(&status(resource)) == Some(Phase::Staging))
        .await;
    shop.wait_for("confirming", "published", |resource| status(resource).current == Some(2)).await;

    fixture.apply_shared_tenant(json!([])).await;
    // A value that Auth0 does not have yet is withdrawn; a rotation that is active at Auth0 is
    // completed.
    let Status { current, history, .. } = wait_until_ended(&shop, "staged").await;
    assert_eq!((current, history[0].outcome), (Some(1), Outcome::Rejected));
    assert!(history[0].message.contains("spec.allow"), "{}", history[0].message);
    let Status { current, history, .. } = wait_until_ended(&shop, "confirming").await;
    assert_eq!((current, history[0].outcome), (Some(2), Outcome::Completed));
    shop.request("rotated", "rotate/now").await;
    for name in ["staged", "rotated", "confirming"] {
        let message = shop.wait_until_stalled(name, "NotAllowed").await;
        assert!(message.contains("no rule of its spec.allow selects it"), "{message}");
        let secret = fixture.simulator.client_secret(name).unwrap();
        assert_eq!(
            shop.current_value(name).await.as_deref(),
            Some(secret.expose_secret()),
            "{name}"
        );
    }
    let counters = fixture.simulator.counters();
    assert_eq!(counters.client("staged").effects.patches, 0);
    assert_eq!(counters.client("rotated").effects.rotations, 0);
    assert_eq!(counters.client("confirming").effects.rotations, 1);

    // The namespace does not get a secret that the tenant's administrators set from now on.
    fixture.simulator.dashboard_rotate("confirming").unwrap();
    shop.api::<Secret>().delete("confirming-auth0", &Default::default()).await.unwrap();
    shop.request("confirming", "rotate/again").await;
    shop.wait_until_stalled("confirming", "NotAllowed").await;
    assert_eq!(shop.current_value("confirming").await, None);

    // Once the rule is back, the operator continues.
    fixture.apply_shared_tenant(allow_team_shop()).await;
    shop.wait_until_rotated("rotated", 2).await;
    shop.wait_until_rotated("confirming", 3).await;
    fixture.finish().await;
}

/// Waits until the first rotation of a resource has ended, and returns the status.
async fn wait_until_ended(namespace: &NamespaceFixture, name: &str) -> Status {
    let has_ended = |resource: &ClientSecretRotation| {
        let status = status(resource);
        status.rotation.is_none() && !status.history.is_empty()
    };
    status(&namespace.wait_for(name, "idle after a rotation", has_ended).await)
}

#[tokio::test]
async fn permission_follows_changes_of_labels_and_metadata() {
    let fixture = Fixture::cluster_wide(tenant_with_clients(&["by-id"]).await).await;
    create_client_of_shop(&fixture, "owned");
    fixture
        .apply_shared_tenant(json!([
            { "namespaces": { "matchLabels": { "team": "shop" } }, "clientIds": ["by-id"] },
            { "namespaces": { "matchLabels": { "always": "yes" } },
              "clientMetadata": { "key": "k8s-namespace", "value": "shop" } },
        ]))
        .await;
    let shop = fixture.create_namespace("shop", json!({ "team": "shop", "always": "yes" })).await;
    shop.apply_rotation_of("by-id", "by-id", json!({})).await;
    shop.apply_rotation_of("owned", "owned", json!({})).await;
    shop.wait_until_rotated("by-id", 1).await;
    shop.wait_until_rotated("owned", 1).await;
    shop.label(json!({ "team": "else" })).await;
    shop.wait_until_stalled("by-id", "NotAllowed").await;
    shop.request("by-id", "rotate/now").await;
    shop.label(json!({ "team": "shop" })).await;
    shop.wait_until_rotated("by-id", 2).await;

    set_metadata(&fixture, "owned", json!({ "k8s-namespace": "billing" })).await;
    let rotations = fixture.rotation_count("owned");
    shop.request("owned", "rotate/now").await;
    let message = shop.wait_until_stalled("owned", "NotAllowed").await;
    assert!(message.contains("no rule of its spec.allow matches it"), "{message}");
    assert_eq!(fixture.rotation_count("owned"), rotations);
    fixture.finish().await;
}

#[tokio::test]
async fn forged_status_grants_no_permission() {
    let fixture = Fixture::cluster_wide(tenant_with_clients(&["victim", "web"]).await).await;
    fixture.apply_shared_tenant(allow_team_shop()).await;
    let mallory = fixture.create_namespace("mallory", json!({})).await;
    mallory.apply_rotation_of("forged", "victim", json!({})).await;
    mallory.wait_until_stalled("forged", "NotAllowed").await;
    // A user who can write statuses and Secrets makes both look like a rotation in progress.
    let annotations = json!({
        "auth0-rotator.dev/rotation": "forged",
        "auth0-rotator.dev/current": "1",
        "auth0-rotator.dev/keys": "client_secret,client_secret_fallback",
    });
    let guess = json!({ "client_secret": "a guess" });
    mallory.write_annotated_secret("forged-auth0", guess, annotations).await;
    for phase in ["Started", "Activating", "Confirming", "Grace", "Staging"] {
        for strategy in ["Rotate", "Staged"] {
            forge_rotation_in_progress(&mallory, phase, strategy).await;
            mallory.request("forged", &format!("rotate/{phase}-{strategy}")).await;
            let message = mallory.wait_until_stalled("forged", "NotAllowed").await;
            assert!(message.contains("allows the namespace mallory no client"), "{message}");
        }
    }
    // Namespaces with a permission are not affected.
    let shop = fixture.create_namespace("shop", json!({ "team": "shop" })).await;
    shop.apply_rotation_of("web", "web", json!({})).await;
    shop.wait_until_rotated("web", 1).await;
    // The operator has not read or changed the victim at Auth0. It may have probed the guess, which
    // anyone who can reach Auth0 can do.
    let counters = fixture.simulator.counters().client("victim");
    assert_eq!((counters.effects.rotations, counters.effects.patches), (0, 0));
    for operation in [Operation::RotateSecret, Operation::UpdateClient] {
        assert_eq!(fixture.simulator.counters().requests(operation), 0, "{operation:?}");
    }
    assert_eq!(fixture.simulator.counters().requests(Operation::GetClient), 1, "only web is read");
    let secret = fixture.simulator.client_secret("victim").unwrap();
    assert_ne!(mallory.current_value("forged").await.as_deref(), Some(secret.expose_secret()));
    fixture.finish().await;
}

/// Writes a rotation in progress to the status of the ClientSecretRotation `forged`.
async fn forge_rotation_in_progress(namespace: &NamespaceFixture, phase: &str, strategy: &str) {
    let status = json!({ "status": {
        "observedGeneration": 1, "current": 1,
        "rotation": {
            "number": 2, "cause": "Schedule", "strategy": strategy, "phase": phase,
            "startedAt": "2026-11-23T10:00:00Z", "activatingAt": "2026-11-23T10:00:00Z",
            "stagedAt": "2026-11-23T10:00:00Z", "attempts": 1,
        },
    } });
    let api = namespace.api::<ClientSecretRotation>();
    api.patch_status("forged", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

#[tokio::test]
async fn invalid_selector_allows_nothing() {
    let fixture = Fixture::cluster_wide(tenant_with_clients(&["web"]).await).await;
    fixture
        .apply_shared_tenant(json!([
            { "namespaces": {}, "clientIds": ["*"] },
            { "namespaces": { "matchExpressions": [{ "key": "tier", "operator": "Near" }] },
              "clientIds": ["web"] },
        ]))
        .await;
    let shop = fixture.create_namespace("shop", json!({})).await;
    shop.apply_rotation_of("web", "web", json!({})).await;
    let message = shop.wait_until_stalled("web", "InvalidTenant").await;
    assert!(message.contains("spec.allow[1].namespaces"), "{message}");
    fixture.assert_no_requests("web");
    fixture.finish().await;
}

#[tokio::test]
async fn management_client_is_rotated_without_lockout() {
    for strategy in ["Rotate", "Staged"] {
        let mut fixture = Fixture::cluster_wide(tenant_with_clients(&["web"]).await).await;
        fixture.apply_shared_tenant(json!([{ "namespaces": {}, "clientIds": ["*"] }])).await;
        let own = json!({
            "strategy": strategy,
            "target": { "name": "auth0-management", "adopt": true },
        });
        let namespace = fixture.operator_namespace();
        namespace.apply_rotation_of("own", MANAGER, own).await;
        namespace.wait_until_rotated("own", 1).await;
        for number in 2..=4 {
            namespace.request("own", &format!("rotate/{number}")).await;
            let is_past_started = |resource: &ClientSecretRotation| match status(resource).rotation
            {
                Some(rotation) => rotation.number == number && rotation.phase != Phase::Started,
                None => false,
            };
            namespace.wait_for("own", "past the phase Started", is_past_started).await;
            // The new process has to continue the rotation with the credentials in the Secret.
            fixture.take_operator().kill();
            fixture.start_cluster_operator_with(&[]);
            namespace.wait_until_rotated("own", number).await;
        }
        let shop = fixture.create_namespace("shop", json!({})).await;
        shop.apply_rotation_of("web", "web", json!({})).await;
        shop.wait_until_rotated("web", 1).await;
        fixture.finish().await;
    }
}
