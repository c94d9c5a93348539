//! The main job.

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
async fn a_new_resource_publishes_the_present_secret() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({})).await;
    let resource = bench.wait_until_rotated("shop", 1).await;
    bench.assert_published("shop").await;
    assert_eq!(bench.published_values("shop").await.len(), 1);
    let data = bench.secret_data("shop-auth0").await.unwrap();
    assert_eq!(
        (data["client_id"].as_str(), data["domain"].as_str()),
        ("shop", "acme.eu.auth0.com")
    );
    assert!(!data.contains_key("client_secret_fallback"));
    assert_eq!(bench.rotation_count("shop"), 0);
    assert!(resource.finalizers().is_empty());
    bench.finish().await;
}

#[tokio::test]
async fn a_scheduled_rotation_goes_from_start_to_retirement() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({ "schedule": { "every": "10s" } })).await;
    bench.wait_until_rotated("shop", 1).await;
    let old = bench.published_values("shop").await[0].clone();
    bench
        .wait_for("shop", "publishing both values", |resource| {
            let status = resource.status.clone().unwrap_or_default();
            status.current == Some(2) && status.previous == Some(1)
        })
        .await;
    let list = bench.published_values("shop").await;
    assert_eq!((list.len(), &list[1]), (2, &old), "new first, old second");
    bench.assert_published("shop").await;
    let resource = bench.wait_until_rotated("shop", 2).await;
    assert_eq!(bench.published_values("shop").await.len(), 1);
    let entry = resource.status.unwrap().history[0].clone();
    assert!(
        entry.retired_at.unwrap() - entry.activated_at.unwrap() >= chrono::TimeDelta::seconds(3)
    );
    assert_eq!(bench.rotation_count("shop"), 1);
    bench.finish().await;
}

#[tokio::test]
async fn a_request_is_acted_upon_once_and_told_in_events() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/one").await;
    bench.wait_until_rotated("shop", 2).await;
    let touch = json!({ "metadata": { "labels": { "team": "shop" } } });
    let api = bench.api::<ClientSecretRotation>();
    api.patch("shop", &PatchParams::default(), &Patch::Merge(touch)).await.unwrap();
    bench.request("shop", "rotate/two").await;
    bench.wait_until_rotated("shop", 3).await;
    assert_eq!(bench.rotation_count("shop"), 2);
    let twice = ["Activated", "Confirmed", "Retired", "Started"].iter().flat_map(|word| [*word; 2]);
    let mut expected: Vec<_> = twice.chain(["Imported"]).collect();
    expected.sort_unstable();
    let mut reasons = Vec::new();
    // The last ones are written after the status.
    for _ in 0..100 {
        let events = bench.api::<Event>().list(&ListParams::default()).await.unwrap();
        reasons = events.items.into_iter().filter_map(|event| event.reason).collect();
        reasons.sort();
        if reasons.len() >= expected.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(reasons, expected, "an Event for each thing that happened, and one only");
    bench.finish().await;
}

#[tokio::test]
async fn suspend_holds_a_request_back_until_it_is_lifted() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({ "suspend": true })).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    bench.wait_for_reason("shop", "Reconciling", "Suspended").await;
    assert_eq!(bench.rotation_count("shop"), 0);
    bench.apply_rotation("shop", json!({ "suspend": false })).await;
    bench.wait_until_rotated("shop", 2).await;
    bench.finish().await;
}

#[tokio::test]
async fn initial_rotate_rotates_once_even_if_the_status_is_wiped() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({ "initial": "Rotate" })).await;
    bench.wait_until_rotated("shop", 2).await;
    bench.assert_published("shop").await;
    let api = bench.api::<ClientSecretRotation>();
    let wipe = Patch::Merge(json!({ "status": null }));
    api.patch_status("shop", &PatchParams::default(), &wipe).await.unwrap();
    bench.wait_until_rotated("shop", 2).await;
    assert_eq!(bench.rotation_count("shop"), 1);
    bench.finish().await;
}

#[tokio::test]
async fn the_staged_strategy_publishes_before_it_activates() {
    let bench = Fixture::start().await;
    let staged = json!({ "strategy": "Staged", "staging": { "period": "2s" } });
    bench.apply_rotation("shop", staged).await;
    bench.wait_until_rotated("shop", 1).await;
    let old = bench.published_values("shop").await[0].clone();
    bench.request("shop", "rotate/now").await;
    bench
        .wait_for("shop", "staging", |resource| {
            let rotation = resource.status.as_ref().and_then(|status| status.rotation.clone());
            rotation.is_some_and(|rotation| rotation.phase == rotation::Phase::Staging)
        })
        .await;
    let list = bench.published_values("shop").await;
    assert_eq!((list.len(), &list[0]), (2, &old), "the next secret is a fallback");
    assert!(
        bench.simulator.client_secret("shop").unwrap().expose_secret() == old,
        "not active yet"
    );
    bench.wait_until_rotated("shop", 2).await;
    assert_eq!(bench.published_values("shop").await, [list[1].clone()]);
    bench.assert_published("shop").await;
    assert_eq!(bench.rotation_count("shop"), 0, "by PATCH");
    bench.finish().await;
}

#[tokio::test]
async fn the_secret_is_written_as_the_spec_wants() {
    let bench = Fixture::start().await;
    let target = json!({
        "keys": { "current": "AUTH0_CLIENT_SECRET", "list": "all" },
        "listFormat": "Lines",
        "template": { "auth0.env": "ID={{ client_id }}\nSECRET={{ client_secret }}\n" },
        "labels": { "team": "shop" },
        "annotations": { "example.com/note": "hello", "auth0-rotator.dev/current": "77" },
        "deletionPolicy": "Delete",
    });
    bench.apply_rotation("shop", json!({ "target": target })).await;
    bench.wait_until_rotated("shop", 1).await;
    let secret = bench.simulator.client_secret("shop").unwrap().expose_secret().to_owned();
    let data = bench.secret_data("shop-auth0").await.unwrap();
    assert!(data["AUTH0_CLIENT_SECRET"] == secret && data["all"] == format!("{secret}\n"));
    assert!(data["auth0.env"] == format!("ID=shop\nSECRET={secret}\n"));
    let object = bench.api::<Secret>().get("shop-auth0").await.unwrap();
    assert_eq!(object.labels()["team"], "shop");
    assert_eq!(object.annotations()["example.com/note"], "hello");
    assert_eq!(
        object.annotations()["auth0-rotator.dev/current"],
        "1",
        "the prefix is the operator's"
    );
    let owner = bench.get("shop").await;
    assert_eq!(object.owner_references()[0].uid, owner.uid().unwrap());

    // Another wish: what went out of use goes, the value stays, and Auth0 is not needed for it.
    let reads = bench.simulator.counters().requests(Operation::GetClient);
    bench.apply_rotation("shop", json!({ "target": { "labels": { "team": "cart" } } })).await;
    bench.wait_for_secret_data("shop-auth0", |data| data.contains_key("client_secret")).await;
    let data = bench.secret_data("shop-auth0").await.unwrap();
    let mut keys: Vec<_> = data.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["client_id", "client_secret", "client_secrets", "domain"]);
    assert!(data["client_secret"] == secret);
    assert_eq!(bench.simulator.counters().requests(Operation::GetClient), reads);
    bench.finish().await;
}

#[tokio::test]
async fn a_template_that_can_not_be_rendered_starts_no_rotation_and_says_which() {
    let bench = Fixture::start().await;
    let template = json!({ "good": "{{ client_id }}", "bad": "{{ no_such_thing }}" });
    bench.apply_rotation("shop", json!({ "target": { "template": template } })).await;
    bench.request("shop", "rotate/now").await;
    let message = bench.wait_for_reason("shop", "Stalled", "InvalidTemplate").await;
    assert!(message.contains("of bad ") && message.contains("client_secrets"), "{message}");
    let data = bench.secret_data("shop-auth0").await.unwrap();
    assert!(
        data.contains_key("client_secret") && data.contains_key("good"),
        "the rest is published"
    );
    assert!(!data.contains_key("bad"));
    assert_eq!(bench.rotation_count("shop"), 0);
    bench.finish().await;
}

#[tokio::test]
async fn a_kill_between_answer_and_write_loses_nothing() {
    let mut bench = Fixture::without_operator().await;
    // The answer is late, and the operator dies while it waits: Auth0 has rotated.
    let late = Fault::delay(Duration::from_secs(30)).on(Operation::RotateSecret);
    bench.simulator.faults().inject(late).unwrap();
    bench.start_operator();
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    bench.wait_until("Auth0 has rotated", || bench.rotation_count("shop") == 1).await;
    bench.take_operator().kill();
    assert!(bench.get("shop").await.finalizers().len() == 1, "held while the outcome is open");
    bench.start_operator();
    bench.wait_until_rotated("shop", 2).await;
    bench.assert_published("shop").await;
    assert_eq!(bench.rotation_count("shop"), 1, "read back, not repeated");
    assert!(bench.get("shop").await.finalizers().is_empty());
    bench.finish().await;
}

#[tokio::test]
async fn a_stop_waits_for_the_answer_that_is_on_its_way() {
    let mut bench = Fixture::start().await;
    let late = Fault::delay(PROPAGATION_WINDOW / 3).on(Operation::RotateSecret);
    bench.simulator.faults().inject(late).unwrap();
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    bench.wait_until("Auth0 has rotated", || bench.rotation_count("shop") == 1).await;
    bench.stop_operator().await;
    bench.assert_published("shop").await;
    bench.start_operator();
    bench.wait_until_rotated("shop", 2).await;
    assert_eq!(bench.rotation_count("shop"), 1);
    bench.finish().await;
}

#[tokio::test]
async fn a_deleted_resource_leaves_its_secret_behind() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.api::<ClientSecretRotation>().delete("shop", &Default::default()).await.unwrap();
    bench.wait_until_deleted("shop").await;
    bench.assert_published("shop").await;
    // Created again it finds its Secret, and rotates nothing.
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    assert_eq!(bench.rotation_count("shop"), 0);
    bench.finish().await;
}

#[tokio::test]
async fn a_resource_that_is_deleted_in_mid_rotation_publishes_first() {
    let bench = Fixture::start().await;
    let late = Fault::delay(PROPAGATION_WINDOW / 3).on(Operation::RotateSecret);
    bench.simulator.faults().inject(late).unwrap();
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    bench.wait_until("Auth0 has rotated", || bench.rotation_count("shop") == 1).await;
    bench.api::<ClientSecretRotation>().delete("shop", &Default::default()).await.unwrap();
    bench.wait_until_deleted("shop").await;
    bench.assert_published("shop").await;
    bench.finish().await;
}

#[tokio::test]
async fn it_works_over_tls_with_a_bundle_of_its_own() {
    let certificate = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let simulator = Simulator::builder()
        .tls(certificate.cert.pem(), certificate.signing_key.serialize_pem())
        .client(ClientSeed::new(MANAGER).scopes(SCOPES))
        .propagation(Duration::ZERO..=Duration::ZERO)
        .start()
        .await
        .unwrap();
    let mut bench = Fixture::with_simulator(simulator).await;
    bench.apply_tenant(json!({ "caBundle": certificate.cert.pem() })).await;
    // Without --allow-http-endpoints, as in production.
    bench.start_operator_with(&[]);
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    bench.wait_until_rotated("shop", 2).await;
    bench.assert_published("shop").await;
    bench.finish().await;
}

#[tokio::test]
async fn a_secret_that_is_to_stay_after_all_loses_its_owner() {
    let bench = Fixture::start().await;
    let policy = |policy: &str| json!({ "target": { "deletionPolicy": policy } });
    bench.apply_rotation("shop", policy("Delete")).await;
    bench.wait_until_rotated("shop", 1).await;
    let owners = async || {
        let secret = bench.api::<Secret>().get("shop-auth0").await.unwrap();
        secret.owner_references().len()
    };
    assert_eq!(owners().await, 1);
    bench.apply_rotation("shop", policy("Retain")).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while owners().await > 0 {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bench.finish().await;
}

#[tokio::test]
async fn nothing_is_rotated_that_could_not_be_published() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.deny_secret_writes().await;
    bench.request("shop", "rotate/now").await;
    let message = bench.wait_for_reason("shop", "Stalled", "SecretRejected").await;
    assert!(message.contains("admission webhooks"), "{message}");
    assert_eq!(bench.rotation_count("shop"), 0);
    bench.allow_secret_writes().await;
    bench.wait_until_rotated("shop", 2).await;
    assert_eq!(bench.rotation_count("shop"), 1);
    bench.finish().await;
}

#[tokio::test]
async fn an_answer_is_published_though_the_tenant_is_deleted_meanwhile() {
    let bench = Fixture::start().await;
    let late = Fault::delay(PROPAGATION_WINDOW / 3).on(Operation::RotateSecret);
    bench.simulator.faults().inject(late).unwrap();
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    // The first write fails, so that the answer stays in hand.
    bench.request("shop", "rotate/now").await;
    bench.wait_until("Auth0 has rotated", || bench.rotation_count("shop") == 1).await;
    bench.deny_secret_writes().await;
    bench.wait_for_reason("shop", "Stalled", "SecretRejected").await;
    bench.api::<Auth0Tenant>().delete("acme", &Default::default()).await.unwrap();
    bench.wait_for_reason("shop", "TenantReady", "TenantMissing").await;
    bench.allow_secret_writes().await;
    let secret = bench.simulator.client_secret("shop").unwrap().expose_secret().to_owned();
    bench.wait_for_secret_data("shop-auth0", |data| data["client_secret"] == secret).await;
    bench.finish().await;
}
