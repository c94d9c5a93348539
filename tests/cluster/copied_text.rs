//! Text of users that the operator copies: its length is bounded, and it stays on one line.

use auth0_rotator::api::ClientSecretRotation;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use testkit::{auth0, fixture::Fixture};

/// Longest value of an annotation that the API server takes, about.
const LONGEST: usize = 250 * 1024;

fn last_handled(resource: &ClientSecretRotation) -> Option<String> {
    resource.status.clone().unwrap_or_default().last_handled_request
}

#[tokio::test]
async fn long_request_is_rejected_and_not_copied() {
    let fixture = Fixture::start().await;
    fixture.simulator.add_client(auth0::application("shop")).unwrap();
    let long = |end: &str| format!("rotate/{}{end}", "x".repeat(LONGEST));
    fixture.apply_rotation("shop", json!({ "suspend": true })).await;
    fixture.request("shop", &long("a")).await;
    fixture.patch_rotation("shop", json!({ "spec": { "suspend": false } })).await;
    let message = fixture.wait_for_reason("shop", "RequestAccepted", "InvalidRequest").await;
    assert!(message.len() < 1024 && message.contains("longer than"), "{message}");
    let resource = fixture.get("shop").await;
    assert!(serde_json::to_string(&resource.status).unwrap().len() < 8 * 1024);
    assert!(last_handled(&resource).is_none_or(|text| text.len() <= 256));

    // Requests with the same start differ from each other, and from one that is short enough.
    fixture.request("shop", &long("b")).await;
    fixture.request("shop", "rotate/x").await;
    fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(fixture.rotation_count("shop"), 1);
    assert_eq!(last_handled(&fixture.get("shop").await).as_deref(), Some("rotate/x"));
    fixture.finish().await;
}

#[tokio::test]
async fn long_request_of_a_new_resource_is_not_copied() {
    let fixture = Fixture::start().await;
    fixture.simulator.add_client(auth0::application("shop")).unwrap();
    let resource = json!({
        "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "ClientSecretRotation",
        "metadata": {
            "name": "shop",
            "annotations": {
                "auth0-rotator.dev/request": format!("rotate/{}", "x".repeat(204_800)),
            },
        },
        "spec": {
            "clientId": "shop", "tenantRef": { "name": "acme" }, "gracePeriod": "3s",
            "target": { "name": "shop-auth0" },
        },
    });
    let params = PatchParams::apply("tests").force();
    let api = fixture.api::<ClientSecretRotation>();
    api.patch("shop", &params, &Patch::Apply(resource)).await.unwrap();
    fixture.wait_for_reason("shop", "RequestAccepted", "InvalidRequest").await;
    let resource = fixture.get("shop").await;
    assert!(last_handled(&resource).is_none_or(|text| text.len() <= 256));
    assert_eq!(fixture.rotation_count("shop"), 0);
    fixture.finish().await;
}

#[tokio::test]
async fn long_request_in_an_existing_status_is_removed() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    let status = json!({ "status": { "lastHandledRequest": "x".repeat(204_800) } });
    let api = fixture.api::<ClientSecretRotation>();
    api.patch_status("shop", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    let is_removed = |resource: &ClientSecretRotation| last_handled(resource).is_none();
    fixture.wait_for("shop", "without the long request", is_removed).await;
    fixture.finish().await;
}

#[tokio::test]
async fn escape_sequences_of_a_request_reach_no_event_and_no_log() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rollback/\u{1b}[2J\u{1b}[31mall\nis\rwell\u{202e}\u{9b}1m").await;
    fixture.wait_for_event("RequestRejected").await;
    let events = fixture.api::<Event>().list(&ListParams::default()).await.unwrap();
    let notes: Vec<_> = events.items.into_iter().filter_map(|event| event.note).collect();
    let log = std::fs::read_to_string(fixture.operator().log_path()).unwrap();
    let log = log.lines().filter(|line| line.contains("RequestRejected"));
    let texts: Vec<String> = notes.into_iter().chain(log.map(str::to_owned)).collect();
    assert!(texts.iter().any(|text| text.contains("is well")), "{texts:?}");
    for text in texts {
        assert!(!text.contains(|character: char| character.is_control()), "{text:?}");
        assert!(!text.contains("\\u001b") && !text.contains('\u{202e}'), "{text:?}");
    }
    fixture.finish().await;
}
