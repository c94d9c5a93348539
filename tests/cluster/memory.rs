//! The operator's memory, when others write objects that it watches.

#![expect(clippy::print_stderr, reason = "the figures are of interest when a test fails")]

use std::time::Duration;

use auth0_rotator::api::{Auth0Tenant, ClientSecretRotation, MANAGED_LABEL};
use futures::{StreamExt as _, stream};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Pod, Secret},
};
use kube::{
    Resource,
    api::{Patch, PatchParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testkit::{
    fixture::{Fixture, NamespaceFixture, from_json},
    measure::{ProcessMemory, mebibytes},
};

/// How many objects another party writes.
const OBJECTS: usize = 1000;

/// Size of their annotations, which the API server bounds to 256 KiB.
const ANNOTATIONS: usize = 200 * 1024;

/// How much more memory the operator may use because of them.
const LIMIT: u64 = 1 << 20;

/// Returns the memory settings of the image, from its `ENV` instruction.
fn image_environment() -> Vec<(String, String)> {
    let dockerfile = include_str!("../../Dockerfile");
    let words = dockerfile.split_whitespace().filter_map(|word| word.split_once('='));
    let settings = words.filter(|(name, _)| name.starts_with("MALLOC_"));
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Starts the operator as the image does, and returns once its stores are filled.
async fn start(fixture: &mut Fixture) {
    let mut command = fixture.operator_command().args(["--allow-http-endpoints"]);
    command.environment.extend(image_environment());
    command = command.env("AUTH0_ROTATOR_LOG_LEVEL", "info");
    fixture.operator = Some(command.spawn().unwrap());
    fixture.operator().wait_until_ready().await;
}

fn memory(fixture: &Fixture) -> ProcessMemory {
    ProcessMemory::of(fixture.operator().pid()).unwrap()
}

/// Edits the target Secret of `shop` and waits until the operator has restored it: it has processed
/// everything that its watch of Secrets delivered before.
async fn process_watched_secrets(fixture: &Fixture) {
    let original = fixture.secret_data("shop-auth0").await.unwrap();
    let junk = Patch::Merge(json!({ "stringData": { "client_secret": "junk" } }));
    let params = PatchParams { field_manager: Some("other".into()), ..PatchParams::default() };
    fixture.api::<Secret>().patch("shop-auth0", &params, &junk).await.unwrap();
    fixture.wait_for_secret_data("shop-auth0", |data| *data == original).await;
}

/// Waits until the operator uses at most this much more memory than before.
async fn assert_memory(fixture: &Fixture, before: ProcessMemory, limit: u64) {
    let is_bounded = async || memory(fixture).anonymous <= before.anonymous + limit;
    let expected = format!("at most {} more than {before:?}", mebibytes(limit));
    fixture.wait_within(Duration::from_secs(20), &expected, is_bounded).await;
    let after = memory(fixture);
    eprintln!("allocated {} -> {}", mebibytes(before.anonymous), mebibytes(after.anonymous));
}

fn large_annotations() -> Value {
    json!({ "example.com/large": "x".repeat(ANNOTATIONS) })
}

async fn create_secrets(fixture: &Fixture) {
    let api = fixture.api::<Secret>();
    let create = async |number: usize| {
        let secret: Secret = from_json(json!({
            "metadata": {
                "name": format!("foreign-{number}"),
                "labels": { MANAGED_LABEL: "true" },
                "annotations": large_annotations(),
            },
        }));
        api.create(&PostParams::default(), &secret).await.unwrap();
    };
    stream::iter(0..OBJECTS).for_each_concurrent(8, create).await;
}

#[tokio::test]
async fn foreign_secrets_with_our_label_cost_no_memory() {
    let simulator = testkit::auth0::tenant().start().await.unwrap();
    let mut fixture = Fixture::with_dedicated_control_plane(simulator).await;
    start(&mut fixture).await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.stop_operator().await;

    start(&mut fixture).await;
    process_watched_secrets(&fixture).await;
    let before = memory(&fixture);
    create_secrets(&fixture).await;
    process_watched_secrets(&fixture).await;
    assert_memory(&fixture, before, LIMIT).await;

    fixture.stop_operator().await;
    start(&mut fixture).await;
    process_watched_secrets(&fixture).await;
    assert_memory(&fixture, before, LIMIT).await;
    let peak = memory(&fixture).peak_resident;
    eprintln!("peak {} -> {}", mebibytes(before.peak_resident), mebibytes(peak));
    assert!(peak <= before.peak_resident + LIMIT, "peak {before} -> {}", mebibytes(peak));
    fixture.finish().await;
}

/// Waits until the operator has reconciled this many resources since its start, or recognized them as
/// settled.
async fn wait_until_reconciled(fixture: &Fixture, resources: usize) {
    let are_reconciled = async || fixture.operator().considered().await >= resources as f64;
    fixture.wait_within(Duration::from_secs(60), "resources are reconciled", are_reconciled).await;
}

async fn annotate<K>(user: &NamespaceFixture, name: &str)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let patch = Patch::Merge(json!({ "metadata": { "annotations": large_annotations() } }));
    user.api::<K>().patch(name, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn annotations_of_resources_and_tenants_cost_no_memory() {
    const RESOURCES: usize = 100;
    const TENANTS: usize = 20;
    let simulator = testkit::auth0::tenant().start().await.unwrap();
    let mut fixture = Fixture::with_dedicated_control_plane(simulator).await;
    for number in 0..RESOURCES {
        fixture.apply_rotation(&format!("app-{number}"), json!({})).await;
    }
    for number in 0..TENANTS {
        let spec = json!({
            "domain": "acme.eu.auth0.com",
            "credentials": { "clientSecret": { "secretRef": { "name": "missing" } } },
        });
        fixture.try_apply_tenant(&format!("tenant-{number}"), spec).await.unwrap();
    }
    start(&mut fixture).await;
    for number in 0..RESOURCES {
        fixture.wait_until_rotated(&format!("app-{number}"), 1).await;
    }
    fixture.stop_operator().await;
    start(&mut fixture).await;
    wait_until_reconciled(&fixture, RESOURCES).await;
    let before = memory(&fixture);
    let user = fixture.restricted_user("mallory").await;
    for number in 0..RESOURCES {
        annotate::<ClientSecretRotation>(&user, &format!("app-{number}")).await;
    }
    for number in 0..TENANTS {
        annotate::<Auth0Tenant>(&user, &format!("tenant-{number}")).await;
    }
    fixture.stop_operator().await;
    start(&mut fixture).await;
    wait_until_reconciled(&fixture, RESOURCES).await;
    // Buffers of concurrent reconciles vary; the annotations have 24 MiB.
    assert_memory(&fixture, before, 5 * LIMIT).await;
    fixture.finish().await;
}

/// How many Pods another party runs.
const PODS: usize = 150;

#[tokio::test]
async fn large_pods_cost_little_memory() {
    let simulator = testkit::auth0::tenant().start().await.unwrap();
    let mut fixture = Fixture::with_dedicated_control_plane(simulator).await;
    start(&mut fixture).await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    let api = fixture.api::<Pod>();
    let create = async |number: usize| {
        let pod: Pod = from_json(json!({
            "metadata": { "name": format!("large-{number}"), "annotations": large_annotations() },
            "spec": { "containers": [{ "name": "app", "image": "app" }] },
        }));
        api.create(&PostParams::default(), &pod).await.unwrap();
    };
    stream::iter(0..PODS).for_each_concurrent(8, create).await;
    let before = memory(&fixture);
    // The rotation looks for Pods that never see an updated Secret.
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    let peak = memory(&fixture).peak_resident;
    eprintln!("peak {} -> {}", mebibytes(before.peak_resident), mebibytes(peak));
    assert!(peak <= before.peak_resident + 10 * LIMIT, "peak {before} -> {}", mebibytes(peak));
    fixture.finish().await;
}
