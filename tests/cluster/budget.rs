//! Many resources that are due at once, and a rate limit. Figures are measured by
//! `make bench-budget`.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use auth0_rotator::api::Auth0Tenant;
use auth0_simulator::{AuditEntry, AuditKind, Fault, Operation, RateLimit};
use chrono::{DateTime, Utc};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use testkit::fixture::Fixture;

/// Imports `resources` without a limit, then asks all to rotate under one and starts the operator.
async fn all_at_once(resources: usize, (rate, burst): (u32, u32)) -> (Fixture, Vec<String>, u64) {
    let mut bench = Fixture::start().await;
    let names: Vec<_> = (0..resources).map(|number| format!("app-{number}")).collect();
    for name in &names {
        bench.apply_rotation(name, json!({})).await;
    }
    for name in &names {
        bench.wait_until_rotated(name, 1).await;
    }
    bench.stop_operator().await;
    bench.apply_tenant(json!({ "rateLimit": { "requestsPerSecond": rate, "burst": burst } })).await;
    for name in &names {
        bench.request(name, "rotate/all").await;
    }
    let before = bench.simulator.audit_log(0).last().unwrap().seq;
    bench.simulator.set_rate_limit(RateLimit::new(rate, burst).unwrap());
    bench.start_operator();
    (bench, names, before)
}

fn at(entry: &AuditEntry) -> DateTime<Utc> {
    entry.time.parse().unwrap()
}

fn assert_none_refused(log: &[AuditEntry]) {
    assert!(log.iter().all(|entry| entry.status != Some(429)), "Auth0 had to refuse calls");
}

#[tokio::test]
async fn more_is_due_than_the_limit_lets_through_and_nothing_is_refused() {
    let (bench, names, before) = all_at_once(60, (16, 10)).await;
    for name in &names {
        bench.wait_until_rotated(name, 2).await;
        assert_eq!(bench.rotation_count(name), 1);
    }
    assert_none_refused(&bench.simulator.audit_log(before));
    let metrics = bench.operator().metrics().await;
    assert!(metrics.contains("auth0_rotator_auth0_rate_limit_remaining{"), "{metrics}");
    assert_eq!(bench.operator().metric("auth0_rotator_workqueue_depth").await, 0.0);
    bench.finish().await;
}

#[tokio::test]
async fn what_is_in_progress_is_confirmed_while_others_wait_to_begin() {
    let (bench, names, before) = all_at_once(40, (4, 4)).await;
    for name in &names {
        let activated = || bench.rotation_count(name) == 1;
        bench.wait_until("activated", activated).await;
    }
    let log = bench.simulator.audit_log(before);
    assert_none_refused(&log);
    let mut activated = HashMap::new();
    let mut confirmed = 0;
    for entry in log.iter().filter(|entry| entry.client_id.is_some()) {
        let client = entry.client_id.as_deref().unwrap();
        if entry.operation == Operation::RotateSecret && entry.effect {
            activated.insert(client, at(entry));
        } else if entry.kind == AuditKind::Revocation
            && let Some(since) = activated.remove(client)
        {
            // It may be at Auth0 a second later; the last to begin begins ten seconds after the first.
            assert!((at(entry) - since).as_seconds_f64() < 5.0, "{client} was kept waiting");
            confirmed += 1;
        }
    }
    assert!(confirmed > names.len() / 2, "{confirmed}");
    bench.finish().await;
}

#[tokio::test]
async fn while_auth0_is_down_it_is_hardly_called_and_then_all_go_on() {
    let bench = Fixture::start().await;
    let names: Vec<_> = (0..20).map(|number| format!("app-{number}")).collect();
    for name in &names {
        bench.apply_rotation(name, json!({})).await;
    }
    for name in &names {
        bench.wait_until_rotated(name, 1).await;
    }
    let down = Fault::status_before(503).on(Operation::GetClient).unlimited();
    let down = bench.simulator.faults().inject(down).unwrap();
    let before = bench.simulator.counters().with_status(Operation::GetClient, 503);
    for name in &names {
        bench.request(name, "rotate/all").await;
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    let asked = bench.simulator.counters().with_status(Operation::GetClient, 503) - before;
    // Those that were under way when it went down, and a probe after each pause.
    assert!((5..20).contains(&asked), "{asked}");
    assert!(bench.simulator.faults().remove(down));
    for name in &names {
        bench.wait_until_rotated(name, 2).await;
        assert_eq!(bench.rotation_count(name), 1);
    }
    bench.finish().await;
}

#[tokio::test]
async fn what_is_left_stands_in_the_tenants_status_and_is_no_reason_to_look_at_its_resources() {
    let (bench, _, _) = all_at_once(1, (16, 10)).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    let told = loop {
        let tenant = bench.api::<Auth0Tenant>().get("acme").await.unwrap();
        if let Some(rate_limit) = tenant.status.as_ref().and_then(|status| status.rate_limit) {
            break rate_limit;
        }
        assert!(Instant::now() < deadline, "never told: {:?}", tenant.status);
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(told.limit, 10);
    assert!(told.remaining < 10, "{told:?}");
    bench.wait_until_rotated("app-0", 2).await;
    // Whatever else its status says now: the resource is not looked at for that.
    let passes = async |result: &str| {
        bench
            .operator()
            .metric(&format!("auth0_rotator_reconcile_total{{result=\"{result}\"}}"))
            .await
    };
    let (made, spared) = (passes("ok").await, passes("unchanged").await);
    let status = json!({ "status": { "rateLimit": { "limit": 10, "remaining": 7 } } });
    let (api, params) = (bench.api::<Auth0Tenant>(), PatchParams::default());
    api.patch_status("acme", &params, &Patch::Merge(status)).await.unwrap();
    while passes("unchanged").await == spared {
        assert!(Instant::now() < deadline, "the change was not seen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(passes("ok").await, made);
    bench.finish().await;
}
