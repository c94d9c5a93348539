//! A cluster that denies changes of owner references, as OpenShift does, to an operator that may not
//! delete Secrets.

use auth0_rotator::api::ClientSecretRotation;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use rotation::{condition_types, is_condition_true};
use serde_json::{Value, json};
use testkit::fixture::Fixture;

fn policy(policy: &str) -> Value {
    json!({ "target": { "deletionPolicy": policy } })
}

async fn owner_uids(fixture: &Fixture) -> Vec<String> {
    let secret = fixture.api::<Secret>().get("shop-auth0").await.unwrap();
    secret.owner_references().iter().map(|owner| owner.uid.clone()).collect()
}

async fn wait_for_denial(fixture: &Fixture) {
    let reason = "OwnerReferenceForbidden";
    let message = fixture.wait_for_reason("shop", "OwnerReferenceSet", reason).await;
    for part in ["OwnerReferencesPermissionEnforcement", "delete on secrets", "deletionPolicy"] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

/// Rotates, and asserts that applications can log in and that the resource is healthy.
async fn rotate(fixture: &Fixture, number: u64) {
    fixture.request("shop", &format!("rotate/{number}")).await;
    let resource = fixture.wait_until_rotated("shop", number).await;
    let conditions = resource.status.unwrap_or_default().conditions;
    assert!(is_condition_true(&conditions, condition_types::READY));
    assert!(!is_condition_true(&conditions, condition_types::STALLED));
    fixture.assert_published("shop").await;
}

#[tokio::test]
async fn rotations_continue_while_a_change_of_the_owner_is_denied() {
    let mut fixture = Fixture::start().await;
    for (before, after) in [("Retain", "Delete"), ("Delete", "Retain")] {
        fixture.apply_rotation("shop", policy(before)).await;
        fixture.wait_until_rotated("shop", 1).await;
        let owners = owner_uids(&fixture).await;
        fixture.apply_rotation("shop", policy(after)).await;
        wait_for_denial(&fixture).await;
        rotate(&fixture, 2).await;
        assert_eq!(owner_uids(&fixture).await, owners, "the owner stays as it was");
        fixture.api::<ClientSecretRotation>().delete("shop", &Default::default()).await.unwrap();
        fixture.wait_until_deleted("shop").await;
        fixture.api::<Secret>().delete("shop-auth0", &Default::default()).await.unwrap();
    }
    // A new process tries again at once.
    fixture.apply_rotation("shop", policy("Retain")).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.apply_rotation("shop", policy("Delete")).await;
    wait_for_denial(&fixture).await;
    fixture.stop_operator().await;
    fixture.allow_secret_deletion().await;
    fixture.start_operator();
    let is_set = async || {
        let conditions = fixture.get("shop").await.status.unwrap_or_default().conditions;
        is_condition_true(&conditions, condition_types::OWNER_REFERENCE_SET)
    };
    fixture.wait_until_async("the owner is set", is_set).await;
    assert_eq!(owner_uids(&fixture).await.len(), 1);
    fixture.finish().await;
}

/// No garbage collector runs here, so the Secret stays when its owner is deleted, as it does in a cluster
/// until the collector looks.
#[tokio::test]
async fn secret_of_a_deleted_resource_serves_its_successor() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", policy("Delete")).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.api::<ClientSecretRotation>().delete("shop", &Default::default()).await.unwrap();
    fixture.wait_until_deleted("shop").await;
    fixture.apply_rotation("shop", policy("Delete")).await;
    fixture.wait_until_rotated("shop", 1).await;
    wait_for_denial(&fixture).await;
    rotate(&fixture, 2).await;
    fixture.finish().await;
}
