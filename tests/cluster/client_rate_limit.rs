//! Limits of single clients at the Authentication API, and the token of the Management API: neither
//! stops the rotations of other clients.

use std::time::{Duration, Instant};

use auth0_simulator::{ClientRateLimit, Fault, Operation, RetryAfterFormat};
use rotation::{condition_types, find_condition};
use serde_json::json;
use testkit::{
    auth0::{self, MANAGER},
    fixture::Fixture,
};

/// Time in which a rotation completes whose client is not limited, with the grace period of fixtures.
const UNDISTURBED: Duration = Duration::from_secs(20);

/// Imports resources of these names.
async fn import(fixture: &Fixture, names: &[&str]) {
    for name in names {
        fixture.apply_rotation(name, json!({})).await;
    }
    for name in names {
        fixture.wait_until_rotated(name, 1).await;
    }
}

/// Returns how many requests of an operation Auth0 rejected with 429.
fn throttled(fixture: &Fixture, operation: Operation) -> u64 {
    fixture.simulator.counters().with_status(operation, 429)
}

/// Waits until a rotation is complete, and logs in with the published values.
async fn assert_rotated(fixture: &Fixture, name: &str, limit: Duration) {
    let is_rotated = async || {
        let status = fixture.get(name).await.status.unwrap_or_default();
        status.current == Some(2) && status.rotation.is_none()
    };
    fixture.wait_within(limit, &format!("{name} is rotated"), is_rotated).await;
    let published = fixture.current_value(name).await.unwrap();
    assert!(fixture.simulator.accepts(name, &published), "{name} can't log in");
    assert_eq!(fixture.rotation_count(name), 1);
}

#[tokio::test]
async fn limit_of_one_client_stops_that_client_only() {
    let fixture = Fixture::start().await;
    let others = ["one", "two", "three"];
    import(&fixture, &["limited", "leaked"]).await;
    import(&fixture, &others).await;
    for format in [RetryAfterFormat::Seconds, RetryAfterFormat::HttpDate] {
        let blocked = ClientRateLimit::blocked().window_s(3600).retry_after(format);
        fixture.simulator.set_client_rate_limit("limited", blocked).unwrap();
    }
    fixture.request("limited", "rotate/first").await;
    let is_throttled = || throttled(&fixture, Operation::Revoke) > 0;
    fixture.wait_until("the client is throttled", is_throttled).await;

    let requested_at = Instant::now();
    fixture.request("leaked", "revoke/now").await;
    for name in others {
        fixture.request(name, "rotate/next").await;
    }
    let is_revoked = || fixture.rotation_count("leaked") == 1;
    fixture.wait_until("the leaked secret is revoked", is_revoked).await;
    assert!(requested_at.elapsed() < Duration::from_secs(5), "{:?}", requested_at.elapsed());
    for name in ["leaked"].iter().chain(&others) {
        assert_rotated(&fixture, name, UNDISTURBED).await;
    }
    assert_eq!(throttled(&fixture, Operation::Revoke), 1, "the client waits for the named time");
    let message =
        fixture.wait_for_reason("limited", condition_types::RECONCILING, "ClientThrottled").await;
    assert!(message.contains("custom rate limit"), "{message}");
    let published = fixture.current_value("limited").await.unwrap();
    assert!(fixture.simulator.accepts("limited", &published));
    fixture.finish().await;
}

/// Auth0 answers the negative control, and no probe after the change for an hour.
#[tokio::test]
async fn client_limited_after_the_change_completes_and_can_be_revoked() {
    let fixture = Fixture::start().await;
    import(&fixture, &["limited"]).await;
    let limit = ClientRateLimit::per_minute(1).window_s(3600);
    fixture.simulator.set_client_rate_limit("limited", limit).unwrap();
    fixture.request("limited", "rotate/first").await;
    assert_rotated(&fixture, "limited", UNDISTURBED).await;
    fixture.wait_for_reason("limited", condition_types::PROBE_INCONCLUSIVE, "ProbeBlocked").await;

    fixture.request("limited", "revoke/now").await;
    let is_revoked = async || {
        let status = fixture.get("limited").await.status.unwrap_or_default();
        status.current == Some(3) && status.rotation.is_none()
    };
    fixture.wait_within(UNDISTURBED, "the secret is revoked", is_revoked).await;
    let published = fixture.current_value("limited").await.unwrap();
    assert!(fixture.simulator.accepts("limited", &published));
    fixture.finish().await;
}

#[tokio::test]
async fn limited_client_comes_back_by_itself() {
    let fixture = Fixture::start().await;
    import(&fixture, &["limited"]).await;
    let blocked = ClientRateLimit::blocked().window_s(2);
    fixture.simulator.set_client_rate_limit("limited", blocked).unwrap();
    fixture.request("limited", "rotate/first").await;
    let is_throttled = || throttled(&fixture, Operation::Revoke) >= 2;
    fixture.wait_until("the client is throttled twice", is_throttled).await;
    fixture.simulator.set_client_rate_limit("limited", None).unwrap();
    assert_rotated(&fixture, "limited", UNDISTURBED).await;
    fixture.finish().await;
}

/// Starts an operator whose token lasts a minute and is renewed after half of it.
async fn start_with_short_token() -> Fixture {
    let tenant = auth0::tenant().token_ttl(Duration::from_secs(60)).start().await.unwrap();
    let mut fixture = Fixture::with_simulator(tenant).await;
    fixture.start_operator();
    fixture
}

/// Waits until the operator tried to renew its token, and failed with this status.
async fn wait_for_failed_renewal(fixture: &Fixture, status: u16) {
    let is_failed = async || {
        // A read needs a token, and so finds that it is to be renewed.
        fixture.request("ticker", &format!("rotate/{}", uuid())).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        fixture.simulator.counters().with_status(Operation::Token, status) > 0
    };
    fixture.wait_within(Duration::from_secs(50), "a renewal fails", is_failed).await;
}

fn uuid() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

#[tokio::test]
async fn exceeded_token_quota_leaves_a_valid_token_in_use() {
    let fixture = start_with_short_token().await;
    import(&fixture, &["shop", "ticker"]).await;
    let quota = ClientRateLimit::token_quota(0);
    fixture.simulator.set_client_rate_limit(MANAGER, quota).unwrap();
    wait_for_failed_renewal(&fixture, 429).await;
    fixture.request("shop", "rotate/now").await;
    assert_rotated(&fixture, "shop", UNDISTURBED).await;
    let is_reported = async || {
        fixture.request("ticker", &format!("rotate/{}", uuid())).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let conditions = fixture.get("ticker").await.status.unwrap_or_default().conditions;
        let condition = find_condition(&conditions, condition_types::RECONCILING);
        condition.is_some_and(|condition| {
            condition.reason == "TokenThrottled" && condition.message.contains("quota")
        })
    };
    fixture.wait_within(Duration::from_secs(60), "the quota is reported", is_reported).await;
    fixture.finish().await;
}

#[tokio::test]
async fn outage_of_the_token_endpoint_leaves_a_valid_token_in_use() {
    let fixture = start_with_short_token().await;
    import(&fixture, &["shop", "ticker"]).await;
    let outage = Fault::status_before(503).on(Operation::Token).unlimited();
    fixture.simulator.faults().inject(outage).unwrap();
    wait_for_failed_renewal(&fixture, 503).await;
    fixture.request("shop", "rotate/now").await;
    assert_rotated(&fixture, "shop", UNDISTURBED).await;
    fixture.finish().await;
}
