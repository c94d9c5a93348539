//! Rotations from import to retirement, the target Secret, and deletion.

use std::time::Duration;

use auth0_rotator::api::{Auth0Tenant, ClientSecretRotation};
use auth0_simulator::{ClientSeed, Fault, Operation, Simulator};
use k8s_openapi::api::{core::v1::Secret, events::v1::Event};
use kube::{
    ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use secrecy::ExposeSecret as _;
use serde_json::json;
use testkit::{
    auth0::{MANAGER, SCOPES},
    fixture::{Fixture, PROPAGATION_WINDOW},
};

#[tokio::test]
async fn imports_the_current_secret_for_a_new_resource() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    let resource = fixture.wait_until_rotated("shop", 1).await;
    fixture.assert_published("shop").await;
    assert_eq!(fixture.published_values("shop").await.len(), 1);
    let data = fixture.secret_data("shop-auth0").await.unwrap();
    assert_eq!(
        (data["client_id"].as_str(), data["domain"].as_str()),
        ("shop", "acme.eu.auth0.com")
    );
    assert!(!data.contains_key("client_secret_fallback"));
    assert_eq!(fixture.rotation_count("shop"), 0);
    assert!(resource.finalizers().is_empty());
    fixture.finish().await;
}

#[tokio::test]
async fn completes_a_scheduled_rotation() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({ "schedule": { "every": "10s" } })).await;
    fixture.wait_until_rotated("shop", 1).await;
    let old = fixture.published_values("shop").await[0].clone();
    fixture
        .wait_for("shop", "publishing both values", |resource| {
            let status = resource.status.clone().unwrap_or_default();
            status.current == Some(2) && status.previous == Some(1)
        })
        .await;
    let list = fixture.published_values("shop").await;
    assert_eq!((list.len(), &list[1]), (2, &old), "new first, old second");
    fixture.assert_published("shop").await;
    let resource = fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(fixture.published_values("shop").await.len(), 1);
    let entry = resource.status.unwrap().history[0].clone();
    assert!(
        entry.retired_at.unwrap() - entry.activated_at.unwrap() >= chrono::TimeDelta::seconds(3)
    );
    assert_eq!(fixture.rotation_count("shop"), 1);
    fixture.finish().await;
}

#[tokio::test]
async fn handles_each_request_once_and_publishes_two_events_per_rotation() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/one").await;
    fixture.wait_until_rotated("shop", 2).await;
    let touch = json!({ "metadata": { "labels": { "team": "shop" } } });
    let api = fixture.api::<ClientSecretRotation>();
    api.patch("shop", &PatchParams::default(), &Patch::Merge(touch)).await.unwrap();
    fixture.request("shop", "rotate/two").await;
    fixture.wait_until_rotated("shop", 3).await;
    assert_eq!(fixture.rotation_count("shop"), 2);
    let twice = ["Confirmed", "Retired"];
    let twice = twice.iter().flat_map(|reason| [*reason; 2]);
    let mut expected: Vec<_> = twice.chain(["Imported"]).collect();
    expected.sort_unstable();
    let mut reasons = Vec::new();
    // The last Events are written after the status.
    for _ in 0..100 {
        let events = fixture.api::<Event>().list(&ListParams::default()).await.unwrap();
        reasons = events.items.into_iter().filter_map(|event| event.reason).collect();
        reasons.sort();
        if reasons.len() >= expected.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(reasons, expected, "exactly one Event per result");
    fixture.finish().await;
}

#[tokio::test]
async fn suspend_delays_a_request_until_it_is_unset() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({ "suspend": true })).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_for_reason("shop", "Reconciling", "Suspended").await;
    assert_eq!(fixture.rotation_count("shop"), 0);
    fixture.apply_rotation("shop", json!({ "suspend": false })).await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.finish().await;
}

#[tokio::test]
async fn initial_rotate_rotates_once_even_if_the_status_is_deleted() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({ "initial": "Rotate" })).await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.assert_published("shop").await;
    let api = fixture.api::<ClientSecretRotation>();
    let delete_status = Patch::Merge(json!({ "status": null }));
    api.patch_status("shop", &PatchParams::default(), &delete_status).await.unwrap();
    fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(fixture.rotation_count("shop"), 1);
    fixture.finish().await;
}

#[tokio::test]
async fn strategy_staged_publishes_before_it_activates() {
    let fixture = Fixture::start().await;
    let staged = json!({ "strategy": "Staged", "staging": { "period": "2s" } });
    fixture.apply_rotation("shop", staged).await;
    fixture.wait_until_rotated("shop", 1).await;
    let old = fixture.published_values("shop").await[0].clone();
    fixture.request("shop", "rotate/now").await;
    fixture
        .wait_for("shop", "staging", |resource| {
            let rotation = resource.status.as_ref().and_then(|status| status.rotation.clone());
            rotation.is_some_and(|rotation| rotation.phase == rotation::Phase::Staging)
        })
        .await;
    let list = fixture.published_values("shop").await;
    assert_eq!((list.len(), &list[0]), (2, &old), "the next secret is a fallback");
    assert!(
        fixture.simulator.client_secret("shop").unwrap().expose_secret() == old,
        "not activated"
    );
    fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(fixture.published_values("shop").await, [list[1].clone()]);
    fixture.assert_published("shop").await;
    assert_eq!(fixture.rotation_count("shop"), 0, "by PATCH");
    fixture.finish().await;
}

#[tokio::test]
async fn writes_the_target_secret_according_to_the_spec() {
    let mut fixture = Fixture::without_operator().await;
    fixture
        .start_operator_with(&["--allow-http-endpoints", "--allowed-metadata=team,example.com/"]);
    let target = json!({
        "keys": { "current": "AUTH0_CLIENT_SECRET", "list": "all" },
        "listFormat": "Lines",
        "template": { "auth0.env": "ID={{ client_id }}\nSECRET={{ client_secret }}\n" },
        "labels": { "team": "shop" },
        "annotations": { "example.com/note": "hello", "auth0-rotator.dev/current": "77" },
        "deletionPolicy": "Delete",
    });
    fixture.apply_rotation("shop", json!({ "target": target })).await;
    fixture.wait_until_rotated("shop", 1).await;
    let secret = fixture.simulator.client_secret("shop").unwrap().expose_secret().to_owned();
    let data = fixture.secret_data("shop-auth0").await.unwrap();
    assert!(data["AUTH0_CLIENT_SECRET"] == secret && data["all"] == format!("{secret}\n"));
    assert!(data["auth0.env"] == format!("ID=shop\nSECRET={secret}\n"));
    let object = fixture.api::<Secret>().get("shop-auth0").await.unwrap();
    assert_eq!(object.labels()["team"], "shop");
    assert_eq!(object.annotations()["example.com/note"], "hello");
    assert_eq!(
        object.annotations()["auth0-rotator.dev/current"],
        "1",
        "the prefix is reserved for the operator"
    );
    let owner = fixture.get("shop").await;
    assert_eq!(object.owner_references()[0].uid, owner.uid().unwrap());

    // After a change of the spec, the operator removes unused keys and keeps the value, without a
    // request to Auth0.
    let reads = fixture.simulator.counters().requests(Operation::GetClient);
    fixture.apply_rotation("shop", json!({ "target": { "labels": { "team": "cart" } } })).await;
    fixture.wait_for_secret_data("shop-auth0", |data| data.contains_key("client_secret")).await;
    let data = fixture.secret_data("shop-auth0").await.unwrap();
    let mut keys: Vec<_> = data.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["client_id", "client_secret", "client_secrets", "domain"]);
    assert!(data["client_secret"] == secret);
    assert_eq!(fixture.simulator.counters().requests(Operation::GetClient), reads);
    fixture.finish().await;
}

#[tokio::test]
async fn names_an_invalid_template_and_starts_no_rotation() {
    let fixture = Fixture::start().await;
    let template = json!({ "good": "{{ client_id }}", "bad": "{{ no_such_thing }}" });
    fixture.apply_rotation("shop", json!({ "target": { "template": template } })).await;
    fixture.request("shop", "rotate/now").await;
    let message = fixture.wait_for_reason("shop", "Stalled", "InvalidTemplate").await;
    assert!(message.contains("spec.target.template.bad"), "{message}");
    assert!(message.contains("client_secrets"), "{message}");
    let data = fixture.secret_data("shop-auth0").await.unwrap();
    assert!(
        data.contains_key("client_secret") && data.contains_key("good"),
        "the rest is published"
    );
    assert!(!data.contains_key("bad"));
    assert_eq!(fixture.rotation_count("shop"), 0);
    fixture.finish().await;
}

#[tokio::test]
async fn reads_the_secret_back_after_a_kill_before_the_response() {
    let mut fixture = Fixture::without_operator().await;
    // The operator is killed after Auth0 has rotated, while it waits for the response.
    let late = Fault::delay(Duration::from_secs(30)).on(Operation::RotateSecret);
    fixture.simulator.faults().inject(late).unwrap();
    fixture.start_operator();
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until("Auth0 has rotated", || fixture.rotation_count("shop") == 1).await;
    fixture.take_operator().kill();
    assert!(
        fixture.get("shop").await.finalizers().len() == 1,
        "has a finalizer while the outcome is unknown"
    );
    fixture.start_operator();
    fixture.wait_until_rotated("shop", 2).await;
    fixture.assert_published("shop").await;
    assert_eq!(fixture.rotation_count("shop"), 1, "read back, not repeated");
    assert!(fixture.get("shop").await.finalizers().is_empty());
    fixture.finish().await;
}

#[tokio::test]
async fn shutdown_waits_for_a_pending_response() {
    let mut fixture = Fixture::start().await;
    let late = Fault::delay(PROPAGATION_WINDOW / 3).on(Operation::RotateSecret);
    fixture.simulator.faults().inject(late).unwrap();
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until("Auth0 has rotated", || fixture.rotation_count("shop") == 1).await;
    fixture.stop_operator().await;
    fixture.assert_published("shop").await;
    fixture.start_operator();
    fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(fixture.rotation_count("shop"), 1);
    fixture.finish().await;
}

#[tokio::test]
async fn keeps_the_target_secret_of_a_deleted_resource() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.api::<ClientSecretRotation>().delete("shop", &Default::default()).await.unwrap();
    fixture.wait_until_deleted("shop").await;
    fixture.assert_published("shop").await;
    // A resource of the same name finds the Secret and starts no rotation.
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    assert_eq!(fixture.rotation_count("shop"), 0);
    fixture.finish().await;
}

#[tokio::test]
async fn publishes_before_deletion_during_a_rotation() {
    let fixture = Fixture::start().await;
    let late = Fault::delay(PROPAGATION_WINDOW / 3).on(Operation::RotateSecret);
    fixture.simulator.faults().inject(late).unwrap();
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until("Auth0 has rotated", || fixture.rotation_count("shop") == 1).await;
    fixture.api::<ClientSecretRotation>().delete("shop", &Default::default()).await.unwrap();
    fixture.wait_until_deleted("shop").await;
    fixture.assert_published("shop").await;
    fixture.finish().await;
}

#[tokio::test]
async fn connects_over_tls_with_a_custom_ca_bundle() {
    let certificate = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let simulator = Simulator::builder()
        .tls(certificate.cert.pem(), certificate.signing_key.serialize_pem())
        .client(ClientSeed::new(MANAGER).scopes(SCOPES))
        .propagation(Duration::ZERO..=Duration::ZERO)
        .start()
        .await
        .unwrap();
    let mut fixture = Fixture::with_simulator(simulator).await;
    fixture.apply_tenant(json!({ "caBundle": certificate.cert.pem() })).await;
    // Without --allow-http-endpoints, as in production.
    fixture.start_operator_with(&["--allowed-endpoints", "127.0.0.1:*"]);
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.assert_published("shop").await;
    fixture.finish().await;
}

#[tokio::test]
async fn removes_the_owner_reference_when_deletion_policy_changes_to_retain() {
    let fixture = Fixture::start().await;
    fixture.allow_secret_deletion().await;
    let policy = |policy: &str| json!({ "target": { "deletionPolicy": policy } });
    fixture.apply_rotation("shop", policy("Delete")).await;
    fixture.wait_until_rotated("shop", 1).await;
    let owner_count = async || {
        let secret = fixture.api::<Secret>().get("shop-auth0").await.unwrap();
        secret.owner_references().len()
    };
    assert_eq!(owner_count().await, 1);
    fixture.apply_rotation("shop", policy("Retain")).await;
    let is_removed = async || owner_count().await == 0;
    fixture
        .wait_within(Duration::from_secs(20), "the owner reference is removed", is_removed)
        .await;
    fixture.finish().await;
}

#[tokio::test]
async fn starts_no_rotation_whose_secret_cannot_be_written() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.deny_secret_writes().await;
    fixture.request("shop", "rotate/now").await;
    let message = fixture.wait_for_reason("shop", "Stalled", "SecretRejected").await;
    assert!(message.contains("the ValidatingAdmissionPolicy deny-"), "{message}");
    assert_eq!(fixture.rotation_count("shop"), 0);
    fixture.allow_secret_writes().await;
    fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(fixture.rotation_count("shop"), 1);
    fixture.finish().await;
}

#[tokio::test]
async fn publishes_a_received_response_after_its_tenant_is_deleted() {
    let fixture = Fixture::start().await;
    let late = Fault::delay(PROPAGATION_WINDOW / 3).on(Operation::RotateSecret);
    fixture.simulator.faults().inject(late).unwrap();
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    // The first write fails, so the response remains unpublished.
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until("Auth0 has rotated", || fixture.rotation_count("shop") == 1).await;
    fixture.deny_secret_writes().await;
    fixture.wait_for_reason("shop", "Stalled", "SecretRejected").await;
    fixture.api::<Auth0Tenant>().delete("acme", &Default::default()).await.unwrap();
    fixture.wait_for_reason("shop", "TenantReady", "TenantMissing").await;
    fixture.allow_secret_writes().await;
    let secret = fixture.simulator.client_secret("shop").unwrap().expose_secret().to_owned();
    fixture.wait_for_secret_data("shop-auth0", |data| data["client_secret"] == secret).await;
    fixture.finish().await;
}
