//! Resources that are deleted and created again, or replaced, as deployment tools do: also in the
//! middle of a rotation, and for another client.

use std::time::Duration;

use auth0_rotator::api::ClientSecretRotation;
use auth0_simulator::{ClientSeed, Fault, Operation};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Resource as _, ResourceExt as _,
    api::{DeleteParams, PostParams},
};
use rotation::{Phase, condition_types, find_condition, is_condition_true};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::{
    auth0::{MANAGER, SCOPES, application, tenant},
    fixture::Fixture,
};

use crate::phases::wait_for_phase;

/// Scopes with which the Management API returns no secrets.
const WITHOUT_SECRETS: [&str; 2] = ["read:clients", "update:client_keys"];

/// Number of fixtures at a time. Most of the time they wait.
const CONCURRENCY: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Case {
    strategy: &'static str,
    deletion_policy: &'static str,
    can_read_secrets: bool,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for strategy in ["Rotate", "Staged"] {
        for deletion_policy in ["Retain", "Delete"] {
            for can_read_secrets in [true, false] {
                cases.push(Case { strategy, deletion_policy, can_read_secrets });
            }
        }
    }
    cases
}

impl Case {
    async fn fixture(self) -> Fixture {
        let scopes = if self.can_read_secrets { &SCOPES[..] } else { &WITHOUT_SECRETS };
        let manager = ClientSeed::new(MANAGER).scopes(scopes.iter().copied());
        let simulator = tenant().client(manager).start().await.unwrap();
        let mut fixture = Fixture::with_simulator(simulator).await;
        fixture.start_operator();
        fixture
    }

    fn spec(self, staging: &str, grace: &str) -> Value {
        json!({
            "strategy": self.strategy, "staging": { "period": staging }, "gracePeriod": grace,
            "initial": "Rotate", "target": { "deletionPolicy": self.deletion_policy },
        })
    }
}

async fn delete(fixture: &Fixture) {
    let params = DeleteParams::default().grace_period(0);
    fixture.api::<ClientSecretRotation>().delete("shop", &params).await.unwrap();
}

/// Replaces `shop` as `kubectl replace` does: with a manifest that has only the name and the spec.
async fn replace(fixture: &Fixture) {
    let api = fixture.api::<ClientSecretRotation>();
    let replaced = async || {
        let present = api.get("shop").await.unwrap();
        let mut manifest = ClientSecretRotation::new("shop", present.spec.clone());
        manifest.metadata.resource_version = present.resource_version();
        api.replace("shop", &PostParams::default(), &manifest).await.is_ok()
    };
    fixture.wait_until_async("shop is replaced", replaced).await;
}

/// Returns every value that the client `shop` had at Auth0 or in its target Secret.
async fn values_of_shop(fixture: &Fixture) -> Vec<String> {
    let history = fixture.simulator.client_secret_history("shop");
    let mut values: Vec<_> = history.iter().map(|value| value.expose_secret().to_owned()).collect();
    values.extend(fixture.published_values("shop").await);
    values
}

/// Asserts that a login with one of the published values succeeds.
async fn assert_login_succeeds(fixture: &Fixture, client_id: &str, context: &str) {
    let published = fixture.published_values("shop").await;
    let is_accepted = published.iter().any(|value| fixture.simulator.accepts(client_id, value));
    assert!(is_accepted, "{context}: no published value is accepted");
}

#[tokio::test]
async fn resource_recreated_for_another_client_inherits_no_value() {
    stream::iter(cases()).for_each_concurrent(CONCURRENCY, assert_nothing_is_inherited).await;
}

async fn assert_nothing_is_inherited(case: Case) {
    let fixture = case.fixture().await;
    fixture.simulator.add_client(application("cart")).unwrap();
    fixture.apply_rotation("shop", case.spec("1s", "3s")).await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.apply_rotation("shop", case.spec("60s", "60s")).await;
    // The target Secret has two values.
    fixture.request("shop", "rotate/now").await;
    let phase = if case.strategy == "Staged" { Phase::Staging } else { Phase::Grace };
    wait_for_phase(&fixture, phase).await;
    let values = values_of_shop(&fixture).await;
    let changes = fixture.simulator.counters().client("shop").effects;

    delete(&fixture).await;
    fixture.wait_until_deleted("shop").await;
    let spec = json!({
        "strategy": case.strategy, "staging": { "period": "1s" },
        "target": { "deletionPolicy": case.deletion_policy },
    });
    fixture.apply_rotation_of("shop", "cart", spec).await;
    if case.can_read_secrets {
        fixture.wait_until_rotated("shop", 1).await;
        assert_eq!(probes_of_cart(&fixture), 0, "{case:?}: a value was probed");
    } else {
        fixture.wait_until_stalled("shop", "SecretUnreadable").await;
        let data = fixture.secret_data("shop-auth0").await.unwrap();
        assert_eq!(data["client_id"], "shop", "{case:?}: values of shop under the ID of cart");
        assert_eq!(probes_of_cart(&fixture), 0, "{case:?}: a value was probed");
        fixture.request("shop", "rotate/cart").await;
        let is_rotated = |resource: &ClientSecretRotation| {
            let status = resource.status.clone().unwrap_or_default();
            let is_ready = is_condition_true(&status.conditions, condition_types::READY);
            is_ready && status.rotation.is_none() && status.current.is_some()
        };
        fixture.wait_for("shop", "rotated", is_rotated).await;
    }
    let data = fixture.secret_data("shop-auth0").await.unwrap();
    assert_eq!(data["client_id"], "cart", "{case:?}");
    let published = fixture.published_values("shop").await;
    let secret = fixture.simulator.client_secret("cart").unwrap();
    assert!(published == [secret.expose_secret()], "{case:?}: more than the secret of cart");
    assert_login_succeeds(&fixture, "cart", &format!("{case:?}")).await;
    // Nothing of shop was sent as cart's, and shop was left alone.
    let history = fixture.simulator.client_secret_history("cart");
    assert!(history.iter().all(|value| !values.contains(&value.expose_secret().to_owned())));
    assert_eq!(fixture.simulator.counters().client("shop").effects, changes, "{case:?}");
    // The garbage collector must not find the first resource as an owner.
    let secret = fixture.api::<Secret>().get("shop-auth0").await.unwrap();
    let owners: Vec<_> = secret.owner_references().iter().map(|owner| owner.uid.clone()).collect();
    let expected = match case.deletion_policy {
        "Delete" => vec![fixture.get("shop").await.uid().unwrap()],
        _ => Vec::new(),
    };
    if owners != expected {
        // The API server of the tests denies changes of owner references; the resource says so.
        fixture.wait_for_reason("shop", "OwnerReferenceSet", "OwnerReferenceForbidden").await;
    }
    fixture.finish().await;
}

/// Returns how often a value was sent as a secret of `cart` that it did not have.
fn probes_of_cart(fixture: &Fixture) -> u64 {
    fixture.simulator.counters().client("cart").revocations_rejected
}

#[tokio::test]
async fn resource_replaced_in_each_phase_keeps_its_values() {
    stream::iter(cases())
        .for_each_concurrent(CONCURRENCY, async |case| {
            for phase in [Phase::Staging, Phase::Grace] {
                if phase == Phase::Staging && case.strategy == "Rotate" {
                    continue;
                }
                let context = format!("{case:?} in {phase:?}");
                let fixture = case.fixture().await;
                fixture.apply_rotation("shop", case.spec("1s", "3s")).await;
                fixture.wait_until_rotated("shop", 2).await;
                let staging = if phase == Phase::Staging { "60s" } else { "1s" };
                fixture.apply_rotation("shop", case.spec(staging, "60s")).await;
                fixture.request("shop", "rotate/now").await;
                wait_for_phase(&fixture, phase).await;
                let before = fixture.published_values("shop").await;
                replace(&fixture).await;
                delete(&fixture).await;
                fixture.wait_until_deleted("shop").await;
                assert!(fixture.published_values("shop").await == before, "{context}");
                // The same resource again: it finds its values, and loses none of them.
                fixture.apply_rotation("shop", case.spec("1s", "3s")).await;
                let is_idle = |resource: &ClientSecretRotation| {
                    let status = resource.status.clone().unwrap_or_default();
                    let is_ready = is_condition_true(&status.conditions, condition_types::READY);
                    is_ready && status.rotation.is_none() && !status.history.is_empty()
                };
                fixture.wait_for("shop", "idle", is_idle).await;
                fixture.assert_published("shop").await;
                assert_login_succeeds(&fixture, "shop", &context).await;
                assert_eq!(fixture.published_values("shop").await.len(), 1, "{context}");
                fixture.finish().await;
            }
        })
        .await;
}

/// Rotates `shop` with a call whose response is lost, and holds back the read of the client.
async fn lose_response(fixture: &Fixture, case: Case) -> u64 {
    let operation = match case.strategy {
        "Rotate" => Operation::RotateSecret,
        _ => Operation::UpdateClient,
    };
    let lost = Fault::delay(Duration::from_secs(30)).on(operation);
    let faults = fixture.simulator.faults();
    faults.inject(lost).unwrap();
    let unreadable = Fault::status_before(503).on(Operation::GetClient).skip(reads_before(case));
    let held = faults.inject(unreadable.unlimited()).unwrap();
    fixture.request("shop", "rotate/now").await;
    let has_changed = || {
        let effects = fixture.simulator.counters().client("shop").effects;
        // The first one was the initial rotation.
        effects.rotations + effects.patches == 2
    };
    fixture.wait_until("Auth0 has changed the secret", has_changed).await;
    held
}

/// Returns how often the operator reads the client before it activates a new secret: before it starts,
/// and in a later reconcile before it sets a staged one.
fn reads_before(case: Case) -> u64 {
    if case.strategy == "Staged" { 2 } else { 1 }
}

#[tokio::test]
async fn resource_replaced_and_deleted_while_the_outcome_is_unknown_loses_nothing() {
    let cases = cases().into_iter().filter(|case| case.can_read_secrets);
    stream::iter(cases)
        .for_each_concurrent(CONCURRENCY, async |case| {
            let fixture = case.fixture().await;
            fixture.apply_rotation("shop", case.spec("1s", "3s")).await;
            fixture.wait_until_rotated("shop", 2).await;
            let held = lose_response(&fixture, case).await;
            replace(&fixture).await;
            if case.strategy == "Rotate" {
                let has_finalizer =
                    |resource: &ClientSecretRotation| resource.finalizers().len() == 1;
                fixture.wait_for("shop", "protected again", has_finalizer).await;
            }
            delete(&fixture).await;
            if case.strategy == "Rotate" {
                let resource = fixture.get("shop").await;
                assert!(resource.meta().deletion_timestamp.is_some(), "{case:?}: deleted");
            }
            fixture.simulator.faults().remove(held);
            fixture.wait_until_deleted("shop").await;
            let secret = fixture.simulator.client_secret("shop").unwrap();
            let published = fixture.published_values("shop").await;
            assert!(published.contains(&secret.expose_secret().to_owned()), "{case:?}: lost");
            // After it is created again, it continues from the state that it finds.
            fixture.apply_rotation("shop", case.spec("1s", "3s")).await;
            let is_idle = |resource: &ClientSecretRotation| {
                let status = resource.status.clone().unwrap_or_default();
                let is_ready = is_condition_true(&status.conditions, condition_types::READY);
                is_ready && status.rotation.is_none() && !status.history.is_empty()
            };
            fixture.wait_for("shop", "idle", is_idle).await;
            fixture.assert_published("shop").await;
            assert_login_succeeds(&fixture, "shop", &format!("{case:?}")).await;
            fixture.finish().await;
        })
        .await;
}

#[tokio::test]
async fn recreated_resource_reports_a_secret_that_was_lost_with_the_first_one() {
    let case = Case { strategy: "Rotate", deletion_policy: "Retain", can_read_secrets: false };
    let fixture = case.fixture().await;
    fixture.apply_rotation("shop", case.spec("1s", "3s")).await;
    fixture.wait_until_rotated("shop", 2).await;
    lose_response(&fixture, case).await;
    fixture.simulator.faults().clear();
    delete(&fixture).await;
    fixture.wait_until_deleted("shop").await;
    fixture.apply_rotation("shop", case.spec("1s", "3s")).await;
    // The new secret is nowhere in the cluster. Within the propagation window the operator says so.
    fixture
        .wait_for("shop", "not ready", |resource| {
            let conditions = resource.status.clone().unwrap_or_default().conditions;
            find_condition(&conditions, condition_types::READY)
                .is_some_and(|ready| ready.reason == "NotConfirmed")
        })
        .await;
    fixture.request("shop", "rotate/recover").await;
    let is_recovered = |resource: &ClientSecretRotation| {
        let status = resource.status.clone().unwrap_or_default();
        let is_ready = is_condition_true(&status.conditions, condition_types::READY);
        is_ready && status.rotation.is_none()
    };
    fixture.wait_for("shop", "recovered", is_recovered).await;
    fixture.assert_published("shop").await;
    assert_login_succeeds(&fixture, "shop", "recovered").await;
    fixture.finish().await;
}
