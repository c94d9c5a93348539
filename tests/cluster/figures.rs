//! What must not happen however many resources there are. Figures are measured by `make bench`.

use std::time::{Duration, Instant};

use auth0_rotator::api::ClientSecretRotation;
use auth0_simulator::Operation;
use futures::{StreamExt as _, stream};
use kube::api::ListParams;
use serde_json::json;
use testkit::{
    auth0::MANAGER,
    fixture::{DEADLINE, Fixture},
};

#[tokio::test]
async fn a_restart_with_nothing_due_writes_nothing_and_asks_nothing() {
    let mut bench = Fixture::start().await;
    let names: Vec<_> = (0..20).map(|number| format!("app-{number}")).collect();
    for name in &names {
        bench.apply_rotation(name, json!({ "schedule": { "every": "1h" } })).await;
    }
    for name in &names {
        bench.wait_until_rotated(name, 1).await;
    }
    bench.stop_operator().await;
    let versions = versions(&bench, &names).await;
    let before = bench.simulator.counters();
    bench.start_operator();
    bench.operator().wait_until_ready().await;
    // Every resource has been looked at.
    let deadline = Instant::now() + Duration::from_secs(20);
    while bench.operator().metric("auth0_rotator_reconcile_total{result=\"ok\"}").await < 20.0 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(bench.operator().metric("auth0_rotator_status_writes_total").await, 0.0);
    let metrics = bench.operator().metrics().await;
    let writes = metrics.lines().filter(|line| line.contains("secret_writes_total{"));
    assert!(writes.clone().count() > 0 && writes.clone().all(|line| line.ends_with(" 0")));
    assert_eq!(self::versions(&bench, &names).await, versions);
    let after = bench.simulator.counters();
    for operation in [Operation::GetClient, Operation::ListClients, Operation::RotateSecret] {
        assert_eq!(after.requests(operation), before.requests(operation), "{operation:?}");
    }
    bench.finish().await;
}

#[tokio::test]
async fn a_drift_check_of_1000_resources_takes_ten_requests() {
    const RESOURCES: usize = 1000;
    let bench = Fixture::start().await;
    // The management client is one of the tenant's clients.
    let names: Vec<_> = (1..RESOURCES).map(|number| format!("app-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).chain([MANAGER]).collect();
    stream::iter(&names)
        .for_each_concurrent(8, async |name| {
            let mut spec = json!({ "driftCheck": { "every": "8760h" } });
            if **name == *MANAGER {
                // Its Secret is the one that the operator signs in with.
                spec["target"] = json!({ "name": "auth0-management", "adopt": true });
            }
            bench.apply_rotation(name, spec).await;
        })
        .await;
    all_at_rest(&bench, RESOURCES).await;
    let requests = || {
        let counters = bench.simulator.counters();
        [Operation::ListClients, Operation::GetClient, Operation::Token]
            .map(|operation| counters.requests(operation))
    };
    let checks = async || {
        let metric = format!(
            "auth0_rotator_auth0_requests_total{{class=\"ok\",kind=\"Auth0Tenant\",namespace=\"{}\",\
             operation=\"drift-check\",result=\"ok\",tenant=\"acme\"}}",
            bench.namespace
        );
        bench.operator().metric(&metric).await
    };
    assert_eq!(checks().await, 0.0);
    let before = requests();
    // One of them asks for a check of the tenant, and the next one comes long after this test.
    bench.apply_rotation("app-7", json!({ "driftCheck": { "every": "10s" } })).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while checks().await < 1.0 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let [lists, gets, tokens] = requests();
    assert_eq!(checks().await, 1.0, "the next check has begun already");
    assert_eq!([lists - before[0], gets - before[1], tokens - before[2]], [10, 0, 0]);
    bench.finish().await;
}

/// Waits until so many resources are at rest: as long as it takes, while there is progress.
async fn all_at_rest(bench: &Fixture, wanted: usize) {
    let (mut last, mut deadline) = (0, Instant::now() + DEADLINE);
    while last < wanted {
        assert!(Instant::now() < deadline, "{last} of {wanted}\n{}", bench.log_tail());
        tokio::time::sleep(Duration::from_millis(500)).await;
        let all = bench.api::<ClientSecretRotation>().list(&ListParams::default()).await.unwrap();
        let is_at_rest = |resource: &&ClientSecretRotation| {
            let status = resource.status.as_ref();
            status.is_some_and(|status| status.current.is_some() && status.rotation.is_none())
        };
        let now = all.items.iter().filter(is_at_rest).count();
        if now > last {
            (last, deadline) = (now, Instant::now() + DEADLINE);
        }
    }
}

/// The versions of all resources and of their Secrets.
async fn versions(bench: &Fixture, names: &[String]) -> Vec<Option<String>> {
    let mut versions = Vec::new();
    for name in names {
        versions.push(bench.get(name).await.metadata.resource_version);
        let secrets = bench.api::<k8s_openapi::api::core::v1::Secret>();
        let secret = secrets.get(&format!("{name}-auth0")).await.unwrap();
        versions.push(secret.metadata.resource_version);
    }
    versions
}
