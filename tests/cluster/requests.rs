//! Request annotations: `revoke`, `rollback`, `abort`, and invalid ones.

use auth0_rotator::api::ClientSecretRotation;
use rotation::{Outcome, Phase, Status, condition_types, find_condition, is_condition_true};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::fixture::Fixture;

use crate::phases::wait_for_phase;

/// Returns the spec of a staged rotation that does not end within a test by itself.
fn slow() -> Value {
    json!({ "strategy": "Staged", "staging": { "period": "1h" }, "gracePeriod": "1h" })
}

fn status(resource: &ClientSecretRotation) -> Status {
    resource.status.clone().unwrap_or_default()
}

fn value_at_auth0(fixture: &Fixture) -> String {
    fixture.simulator.client_secret("shop").unwrap().expose_secret().to_owned()
}

#[tokio::test]
async fn revoke_skips_staging_and_grace_period() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", slow()).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "revoke/leaked").await;
    fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(fixture.published_values("shop").await.len(), 1);
    fixture.assert_published("shop").await;
    fixture.finish().await;
}

#[tokio::test]
async fn revoke_accelerates_the_rotation_in_progress() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", slow()).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    wait_for_phase(&fixture, Phase::Staging).await;
    fixture.request("shop", "revoke/leaked").await;
    let resource = fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(resource.status.unwrap().history.len(), 1, "revoke started another rotation");
    fixture.assert_published("shop").await;
    fixture.finish().await;
}

#[tokio::test]
async fn rollback_restores_the_previous_secret() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({ "gracePeriod": "1h" })).await;
    fixture.wait_until_rotated("shop", 1).await;
    let first = value_at_auth0(&fixture);
    fixture.request("shop", "rotate/now").await;
    wait_for_phase(&fixture, Phase::Grace).await;
    let second = value_at_auth0(&fixture);
    fixture.request("shop", "rollback/bad").await;
    let is_rolled_back = |resource: &ClientSecretRotation| status(resource).current == Some(3);
    fixture.wait_for("shop", "rolled back", is_rolled_back).await;
    assert_eq!(fixture.published_values("shop").await, [first.clone(), second]);
    assert!(value_at_auth0(&fixture) == first);
    fixture.finish().await;
}

#[tokio::test]
async fn rollback_that_auth0_rejects_changes_nothing() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({ "gracePeriod": "1h" })).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    wait_for_phase(&fixture, Phase::Grace).await;
    let before = fixture.published_values("shop").await;
    fixture.reject_new_values();
    fixture.request("shop", "rollback/bad").await;
    let is_rejected = |resource: &ClientSecretRotation| {
        status(resource).history.iter().any(|entry| entry.outcome == Outcome::Rejected)
    };
    let resource = fixture.wait_for("shop", "rejected", is_rejected).await;
    let entry = status(&resource).history[0].clone();
    assert!(entry.message.contains("rejected the new value"), "{}", entry.message);
    assert_eq!(fixture.published_values("shop").await, before);
    fixture.assert_published("shop").await;
    fixture.finish().await;
}

#[tokio::test]
async fn rejects_rollback_without_a_previous_secret() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rollback/now").await;
    let has_rejection =
        |resource: &ClientSecretRotation| status(resource).request_rejection.is_some();
    let resource = fixture.wait_for("shop", "with a rejected request", has_rejection).await;
    let rejection = status(&resource).request_rejection.unwrap();
    assert!(rejection.contains("no previous secret"), "{rejection}");
    fixture.wait_for_event("RequestRejected").await;
    fixture.finish().await;
}

#[tokio::test]
async fn abort_withdraws_the_next_secret() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", slow()).await;
    fixture.wait_until_rotated("shop", 1).await;
    let before = fixture.published_values("shop").await;
    fixture.request("shop", "rotate/now").await;
    wait_for_phase(&fixture, Phase::Staging).await;
    fixture.request("shop", "abort/wait").await;
    let resource = fixture.wait_until_rotated("shop", 1).await;
    assert_eq!(resource.status.unwrap().history[0].outcome, Outcome::Aborted);
    assert_eq!(fixture.published_values("shop").await, before);
    fixture.assert_published("shop").await;
    fixture.finish().await;
}

#[tokio::test]
async fn rejects_invalid_request_annotations() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    for (text, expected) in [("rotate", "<verb>/<any text>"), ("dance/now", "rotate/<any text>")] {
        fixture.request("shop", text).await;
        let has_message = |resource: &ClientSecretRotation| {
            let conditions = status(resource).conditions;
            let accepted = find_condition(&conditions, condition_types::REQUEST_ACCEPTED);
            accepted.is_some_and(|condition| {
                condition.reason == "InvalidRequest" && condition.message.contains(expected)
            })
        };
        fixture.wait_for("shop", "with the invalid request", has_message).await;
        let message = fixture.wait_for_reason("shop", "RequestAccepted", "InvalidRequest").await;
        assert!(message.contains("auth0-rotator.dev/request"), "{message}");
        let conditions = status(&fixture.get("shop").await).conditions;
        assert!(is_condition_true(&conditions, condition_types::READY));
        assert!(!is_condition_true(&conditions, condition_types::STALLED));
        fixture.wait_for_event("InvalidRequest").await;
    }
    assert_eq!(fixture.rotation_count("shop"), 0);
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.finish().await;
}

/// A compromised secret is replaced despite a mistake in the spec; the mistake is reported.
#[tokio::test]
async fn revoke_is_not_blocked_by_a_mistake_in_the_spec() {
    let mistakes = [
        ("InvalidSchedule", json!({ "schedule": { "cron": "0 3 31 2 *" } })),
        ("InvalidSchedule", json!({ "schedule": { "cron": "0 3 1 * *", "timeZone": "Mars/X" } })),
        ("ScheduleTooTight", json!({ "schedule": { "every": "2s" } })),
        ("InvalidWindow", json!({ "windows": [{ "cron": "0 2 * * 1-9", "duration": "3h" }] })),
        ("InvalidTemplate", json!({ "target": { "template": { "a": "{{ client_sekret }}" } } })),
        ("MetadataNotAllowed", json!({ "target": { "labels": { "team": "a" } } })),
        ("MetadataNotAllowed", json!({ "target": { "annotations": { "team": "a" } } })),
        ("TargetKeyTaken", json!({ "target": { "keys": { "fallback": "theirs" } } })),
        ("GracePeriodTooShort", json!({ "gracePeriod": "1s" })),
    ];
    let fixture = Fixture::start().await;
    for (index, (reason, mistake)) in mistakes.into_iter().enumerate() {
        let name = format!("shop-{index}");
        fixture.apply_rotation(&name, json!({})).await;
        fixture.wait_until_rotated(&name, 1).await;
        if reason == "TargetKeyTaken" {
            let api = fixture.api::<k8s_openapi::api::core::v1::Secret>();
            let patch = kube::api::Patch::Merge(json!({ "stringData": { "theirs": "kept" } }));
            api.patch(&format!("{name}-auth0"), &Default::default(), &patch).await.unwrap();
        }
        fixture.apply_rotation(&name, mistake).await;
        fixture.wait_until_stalled(&name, reason).await;
        fixture.request(&name, "rotate/waits").await;
        fixture.wait_for_reason(&name, "RequestAccepted", "RequestPending").await;
        assert_eq!(fixture.rotation_count(&name), 0, "{reason}");
        fixture.request(&name, "revoke/leaked").await;
        fixture.wait_until_rotated(&name, 2).await;
        fixture.assert_published(&name).await;
        assert_eq!(fixture.published_values(&name).await.len(), 1, "{reason}");
        fixture.wait_until_stalled(&name, reason).await;
        fixture.wait_for_reason(&name, "RequestAccepted", "RequestHandled").await;
    }
    fixture.finish().await;
}
