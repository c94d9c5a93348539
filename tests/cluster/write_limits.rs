//! Limits on the writes to the API server that others can make the operator do.

#![expect(clippy::print_stderr, reason = "the figures are of interest when a test fails")]

use std::time::Duration;

use auth0_rotator::api::{Auth0Tenant, MANAGED_LABEL};
use k8s_openapi::api::{core::v1::Secret, events::v1::Event};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use rotation::{
    condition_types::{IN_SYNC, READY, RECONCILING},
    find_condition,
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::{fixture::Fixture, poll::poll_within};
use tokio::time::sleep;

/// Pause of another party between two actions. The operator would follow each of them.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a fight may take until the operator has used up its budget.
const FIGHT: Duration = Duration::from_secs(150);

/// Numbers of the operator's writes so far.
#[derive(Clone, Copy, Debug)]
struct Writes {
    statuses: usize,
    secrets: usize,
    events: usize,
}

impl Writes {
    async fn of(fixture: &Fixture) -> Self {
        let metrics = fixture.operator().metrics().await;
        let sum = |name: &str| {
            let lines = metrics.lines().filter(|line| line.starts_with(name));
            let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            values.sum::<f64>() as usize
        };
        let events = fixture.api::<Event>().list(&ListParams::default()).await.unwrap();
        Self {
            statuses: sum("auth0_rotator_status_writes_total"),
            secrets: sum("auth0_rotator_secret_writes_total"),
            events: events.items.len(),
        }
    }

    async fn since(self, fixture: &Fixture) -> Self {
        let now = Self::of(fixture).await;
        let writes = Self {
            statuses: now.statuses - self.statuses,
            secrets: now.secrets - self.secrets,
            events: now.events - self.events,
        };
        eprintln!("{writes:?}");
        writes
    }
}

/// Repeats an action of another party until `end` is over.
async fn while_repeating(action: impl AsyncFn(usize), end: impl Future<Output = ()>) {
    let repeat = async {
        for number in 0.. {
            action(number).await;
            sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = repeat => {}
        () = end => {}
    }
}

async fn patch_target(fixture: &Fixture, patch: Value) {
    let params = PatchParams { field_manager: Some("other".into()), ..PatchParams::default() };
    // It may have been deleted.
    let _ = fixture.api::<Secret>().patch("shop-auth0", &params, &Patch::Merge(patch)).await;
}

async fn start_with_shop() -> Fixture {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture
}

/// Waits until the condition `Reconciling` reports the limit.
async fn wait_until_limited(fixture: &Fixture) {
    let is_limited = async || {
        let conditions = fixture.get("shop").await.status.unwrap_or_default().conditions;
        find_condition(&conditions, RECONCILING)
            .is_some_and(|reconciling| reconciling.reason == "WriteLimited")
    };
    fixture.wait_within(FIGHT, "writes are limited", is_limited).await;
    let message = fixture.wait_for_reason("shop", RECONCILING, "WriteLimited").await;
    assert!(message.contains("stop it"), "{message}");
}

#[tokio::test]
async fn secret_that_differs_at_every_read_causes_few_writes() {
    const CHECKS: f64 = 12.0;
    let fixture = Fixture::start().await;
    let names: Vec<_> = (0..5).map(|number| format!("app-{number}")).collect();
    let spec = json!({ "driftCheck": { "every": "1s" }, "gracePeriod": "1h" });
    for name in &names {
        fixture.apply_rotation(name, spec.clone()).await;
    }
    for name in &names {
        fixture.wait_until_rotated(name, 1).await;
    }
    let before = Writes::of(&fixture).await;
    let checks = async || {
        let metrics = fixture.operator().metrics().await;
        let lines = metrics.lines().filter(|line| {
            line.starts_with("auth0_rotator_auth0_requests_total")
                && line.contains("operation=\"drift-check\"")
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    let end = async {
        let are_over = async || checks().await >= CHECKS;
        fixture.wait_within(Duration::from_secs(60), "drift was checked", are_over).await;
        for name in &names {
            fixture.wait_for_reason(name, READY, "DriftRecurs").await;
        }
    };
    let change = async |_| {
        for name in &names {
            fixture.simulator.dashboard_rotate(name).unwrap();
        }
    };
    while_repeating(change, end).await;
    let writes = before.since(&fixture).await;
    assert!(writes.statuses <= 12 * names.len(), "{writes:?}");
    assert!(writes.secrets <= 3 * names.len(), "{writes:?}");
    assert!(writes.events <= 10 * names.len(), "{writes:?}");

    // A request replaces the secret at once.
    let before = fixture.rotation_count("app-0");
    fixture.request("app-0", "revoke/now").await;
    fixture.wait_until("the secret is rotated", || fixture.rotation_count("app-0") > before).await;
    fixture.wait_for_reason("app-0", READY, "Published").await;
    fixture.assert_published("app-0").await;
    fixture.finish().await;
}

/// Waits until the condition `InSync` reports the fight.
async fn wait_until_contested(fixture: &Fixture) {
    fixture.wait_for_reason("shop", IN_SYNC, "TargetContested").await;
}

#[tokio::test]
async fn fight_over_the_data_of_the_target_is_limited() {
    let fixture = start_with_shop().await;
    let before = Writes::of(&fixture).await;
    let edit = async |number| {
        let value = format!("theirs-{number}");
        patch_target(&fixture, json!({ "stringData": { "client_secret": value } })).await;
    };
    while_repeating(edit, wait_until_contested(&fixture)).await;
    let writes = before.since(&fixture).await;
    assert!(writes.secrets <= 62, "{writes:?}");
    assert!(writes.statuses <= 62 && writes.events <= 42, "{writes:?}");
    fixture.finish().await;
}

#[tokio::test]
async fn fight_over_the_existence_of_the_target_is_limited() {
    let fixture = start_with_shop().await;
    let before = Writes::of(&fixture).await;
    let delete = async |_| {
        let _ = fixture.api::<Secret>().delete("shop-auth0", &DeleteParams::default()).await;
    };
    while_repeating(delete, wait_until_contested(&fixture)).await;
    let writes = before.since(&fixture).await;
    assert!(writes.secrets <= 62, "{writes:?}");
    assert!(writes.statuses <= 62 && writes.events <= 42, "{writes:?}");
    fixture.finish().await;
}

#[tokio::test]
async fn fight_over_the_label_of_the_target_is_limited() {
    let fixture = start_with_shop().await;
    let before = Writes::of(&fixture).await;
    let edit = async |_| {
        let labels = json!({ MANAGED_LABEL: "theirs" });
        patch_target(&fixture, json!({ "metadata": { "labels": labels } })).await;
    };
    while_repeating(edit, wait_until_contested(&fixture)).await;
    let writes = before.since(&fixture).await;
    assert!(writes.secrets <= 62 && writes.events <= 42, "{writes:?}");
    fixture.finish().await;
}

#[tokio::test]
async fn flood_of_rejected_requests_is_limited_and_delays_no_rotation() {
    let fixture = start_with_shop().await;
    let user = fixture.restricted_user("mallory").await;
    let before = Writes::of(&fixture).await;
    let request = async |number| user.request("shop", &format!("rollback/{number}")).await;
    while_repeating(request, wait_until_limited(&fixture)).await;
    let writes = before.since(&fixture).await;
    assert!(writes.statuses <= 64 && writes.events <= 42, "{writes:?}");

    fixture.request("shop", "rotate/now").await;
    fixture.wait_until("the secret is rotated", || fixture.rotation_count("shop") == 1).await;
    let is_published = async || {
        let secret = fixture.simulator.client_secret("shop").unwrap();
        fixture.current_value("shop").await.as_deref() == Some(secret.expose_secret())
    };
    fixture.wait_until_async("the new secret is published", is_published).await;
    fixture
        .wait_for("shop", "without a rotation in progress", |resource| {
            let status = resource.status.clone().unwrap_or_default();
            status.current == Some(2) && status.rotation.is_none()
        })
        .await;
    fixture.finish().await;
}

#[tokio::test]
async fn tenant_that_is_ready_and_not_ready_in_turns_causes_few_writes() {
    const FLIPS: usize = 80;
    let fixture = start_with_shop().await;
    let api = fixture.restricted_user("mallory").await.api::<Auth0Tenant>();
    let before = Writes::of(&fixture).await;
    let endpoints = ["https://127.0.0.1:1".to_owned(), fixture.simulator.url().to_string()];
    for number in 0..FLIPS {
        let patch = json!({ "spec": { "endpoint": endpoints[number % 2] } });
        let tenant =
            api.patch("acme", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        // Once the budget of the tenant is used up, its status is behind.
        let _ = poll_within(Duration::from_millis(500), async || {
            let status = api.get("acme").await.unwrap().status?;
            (status.observed_generation == tenant.metadata.generation).then_some(())
        })
        .await;
    }
    let writes = before.since(&fixture).await;
    assert!(writes.statuses <= 64 && writes.events <= 42, "{writes:?}");
    fixture.finish().await;
}
