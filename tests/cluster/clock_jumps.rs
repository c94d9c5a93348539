//! The clock of the API server jumps, or is wrong for good.

use auth0_rotator::api::ClientSecretRotation;
use chrono::{TimeDelta, Utc};
use rotation::Phase;
use serde_json::{Value, json};
use testkit::{api_proxy::ApiProxy, fixture::Fixture};

/// The message with which the operator reports that the clocks differ.
const DIFFERS: &str = "this machine's clock differs from the API server's";

/// Returns a fixture whose operator reaches the API server through a proxy.
async fn start_behind_proxy() -> (Fixture, ApiProxy) {
    let mut fixture = Fixture::without_operator().await;
    let proxy = fixture.use_api_proxy(1).await;
    fixture.start_operator();
    (fixture, proxy)
}

/// Changes the spec of a resource, and waits until the operator has handled that.
async fn reconcile(fixture: &Fixture, name: &str, hours: u32) {
    let patch = json!({ "spec": { "driftCheck": { "every": format!("{hours}h") } } });
    fixture.patch_rotation(name, patch).await;
    let is_handled = |resource: &ClientSecretRotation| {
        let observed = resource.status.as_ref().and_then(|status| status.observed_generation);
        observed.is_some() && observed == resource.metadata.generation
    };
    fixture.wait_for(name, "reconciled", is_handled).await;
}

fn is_in(phase: Phase) -> impl Fn(&ClientSecretRotation) -> bool {
    move |resource| {
        let rotation = resource.status.as_ref().and_then(|status| status.rotation.as_ref());
        rotation.is_some_and(|rotation| rotation.phase == phase)
    }
}

fn staged(period: &str) -> Value {
    json!({ "strategy": "Staged", "staging": { "period": period } })
}

/// One API server is forty days ahead for a while.
#[tokio::test]
async fn jump_of_the_api_server_starts_no_rotation_and_ends_no_wait() {
    let (fixture, proxy) = start_behind_proxy().await;
    fixture.apply_rotation("scheduled", json!({ "schedule": { "every": "720h" } })).await;
    fixture.apply_rotation("staging", staged("30m")).await;
    fixture.apply_rotation("grace", json!({ "gracePeriod": "1h" })).await;
    for name in ["scheduled", "staging", "grace"] {
        fixture.wait_until_rotated(name, 1).await;
    }
    fixture.request("staging", "rotate/now").await;
    fixture.request("grace", "rotate/now").await;
    fixture.wait_for("staging", "staging", is_in(Phase::Staging)).await;
    fixture.wait_for("grace", "in its grace period", is_in(Phase::Grace)).await;
    let before = fixture.published_values("grace").await;
    for (hours, offset) in
        [(2, TimeDelta::days(40)), (3, TimeDelta::days(-40)), (4, TimeDelta::minutes(5))]
    {
        proxy.set_clock_offsets(offset);
        for name in ["scheduled", "staging", "grace"] {
            reconcile(&fixture, name, hours).await;
        }
        fixture.operator().wait_for_log(DIFFERS).await;
        // Once more, by the clock that is known to be wrong.
        for name in ["scheduled", "staging", "grace"] {
            reconcile(&fixture, name, hours + 10).await;
        }
        let status = fixture.get("scheduled").await.status.unwrap();
        assert_eq!(status.rotation, None, "{offset}: the schedule started a rotation");
        let due = status.next_rotation_time.unwrap() - Utc::now();
        assert!((29..=30).contains(&due.num_days()), "{offset}: due in {due}");
        assert_eq!(fixture.rotation_count("scheduled"), 0);
        let staging = fixture.get("staging").await;
        assert!(is_in(Phase::Staging)(&staging), "{offset}: {:?}", staging.status);
        assert_eq!(fixture.published_values("grace").await, before, "{offset}: the fallback");
    }
    // Requests don't depend on the clock.
    fixture.request("scheduled", "rotate/now").await;
    fixture.wait_until_rotated("scheduled", 2).await;
    fixture.assert_published("scheduled").await;
    fixture.finish().await;
}
