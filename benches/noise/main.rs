//! `make bench-noise`: how much memory the objects of others cost the operator.
//!
//! It measures an operator for all namespaces that manages one client: first alone; then beside 20,000
//! foreign Secrets, 300 of which have 1 MB; then during a rotation beside 10,000 Pods, 100 of which
//! take the target Secret through an environment variable. `AUTH0_ROTATOR_SECRETS` and
//! `AUTH0_ROTATOR_PODS` set other numbers. It ends with an error if the memory grows by more than
//! 1 MiB because of the Secrets, or by more than 20 MiB because of the Pods.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::PostParams;
use serde_json::json;
use testkit::{
    auth0::tenant,
    fixture::{Fixture, from_json},
    measure::{ProcessMemory, mebibytes},
};

const SECRET_LIMIT: u64 = 1 << 20;
const POD_LIMIT: u64 = 20 << 20;

/// One of this many Secrets is large.
const LARGE_EVERY: usize = 66;
const LARGE: usize = 1_000_000;
/// One of this many Pods takes the target Secret.
const CONSUMER_EVERY: usize = 100;

const CONCURRENCY: usize = 16;
const DEADLINE: Duration = Duration::from_secs(600);
/// Time in which memory that is not used any more is returned.
const SETTLE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> ExitCode {
    // `cargo test` runs benchmarks too, to check that they compile.
    if std::env::args().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    let number = |name, default| std::env::var(name).map_or(default, |n| n.parse().unwrap());
    let (secrets, pods) =
        (number("AUTH0_ROTATOR_SECRETS", 20_000), number("AUTH0_ROTATOR_PODS", 10_000));
    let simulator = tenant().start().await.unwrap();
    let mut fixture = Fixture::with_dedicated_control_plane(simulator).await;
    start(&mut fixture).await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    let alone = restarted(&mut fixture).await;
    println!("alone: {alone}");

    create_secrets(&fixture, secrets).await;
    tokio::time::sleep(SETTLE).await;
    let beside = memory(&fixture);
    println!("after the creation of {secrets} foreign Secrets: {beside}");
    let secret_growth = growth(beside, alone).max(growth(restarted(&mut fixture).await, alone));
    println!("growth by Secrets, also after a restart: {}", mebibytes(secret_growth));

    create_pods(&fixture, pods).await;
    let before = restarted(&mut fixture).await;
    fixture.request("shop", "rotate/now").await;
    let started = Instant::now();
    let is_rotated = async || {
        let status = fixture.get("shop").await.status.unwrap_or_default();
        status.current == Some(2) && status.rotation.is_none()
    };
    fixture.wait_within(DEADLINE, "rotated beside the Pods", is_rotated).await;
    let pod_growth = memory(&fixture).peak_resident.saturating_sub(before.peak_resident);
    println!(
        "growth by {pods} Pods at the peak of a rotation of {:.0} s: {}",
        started.elapsed().as_secs_f64(),
        mebibytes(pod_growth)
    );
    fixture.stop_operator().await;
    if secret_growth > SECRET_LIMIT || pod_growth > POD_LIMIT {
        println!("the memory grows by more than 1 MiB or 20 MiB");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn start(fixture: &mut Fixture) {
    fixture.start_cluster_operator_with(&["--log-level", "info"]);
    fixture.operator().wait_until_ready().await;
}

/// Restarts the operator, and returns its memory when it has reconciled the resource.
async fn restarted(fixture: &mut Fixture) -> ProcessMemory {
    fixture.stop_operator().await;
    start(fixture).await;
    tokio::time::sleep(SETTLE).await;
    memory(fixture)
}

fn memory(fixture: &Fixture) -> ProcessMemory {
    ProcessMemory::of(fixture.operator().pid()).unwrap()
}

fn growth(after: ProcessMemory, before: ProcessMemory) -> u64 {
    after.anonymous.saturating_sub(before.anonymous)
}

async fn create_secrets(fixture: &Fixture, count: usize) {
    let api = fixture.api::<Secret>();
    let create = async |number: usize| {
        let size = if number.is_multiple_of(LARGE_EVERY) { LARGE } else { 100 };
        let secret: Secret = from_json(json!({
            "metadata": { "name": format!("foreign-{number}") },
            "stringData": { "value": "x".repeat(size) },
        }));
        api.create(&PostParams::default(), &secret).await.unwrap();
    };
    stream::iter(0..count).for_each_concurrent(CONCURRENCY, create).await;
}

async fn create_pods(fixture: &Fixture, count: usize) {
    let api = fixture.api::<Pod>();
    let create = async |number: usize| {
        let secret = if number.is_multiple_of(CONSUMER_EVERY) { "shop-auth0" } else { "other" };
        let reference = json!({ "secretKeyRef": { "name": secret, "key": "client_secret" } });
        let pod: Pod = from_json(json!({
            "metadata": {
                "name": format!("pod-{number}"), "labels": { "app": format!("app-{}", number % 50) },
                "annotations": { "example.com/note": "x".repeat(1000) },
            },
            "spec": { "containers": [{
                "name": "app", "image": "app", "env": [{ "name": "SECRET", "valueFrom": reference }],
            }] },
        }));
        api.create(&PostParams::default(), &pod).await.unwrap();
    };
    stream::iter(0..count).for_each_concurrent(CONCURRENCY, create).await;
}
