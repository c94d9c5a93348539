//! Kills of the operator before and after each external effect of a rotation, each followed by a
//! restart.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use auth0_rotator::{api::ClientSecretRotation, failpoint::FAILPOINTS};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testkit::{
    fixture::{DEADLINE, Fixture, from_json},
    operator::is_killed,
};
use tokio::sync::Semaphore;

/// Upper limit of how often one failpoint is executed in a rotation.
const MAX_EXECUTIONS: usize = 8;

/// Number of rotations at a time. Most of the time they wait.
const CONCURRENCY: usize = 6;

/// Creates a Deployment without Pods, whose rollout is always complete.
async fn create_deployment(fixture: &Fixture) {
    let labels = json!({ "app": "web" });
    let containers = json!([{ "name": "app", "image": "none" }]);
    let object = json!({
        "metadata": { "name": "web" },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": { "containers": containers } },
        },
    });
    fixture.api::<Deployment>().create(&PostParams::default(), &from_json(object)).await.unwrap();
    let status = json!({ "status": {
        "observedGeneration": 100, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1,
        "availableReplicas": 1,
    } });
    let params = PatchParams::default();
    fixture.api::<Deployment>().patch_status("web", &params, &Patch::Merge(status)).await.unwrap();
}

/// Rotates with an operator that is killed at the given execution of a failpoint, counted from 1, and
/// asserts that the next operator completes the rotation. Returns whether the operator was killed: it
/// isn't if the failpoint is executed less often.
async fn rotate_with_kill(failpoint: &str, execution: usize, strategy: &str) -> bool {
    let mut fixture = Fixture::start().await;
    create_deployment(&fixture).await;
    let spec: Value = json!({
        "strategy": strategy, "staging": { "period": "1s" },
        "consumers": { "restart": [{ "kind": "Deployment", "name": "web" }] },
    });
    fixture.apply_rotation("shop", spec).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.stop_operator().await;

    let context = format!("{strategy}: execution {execution} of {failpoint}");
    let failpoints = format!("{failpoint}={}*off->return", execution - 1);
    let command = fixture.operator_command().args(["--allow-http-endpoints"]);
    fixture.operator = Some(command.env("FAILPOINTS", failpoints).spawn().unwrap());
    fixture.request("shop", "rotate/now").await;
    let was_killed = wait_until_killed_or_done(&mut fixture, &context).await;
    fixture.start_operator();
    fixture.wait_until_rotated("shop", 2).await;
    fixture.assert_published("shop").await;
    assert_eq!(fixture.published_values("shop").await.len(), 1, "{context}");
    let effects = fixture.simulator.counters().client("shop").effects;
    let changes = effects.rotations + effects.patches;
    // A repeated PATCH with the same value counts as a request, and changes nothing.
    let max_changes = if strategy == "Staged" { 2 } else { 1 };
    assert!((1..=max_changes).contains(&changes), "{context}: {changes} changes");
    let resource = fixture.get("shop").await;
    assert_eq!(resource.status.unwrap().history.len(), 1, "{context}");
    assert!(resource.metadata.finalizers.unwrap_or_default().is_empty());
    fixture.finish().await;
    was_killed
}

/// Waits until the operator was killed or has completed the rotation. Returns whether it was killed.
async fn wait_until_killed_or_done(fixture: &mut Fixture, context: &str) -> bool {
    let deadline = Instant::now() + DEADLINE;
    let mut operator = fixture.take_operator();
    let status = loop {
        if let Some(status) = operator.exit_status() {
            break status;
        }
        if is_done(&fixture.get("shop").await) {
            // It may still execute the failpoint before it exits.
            break operator.terminate().await.unwrap();
        }
        assert!(Instant::now() < deadline, "{context}: neither\n{}", fixture.log_tail());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let was_killed = is_killed(status);
    assert!(was_killed || status.success(), "{context}: {status}");
    was_killed
}

fn is_done(resource: &ClientSecretRotation) -> bool {
    let status = resource.status.clone().unwrap_or_default();
    let finalizers = resource.metadata.finalizers.as_deref().unwrap_or_default();
    status.current == Some(2) && status.rotation.is_none() && finalizers.is_empty()
}

/// Number of rotations in which a failpoint killed the operator.
struct Kills {
    failpoint: &'static str,
    count: usize,
}

/// Rotates with a kill at each execution of each failpoint.
async fn rotate_with_all_kills(strategy: &'static str) -> Vec<Kills> {
    let permits = Arc::new(Semaphore::new(CONCURRENCY));
    let failpoints = FAILPOINTS.map(|failpoint| {
        let permits = permits.clone();
        async move {
            let mut count = 0;
            for execution in 1..=MAX_EXECUTIONS {
                let _permit = permits.acquire().await.unwrap();
                if !rotate_with_kill(failpoint, execution, strategy).await {
                    break;
                }
                count += 1;
            }
            Kills { failpoint, count }
        }
    });
    futures::future::join_all(failpoints).await
}

#[tokio::test]
async fn strategy_rotate_survives_a_kill_at_each_failpoint() {
    for Kills { failpoint, count } in rotate_with_all_kills("Rotate").await {
        let is_unused = failpoint.ends_with("set-secret");
        assert_eq!(count == 0, is_unused, "{failpoint} was executed {count} times");
    }
}

#[tokio::test]
async fn strategy_staged_survives_a_kill_at_each_failpoint() {
    for Kills { failpoint, count } in rotate_with_all_kills("Staged").await {
        let is_unused = ["rotate-secret", "add-finalizer", "remove-finalizer"]
            .iter()
            .any(|name| failpoint.ends_with(name));
        assert_eq!(count == 0, is_unused, "{failpoint} was executed {count} times");
    }
}
