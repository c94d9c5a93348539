//! Requests of every kind, and the strategy Staged with what can go wrong in it.

use std::time::Duration;

use auth0_rotator::api::ClientSecretRotation;
use auth0_simulator::{Action, Fault, Operation, When};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use rotation::{Outcome, Phase};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::fixture::Fixture;

fn staged() -> Value {
    json!({ "strategy": "Staged", "staging": { "period": "2s" } })
}

fn in_phase(resource: &ClientSecretRotation, wanted: Phase) -> bool {
    let status = resource.status.clone().unwrap_or_default();
    status.rotation.is_some_and(|rotation| rotation.phase == wanted)
}

async fn reaches(bench: &Fixture, phase: Phase) {
    bench
        .wait_for("shop", &format!("in phase {phase:?}"), |resource| in_phase(resource, phase))
        .await;
}

fn now_at_auth0(bench: &Fixture) -> String {
    bench.simulator.client_secret("shop").unwrap().expose_secret().to_owned()
}

#[tokio::test]
async fn revoke_replaces_the_secret_without_staging_and_without_grace() {
    let bench = Fixture::start().await;
    let slow = json!({ "strategy": "Staged", "staging": { "period": "1h" }, "gracePeriod": "1h" });
    bench.apply_rotation("shop", slow).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "revoke/leaked").await;
    bench.wait_until_rotated("shop", 2).await;
    assert_eq!(bench.published_values("shop").await.len(), 1);
    bench.assert_published("shop").await;
    bench.finish().await;
}

#[tokio::test]
async fn revoke_in_the_middle_of_a_rotation_makes_it_hurry() {
    let bench = Fixture::start().await;
    let slow = json!({ "strategy": "Staged", "staging": { "period": "1h" }, "gracePeriod": "1h" });
    bench.apply_rotation("shop", slow).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    reaches(&bench, Phase::Staging).await;
    bench.request("shop", "revoke/leaked").await;
    let resource = bench.wait_until_rotated("shop", 2).await;
    assert_eq!(resource.status.unwrap().history.len(), 1, "the same rotation");
    bench.assert_published("shop").await;
    bench.finish().await;
}

#[tokio::test]
async fn rollback_makes_the_previous_secret_the_current_one_again() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({ "gracePeriod": "1h" })).await;
    bench.wait_until_rotated("shop", 1).await;
    let first = now_at_auth0(&bench);
    bench.request("shop", "rotate/now").await;
    reaches(&bench, Phase::Grace).await;
    let second = now_at_auth0(&bench);
    bench.request("shop", "rollback/bad").await;
    bench
        .wait_for("shop", "rolled back", |resource| {
            resource.status.as_ref().is_some_and(|status| status.current == Some(3))
        })
        .await;
    assert_eq!(bench.published_values("shop").await, [first.clone(), second]);
    assert!(now_at_auth0(&bench) == first);
    bench.finish().await;
}

#[tokio::test]
async fn a_rollback_that_auth0_refuses_changes_nothing() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({ "gracePeriod": "1h" })).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    reaches(&bench, Phase::Grace).await;
    let before = bench.published_values("shop").await;
    bench.reject_new_values();
    bench.request("shop", "rollback/bad").await;
    let refused = |resource: &ClientSecretRotation| {
        let status = resource.status.clone().unwrap_or_default();
        status.history.iter().any(|entry| entry.outcome == Outcome::Rejected)
    };
    let resource = bench.wait_for("shop", "refused", refused).await;
    let entry = resource.status.unwrap().history[0].clone();
    assert!(entry.message.contains("rejected the new value"), "{}", entry.message);
    assert_eq!(bench.published_values("shop").await, before);
    bench.assert_published("shop").await;
    bench.finish().await;
}

#[tokio::test]
async fn a_rollback_without_a_previous_secret_is_refused_and_told() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rollback/what").await;
    let resource = bench
        .wait_for("shop", "told", |resource| {
            resource.status.as_ref().is_some_and(|status| status.request_rejection.is_some())
        })
        .await;
    let refusal = resource.status.unwrap().request_rejection.unwrap();
    assert!(refusal.contains("no previous secret"), "{refusal}");
    bench.wait_for_event("RequestRejected").await;
    bench.finish().await;
}

#[tokio::test]
async fn abort_withdraws_the_next_secret() {
    let bench = Fixture::start().await;
    let slow = json!({ "strategy": "Staged", "staging": { "period": "1h" } });
    bench.apply_rotation("shop", slow).await;
    bench.wait_until_rotated("shop", 1).await;
    let before = bench.published_values("shop").await;
    bench.request("shop", "rotate/now").await;
    reaches(&bench, Phase::Staging).await;
    bench.request("shop", "abort/wait").await;
    let resource = bench.wait_until_rotated("shop", 1).await;
    assert_eq!(resource.status.unwrap().history[0].outcome, Outcome::Aborted);
    assert_eq!(bench.published_values("shop").await, before);
    bench.assert_published("shop").await;
    bench.finish().await;
}

#[tokio::test]
async fn a_value_that_auth0_refuses_is_withdrawn() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", staged()).await;
    bench.wait_until_rotated("shop", 1).await;
    let before = bench.published_values("shop").await;
    bench.reject_new_values();
    bench.request("shop", "rotate/now").await;
    bench
        .wait_for("shop", "refused", |resource| {
            let status = resource.status.clone().unwrap_or_default();
            status.rotation.is_none() && !status.history.is_empty()
        })
        .await;
    let resource = bench.wait_until_rotated("shop", 1).await;
    let entry = resource.status.unwrap().history[0].clone();
    assert_eq!(entry.outcome, Outcome::Rejected);
    assert_eq!(bench.published_values("shop").await, before);
    bench.wait_for_event("RotationRejected").await;
    bench.assert_published("shop").await;
    bench.finish().await;
}

#[tokio::test]
async fn a_staged_rotation_writes_its_secret_three_times() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", staged()).await;
    bench.wait_until_rotated("shop", 1).await;
    let purposes = ["stage", "promote", "retire"];
    bench.request("shop", "rotate/now").await;
    bench.wait_until_rotated("shop", 2).await;
    let metrics = bench.operator().metrics().await;
    let writes: Vec<_> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("auth0_rotator_secret_writes_total{purpose=\""))
        .filter(|line| purposes.iter().any(|purpose| line.starts_with(purpose)))
        .collect();
    assert_eq!(writes.len(), 3, "{writes:?}");
    assert!(writes.iter().all(|line| line.ends_with("\"} 1")), "{writes:?}");
    bench.finish().await;
}

/// `PATCH` goes wrong once: it is repeated with the same value until its outcome is known.
async fn patch_with(action: Action) {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", staged()).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.simulator.faults().inject(Fault::new(action).on(Operation::UpdateClient)).unwrap();
    bench.request("shop", "rotate/now").await;
    reaches(&bench, Phase::Staging).await;
    let next = bench.published_values("shop").await[1].clone();
    bench.wait_until_rotated("shop", 2).await;
    assert_eq!(bench.published_values("shop").await, std::slice::from_ref(&next));
    assert!(now_at_auth0(&bench) == next);
    bench.finish().await;
}

#[tokio::test]
async fn a_patch_whose_answer_is_lost() {
    patch_with(Action::Cut { when: When::After }).await;
}

#[tokio::test]
async fn a_patch_that_does_not_arrive() {
    patch_with(Action::Cut { when: When::Before }).await;
}

#[tokio::test]
async fn a_patch_with_a_server_error() {
    patch_with(Action::Status { status: 502, when: When::After }).await;
}

#[tokio::test]
async fn a_patch_with_an_answer_that_is_none() {
    patch_with(Action::TruncatedJson { when: When::After }).await;
}

#[tokio::test]
async fn periods_that_change_in_mid_rotation_count_from_then_on() {
    let bench = Fixture::start().await;
    let slow = json!({ "strategy": "Staged", "staging": { "period": "1h" }, "gracePeriod": "1h" });
    bench.apply_rotation("shop", slow).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    reaches(&bench, Phase::Staging).await;
    let shorter =
        json!({ "strategy": "Staged", "staging": { "period": "1s" }, "gracePeriod": "1h" });
    bench.apply_rotation("shop", shorter).await;
    reaches(&bench, Phase::Grace).await;
    bench.apply_rotation("shop", json!({ "strategy": "Staged", "gracePeriod": "3s" })).await;
    bench.wait_until_rotated("shop", 2).await;
    bench.finish().await;
}

#[tokio::test]
async fn a_strategy_that_changes_in_mid_rotation_is_for_the_next_one() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", staged()).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    reaches(&bench, Phase::Staging).await;
    bench
        .apply_rotation("shop", json!({ "strategy": "Rotate", "staging": { "period": "2s" } }))
        .await;
    bench.wait_until_rotated("shop", 2).await;
    assert_eq!(bench.rotation_count("shop"), 0);
    bench.request("shop", "rotate/again").await;
    bench.wait_until_rotated("shop", 3).await;
    assert_eq!(bench.rotation_count("shop"), 1);
    bench.finish().await;
}

/// Something happens to the target Secret in a phase of a Staged rotation.
async fn tampered_in(phase: Phase, patch: Option<Value>) {
    let bench = Fixture::start().await;
    let slow = json!({
        "strategy": "Staged", "staging": { "period": "3s" }, "gracePeriod": "4s",
    });
    bench.apply_rotation("shop", slow).await;
    bench.wait_until_rotated("shop", 1).await;
    if phase == Phase::Activating {
        let late = Fault::new(Action::Delay { ms: 800, when: When::Before });
        bench.simulator.faults().inject(late.on(Operation::UpdateClient)).unwrap();
    }
    bench.request("shop", "rotate/now").await;
    reaches(&bench, phase).await;
    let secrets = bench.api::<Secret>();
    match patch {
        None => drop(secrets.delete("shop-auth0", &Default::default()).await.unwrap()),
        Some(patch) => {
            let params =
                PatchParams { field_manager: Some("someone".into()), ..PatchParams::default() };
            secrets.patch("shop-auth0", &params, &Patch::Merge(patch)).await.unwrap();
        }
    }
    let ended = |resource: &ClientSecretRotation| {
        let status = resource.status.clone().unwrap_or_default();
        status.current >= Some(2) && status.rotation.is_none()
    };
    bench.wait_for("shop", "over", ended).await;
    bench.assert_published("shop").await;
    assert_eq!(bench.published_values("shop").await.len(), 1, "{phase:?}");
    bench.finish().await;
}

#[tokio::test]
async fn a_target_that_is_deleted_in_each_phase() {
    let phases = [Phase::Staging, Phase::Activating, Phase::Confirming, Phase::Grace];
    futures::future::join_all(phases.map(|phase| tampered_in(phase, None))).await;
}

#[tokio::test]
async fn a_list_that_is_emptied_reordered_or_filled_with_junk() {
    let patches = [
        json!({ "stringData": { "client_secrets": "" } }),
        json!({ "stringData": { "client_secrets": "[\"junk\",1]" } }),
        json!({ "stringData": { "client_secret": "junk", "client_secret_fallback": "more junk" } }),
        json!({ "data": { "client_secret_fallback": null } }),
    ];
    let all = patches.into_iter().flat_map(|patch| {
        [Phase::Staging, Phase::Grace].map(|phase| tampered_in(phase, Some(patch.clone())))
    });
    futures::future::join_all(all).await;
}

#[tokio::test]
async fn a_dashboard_rotation_in_each_phase_is_followed() {
    let phases = [Phase::Staging, Phase::Confirming, Phase::Grace];
    futures::future::join_all(phases.map(async |phase| {
        let bench = Fixture::start().await;
        let checked = json!({
            "strategy": "Staged", "staging": { "period": "6s" }, "gracePeriod": "6s",
            "driftCheck": { "every": "1s" },
        });
        bench.apply_rotation("shop", checked).await;
        bench.wait_until_rotated("shop", 1).await;
        bench.request("shop", "rotate/now").await;
        reaches(&bench, phase).await;
        bench.simulator.dashboard_rotate("shop").unwrap();
        let value = now_at_auth0(&bench);
        bench.wait_for_secret_data("shop-auth0", |data| data["client_secret"] == value).await;
        let resource = bench
            .wait_for("shop", "following", |resource| {
                let status = resource.status.clone().unwrap_or_default();
                status.rotation.is_none()
                    && status
                        .history
                        .first()
                        .is_some_and(|entry| entry.cause == rotation::Cause::Drift)
            })
            .await;
        assert!(resource.status.unwrap().history.len() >= 2, "{phase:?}");
        bench.assert_published("shop").await;
        bench.finish().await;
    }))
    .await;
}

#[tokio::test]
async fn drift_at_rest_is_found_by_the_check_and_told() {
    let bench = Fixture::start().await;
    let checked = json!({ "driftCheck": { "every": "2s" }, "suspend": true });
    for name in ["shop", "cart", "pay"] {
        bench.apply_rotation(name, checked.clone()).await;
        bench.wait_until_rotated(name, 1).await;
    }
    let old = bench.published_values("shop").await[0].clone();
    bench.simulator.dashboard_rotate("shop").unwrap();
    let value = now_at_auth0(&bench);
    bench.wait_for_secret_data("shop-auth0", |data| data["client_secret"] == value).await;
    bench.wait_for_event("Drift").await;
    bench
        .wait_for_secret_data("shop-auth0", |data| !data.contains_key("client_secret_fallback"))
        .await;
    assert_ne!(old, value);
    bench.wait_until_rotated("cart", 1).await;
    bench.finish().await;
}

#[tokio::test]
async fn a_client_that_is_deleted_at_auth0_is_told_by_the_check() {
    let bench = Fixture::start().await;
    let checked = json!({ "driftCheck": { "every": "1s" } });
    for name in ["shop", "cart"] {
        bench.apply_rotation(name, checked.clone()).await;
        bench.wait_until_rotated(name, 1).await;
    }
    bench.simulator.remove_client("shop");
    bench.wait_for_reason("shop", "Stalled", "ClientNotFound").await;
    bench.wait_until_rotated("cart", 1).await;
    bench.finish().await;
}

#[tokio::test]
async fn windows_that_can_not_be_used_and_one_that_is_far_off() {
    let bench = Fixture::start().await;
    for (name, window, says) in [
        ("never", json!({ "cron": "0 0 30 2 *", "duration": "1h" }), "never fires"),
        ("broken", json!({ "cron": "often often", "duration": "1h" }), "five fields"),
        ("zone", json!({ "cron": "0 2 * * *", "timeZone": "Mars/Base", "duration": "1h" }), "IANA"),
    ] {
        bench.apply_rotation(name, json!({ "windows": [window] })).await;
        let message = bench.wait_for_reason(name, "Stalled", "InvalidWindow").await;
        assert!(message.contains(says), "{name}: {message}");
    }
    let zero = json!({ "windows": [{ "cron": "0 2 * * *", "duration": "0s" }] });
    let error = bench.try_apply_rotation("zero", zero).await.unwrap_err().to_string();
    assert!(error.contains("longer than 0s"), "{error}");

    // Due in seconds, with a window that opens on 1 January: it waits, and says until when.
    let far = json!({
        "schedule": { "every": "10s" },
        "windows": [{ "cron": "0 0 1 1 *", "duration": "1h" }],
    });
    bench.apply_rotation("shop", far).await;
    let resource = bench.wait_until_rotated("shop", 1).await;
    let next = resource.status.unwrap().next_rotation_time.unwrap();
    assert!(next.format("%m-%dT%H:%M:%S").to_string() == "01-01T00:00:00", "{next}");
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(bench.rotation_count("shop"), 0);
    bench.request("shop", "rotate/now").await;
    bench.wait_until_rotated("shop", 2).await;
    bench.finish().await;
}
