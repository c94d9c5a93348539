//! Clients and target Secrets that the operator rejects, and the conditions that say why.

use std::time::Duration;

use auth0_simulator::{ClientSeed, Operation};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use testkit::fixture::{Fixture, from_json};

#[tokio::test]
async fn rejects_a_client_that_auth0_does_not_have() {
    let fixture = Fixture::start().await;
    fixture.try_apply_rotation("nobody", json!({})).await.unwrap();
    let message = fixture.wait_for_reason("nobody", "Stalled", "ClientNotFound").await;
    assert!(message.contains("check spec.clientId"), "{message}");
    fixture.wait_for_reason("nobody", "Ready", "ClientNotFound").await;
    assert_eq!(fixture.secret_data("nobody-auth0").await, None);
    fixture.finish().await;
}

#[tokio::test]
async fn rejects_a_public_client() {
    let fixture = Fixture::start().await;
    let seed = ClientSeed::new("spa").field("token_endpoint_auth_method", "none");
    fixture.simulator.add_client(seed).unwrap();
    fixture.apply_rotation("spa", json!({ "initial": "Rotate" })).await;
    let message = fixture.wait_for_reason("spa", "Stalled", "PublicClient").await;
    assert!(message.contains("no secret to rotate"), "{message}");
    assert_eq!((fixture.secret_data("spa-auth0").await, fixture.rotation_count("spa")), (None, 0));
    fixture.finish().await;
}

#[tokio::test]
async fn rejects_a_client_that_authenticates_with_keys() {
    let fixture = Fixture::start().await;
    let methods = json!({ "private_key_jwt": { "credentials": [{ "id": "cred_1" }] } });
    let seed = ClientSeed::new("keyed").field("client_authentication_methods", methods);
    fixture.simulator.add_client(seed).unwrap();
    fixture.apply_rotation("keyed", json!({})).await;
    fixture.wait_for_reason("keyed", "Stalled", "ClientUsesKeys").await;
    fixture.request("keyed", "rotate/now").await;
    fixture.wait_for_reason("keyed", "Stalled", "ClientUsesKeys").await;
    assert_eq!(fixture.simulator.counters().requests(Operation::RotateSecret), 0);
    fixture.finish().await;
}

#[tokio::test]
async fn rejects_a_foreign_target_until_it_is_adopted() {
    let fixture = Fixture::start().await;
    fixture
        .write_secret("shop-auth0", &[("client_secret", "theirs"), ("other", "untouched")])
        .await;
    fixture.apply_rotation("shop", json!({ "initial": "Rotate" })).await;
    let message = fixture.wait_for_reason("shop", "Stalled", "TargetNotOwned").await;
    assert!(message.contains("spec.target.adopt"), "{message}");
    assert_eq!(fixture.secret_data("shop-auth0").await.unwrap()["client_secret"], "theirs");
    assert_eq!(fixture.rotation_count("shop"), 0, "rotated a secret that can't be published");

    fixture
        .apply_rotation("shop", json!({ "initial": "Rotate", "target": { "adopt": true } }))
        .await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.assert_published("shop").await;
    assert_eq!(fixture.secret_data("shop-auth0").await.unwrap()["other"], "untouched");
    fixture.finish().await;
}

#[tokio::test]
async fn rejects_an_immutable_target() {
    let fixture = Fixture::start().await;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "immutable": true,
        "metadata": { "name": "shop-auth0" }, "stringData": { "client_secret": "theirs" },
    });
    fixture.api::<Secret>().create(&PostParams::default(), &from_json(secret)).await.unwrap();
    fixture.apply_rotation("shop", json!({ "target": { "adopt": true } })).await;
    let message = fixture.wait_for_reason("shop", "Stalled", "TargetImmutable").await;
    assert!(message.contains("Delete it"), "{message}");
    fixture.finish().await;
}

#[tokio::test]
async fn does_not_rotate_while_the_target_is_immutable() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    let make_immutable = Patch::Merge(json!({ "immutable": true }));
    let secrets = fixture.api::<Secret>();
    secrets.patch("shop-auth0", &PatchParams::default(), &make_immutable).await.unwrap();
    fixture.request("shop", "rotate/now").await;
    fixture.wait_for_reason("shop", "Stalled", "TargetImmutable").await;
    assert_eq!(fixture.rotation_count("shop"), 0);
    secrets.delete("shop-auth0", &Default::default()).await.unwrap();
    fixture.wait_until_rotated("shop", 2).await;
    fixture.assert_published("shop").await;
    fixture.finish().await;
}

#[tokio::test]
async fn contested_target_stays_with_the_older_resource() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    // Creation timestamps have a resolution of one second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    fixture
        .apply_rotation("cart", json!({ "target": { "name": "shop-auth0", "adopt": true } }))
        .await;
    let message = fixture.wait_for_reason("cart", "Stalled", "TargetClaimed").await;
    assert!(message.contains("ClientSecretRotation shop"), "{message}");
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.assert_published("shop").await;
    fixture.finish().await;
}

#[tokio::test]
async fn contested_client_stays_with_the_older_resource() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let twin = json!({ "clientId": "shop", "initial": "Rotate" });
    fixture.try_apply_rotation("twin", twin).await.unwrap();
    let message = fixture.wait_for_reason("twin", "Stalled", "ClientClaimed").await;
    assert!(message.contains("shop-auth0"), "{message}");
    assert_eq!(
        (fixture.rotation_count("shop"), fixture.secret_data("twin-auth0").await),
        (0, None)
    );
    fixture.finish().await;
}
