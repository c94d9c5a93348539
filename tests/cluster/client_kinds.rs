//! Clients that must not be rotated: at import, when they become one in Auth0's dashboard, and right
//! before activation.

use auth0_rotator::api::ClientSecretRotation;
use auth0_simulator::{ClientSeed, Operation, Simulator};
use rotation::{ConditionStatus, Outcome, Phase, find_condition};
use serde_json::{Map, Value, json};
use testkit::{
    auth0::{MANAGER, application, tenant},
    fixture::Fixture,
};

use crate::phases::wait_for_phase;

/// The condition that reports whether a client can be rotated.
const CLIENT_ROTATABLE: &str = "ClientRotatable";

/// Scopes with which the Management API returns no secrets.
const WITHOUT_SECRETS: [&str; 2] = ["read:clients", "update:client_keys"];

/// A kind of client that must not be rotated.
struct Kind {
    name: &'static str,
    /// The fields by which it is recognized.
    fields: Value,
    reason: &'static str,
    /// Whether it is recognized without the scope read:client_keys.
    is_visible: bool,
}

fn kinds() -> [Kind; 5] {
    let keys = json!({ "private_key_jwt": { "credentials": [{ "id": "cred_1" }] } });
    [
        Kind {
            name: "public",
            fields: json!({ "token_endpoint_auth_method": "none" }),
            reason: "PublicClient",
            is_visible: true,
        },
        Kind {
            name: "spa",
            fields: json!({ "app_type": "spa", "token_endpoint_auth_method": null }),
            reason: "PublicClient",
            is_visible: true,
        },
        Kind {
            name: "keyed",
            fields: json!({ "client_authentication_methods": keys }),
            reason: "ClientUsesKeys",
            is_visible: false,
        },
        Kind {
            name: "global",
            fields: json!({ "global": true }),
            reason: "GlobalClient",
            is_visible: true,
        },
        Kind {
            name: "cimd",
            fields: json!({ "external_metadata_type": "cimd" }),
            reason: "MetadataDocumentClient",
            is_visible: true,
        },
    ]
}

impl Kind {
    fn fields(&self) -> Map<String, Value> {
        self.fields.as_object().unwrap().clone()
    }

    fn seed(&self, client_id: &str) -> ClientSeed {
        let fields = self.fields().into_iter();
        fields.fold(application(client_id), |seed, (name, value)| seed.field(name, value))
    }
}

/// Returns an Auth0 whose management client has no scope to read secrets.
async fn auth0_without_secrets() -> Simulator {
    tenant().client(ClientSeed::new(MANAGER).scopes(WITHOUT_SECRETS)).start().await.unwrap()
}

/// Makes a client one that can be rotated again.
fn restore(fixture: &Fixture, client_id: &str) {
    // The method replaces client_authentication_methods.
    let fields = json!({
        "app_type": "non_interactive", "token_endpoint_auth_method": "client_secret_post",
        "global": false, "external_metadata_type": "",
    });
    fixture.simulator.set_client_fields(client_id, fields.as_object().unwrap().clone()).unwrap();
}

fn assert_unchanged(fixture: &Fixture, client_id: &str) {
    assert_eq!(
        fixture.simulator.client_secret_history(client_id).len(),
        1,
        "the secret of {client_id} was changed"
    );
}

/// Waits until the conditions of a resource report its client.
async fn wait_until_reported(fixture: &Fixture, name: &str, reason: &str) -> String {
    fixture.wait_until_stalled(name, reason).await;
    fixture.wait_for_reason(name, "Ready", reason).await;
    let resource = fixture
        .wait_for(name, &format!("{CLIENT_ROTATABLE} with the reason {reason}"), |resource| {
            condition(resource, CLIENT_ROTATABLE)
                .is_some_and(|(status, found)| status == ConditionStatus::False && found == reason)
        })
        .await;
    let conditions = resource.status.unwrap().conditions;
    find_condition(&conditions, CLIENT_ROTATABLE).unwrap().message.clone()
}

fn condition(resource: &ClientSecretRotation, type_: &str) -> Option<(ConditionStatus, String)> {
    let conditions = &resource.status.as_ref()?.conditions;
    find_condition(conditions, type_).map(|found| (found.status, found.reason.clone()))
}

#[tokio::test]
async fn client_that_must_not_be_rotated_is_rejected_at_import() {
    let fixture = Fixture::start().await;
    for kind in &kinds() {
        let Kind { name, reason, .. } = kind;
        for (initial, strategy) in
            [("Import", "Rotate"), ("Rotate", "Rotate"), ("Rotate", "Staged")]
        {
            let id = format!("{name}-{initial}-{strategy}").to_lowercase();
            fixture.simulator.add_client(kind.seed(&id)).unwrap();
            let spec = json!({ "initial": initial, "strategy": strategy });
            fixture.apply_rotation(&id, spec).await;
            let message = wait_until_reported(&fixture, &id, reason).await;
            assert!(message.contains("elete this resource"), "{message}");
            fixture.request(&id, "rotate/now").await;
        }
    }
    for Kind { name, reason, .. } in &kinds() {
        for suffix in ["import-rotate", "rotate-rotate", "rotate-staged"] {
            let id = format!("{name}-{suffix}");
            wait_until_reported(&fixture, &id, reason).await;
            assert_eq!(fixture.secret_data(&format!("{id}-auth0")).await, None, "{id}");
            assert_unchanged(&fixture, &id);
        }
    }
    fixture.finish().await;
}

#[tokio::test]
async fn client_that_becomes_unsuitable_is_reported_by_the_drift_check() {
    for can_read_secrets in [true, false] {
        let simulator = tenant().start().await.unwrap();
        let mut fixture = Fixture::with_simulator(simulator).await;
        fixture.start_operator();
        let spec = json!({ "driftCheck": { "every": "1s" } });
        let kinds = kinds().into_iter().filter(|kind| can_read_secrets || kind.is_visible);
        let kinds: Vec<_> = kinds.collect();
        for kind in &kinds {
            fixture.apply_rotation(kind.name, spec.clone()).await;
        }
        for kind in &kinds {
            fixture.wait_until_rotated(kind.name, 1).await;
        }
        if !can_read_secrets {
            fixture.simulator.set_scopes(MANAGER, WITHOUT_SECRETS).unwrap();
            // A new process requests a new token.
            fixture.stop_operator().await;
            fixture.start_operator();
        }
        for kind in &kinds {
            fixture.simulator.set_client_fields(kind.name, kind.fields()).unwrap();
        }
        for kind in &kinds {
            wait_until_reported(&fixture, kind.name, kind.reason).await;
            // Due times and requests wait, and other changes of the resource keep the report.
            fixture.request(kind.name, "rotate/now").await;
        }
        for kind in &kinds {
            let observed = |resource: &ClientSecretRotation| {
                condition(resource, "Stalled")
                    == Some((ConditionStatus::True, kind.reason.to_owned()))
            };
            fixture.apply_rotation(kind.name, json!({ "driftCheck": { "every": "2s" } })).await;
            let generation = fixture.get(kind.name).await.metadata.generation;
            let resource = fixture
                .wait_for(kind.name, "observed", |resource| {
                    let status = resource.status.as_ref().unwrap();
                    status.observed_generation == generation
                })
                .await;
            assert!(observed(&resource), "{}: {:?}", kind.name, resource.status);
            assert_unchanged(&fixture, kind.name);
        }
        for kind in &kinds {
            restore(&fixture, kind.name);
        }
        for kind in &kinds {
            let resource = fixture.wait_until_rotated(kind.name, 2).await;
            let (status, _) = condition(&resource, CLIENT_ROTATABLE).unwrap();
            assert_eq!(status, ConditionStatus::True, "{}", kind.name);
            fixture.assert_published(kind.name).await;
        }
        fixture.finish().await;
    }
}

#[tokio::test]
async fn client_that_becomes_unsuitable_during_the_staging_period_is_not_changed() {
    futures::future::join_all(kinds().map(assert_not_activated)).await;
}

async fn assert_not_activated(kind: Kind) {
    let fixture = Fixture::start().await;
    let spec = json!({
        "strategy": "Staged", "staging": { "period": "3s" }, "driftCheck": { "every": "8760h" },
    });
    fixture.apply_rotation("shop", spec).await;
    fixture.wait_until_rotated("shop", 1).await;
    let before = fixture.published_values("shop").await;
    fixture.request("shop", "rotate/now").await;
    wait_for_phase(&fixture, Phase::Staging).await;
    fixture.simulator.set_client_fields("shop", kind.fields()).unwrap();
    wait_until_reported(&fixture, "shop", kind.reason).await;
    let status = fixture.get("shop").await.status.unwrap();
    assert_eq!((status.rotation, status.history[0].outcome), (None, Outcome::Rejected));
    assert!(fixture.published_values("shop").await == before, "the next secret is still published");
    assert_unchanged(&fixture, "shop");
    assert_eq!(fixture.simulator.counters().requests(Operation::UpdateClient), 0, "{}", kind.name);
    fixture.finish().await;
}

#[tokio::test]
async fn client_that_became_unsuitable_before_a_request_is_not_changed() {
    futures::future::join_all(kinds().map(async |kind| {
        for strategy in ["Rotate", "Staged"] {
            let fixture = Fixture::start().await;
            let spec = json!({ "strategy": strategy, "driftCheck": { "every": "8760h" } });
            fixture.apply_rotation("shop", spec).await;
            fixture.wait_until_rotated("shop", 1).await;
            fixture.simulator.set_client_fields("shop", kind.fields()).unwrap();
            fixture.request("shop", "rotate/now").await;
            wait_until_reported(&fixture, "shop", kind.reason).await;
            assert_unchanged(&fixture, "shop");
            fixture.finish().await;
        }
    }))
    .await;
}

#[tokio::test]
async fn key_based_client_is_reported_without_the_scope_to_see_its_keys() {
    for strategy in ["Rotate", "Staged"] {
        let mut fixture = Fixture::with_simulator(auth0_without_secrets().await).await;
        fixture.start_operator();
        let spec = json!({
            "initial": "Rotate", "strategy": strategy, "staging": { "period": "1s" },
        });
        fixture.apply_rotation("shop", spec).await;
        fixture.wait_until_rotated("shop", 2).await;
        let before = fixture.published_values("shop").await;
        let keys = kinds().into_iter().find(|kind| kind.name == "keyed").unwrap();
        fixture.simulator.set_client_fields("shop", keys.fields()).unwrap();
        fixture.request("shop", "rotate/now").await;
        let reason = if strategy == "Rotate" { "ChangeRejected" } else { "ValueRejected" };
        let message = fixture.wait_for_reason("shop", CLIENT_ROTATABLE, reason).await;
        assert!(message.contains("authenticates with keys"), "{message}");
        let is_ended = |resource: &ClientSecretRotation| {
            let status = resource.status.as_ref().unwrap();
            status.rotation.is_none() && status.history[0].outcome == Outcome::Rejected
        };
        let resource = fixture.wait_for("shop", "idle", is_ended).await;
        assert_eq!(resource.status.unwrap().history[0].number, 3);
        assert!(fixture.published_values("shop").await == before);
        let has_no_finalizer =
            |resource: &ClientSecretRotation| resource.metadata.finalizers.is_none();
        fixture.wait_for("shop", "without a finalizer", has_no_finalizer).await;
        // The next success clears the report.
        restore(&fixture, "shop");
        fixture.request("shop", "rotate/again").await;
        let resource = fixture.wait_until_rotated("shop", 4).await;
        let (status, _) = condition(&resource, CLIENT_ROTATABLE).unwrap();
        assert_eq!(status, ConditionStatus::True);
        fixture.assert_published("shop").await;
        fixture.finish().await;
    }
}

#[tokio::test]
async fn strict_third_party_client_is_withdrawn_from_and_can_be_rotated() {
    let fixture = Fixture::start().await;
    let strict = application("shop").field("third_party_security_mode", "strict");
    fixture.simulator.add_client(strict).unwrap();
    let spec = json!({ "strategy": "Staged", "staging": { "period": "1s" } });
    fixture.apply_rotation("shop", spec).await;
    fixture.wait_until_rotated("shop", 1).await;
    let message = fixture.wait_for_reason("shop", CLIENT_ROTATABLE, "StrictThirdParty").await;
    assert!(message.contains("spec.strategy to Rotate"), "{message}");
    let before = fixture.published_values("shop").await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_for_event("RotationRejected").await;
    let resource = fixture.wait_until_rotated("shop", 1).await;
    let history = resource.status.unwrap().history;
    assert_eq!(history[0].outcome, Outcome::Rejected);
    assert!(history[0].message.contains("spec.strategy to Rotate"), "{}", history[0].message);
    assert!(fixture.published_values("shop").await == before);
    assert_unchanged(&fixture, "shop");

    fixture.apply_rotation("shop", json!({ "strategy": "Rotate" })).await;
    fixture.request("shop", "rotate/again").await;
    let resource = fixture.wait_until_rotated("shop", 3).await;
    let (status, _) = condition(&resource, CLIENT_ROTATABLE).unwrap();
    assert_eq!(status, ConditionStatus::True);
    fixture.assert_published("shop").await;
    fixture.finish().await;
}

#[tokio::test]
async fn native_client_without_a_confidential_method_is_rotated_with_a_warning() {
    let fixture = Fixture::start().await;
    let native = application("shop").field("app_type", "native");
    let native = native.field("token_endpoint_auth_method", Value::Null);
    fixture.simulator.add_client(native).unwrap();
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.wait_for_reason("shop", CLIENT_ROTATABLE, "NativeClient").await;
    fixture.request("shop", "rotate/now").await;
    let resource = fixture.wait_until_rotated("shop", 2).await;
    let (status, _) = condition(&resource, CLIENT_ROTATABLE).unwrap();
    assert_eq!(status, ConditionStatus::Unknown);
    fixture.assert_published("shop").await;
    fixture.finish().await;
}
