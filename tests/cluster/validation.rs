//! Validation of specs by the API server and the operator.

use std::{collections::BTreeMap, time::Duration};

use auth0_rotator::api::ClientSecretRotation;
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
    core::ApiResource,
};
use serde_json::{Value, json};
use testkit::fixture::Fixture;

/// Manifests that the API server rejects with the message of the rule.
#[tokio::test]
async fn api_server_rejects_invalid_manifests() {
    let fixture = Fixture::without_operator().await;
    let cases: [(&str, Value, &str); 26] = [
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
            "two equal keys",
            json!({ "target": { "keys": { "current": "domain" } } }),
            "must be distinct",
        ),
        (
            "a template for a key of target.keys",
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
        ("an invalid label", json!({ "target": { "labels": { "x": "not valid !" } } }), "label"),
        ("an unknown strategy", json!({ "strategy": "Yolo" }), "Staged"),
        (
            "large templates",
            json!({ "target": { "template": { "a": "x".repeat(16_384), "b": "x".repeat(16_384) } } }),
            "larger than 32 KiB together",
        ),
        (
            "templates of long characters",
            json!({ "target": { "template": { "a": "€".repeat(12_000) } } }),
            "larger than 32 KiB together",
        ),
        (
            "large annotations",
            json!({ "target": { "annotations": large_annotations() } }),
            "larger than 32 KiB together",
        ),
    ];
    for (case, overrides, expected) in cases {
        let message = match fixture.try_apply_rotation("shop", overrides).await {
            Ok(()) => "accepted".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(message.contains(expected), "{case}: {message}");
    }
    fixture.try_apply_rotation("shop", json!({})).await.unwrap();
    for (overrides, expected) in [
        (json!({ "clientId": "other" }), "can't be changed"),
        (json!({ "target": { "name": "other" } }), "can't be changed"),
    ] {
        let error = fixture.try_apply_rotation("shop", overrides).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    fixture.finish().await;
}

fn large_annotations() -> BTreeMap<String, String> {
    (0..9).map(|number| (format!("example.com/{number}"), "x".repeat(4096))).collect()
}

#[tokio::test]
async fn api_server_rejects_a_large_ca_bundle() {
    let fixture = Fixture::without_operator().await;
    for (bundle, expected) in
        [("x".repeat(50_000), "49152"), ("€".repeat(20_000), "larger than 48 KiB")]
    {
        let spec = json!({
            "domain": "acme.eu.auth0.com", "caBundle": bundle,
            "credentials": { "clientSecret": { "secretRef": { "name": "m" } } },
        });
        let error = fixture.try_apply_tenant("large", spec).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    fixture.finish().await;
}

/// Schedules that the API server accepts and the operator rejects.
#[tokio::test]
async fn reports_invalid_schedules() {
    let fixture = Fixture::start().await;
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
    for (name, schedule, reason, expected) in cases {
        fixture.apply_rotation(name, json!({ "schedule": schedule })).await;
        let message = fixture.wait_for_reason(name, "Stalled", reason).await;
        assert!(message.contains(expected), "{name}: {message}");
        // The secret is published, because only the schedule is invalid.
        fixture.wait_for_reason(name, "Ready", "Published").await;
        assert_eq!(fixture.rotation_count(name), 0);
    }
    fixture.apply_rotation("grace", json!({ "gracePeriod": "1s" })).await;
    let message = fixture.wait_for_reason("grace", "Stalled", "GracePeriodTooShort").await;
    assert!(message.contains("set it to 3s or more"), "{message}");
    fixture.finish().await;
}

#[tokio::test]
async fn reports_invalid_windows_and_waits_for_a_distant_one() {
    let fixture = Fixture::start().await;
    for (name, window, expected) in [
        ("never", json!({ "cron": "0 0 30 2 *", "duration": "1h" }), "never fires"),
        ("broken", json!({ "cron": "often often", "duration": "1h" }), "five fields"),
        ("zone", json!({ "cron": "0 2 * * *", "timeZone": "Mars/Base", "duration": "1h" }), "IANA"),
    ] {
        fixture.apply_rotation(name, json!({ "windows": [window] })).await;
        let message = fixture.wait_for_reason(name, "Stalled", "InvalidWindow").await;
        assert!(message.contains(expected), "{name}: {message}");
    }
    let zero = json!({ "windows": [{ "cron": "0 2 * * *", "duration": "0s" }] });
    let error = fixture.try_apply_rotation("zero", zero).await.unwrap_err().to_string();
    assert!(error.contains("longer than 0s"), "{error}");

    // A rotation that is due in seconds waits for a window that opens on January 1.
    let distant = json!({
        "schedule": { "every": "10s" },
        "windows": [{ "cron": "0 0 1 1 *", "duration": "1h" }],
    });
    fixture.apply_rotation("shop", distant).await;
    let resource = fixture.wait_until_rotated("shop", 1).await;
    let next = resource.status.unwrap().next_rotation_time.unwrap();
    assert!(next.format("%m-%dT%H:%M:%S").to_string() == "01-01T00:00:00", "{next}");
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(fixture.rotation_count("shop"), 0);
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.finish().await;
}

#[tokio::test]
async fn unparseable_status_does_not_block_other_resources() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    // The schema accepts this time zone, although the operator can't parse it.
    let status = json!({ "status": { "rotation": {
        "number": 7, "cause": "Request", "strategy": "Rotate", "phase": "Started",
        "startedAt": "2026-11-23T10:00:00+99:99", "attempts": 1,
    } } });
    let kind = ApiResource::erase::<ClientSecretRotation>(&());
    let resources: Api<DynamicObject> =
        Api::namespaced_with(fixture.client.clone(), &fixture.namespace, &kind);
    let params = PatchParams::default();
    resources.patch_status("shop", &params, &Patch::Merge(status)).await.unwrap();
    fixture.operator().wait_for_log("failed to parse the resource").await;
    fixture.apply_rotation("cart", json!({})).await;
    fixture.wait_until_rotated("cart", 1).await;
    let reset = Patch::Merge(json!({ "status": null }));
    resources.patch_status("shop", &params, &reset).await.unwrap();
    fixture.wait_until_rotated("shop", 1).await;
    assert_eq!(fixture.rotation_count("shop"), 0);
    fixture.finish().await;
}
