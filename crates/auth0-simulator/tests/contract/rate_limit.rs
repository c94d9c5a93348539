//! Rate limit of the Management API and its headers.

use std::time::Duration;

use auth0_simulator::{ClientRateLimit, ManualClock, Operation, RateLimit, RetryAfterFormat};

use crate::support::{API, APP, APP_SECRET, MANAGER, Tenant, immediate};

const START: u64 = 1_700_000_000;

#[tokio::test]
async fn every_management_response_has_rate_limit_headers() {
    let clock = ManualClock::default();
    let builder = immediate().clock(clock.clone()).rate_limit("2/3".parse().ok());
    let tenant = Tenant::start(builder).await;
    let token = tenant.token().await;
    let header_values = |response: &crate::support::Response| {
        ["limit", "remaining", "reset"].map(|name| {
            let header = response.header(&format!("x-ratelimit-{name}")).unwrap();
            header.parse::<u64>().unwrap()
        })
    };
    let path = format!("/clients/{APP}");
    assert_eq!(header_values(&tenant.get(&token, &path).await), [3, 2, START + 1]);
    assert_eq!(header_values(&tenant.rotate(&token, APP).await), [3, 1, START + 1]);
    // A request with an invalid token also counts, because the limit applies to the tenant.
    let unauthorized = tenant.get("invalid.token", &path).await;
    assert_eq!(
        (unauthorized.status.as_u16(), header_values(&unauthorized)),
        (401, [3, 0, START + 2])
    );

    let rejected = tenant.rotate(&token, APP).await;
    assert_eq!(rejected.error(), (429, "too_many_requests"));
    assert_eq!(rejected.body["error"], "Too Many Requests");
    assert_eq!(header_values(&rejected), [3, 0, START + 2]);
    assert_eq!(rejected.header("retry-after"), Some("1"));
    let counters = tenant.simulator.counters();
    assert_eq!(counters.client(APP).effects.rotations, 1, "a rejected request must have no effect");
    assert_eq!(counters.with_status(Operation::RotateSecret, 429), 1);

    clock.advance(Duration::from_millis(500));
    assert_eq!(tenant.rotate(&token, APP).await.status, 200);
}

#[tokio::test]
async fn authentication_is_not_rate_limited() {
    let clock = ManualClock::default();
    let builder = immediate().clock(clock).rate_limit("1/1".parse().ok());
    let tenant = Tenant::start(builder).await;
    for _ in 0..5 {
        let login = tenant.login(APP, APP_SECRET, API).await;
        assert_eq!((login.status.as_u16(), login.header("x-ratelimit-limit")), (200, None));
        assert_eq!(tenant.revoke(APP, APP_SECRET).await.status, 200);
    }
}

#[tokio::test]
async fn sends_no_headers_without_a_limit() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    for _ in 0..100 {
        let response = tenant.get(&token, &format!("/clients/{APP}?fields=name")).await;
        assert_eq!((response.status.as_u16(), response.header("x-ratelimit-limit")), (200, None));
    }
}

#[tokio::test]
async fn rate_limit_can_be_changed_at_runtime() {
    let clock = ManualClock::default();
    let tenant = Tenant::start(immediate().clock(clock)).await;
    let token = tenant.token().await;
    let path = format!("/clients/{APP}");
    assert_eq!(tenant.get(&token, &path).await.header("x-ratelimit-limit"), None);
    tenant.simulator.set_rate_limit(auth0_simulator::RateLimit::new(1, 2).ok());
    for status in [200, 200, 429] {
        assert_eq!(tenant.get(&token, &path).await.status, status);
    }
    tenant.simulator.set_rate_limit(None);
    assert_eq!(tenant.get(&token, &path).await.status, 200);
}

#[tokio::test]
async fn reads_of_clients_can_have_a_limit_of_their_own() {
    let builder = immediate()
        .clock(ManualClock::default())
        .rate_limit(RateLimit::per_minute(150, 1).ok())
        .read_rate_limit(RateLimit::per_minute(100, 2).ok());
    let tenant = Tenant::start(builder).await;
    let token = tenant.token().await;
    let path = format!("/clients/{APP}");
    for (status, remaining) in [(200, "1"), (200, "0"), (429, "0")] {
        let response = tenant.get(&token, &path).await;
        assert_eq!(response.status, status);
        assert_eq!(response.header("x-ratelimit-remaining"), Some(remaining));
    }
    for status in [200, 429] {
        let response = tenant.rotate(&token, APP).await;
        assert_eq!(
            (response.status.as_u16(), response.header("x-ratelimit-limit")),
            (status, None)
        );
    }
}

#[tokio::test]
async fn limit_of_one_client_concerns_no_other() {
    let clock = ManualClock::default();
    let tenant = Tenant::start(immediate().clock(clock.clone())).await;
    let limit = ClientRateLimit::per_minute(1).retry_after(RetryAfterFormat::HttpDate);
    tenant.simulator.set_client_rate_limit(APP, limit).unwrap();
    let admitted = tenant.revoke(APP, APP_SECRET).await;
    assert_eq!(
        (admitted.status.as_u16(), admitted.header("x-ratelimit-remaining")),
        (200, Some("0"))
    );
    for rejected in [tenant.revoke(APP, APP_SECRET).await, tenant.login(APP, APP_SECRET, API).await]
    {
        assert_eq!(rejected.error(), (429, "too_many_requests"));
        assert!(rejected.header("retry-after").unwrap().ends_with(" GMT"));
    }
    assert_eq!(tenant.revoke(MANAGER, crate::support::MANAGER_SECRET).await.status, 200);
    let token = tenant.token().await;
    assert_eq!(tenant.rotate(&token, APP).await.status, 200, "the Management API");
    clock.advance(Duration::from_secs(60));
    let secret = tenant.current(APP);
    assert_eq!(tenant.revoke(APP, &secret).await.status, 200);
}

#[tokio::test]
async fn exceeded_token_quota_names_its_end() {
    let builder = immediate().client_rate_limit(MANAGER, ClientRateLimit::token_quota(0));
    let tenant = Tenant::start(builder).await;
    let audience = tenant.simulator.audience();
    let rejected = tenant.login(MANAGER, crate::support::MANAGER_SECRET, &audience).await;
    assert_eq!(rejected.error(), (429, "too_many_requests"));
    assert_eq!(rejected.body["error_description"], "Client quota exceeded");
    assert_eq!(rejected.header("retry-after"), Some("86400"));
    tenant.simulator.set_client_rate_limit(MANAGER, None).unwrap();
    tenant.token().await;
}
