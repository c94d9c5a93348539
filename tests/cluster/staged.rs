//! The strategy `Staged`: its writes, failed calls, changes of the spec, and tampering in each phase.

use auth0_rotator::api::ClientSecretRotation;
use auth0_simulator::{Action, ClientSeed, Fault, Operation, When};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use rotation::{Outcome, Phase};
use serde_json::{Value, json};
use testkit::{
    auth0::{self, MANAGER, SCOPES},
    fixture::Fixture,
    manifests::merge,
};

use crate::phases::{HeldPhase, wait_for_phase};

/// Returns a spec with a short staging period.
fn staged() -> Value {
    json!({ "strategy": "Staged", "staging": { "period": "2s" } })
}

#[tokio::test]
async fn value_that_auth0_rejects_is_withdrawn() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", staged()).await;
    fixture.wait_until_rotated("shop", 1).await;
    let before = fixture.published_values("shop").await;
    fixture.reject_new_values();
    fixture.request("shop", "rotate/now").await;
    fixture
        .wait_for("shop", "rejected", |resource| {
            let status = resource.status.clone().unwrap_or_default();
            status.rotation.is_none() && !status.history.is_empty()
        })
        .await;
    let resource = fixture.wait_until_rotated("shop", 1).await;
    let entry = resource.status.unwrap().history[0].clone();
    assert_eq!(entry.outcome, Outcome::Rejected);
    assert_eq!(fixture.published_values("shop").await, before);
    fixture.wait_for_event("RotationRejected").await;
    fixture.assert_published("shop").await;
    fixture.finish().await;
}

#[tokio::test]
async fn staged_rotation_writes_its_secret_three_times() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", staged()).await;
    fixture.wait_until_rotated("shop", 1).await;
    let purposes = ["stage", "promote", "retire"];
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    let metrics = fixture.operator().metrics().await;
    let writes: Vec<_> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("auth0_rotator_secret_writes_total{purpose=\""))
        .filter(|line| purposes.iter().any(|purpose| line.starts_with(purpose)))
        .collect();
    assert_eq!(writes.len(), 3, "{writes:?}");
    assert!(writes.iter().all(|line| line.ends_with("\"} 1")), "{writes:?}");
    fixture.finish().await;
}

#[tokio::test]
async fn patch_is_repeated_after_a_lost_response() {
    assert_patch_is_repeated(Action::Cut { when: When::After }).await;
}

#[tokio::test]
async fn patch_is_repeated_after_a_lost_request() {
    assert_patch_is_repeated(Action::Cut { when: When::Before }).await;
}

#[tokio::test]
async fn patch_is_repeated_after_a_server_error() {
    assert_patch_is_repeated(Action::Status { status: 502, when: When::After }).await;
}

#[tokio::test]
async fn patch_is_repeated_after_a_truncated_response() {
    assert_patch_is_repeated(Action::TruncatedJson { when: When::After }).await;
}

#[tokio::test]
async fn value_is_kept_if_auth0_has_it_and_rejects_a_retry() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", staged()).await;
    assert_value_is_kept_after_rejected_retry(&fixture, 1).await;
    fixture.finish().await;
}

#[tokio::test]
async fn value_is_kept_if_auth0_has_it_and_rejects_a_retry_and_secrets_are_unreadable() {
    let scopes = SCOPES.into_iter().filter(|scope| *scope != "read:client_keys");
    let simulator =
        auth0::tenant().client(ClientSeed::new(MANAGER).scopes(scopes)).start().await.unwrap();
    let mut fixture = Fixture::with_simulator(simulator).await;
    fixture.start_operator();
    let mut spec = staged();
    merge(&mut spec, json!({ "initial": "Rotate" }));
    fixture.apply_rotation("shop", spec).await;
    assert_value_is_kept_after_rejected_retry(&fixture, 2).await;
    fixture.finish().await;
}

/// Asserts that the next value is promoted if its `PATCH` is applied, the response is lost, and the
/// retry is rejected with 400.
async fn assert_value_is_kept_after_rejected_retry(fixture: &Fixture, current: u64) {
    fixture.wait_until_rotated("shop", current).await;
    for action in [Action::Cut { when: When::After }, Action::InvalidBody] {
        fixture.simulator.faults().inject(Fault::new(action).on(Operation::UpdateClient)).unwrap();
    }
    fixture.request("shop", "rotate/now").await;
    wait_for_phase(fixture, Phase::Staging).await;
    let next = fixture.published_values("shop").await[1].clone();
    fixture.wait_until_rotated("shop", current + 1).await;
    assert_eq!(fixture.published_values("shop").await, std::slice::from_ref(&next));
    fixture.assert_published("shop").await;
}

/// A proxy or firewall in front of Auth0 may respond with 400, which does not mean that Auth0 rejects
/// the value.
#[tokio::test]
async fn status_400_of_a_proxy_does_not_reject_the_value() {
    assert_patch_is_repeated(Action::Html { status: 400, when: When::After }).await;
}

/// Asserts that a `PATCH` that fails is repeated with the same value.
async fn assert_patch_is_repeated(action: Action) {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", staged()).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.simulator.faults().inject(Fault::new(action).on(Operation::UpdateClient)).unwrap();
    fixture.request("shop", "rotate/now").await;
    wait_for_phase(&fixture, Phase::Staging).await;
    let next = fixture.published_values("shop").await[1].clone();
    fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(fixture.published_values("shop").await, std::slice::from_ref(&next));
    fixture.assert_published("shop").await;
    fixture.finish().await;
}

#[tokio::test]
async fn changed_periods_apply_to_the_rotation_in_progress() {
    let fixture = Fixture::start().await;
    let slow = json!({ "strategy": "Staged", "staging": { "period": "1h" }, "gracePeriod": "1h" });
    fixture.apply_rotation("shop", slow).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    wait_for_phase(&fixture, Phase::Staging).await;
    let shorter =
        json!({ "strategy": "Staged", "staging": { "period": "1s" }, "gracePeriod": "1h" });
    fixture.apply_rotation("shop", shorter).await;
    wait_for_phase(&fixture, Phase::Grace).await;
    fixture.apply_rotation("shop", json!({ "strategy": "Staged", "gracePeriod": "3s" })).await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.finish().await;
}

#[tokio::test]
async fn changed_strategy_applies_to_the_next_rotation() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", staged()).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    wait_for_phase(&fixture, Phase::Staging).await;
    fixture
        .apply_rotation("shop", json!({ "strategy": "Rotate", "staging": { "period": "2s" } }))
        .await;
    fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(fixture.rotation_count("shop"), 0);
    fixture.request("shop", "rotate/again").await;
    fixture.wait_until_rotated("shop", 3).await;
    assert_eq!(fixture.rotation_count("shop"), 1);
    fixture.finish().await;
}

#[tokio::test]
async fn deleted_target_is_restored_in_each_phase() {
    let phases = [Phase::Staging, Phase::Activating, Phase::Confirming, Phase::Grace];
    let each = phases.map(|phase| assert_completes_after(Tampering::Delete, phase));
    futures::future::join_all(each).await;
}

#[tokio::test]
async fn edited_target_is_restored_during_staging_and_grace_period() {
    let patches = [
        json!({ "stringData": { "client_secrets": "" } }),
        json!({ "stringData": { "client_secrets": "[\"junk\",1]" } }),
        json!({ "stringData": { "client_secret": "junk", "client_secret_fallback": "more junk" } }),
        json!({ "data": { "client_secret_fallback": null } }),
    ];
    let each = patches.into_iter().flat_map(|patch| {
        [Phase::Staging, Phase::Grace]
            .map(|phase| assert_completes_after(Tampering::Patch(patch.clone()), phase))
    });
    futures::future::join_all(each).await;
}

/// Change of the target Secret by another party.
enum Tampering {
    Delete,
    Patch(Value),
}

/// Patches the target Secret in a phase of a staged rotation, or deletes it, and asserts that the
/// rotation completes.
async fn assert_completes_after(tampering: Tampering, phase: Phase) {
    let fixture = Fixture::start().await;
    let spec = json!({
        "strategy": "Staged", "staging": { "period": "3s" }, "gracePeriod": "4s",
    });
    fixture.apply_rotation("shop", spec).await;
    fixture.wait_until_rotated("shop", 1).await;
    let held = HeldPhase::inject(&fixture, phase);
    fixture.request("shop", "rotate/now").await;
    wait_for_phase(&fixture, phase).await;
    let secrets = fixture.api::<Secret>();
    match tampering {
        Tampering::Delete => {
            drop(secrets.delete("shop-auth0", &Default::default()).await.unwrap());
        }
        Tampering::Patch(patch) => {
            let params =
                PatchParams { field_manager: Some("other".into()), ..PatchParams::default() };
            secrets.patch("shop-auth0", &params, &Patch::Merge(patch)).await.unwrap();
        }
    }
    held.release(&fixture);
    let is_complete = |resource: &ClientSecretRotation| {
        let status = resource.status.clone().unwrap_or_default();
        status.current >= Some(2) && status.rotation.is_none()
    };
    fixture.wait_for("shop", "idle with the new secret", is_complete).await;
    fixture.assert_published("shop").await;
    assert_eq!(fixture.published_values("shop").await.len(), 1, "{phase:?}");
    fixture.finish().await;
}
