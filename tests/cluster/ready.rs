//! `Ready` is true only while applications can log in with the published values, as far as the operator
//! can know. At the end of each test, the fixture compares the condition with logins.

use std::time::Duration;

use auth0_rotator::api::ClientSecretRotation;
use auth0_simulator::{Action, Fault, Operation, When};
use rotation::{Phase, condition_types, find_condition, is_condition_true};
use secrecy::ExposeSecret as _;
use serde_json::json;
use testkit::fixture::{Fixture, PROPAGATION_WINDOW};

use crate::phases::wait_for_phase;

fn is_ready(resource: &ClientSecretRotation) -> bool {
    let conditions = resource.status.clone().unwrap_or_default().conditions;
    is_condition_true(&conditions, condition_types::READY)
}

/// Adds an unlimited fault of these operations.
fn inject(fixture: &Fixture, action: &Action, operations: &[Operation]) -> Vec<u64> {
    let faults = operations.iter().map(|operation| {
        let fault = Fault::new(action.clone()).on(*operation).unlimited();
        fixture.simulator.faults().inject(fault).unwrap()
    });
    faults.collect()
}

/// Requests a rotation, and delays the change at Auth0 for longer than the operator waits: it takes
/// effect, but its response is lost. Returns while the operator waits.
async fn lose_change(fixture: &Fixture, change: Operation) {
    let delay = Action::Delay { ms: 2_500, when: When::Before };
    fixture.simulator.faults().inject(Fault::new(delay).on(change)).unwrap();
    fixture.request("shop", "rotate/now").await;
    wait_for_phase(fixture, Phase::Activating).await;
}

fn unavailable() -> Action {
    Action::Status { status: 503, when: When::Before }
}

/// The operator has a response of `rotate-secret`, and the API server does not accept it.
#[tokio::test]
async fn ready_is_false_while_a_response_cannot_be_published() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    // The dry run has passed when the call is made.
    let delay = Action::Delay { ms: 1_500, when: When::Before };
    fixture.simulator.faults().inject(Fault::new(delay).on(Operation::RotateSecret)).unwrap();
    fixture.request("shop", "rotate/now").await;
    wait_for_phase(&fixture, Phase::Activating).await;
    fixture.deny_secret_writes().await;
    let message = fixture.wait_for_reason("shop", "Ready", "ResultUnpublished").await;
    assert!(!message.contains(fixture.simulator.client_secret("shop").unwrap().expose_secret()));
    fixture.assert_published_values_log_in().await;
    fixture.allow_secret_writes().await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.assert_published("shop").await;
    fixture.finish().await;
}

/// The response of a change is lost, and its outcome can't be read from Auth0.
#[tokio::test]
async fn ready_is_false_while_the_outcome_is_unknown() {
    for (strategy, change) in
        [("Rotate", Operation::RotateSecret), ("Staged", Operation::UpdateClient)]
    {
        let fixture = Fixture::start().await;
        let spec = json!({ "strategy": strategy, "staging": { "period": "1s" } });
        fixture.apply_rotation("shop", spec).await;
        fixture.wait_until_rotated("shop", 1).await;
        lose_change(&fixture, change).await;
        let faults = inject(&fixture, &unavailable(), &[Operation::GetClient, change]);
        fixture.wait_for_reason("shop", "Ready", "OutcomeUnknown").await;
        fixture.assert_published_values_log_in().await;
        for fault in faults {
            fixture.simulator.faults().remove(fault);
        }
        fixture.wait_until_rotated("shop", 2).await;
        fixture.assert_published("shop").await;
        fixture.finish().await;
    }
}

/// The outcome is unknown, and no call is possible because Auth0 asks to wait for ten minutes.
#[tokio::test]
async fn ready_is_false_in_time_while_the_tenant_is_throttled() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    lose_change(&fixture, Operation::RotateSecret).await;
    let throttled = Action::RateLimited { reset_in_s: 600, retry_after: true };
    inject(&fixture, &throttled, &[Operation::GetClient]);
    let limit = PROPAGATION_WINDOW + Duration::from_secs(10);
    let is_reported = async || {
        let status = fixture.get("shop").await.status.unwrap_or_default();
        let ready = find_condition(&status.conditions, condition_types::READY);
        ready.is_some_and(|ready| ready.reason == "OutcomeUnknown")
    };
    fixture.wait_within(limit, "the unknown outcome is reported", is_reported).await;
    fixture.assert_published_values_log_in().await;
    fixture.finish().await;
}

/// A client that was deleted, or that no secret authenticates anymore. It stays reported when the
/// resource is reconciled again for another reason.
#[tokio::test]
async fn ready_is_false_while_no_secret_authenticates_the_client() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({ "driftCheck": { "every": "1s" } })).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.simulator.remove_client("shop");
    fixture.wait_for_reason("shop", "Ready", "ClientNotFound").await;
    for every in ["2s", "3s"] {
        fixture
            .apply_rotation_of("shop", "shop", json!({ "driftCheck": { "every": every } }))
            .await;
        let resource = fixture.get("shop").await;
        let generation = resource.metadata.generation;
        let is_observed = |resource: &ClientSecretRotation| {
            let status = resource.status.clone().unwrap_or_default();
            status.observed_generation == generation
        };
        let resource = fixture.wait_for("shop", "reconciled again", is_observed).await;
        assert!(!is_ready(&resource), "{:?}", resource.status);
    }
    fixture.finish().await;
}
