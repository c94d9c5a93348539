//! Propagation of a changed secret to authentication, over HTTP and with a manual clock.

use std::time::Duration;

use auth0_simulator::ManualClock;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::support::{API, APP, APP_SECRET, Tenant, immediate};

const SECOND: Duration = Duration::from_secs(1);

async fn start_with_propagation(seed: u64) -> (Tenant, ManualClock, String) {
    let clock = ManualClock::default();
    let window = Duration::ZERO..=SECOND * 30;
    let builder = immediate().propagation(window).seed(seed).clock(clock.clone());
    let tenant = Tenant::start(builder).await;
    let token = tenant.token().await;
    (tenant, clock, token)
}

/// Returns which of the two values are accepted now. Token endpoint, revocation endpoint and
/// library must agree.
async fn accepted(tenant: &Tenant, old: &str, new: &str) -> (bool, bool) {
    let mut responses = Vec::new();
    for value in [old, new] {
        let by_token = tenant.login(APP, value, API).await.status == 200;
        let by_revoke = tenant.revoke(APP, value).await.status == 200;
        assert_eq!(by_token, by_revoke);
        assert_eq!(by_token, tenant.simulator.accepts(APP, value));
        responses.push(by_token);
    }
    (responses[0], responses[1])
}

#[tokio::test]
async fn management_api_shows_a_rotated_secret_before_authentication_accepts_it() {
    let (tenant, clock, token) = start_with_propagation(1).await;
    let response = tenant.rotate(&token, APP).await;
    let new = response.body["client_secret"].as_str().unwrap();
    let shown = tenant.get(&token, &format!("/clients/{APP}?fields=client_secret")).await;
    assert_eq!(shown.body, json!({"client_secret": new}));
    let mut seen = Vec::new();
    for _ in 0..=30 {
        let state = accepted(&tenant, APP_SECRET, new).await;
        assert_ne!(state, (false, false), "no value is accepted");
        if seen.last() != Some(&state) {
            seen.push(state);
        }
        clock.advance(SECOND);
    }
    assert_eq!(seen, [(true, false), (true, true), (false, true)]);
}

#[tokio::test]
async fn patched_and_dashboard_secrets_propagate_too() {
    let (tenant, clock, token) = start_with_propagation(2).await;
    assert_eq!(tenant.patch(&token, APP, json!({"client_secret": "second"})).await.status, 200);
    assert_eq!(accepted(&tenant, APP_SECRET, "second").await, (true, false));
    clock.advance(SECOND * 30);
    assert_eq!(accepted(&tenant, APP_SECRET, "second").await, (false, true));
    let third = tenant.simulator.dashboard_rotate(APP).unwrap();
    assert_eq!(accepted(&tenant, "second", third.expose_secret()).await, (true, false));
    clock.advance(SECOND * 30);
    assert_eq!(accepted(&tenant, "second", third.expose_secret()).await, (false, true));
}

#[tokio::test]
async fn two_rotations_in_one_window_never_lock_clients_out() {
    for seed in 0..20 {
        let (tenant, clock, token) = start_with_propagation(seed).await;
        let second = tenant.rotate(&token, APP).await;
        clock.advance(SECOND * 5);
        let third = tenant.rotate(&token, APP).await;
        let values = [
            APP_SECRET,
            second.body["client_secret"].as_str().unwrap(),
            third.body["client_secret"].as_str().unwrap(),
        ];
        for second in 0..=30 {
            let accepted: Vec<usize> =
                (0..3).filter(|index| tenant.simulator.accepts(APP, values[*index])).collect();
            assert!(!accepted.is_empty(), "seed {seed}, second {second}");
            clock.advance(SECOND);
        }
        assert!(tenant.simulator.accepts(APP, values[2]));
        assert!(!tenant.simulator.accepts(APP, values[0]));
        assert!(!tenant.simulator.accepts(APP, values[1]));
    }
}
