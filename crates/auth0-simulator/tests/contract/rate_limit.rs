//! The Management API's rate limit and its headers.

use std::time::Duration;

use auth0_simulator::{ManualClock, Operation};

use crate::support::{API, APP, APP_SECRET, Tenant, immediate};

const START: u64 = 1_700_000_000;

#[tokio::test]
async fn every_management_answer_says_what_is_left() {
    let clock = ManualClock::default();
    let builder = immediate().clock(clock.clone()).rate_limit("2/3".parse().ok());
    let tenant = Tenant::start(builder).await;
    let token = tenant.token().await;
    let numbers = |answer: &crate::support::Answer| {
        ["limit", "remaining", "reset"].map(|name| {
            let header = answer.header(&format!("x-ratelimit-{name}")).unwrap();
            header.parse::<u64>().unwrap()
        })
    };
    let path = format!("/clients/{APP}");
    assert_eq!(numbers(&tenant.get(&token, &path).await), [3, 2, START + 1]);
    assert_eq!(numbers(&tenant.rotate(&token, APP).await), [3, 1, START + 1]);
    // A refused token counts as well: the limit is the tenant's.
    let unauthorized = tenant.get("made.up", &path).await;
    assert_eq!((unauthorized.status.as_u16(), numbers(&unauthorized)), (401, [3, 0, START + 2]));

    let refused = tenant.rotate(&token, APP).await;
    assert_eq!(refused.refusal(), (429, "too_many_requests"));
    assert_eq!(refused.body["error"], "Too Many Requests");
    assert_eq!(numbers(&refused), [3, 0, START + 2]);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let counters = tenant.simulator.counters();
    assert_eq!(counters.client(APP).effects.rotations, 1, "a refused one has no effect");
    assert_eq!(counters.with_status(Operation::RotateSecret, 429), 1);

    clock.advance(Duration::from_millis(500));
    assert_eq!(tenant.rotate(&token, APP).await.status, 200);
}

#[tokio::test]
async fn authentication_is_not_limited() {
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
async fn without_a_limit_there_are_no_headers() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    for _ in 0..100 {
        let answer = tenant.get(&token, &format!("/clients/{APP}?fields=name")).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-ratelimit-limit")), (200, None));
    }
}

#[tokio::test]
async fn a_limit_can_be_changed_while_it_runs() {
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
