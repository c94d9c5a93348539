//! What a tenant of the cluster gives a namespace, and what it doesn't.

use auth0_rotator::api::ClientSecretRotation;
use auth0_simulator::{ClientSeed, Operation};
use kube::api::{Patch, PatchParams};
use rotation::{Outcome, Phase};
use secrecy::ExposeSecret as _;
use serde_json::json;
use testkit::{
    auth0::{ADMINISTRATOR, MANAGER, tenant_with_clients},
    fixture::Fixture,
};

fn phase(resource: &ClientSecretRotation) -> Option<Phase> {
    resource.status.as_ref()?.rotation.as_ref().map(|rotation| rotation.phase)
}

/// Someone who administers the tenant changes a client's metadata.
async fn set_metadata(bench: &Fixture, client: &str, metadata: serde_json::Value) {
    let (http, url) = (reqwest::Client::new(), bench.simulator.url());
    let secret = bench.simulator.client_secret(ADMINISTRATOR).unwrap();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", ADMINISTRATOR),
        ("client_secret", secret.expose_secret()),
        ("audience", &bench.simulator.audience()),
    ];
    let answer = http.post(format!("{url}/oauth/token")).form(&form).send().await.unwrap();
    let token: serde_json::Value = answer.json().await.unwrap();
    let answer = http
        .patch(format!("{url}/api/v2/clients/{client}"))
        .bearer_auth(token["access_token"].as_str().unwrap())
        .json(&json!({ "client_metadata": metadata }))
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
}

#[tokio::test]
async fn rules_give_namespaces_clients_by_id_and_by_metadata() {
    let bench =
        Fixture::cluster_wide(tenant_with_clients(&["shop-web", "shop-api", "billing"]).await)
            .await;
    let owned =
        ClientSeed::new("owned").field("client_metadata", json!({ "k8s-namespace": "shop" }));
    bench.simulator.add_client(owned).unwrap();
    bench
        .apply_shared_tenant(json!([
            { "namespaces": { "matchLabels": { "team": "shop" } }, "clientIds": ["shop-*"] },
            { "namespaces": { "matchLabels": { "team": "shop" } },
              "clientMetadata": { "key": "k8s-namespace", "value": "shop" } },
            { "namespaces": { "matchExpressions": [
                { "key": "kubernetes.io/metadata.name", "operator": "In", "values": ["billing"] },
            ] }, "clientIds": ["billing"] },
        ]))
        .await;
    let shop = bench.create_namespace("shop", json!({ "team": "shop" })).await;
    let billing = bench.create_namespace("billing", json!({})).await;
    shop.apply_rotation_of("web", "shop-web", json!({})).await;
    shop.apply_rotation_of("owned", "owned", json!({})).await;
    billing.apply_rotation_of("billing", "billing", json!({ "strategy": "Staged" })).await;
    for (place, name, client) in
        [(&shop, "web", "shop-web"), (&shop, "owned", "owned"), (&billing, "billing", "billing")]
    {
        place.wait_until_rotated(name, 1).await;
        place.request(name, "rotate/now").await;
        place.wait_until_rotated(name, 2).await;
        let secret = bench.simulator.client_secret(client).unwrap();
        assert_eq!(place.current_value(name).await.as_deref(), Some(secret.expose_secret()));
    }
    // Being given one client is not being given another.
    billing.apply_rotation_of("theirs", "shop-api", json!({})).await;
    let message = billing.wait_until_stalled("theirs", "NotAllowed").await;
    assert!(message.contains("ClusterAuth0Tenant shared"), "{message}");
    bench.assert_no_requests("shop-api");
    bench.finish().await;
}

#[tokio::test]
async fn a_policy_that_is_withdrawn_ends_what_is_in_progress_and_starts_nothing() {
    let bench =
        Fixture::cluster_wide(tenant_with_clients(&["staged", "rotated", "confirming"]).await)
            .await;
    let rules =
        json!([{ "namespaces": { "matchLabels": { "team": "shop" } }, "clientIds": ["*"] }]);
    bench.apply_shared_tenant(rules.clone()).await;
    let shop = bench.create_namespace("shop", json!({ "team": "shop" })).await;
    let staged = json!({ "strategy": "Staged", "staging": { "period": "30s" } });
    shop.apply_rotation_of("staged", "staged", staged).await;
    shop.apply_rotation_of("rotated", "rotated", json!({})).await;
    shop.apply_rotation_of("confirming", "confirming", json!({ "gracePeriod": "6s" })).await;
    for name in ["staged", "rotated", "confirming"] {
        shop.wait_until_rotated(name, 1).await;
    }
    shop.request("staged", "rotate/now").await;
    shop.request("confirming", "rotate/now").await;
    shop.wait_for("staged", "staging", |found| phase(found) == Some(Phase::Staging)).await;
    let published =
        |found: &ClientSecretRotation| found.status.as_ref().unwrap().current == Some(2);
    shop.wait_for("confirming", "published", published).await;

    bench.apply_shared_tenant(json!([])).await;
    // What Auth0 wasn't told is taken back; what it was told is brought to its end.
    let resource = shop.wait_until_rotated("staged", 1).await;
    let ended = resource.status.unwrap().history[0].clone();
    assert_eq!(ended.outcome, Outcome::Rejected);
    assert!(ended.message.contains("spec.allow"), "{}", ended.message);
    shop.wait_until_rotated("confirming", 2).await;
    shop.request("rotated", "rotate/now").await;
    for name in ["staged", "rotated", "confirming"] {
        let message = shop.wait_until_stalled(name, "NotAllowed").await;
        assert!(message.contains("no rule of its spec.allow selects it"), "{message}");
        let secret = bench.simulator.client_secret(name).unwrap();
        assert_eq!(
            shop.current_value(name).await.as_deref(),
            Some(secret.expose_secret()),
            "{name}"
        );
    }
    let counters = bench.simulator.counters();
    assert_eq!(counters.client("staged").effects.patches, 0);
    assert_eq!(counters.client("rotated").effects.rotations, 0);
    assert_eq!(counters.client("confirming").effects.rotations, 1);

    // A secret that the tenant's administrators change now is none of the namespace's business.
    bench.simulator.dashboard_rotate("confirming").unwrap();
    shop.api::<k8s_openapi::api::core::v1::Secret>()
        .delete("confirming-auth0", &Default::default())
        .await
        .unwrap();
    shop.request("confirming", "rotate/again").await;
    shop.wait_until_stalled("confirming", "NotAllowed").await;
    assert_eq!(shop.current_value("confirming").await, None);

    // Given again, it is all taken up again.
    bench.apply_shared_tenant(rules).await;
    shop.wait_until_rotated("rotated", 2).await;
    shop.wait_until_rotated("confirming", 3).await;
    bench.finish().await;
}

#[tokio::test]
async fn labels_and_metadata_that_change_take_the_permission_along() {
    let bench = Fixture::cluster_wide(tenant_with_clients(&["by-id"]).await).await;
    let owned =
        ClientSeed::new("owned").field("client_metadata", json!({ "k8s-namespace": "shop" }));
    bench.simulator.add_client(owned).unwrap();
    bench
        .apply_shared_tenant(json!([
            { "namespaces": { "matchLabels": { "team": "shop" } }, "clientIds": ["by-id"] },
            { "namespaces": { "matchLabels": { "always": "yes" } },
              "clientMetadata": { "key": "k8s-namespace", "value": "shop" } },
        ]))
        .await;
    let shop = bench.create_namespace("shop", json!({ "team": "shop", "always": "yes" })).await;
    shop.apply_rotation_of("by-id", "by-id", json!({})).await;
    shop.apply_rotation_of("owned", "owned", json!({})).await;
    shop.wait_until_rotated("by-id", 1).await;
    shop.wait_until_rotated("owned", 1).await;
    shop.label(json!({ "team": "else" })).await;
    shop.wait_until_stalled("by-id", "NotAllowed").await;
    shop.request("by-id", "rotate/now").await;
    shop.label(json!({ "team": "shop" })).await;
    shop.wait_until_rotated("by-id", 2).await;

    set_metadata(&bench, "owned", json!({ "k8s-namespace": "billing" })).await;
    let before = bench.simulator.counters().client("owned").effects.rotations;
    shop.request("owned", "rotate/now").await;
    let message = shop.wait_until_stalled("owned", "NotAllowed").await;
    assert!(message.contains("no rule of its spec.allow gives it"), "{message}");
    assert_eq!(bench.simulator.counters().client("owned").effects.rotations, before);
    bench.finish().await;
}

#[tokio::test]
async fn what_the_status_says_is_no_permission() {
    let bench = Fixture::cluster_wide(tenant_with_clients(&["victim", "web"]).await).await;
    let rules =
        json!([{ "namespaces": { "matchLabels": { "team": "shop" } }, "clientIds": ["*"] }]);
    bench.apply_shared_tenant(rules).await;
    let shop = bench.create_namespace("mallory", json!({})).await;
    shop.apply_rotation_of("forged", "victim", json!({})).await;
    shop.wait_until_stalled("forged", "NotAllowed").await;
    // Somebody who may write statuses, and Secrets, makes both look like a rotation in progress.
    let annotations = json!({
        "auth0-rotator.dev/rotation": "forged",
        "auth0-rotator.dev/current": "1",
        "auth0-rotator.dev/keys": "client_secret,client_secret_fallback",
    });
    shop.write_annotated_secret("forged-auth0", json!({ "client_secret": "a guess" }), annotations)
        .await;
    for phase in ["Started", "Activating", "Confirming", "Grace", "Staging"] {
        for strategy in ["Rotate", "Staged"] {
            let status = json!({ "status": {
                "observedGeneration": 1, "current": 1,
                "rotation": {
                    "number": 2, "cause": "Schedule", "strategy": strategy, "phase": phase,
                    "startedAt": "2026-11-23T10:00:00Z", "activatingAt": "2026-11-23T10:00:00Z",
                    "stagedAt": "2026-11-23T10:00:00Z", "attempts": 1,
                },
            } });
            let api = shop.api::<ClientSecretRotation>();
            let patch = Patch::Merge(status);
            api.patch_status("forged", &PatchParams::default(), &patch).await.unwrap();
            shop.request("forged", &format!("rotate/{phase}-{strategy}")).await;
            let message = shop.wait_until_stalled("forged", "NotAllowed").await;
            assert!(message.contains("allows the namespace mallory nothing"), "{message}");
        }
    }
    // Whoever is given a client is served meanwhile.
    let other = bench.create_namespace("shop", json!({ "team": "shop" })).await;
    other.apply_rotation_of("web", "web", json!({})).await;
    other.wait_until_rotated("web", 1).await;
    // A guess can be tried by anyone who reaches Auth0; nothing is learned, and nothing changed.
    let counters = bench.simulator.counters().client("victim");
    assert_eq!((counters.effects.rotations, counters.effects.patches), (0, 0));
    for operation in [Operation::RotateSecret, Operation::UpdateClient] {
        assert_eq!(bench.simulator.counters().requests(operation), 0, "{operation:?}");
    }
    assert_eq!(bench.simulator.counters().requests(Operation::GetClient), 1, "that of web");
    let secret = bench.simulator.client_secret("victim").unwrap();
    assert_ne!(shop.current_value("forged").await.as_deref(), Some(secret.expose_secret()));
    bench.finish().await;
}

#[tokio::test]
async fn a_selector_that_is_none_allows_nothing_and_says_so() {
    let bench = Fixture::cluster_wide(tenant_with_clients(&["web"]).await).await;
    bench
        .apply_shared_tenant(json!([
            { "namespaces": {}, "clientIds": ["*"] },
            { "namespaces": { "matchExpressions": [{ "key": "tier", "operator": "Near" }] },
              "clientIds": ["web"] },
        ]))
        .await;
    let shop = bench.create_namespace("shop", json!({})).await;
    shop.apply_rotation_of("web", "web", json!({})).await;
    let message = shop.wait_until_stalled("web", "InvalidTenant").await;
    assert!(message.contains("spec.allow[1].namespaces"), "{message}");
    bench.assert_no_requests("web");
    bench.finish().await;
}

#[tokio::test]
async fn the_operators_own_client_is_rotated_without_locking_it_out() {
    for strategy in ["Rotate", "Staged"] {
        let mut bench = Fixture::cluster_wide(tenant_with_clients(&["web"]).await).await;
        bench.apply_shared_tenant(json!([{ "namespaces": {}, "clientIds": ["*"] }])).await;
        let own = json!({
            "strategy": strategy,
            "target": { "name": "auth0-management", "adopt": true },
        });
        bench.operator_namespace().apply_rotation_of("own", MANAGER, own).await;
        bench.operator_namespace().wait_until_rotated("own", 1).await;
        for number in 2..=4 {
            let home = bench.operator_namespace();
            home.request("own", &format!("rotate/{number}")).await;
            let is_under_way = |found: &ClientSecretRotation| {
                let rotation = found.status.as_ref().and_then(|status| status.rotation.as_ref());
                rotation.is_some_and(|rotation| {
                    rotation.number == number && rotation.phase != Phase::Started
                })
            };
            home.wait_for("own", "under way", is_under_way).await;
            // In the middle of it, with nothing but the Secret to go on from.
            bench.take_operator().kill();
            bench.start_cluster_operator_with(&[]);
            bench.operator_namespace().wait_until_rotated("own", number).await;
        }
        let place = bench.create_namespace("shop", json!({})).await;
        place.apply_rotation_of("web", "web", json!({})).await;
        place.wait_until_rotated("web", 1).await;
        bench.finish().await;
    }
}
