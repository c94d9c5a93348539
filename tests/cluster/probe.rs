//! Negative controls of probes, and clients for which a probe proves nothing.

use std::time::Duration;

use auth0_rotator::api::ClientSecretRotation;
use auth0_simulator::{Action, Fault, Operation, RevocationAuth, SimulatorBuilder, When};
use rotation::{HistoryEntry, condition_types, find_condition};
use serde_json::json;
use testkit::{
    auth0::{self, AUDIENCE, application},
    fixture::Fixture,
};

/// The propagation window of operators in tests.
const WINDOW: Duration = Duration::from_secs(3);

async fn start(tenant: SimulatorBuilder) -> Fixture {
    let simulator = tenant.propagation(Duration::ZERO..=Duration::ZERO).start().await.unwrap();
    let mut fixture = Fixture::with_simulator(simulator).await;
    fixture.start_operator();
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture
}

fn last_rotation(resource: &ClientSecretRotation) -> HistoryEntry {
    resource.status.as_ref().unwrap().history[0].clone()
}

fn time_to_retirement(resource: &ClientSecretRotation) -> Duration {
    let entry = last_rotation(resource);
    (entry.retired_at.unwrap() - entry.activated_at.unwrap()).to_std().unwrap()
}

fn forbid_probes(fixture: &Fixture) -> u64 {
    let forbidden = Action::Html { status: 403, when: When::Before };
    let forbidden = Fault::new(forbidden).on(Operation::Revoke).unlimited();
    fixture.simulator.faults().inject(forbidden).unwrap()
}

/// Auth0 documents that `/oauth/revoke` checks the secret of Regular Web Applications only.
#[tokio::test]
async fn waits_out_the_window_if_any_secret_is_accepted() {
    let tenant = auth0::tenant().revocation_auth(RevocationAuth::RegularWebApplications);
    let fixture = start(tenant).await;
    fixture.request("shop", "revoke/leaked").await;
    fixture.wait_for_reason("shop", "ProbeInconclusive", "AnySecretAccepted").await;
    let resource = fixture.wait_until_rotated("shop", 2).await;
    let waited = time_to_retirement(&resource);
    assert!(waited >= WINDOW, "the secret was removed after {waited:?} without evidence");
    fixture.wait_for_event("ProbeInconclusive").await;
    fixture.assert_published("shop").await;
    fixture.finish().await;
}

#[tokio::test]
async fn forbidden_probe_is_found_before_the_change() {
    for strategy in ["Rotate", "Staged"] {
        let fixture = start(auth0::tenant()).await;
        let spec = json!({ "strategy": strategy, "staging": { "period": "1s" } });
        fixture.apply_rotation("shop", spec).await;
        let before = fixture.published_values("shop").await;
        forbid_probes(&fixture);
        fixture.request("shop", "rotate/now").await;
        let message = fixture.wait_for_reason("shop", "Stalled", "ProbeBlocked").await;
        assert!(message.contains("Authentication API"), "{message}");
        fixture.wait_for_reason("shop", "ProbeInconclusive", "ProbeBlocked").await;
        assert_eq!(fixture.simulator.client_secret_history("shop").len(), 1, "{strategy}");
        assert_eq!(fixture.published_values("shop").await, before);
        fixture.wait_for_reason("shop", "Ready", "Published").await;

        // A compromised secret is replaced all the same.
        fixture.request("shop", "revoke/leaked").await;
        let resource = fixture.wait_until_rotated("shop", 2).await;
        assert!(time_to_retirement(&resource) >= WINDOW, "{strategy}");
        fixture.assert_published("shop").await;
        fixture.finish().await;
    }
}

#[tokio::test]
async fn control_is_made_once_and_survives_a_restart() {
    let mut fixture = start(auth0::tenant()).await;
    let rejected = |fixture: &Fixture| {
        let audit = fixture.simulator.audit_log(0);
        audit
            .iter()
            .filter(|entry| entry.operation == Operation::Revoke && entry.status == Some(401))
            .count()
    };
    assert_eq!(rejected(&fixture), 0, "an import needs no control");
    fixture.request("shop", "rotate/one").await;
    fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(rejected(&fixture), 1, "only the random value is rejected");
    fixture.stop_operator().await;
    fixture.start_operator();
    fixture.request("shop", "rotate/two").await;
    let resource = fixture.wait_until_rotated("shop", 3).await;
    assert_eq!(rejected(&fixture), 1);
    let conditions = resource.status.unwrap().conditions;
    assert_eq!(find_condition(&conditions, condition_types::PROBE_INCONCLUSIVE), None);
    fixture.finish().await;
}

/// The leak scan at the end finds the revoked value if it is anywhere but in memory.
#[tokio::test]
async fn revoked_secret_is_probed_until_auth0_rejects_it() {
    let fixture = start(auth0::tenant()).await;
    fixture.request("shop", "revoke/leaked").await;
    fixture.wait_until_rotated("shop", 2).await;
    let message =
        fixture.wait_for_reason("shop", "RevokedSecretRejected", "RevokedSecretRejected").await;
    assert!(message.contains("secret 1"), "{message}");
    fixture.wait_for_event("RevokedSecretRejected").await;
    assert_eq!(fixture.published_values("shop").await.len(), 1);
    fixture.finish().await;
}

#[tokio::test]
async fn login_with_client_credentials_is_a_proof_where_a_revocation_is_none() {
    let tenant = auth0::tenant().revocation_auth(RevocationAuth::RegularWebApplications);
    let fixture = start(tenant).await;
    let spec = json!({ "probe": { "method": "ClientCredentials", "audience": AUDIENCE } });
    fixture.apply_rotation("shop", spec).await;
    fixture.request("shop", "revoke/leaked").await;
    let resource = fixture.wait_until_rotated("shop", 2).await;
    let waited = time_to_retirement(&resource);
    assert!(waited < WINDOW, "{waited:?}");
    let conditions = resource.status.unwrap().conditions;
    assert_eq!(find_condition(&conditions, condition_types::PROBE_INCONCLUSIVE), None);
    assert_eq!(fixture.simulator.counters().requests(Operation::Revoke), 0);
    fixture.finish().await;
}

#[tokio::test]
async fn login_of_a_client_without_the_grant_is_no_proof() {
    let client = application("shop").field("grant_types", json!(["authorization_code"]));
    let fixture = start(auth0::tenant().client(client)).await;
    let spec = json!({ "probe": { "method": "ClientCredentials", "audience": AUDIENCE } });
    fixture.apply_rotation("shop", spec).await;
    fixture.request("shop", "rotate/now").await;
    let message = fixture.wait_for_reason("shop", "ProbeInconclusive", "ProbeBlocked").await;
    assert!(message.contains("audience"), "{message}");
    let resource = fixture.wait_until_rotated("shop", 2).await;
    assert!(time_to_retirement(&resource) >= WINDOW);
    fixture.assert_published("shop").await;
    fixture.finish().await;
}

#[tokio::test]
async fn audience_without_a_login_is_rejected() {
    let fixture = Fixture::start().await;
    let rejected =
        fixture.try_apply_rotation("shop", json!({ "probe": { "audience": AUDIENCE } })).await;
    let message = rejected.unwrap_err().to_string();
    assert!(message.contains("probe.audience has no meaning"), "{message}");
    fixture.finish().await;
}
