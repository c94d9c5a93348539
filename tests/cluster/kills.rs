//! The process is killed before and after each effect, and started again.

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

/// The most times that one place is passed in a rotation.
const TIMES: usize = 8;

/// How many operators are tried at a time: they wait most of the time.
const AT_A_TIME: usize = 6;

async fn web(bench: &Fixture) {
    let labels = json!({ "app": "web" });
    let containers = json!([{ "name": "app", "image": "none" }]);
    let object = json!({
        "metadata": { "name": "web" },
        "spec": {
            "replicas": 0, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": { "containers": containers } },
        },
    });
    bench.api::<Deployment>().create(&PostParams::default(), &from_json(object)).await.unwrap();
    let status = json!({ "status": { "observedGeneration": 100 } });
    let params = PatchParams::default();
    bench.api::<Deployment>().patch_status("web", &params, &Patch::Merge(status)).await.unwrap();
}

/// A rotation whose operator is killed when it passes a place for that time. False when it doesn't
/// pass it so often.
async fn killed_at(place: &str, time: usize, strategy: &str) -> bool {
    let mut bench = Fixture::start().await;
    web(&bench).await;
    let spec: Value = json!({
        "strategy": strategy, "staging": { "period": "1s" },
        "consumers": { "restart": [{ "kind": "Deployment", "name": "web" }] },
    });
    bench.apply_rotation("shop", spec).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.stop_operator().await;

    start_at(&mut bench, &format!("{place}={}*off->return", time - 1));
    bench.request("shop", "rotate/now").await;
    let was_killed = killed_before_it_is_done(&mut bench, place).await;
    bench.start_operator();
    bench.wait_until_rotated("shop", 2).await;
    bench.assert_published("shop").await;
    assert_eq!(bench.published_values("shop").await.len(), 1, "{strategy}: {place}, time {time}");
    let effects = bench.simulator.counters().client("shop").effects;
    let changes = effects.rotations + effects.patches;
    // A PATCH with the value that is there is counted as one by Auth0, and changes nothing.
    let most = if strategy == "Staged" { 2 } else { 1 };
    assert!((1..=most).contains(&changes), "{strategy}: {place}, time {time}: {changes} changes");
    let resource = bench.get("shop").await;
    assert_eq!(resource.status.unwrap().history.len(), 1, "{strategy}: {place}, time {time}");
    assert!(resource.metadata.finalizers.unwrap_or_default().is_empty());
    bench.finish().await;
    was_killed
}

/// An operator that ends at a place, in the notation of the crate `fail`.
fn start_at(bench: &mut Fixture, failpoints: &str) {
    let command = bench.operator_command().args(["--allow-http-endpoints"]);
    bench.operator = Some(command.env("FAILPOINTS", failpoints).spawn().unwrap());
}

/// Waits until the operator was killed (true), or has done all that the rotation takes.
async fn killed_before_it_is_done(bench: &mut Fixture, place: &str) -> bool {
    let deadline = Instant::now() + DEADLINE;
    let mut operator = bench.take_operator();
    let status = loop {
        if let Some(status) = operator.exit_status() {
            break status;
        }
        if is_done(&bench.get("shop").await) {
            // What it is still doing may lead it past the place: it is asked to end, and says how.
            break operator.terminate().await.unwrap();
        }
        assert!(Instant::now() < deadline, "neither\n{}", bench.log_tail());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let was_killed = is_killed(status);
    assert!(was_killed || status.success(), "{place}: {status}");
    was_killed
}

fn is_done(resource: &ClientSecretRotation) -> bool {
    let status = resource.status.clone().unwrap_or_default();
    let is_held = resource.metadata.finalizers.as_ref().is_some_and(|held| !held.is_empty());
    status.current == Some(2) && status.rotation.is_none() && !is_held
}

/// Every place, each time that it is passed.
async fn killed_everywhere(strategy: &'static str) -> Vec<(&'static str, usize)> {
    let turns = Arc::new(Semaphore::new(AT_A_TIME));
    let places = FAILPOINTS.map(|place| {
        let turns = turns.clone();
        async move {
            let mut kills = 0;
            for time in 1..=TIMES {
                let _turn = turns.acquire().await.unwrap();
                if !killed_at(place, time, strategy).await {
                    break;
                }
                kills += 1;
            }
            (place, kills)
        }
    });
    futures::future::join_all(places).await
}

#[tokio::test]
async fn a_rotation_by_rotate_secret_comes_through_a_kill_at_each_effect() {
    let kills = killed_everywhere("Rotate").await;
    for (place, times) in kills {
        let never = place.ends_with("set-secret");
        assert_eq!(times == 0, never, "{place} was passed {times} times");
    }
}

#[tokio::test]
async fn a_staged_rotation_comes_through_a_kill_at_each_effect() {
    let kills = killed_everywhere("Staged").await;
    for (place, times) in kills {
        let never = ["rotate-secret", "add-finalizer", "remove-finalizer"]
            .iter()
            .any(|name| place.ends_with(name));
        assert_eq!(times == 0, never, "{place} was passed {times} times");
    }
}
