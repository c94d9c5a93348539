//! What is not done, and how the resource says why.

use std::time::Duration;

use auth0_rotator::api::ClientSecretRotation;
use auth0_simulator::{ClientSeed, Operation};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testkit::fixture::{Fixture, from_json};

#[tokio::test]
async fn a_client_that_auth0_does_not_know() {
    let bench = Fixture::start().await;
    bench.try_apply_rotation("nobody", json!({})).await.unwrap();
    let message = bench.wait_for_reason("nobody", "Stalled", "ClientNotFound").await;
    assert!(message.contains("check spec.clientId"), "{message}");
    bench.wait_for_reason("nobody", "Ready", "ClientNotFound").await;
    assert_eq!(bench.secret_data("nobody-auth0").await, None);
    bench.finish().await;
}

#[tokio::test]
async fn a_public_client() {
    let bench = Fixture::start().await;
    let seed = ClientSeed::new("spa").field("token_endpoint_auth_method", "none");
    bench.simulator.add_client(seed).unwrap();
    bench.apply_rotation("spa", json!({ "initial": "Rotate" })).await;
    let message = bench.wait_for_reason("spa", "Stalled", "PublicClient").await;
    assert!(message.contains("nothing to rotate"), "{message}");
    assert_eq!((bench.secret_data("spa-auth0").await, bench.rotation_count("spa")), (None, 0));
    bench.finish().await;
}

#[tokio::test]
async fn a_client_that_authenticates_with_keys() {
    let bench = Fixture::start().await;
    let methods = json!({ "private_key_jwt": { "credentials": [{ "id": "cred_1" }] } });
    let seed = ClientSeed::new("keyed").field("client_authentication_methods", methods);
    bench.simulator.add_client(seed).unwrap();
    bench.apply_rotation("keyed", json!({})).await;
    bench.wait_for_reason("keyed", "Stalled", "ClientUsesKeys").await;
    bench.request("keyed", "rotate/now").await;
    bench.wait_for_reason("keyed", "Stalled", "ClientUsesKeys").await;
    assert_eq!(bench.simulator.counters().requests(Operation::RotateSecret), 0);
    bench.finish().await;
}

#[tokio::test]
async fn a_target_that_someone_else_made_is_left_alone_until_it_is_adopted() {
    let bench = Fixture::start().await;
    bench.write_secret("shop-auth0", &[("client_secret", "theirs"), ("other", "untouched")]).await;
    bench.apply_rotation("shop", json!({ "initial": "Rotate" })).await;
    let message = bench.wait_for_reason("shop", "Stalled", "TargetNotOwned").await;
    assert!(message.contains("spec.target.adopt"), "{message}");
    assert_eq!(bench.secret_data("shop-auth0").await.unwrap()["client_secret"], "theirs");
    assert_eq!(bench.rotation_count("shop"), 0, "no rotation that could not be published");

    bench.apply_rotation("shop", json!({ "initial": "Rotate", "target": { "adopt": true } })).await;
    bench.wait_until_rotated("shop", 2).await;
    bench.assert_published("shop").await;
    assert_eq!(bench.secret_data("shop-auth0").await.unwrap()["other"], "untouched");
    bench.finish().await;
}

#[tokio::test]
async fn an_immutable_target() {
    let bench = Fixture::start().await;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "immutable": true,
        "metadata": { "name": "shop-auth0" }, "stringData": { "client_secret": "theirs" },
    });
    bench.api::<Secret>().create(&PostParams::default(), &from_json(secret)).await.unwrap();
    bench.apply_rotation("shop", json!({ "target": { "adopt": true } })).await;
    let message = bench.wait_for_reason("shop", "Stalled", "TargetImmutable").await;
    assert!(message.contains("delete it"), "{message}");
    bench.finish().await;
}

#[tokio::test]
async fn a_target_that_becomes_immutable_in_mid_rotation_keeps_the_answer_in_hand() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    let freeze = Patch::Merge(json!({ "immutable": true }));
    let secrets = bench.api::<Secret>();
    secrets.patch("shop-auth0", &PatchParams::default(), &freeze).await.unwrap();
    bench.request("shop", "rotate/now").await;
    bench.wait_for_reason("shop", "Stalled", "TargetImmutable").await;
    assert_eq!(bench.rotation_count("shop"), 0);
    secrets.delete("shop-auth0", &Default::default()).await.unwrap();
    bench.wait_until_rotated("shop", 2).await;
    bench.assert_published("shop").await;
    bench.finish().await;
}

#[tokio::test]
async fn a_target_that_two_resources_claim_stays_with_the_older() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    // Times of creation have whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    bench
        .apply_rotation("cart", json!({ "target": { "name": "shop-auth0", "adopt": true } }))
        .await;
    let message = bench.wait_for_reason("cart", "Stalled", "TargetClaimed").await;
    assert!(message.contains("ClientSecretRotation shop"), "{message}");
    bench.request("shop", "rotate/now").await;
    bench.wait_until_rotated("shop", 2).await;
    bench.assert_published("shop").await;
    bench.finish().await;
}

#[tokio::test]
async fn a_client_that_two_resources_claim_stays_with_the_older() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let twin = json!({ "clientId": "shop", "initial": "Rotate" });
    bench.try_apply_rotation("twin", twin).await.unwrap();
    let message = bench.wait_for_reason("twin", "Stalled", "ClientClaimed").await;
    assert!(message.contains("shop-auth0"), "{message}");
    assert_eq!((bench.rotation_count("shop"), bench.secret_data("twin-auth0").await), (0, None));
    bench.finish().await;
}

#[tokio::test]
async fn a_request_that_is_not_understood() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    for (text, says) in [("rotate", "<verb>/<any text>"), ("dance/now", "rotate/<any text>")] {
        bench.request("shop", text).await;
        let mut message = String::new();
        bench
            .wait_for("shop", "saying what is wrong", |resource| {
                let status = resource.status.clone().unwrap_or_default();
                let stalled =
                    rotation::find_condition(&status.conditions, "Stalled").cloned().unwrap();
                stalled.reason == "InvalidRequest" && stalled.message.contains(says)
            })
            .await;
        message.push_str(&bench.wait_for_reason("shop", "Stalled", "InvalidRequest").await);
        assert!(message.contains("auth0-rotator.dev/request"), "{message}");
    }
    assert_eq!(bench.rotation_count("shop"), 0);
    bench.request("shop", "rotate/now").await;
    bench.wait_until_rotated("shop", 2).await;
    bench.finish().await;
}

/// What the API server takes, and the operator says of it.
#[tokio::test]
async fn schedules_that_can_not_be_followed() {
    let bench = Fixture::start().await;
    let cases = [
        ("never", json!({ "cron": "0 0 30 2 *" }), "InvalidSchedule", "never fires"),
        ("broken", json!({ "cron": "61 * * * * " }), "InvalidSchedule", "five fields"),
        ("words", json!({ "cron": "every monday" }), "InvalidSchedule", "five fields"),
        ("six", json!({ "cron": "0 0 3 1 * *" }), "InvalidSchedule", "five fields"),
        (
            "zone",
            json!({ "cron": "0 3 * * *", "timeZone": "Mars/Base" }),
            "InvalidSchedule",
            "IANA",
        ),
        ("tight", json!({ "every": "2s" }), "ScheduleTooTight", "rotate less often"),
    ];
    for (name, schedule, reason, says) in cases {
        bench.apply_rotation(name, json!({ "schedule": schedule })).await;
        let message = bench.wait_for_reason(name, "Stalled", reason).await;
        assert!(message.contains(says), "{name}: {message}");
        // The secret is published all the same: it is the schedule that is wrong.
        bench.wait_for_reason(name, "Ready", "Published").await;
        assert_eq!(bench.rotation_count(name), 0);
    }
    bench.apply_rotation("grace", json!({ "gracePeriod": "1s" })).await;
    let message = bench.wait_for_reason("grace", "Stalled", "GracePeriodTooShort").await;
    assert!(message.contains("set it to 3s or more"), "{message}");
    bench.finish().await;
}

/// What the API server refuses, with the rule's own words.
#[tokio::test]
async fn manifests_that_the_api_server_refuses() {
    let bench = Fixture::without_operator().await;
    let cases: [(&str, Value, &str); 23] = [
        ("an empty client ID", json!({ "clientId": "" }), "clientId"),
        ("a client ID with a space", json!({ "clientId": "a b" }), "clientId"),
        ("no tenant", json!({ "tenantRef": null }), "tenantRef"),
        (
            "a tenant of an unknown kind",
            json!({ "tenantRef": { "kind": "Tenant" } }),
            "Auth0Tenant",
        ),
        ("neither cron nor every", json!({ "schedule": {} }), "exactly one of cron and every"),
        (
            "both cron and every",
            json!({ "schedule": { "cron": "0 3 1 * *", "every": "720h" } }),
            "exactly one of cron and every",
        ),
        (
            "a time zone without cron",
            json!({ "schedule": { "every": "720h", "timeZone": "UTC" } }),
            "no meaning without cron",
        ),
        ("an empty duration", json!({ "gracePeriod": "" }), "gracePeriod"),
        ("no time", json!({ "gracePeriod": "0s" }), "longer than 0s"),
        ("a negative duration", json!({ "gracePeriod": "-1h" }), "gracePeriod"),
        ("an absurd duration", json!({ "gracePeriod": "999999h" }), "at most 8760h"),
        ("days", json!({ "schedule": { "every": "30d" } }), "every"),
        ("every zero", json!({ "schedule": { "every": "0s" } }), "longer than 0s"),
        ("long jitter", json!({ "schedule": { "every": "1h", "jitter": "25h" } }), "at most 24h"),
        ("no staging", json!({ "staging": { "period": "0s" } }), "longer than 0s"),
        ("a target name with capitals", json!({ "target": { "name": "Shop" } }), "target.name"),
        (
            "two keys alike",
            json!({ "target": { "keys": { "current": "domain" } } }),
            "must be distinct",
        ),
        (
            "a template over a key",
            json!({ "target": { "template": { "client_secret": "x" } } }),
            "already used by target.keys",
        ),
        (
            "a template with a bad key",
            json!({ "target": { "template": { "a/b": "x" } } }),
            "letters, digits",
        ),
        ("a target name with two dots", json!({ "target": { "name": "a..b" } }), "target.name"),
        ("a key of dots", json!({ "target": { "keys": { "current": "..x" } } }), "current"),
        (
            "a label that is none",
            json!({ "target": { "labels": { "x": "not valid !" } } }),
            "label",
        ),
        ("an unknown strategy", json!({ "strategy": "Yolo" }), "Staged"),
    ];
    for (what, over, says) in cases {
        let refused = bench.try_apply_rotation("shop", over).await;
        let message = refused.map_or_else(|error| error.to_string(), |()| "taken".to_owned());
        assert!(message.contains(says), "{what}: {message}");
    }
    bench.try_apply_rotation("shop", json!({})).await.unwrap();
    for (over, says) in [
        (json!({ "clientId": "other" }), "can't be changed"),
        (json!({ "target": { "name": "other" } }), "can't be changed"),
    ] {
        let message = bench.try_apply_rotation("shop", over).await.unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    }
    bench.finish().await;
}

#[tokio::test]
async fn an_object_that_can_not_be_parsed_stops_no_other() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    // The schema lets a date through that is none to us.
    let status = json!({ "status": { "rotation": {
        "number": 7, "cause": "Request", "strategy": "Rotate", "phase": "Started",
        "startedAt": "2026-11-23T10:00:00.5+00:00", "attempts": -1,
    } } });
    let api = bench.api::<ClientSecretRotation>();
    let _ = api.patch_status("shop", &PatchParams::default(), &Patch::Merge(status)).await;
    bench.apply_rotation("cart", json!({})).await;
    bench.wait_until_rotated("cart", 1).await;
    let repaired = Patch::Merge(json!({ "status": null }));
    let repaired = api.patch_status("shop", &PatchParams::default(), &repaired).await;
    assert!(repaired.is_ok());
    bench.wait_until_rotated("shop", 1).await;
    assert_eq!(bench.rotation_count("shop"), 0);
    bench.finish().await;
}
