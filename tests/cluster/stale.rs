//! An operator that is stopped between deciding and acting, and goes on when another one has gone
//! on without it.

use std::time::Duration;

use rotation::Phase;
use serde_json::json;
use testkit::{fixture::Fixture, operator::Operator};

/// How long the first operator stands still: longer than the second one takes for two rotations.
const STANDS_STILL: Duration = Duration::from_secs(25);

/// An operator that stands still the first time that it passes `place`.
fn start_still_at(bench: &Fixture, place: &str) -> Operator {
    let still = format!("{place}=1*sleep({})", STANDS_STILL.as_millis());
    let command = bench.operator_command().args(["--allow-http-endpoints"]);
    command.env("FAILPOINTS", still).spawn().unwrap()
}

/// What the first operator was about to do at Auth0 is out of date when it goes on: it isn't done.
async fn is_not_done_late(strategy: &str, place: &str) {
    let mut bench = Fixture::start().await;
    bench
        .apply_rotation("shop", json!({ "strategy": strategy, "staging": { "period": "1s" } }))
        .await;
    bench.wait_until_rotated("shop", 1).await;
    bench.stop_operator().await;

    let first = start_still_at(&bench, place);
    bench.request("shop", "rotate/first").await;
    bench
        .wait_for("shop", "about to be activated", |resource| {
            let rotation = resource.status.as_ref().and_then(|status| status.rotation.as_ref());
            rotation.is_some_and(|rotation| rotation.phase == Phase::Activating)
        })
        .await;
    let before = passes(&first);
    bench.start_operator();
    bench.wait_until_rotated("shop", 2).await;
    bench.request("shop", "rotate/second").await;
    bench.wait_until_rotated("shop", 3).await;
    let changes = |bench: &Fixture| {
        let effects = bench.simulator.counters().client("shop").effects;
        effects.rotations + effects.patches
    };
    assert_eq!(changes(&bench), 2);
    // The pass that stood still is over.
    bench.wait_until("the first operator has gone on", || passes(&first) > before).await;
    bench.assert_published("shop").await;
    assert_eq!(changes(&bench), 2, "what was out of date was not sent");
    assert!(first.terminate().await.unwrap().success());
    bench.finish().await;
}

fn passes(operator: &Operator) -> usize {
    operator.log().iter().filter(|line| line["message"] == "made a pass").count()
}

#[tokio::test]
async fn a_value_is_not_set_long_after_it_was_read_that_it_is_the_one_to_set() {
    is_not_done_late("Staged", "before-set-secret").await;
}

#[tokio::test]
async fn a_secret_is_not_rotated_long_after_that_was_recorded() {
    is_not_done_late("Rotate", "before-rotate-secret").await;
}
