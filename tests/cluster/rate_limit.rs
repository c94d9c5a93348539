//! Many resources that are due at once under a rate limit. `make bench-storm` measures how much of
//! the limit is used.

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

/// Resources that are all due when the operator starts.
struct Backlog {
    fixture: Fixture,
    names: Vec<String>,
    /// Last entry of Auth0's audit log before the operator started.
    audit_start: u64,
}

impl Backlog {
    /// Imports `count` resources without a rate limit, stops the operator, requests a rotation of
    /// each resource, and starts the operator with a rate limit.
    async fn start(count: usize, requests_per_second: u32, burst: u32) -> Self {
        let mut fixture = Fixture::start().await;
        let names: Vec<_> = (0..count).map(|number| format!("app-{number}")).collect();
        for name in &names {
            fixture.apply_rotation(name, json!({})).await;
        }
        for name in &names {
            fixture.wait_until_rotated(name, 1).await;
        }
        fixture.stop_operator().await;
        let limit = json!({ "requestsPerSecond": requests_per_second, "burst": burst });
        fixture.apply_tenant(json!({ "rateLimit": limit })).await;
        for name in &names {
            fixture.request(name, "rotate/all").await;
        }
        let audit_start = fixture.simulator.audit_log(0).last().unwrap().seq;
        fixture.simulator.set_rate_limit(RateLimit::new(requests_per_second, burst).unwrap());
        fixture.start_operator();
        Self { fixture, names, audit_start }
    }

    fn audit_log(&self) -> Vec<AuditEntry> {
        self.fixture.simulator.audit_log(self.audit_start)
    }
}

fn time(entry: &AuditEntry) -> DateTime<Utc> {
    entry.time.parse().unwrap()
}

fn assert_none_rejected(log: &[AuditEntry]) {
    assert!(log.iter().all(|entry| entry.status != Some(429)), "Auth0 rejected requests with 429");
}

#[tokio::test]
async fn stays_within_the_limit_when_more_is_due_than_it_allows() {
    let backlog = Backlog::start(60, 16, 10).await;
    let fixture = &backlog.fixture;
    for name in &backlog.names {
        fixture.wait_until_rotated(name, 2).await;
        assert_eq!(fixture.rotation_count(name), 1);
    }
    assert_none_rejected(&backlog.audit_log());
    let metrics = fixture.operator().metrics().await;
    assert!(metrics.contains("auth0_rotator_auth0_rate_limit_remaining{"), "{metrics}");
    assert_eq!(fixture.operator().metric("auth0_rotator_workqueue_depth").await, 0.0);
    backlog.fixture.finish().await;
}

#[tokio::test]
async fn confirms_rotations_in_progress_while_others_wait_to_start() {
    let backlog = Backlog::start(40, 4, 4).await;
    for name in &backlog.names {
        let is_activated = || backlog.fixture.rotation_count(name) == 1;
        backlog.fixture.wait_until("activated", is_activated).await;
    }
    let log = backlog.audit_log();
    assert_none_rejected(&log);
    let mut activated = HashMap::new();
    let mut confirmed = 0;
    for entry in &log {
        let Some(client) = entry.client_id.as_deref() else { continue };
        if entry.operation == Operation::RotateSecret && entry.effect {
            activated.insert(client, time(entry));
        } else if entry.kind == AuditKind::Revocation
            && let Some(activated_at) = activated.remove(client)
        {
            // Auth0 may accept the value only a second later. The last rotation starts ten seconds
            // after the first.
            let waited = (time(entry) - activated_at).as_seconds_f64();
            assert!(waited < 5.0, "{client} was probed {waited} s after its activation");
            confirmed += 1;
        }
    }
    assert!(confirmed > backlog.names.len() / 2, "{confirmed}");
    backlog.fixture.finish().await;
}

#[tokio::test]
async fn calls_auth0_rarely_during_an_outage_and_then_completes_all_rotations() {
    let fixture = Fixture::start().await;
    let names: Vec<_> = (0..20).map(|number| format!("app-{number}")).collect();
    for name in &names {
        fixture.apply_rotation(name, json!({})).await;
    }
    for name in &names {
        fixture.wait_until_rotated(name, 1).await;
    }
    let outage = Fault::status_before(503).on(Operation::GetClient).unlimited();
    let outage = fixture.simulator.faults().inject(outage).unwrap();
    let before = fixture.simulator.counters().with_status(Operation::GetClient, 503);
    for name in &names {
        fixture.request(name, "rotate/all").await;
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    let failed = fixture.simulator.counters().with_status(Operation::GetClient, 503) - before;
    // The requests in flight until the circuit breaker opens, and one each time it is half-open.
    assert!((5..20).contains(&failed), "{failed}");
    assert!(fixture.simulator.faults().remove(outage));
    for name in &names {
        fixture.wait_until_rotated(name, 2).await;
        assert_eq!(fixture.rotation_count(name), 1);
    }
    fixture.finish().await;
}

#[tokio::test]
async fn remaining_requests_in_the_tenant_status_trigger_no_reconcile_of_its_resources() {
    let Backlog { fixture, .. } = Backlog::start(1, 16, 10).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    let rate_limit = loop {
        let tenant = fixture.api::<Auth0Tenant>().get("acme").await.unwrap();
        if let Some(rate_limit) = tenant.status.as_ref().and_then(|status| status.rate_limit) {
            break rate_limit;
        }
        assert!(Instant::now() < deadline, "no status.rateLimit: {:?}", tenant.status);
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(rate_limit.limit, 10);
    assert!(rate_limit.remaining < 10, "{rate_limit:?}");
    fixture.wait_until_rotated("app-0", 2).await;
    let reconciles = async |result: &str| {
        fixture
            .operator()
            .metric(&format!("auth0_rotator_reconcile_total{{result=\"{result}\"}}"))
            .await
    };
    let (ok, unchanged) = (reconciles("ok").await, reconciles("unchanged").await);
    let status = json!({ "status": { "rateLimit": { "limit": 10, "remaining": 7 } } });
    let (api, params) = (fixture.api::<Auth0Tenant>(), PatchParams::default());
    api.patch_status("acme", &params, &Patch::Merge(status)).await.unwrap();
    let is_skipped = async || reconciles("unchanged").await != unchanged;
    let left = deadline.saturating_duration_since(Instant::now());
    fixture.wait_within(left, "the change of the tenant is seen and skipped", is_skipped).await;
    assert_eq!(reconciles("ok").await, ok);
    fixture.finish().await;
}
