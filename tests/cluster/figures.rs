//! What must not happen however many resources there are. Figures are measured by `make bench`.

use auth0_simulator::Operation;
use serde_json::json;

use crate::bench::Bench;

#[tokio::test]
async fn a_restart_with_nothing_due_writes_nothing_and_asks_nothing() {
    let mut bench = Bench::start().await;
    let names: Vec<_> = (0..20).map(|number| format!("app-{number}")).collect();
    for name in &names {
        bench.rotation(name, json!({ "schedule": { "every": "1h" } })).await;
    }
    for name in &names {
        bench.rotated(name, 1).await;
    }
    assert!(bench.take_operator().stop().await.success());
    let versions = versions(&bench, &names).await;
    let before = bench.simulator.counters();
    bench.start_operator();
    bench.operator().ready().await;
    // Every resource has been looked at.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while bench.operator().metric("auth0_rotator_passes_total{result=\"ok\"}").await < 20.0 {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(bench.operator().metric("auth0_rotator_status_writes_total").await, 0.0);
    assert!(!bench.operator().metrics().await.contains("auth0_rotator_secret_writes_total{"));
    assert_eq!(self::versions(&bench, &names).await, versions);
    let after = bench.simulator.counters();
    for operation in [Operation::GetClient, Operation::ListClients, Operation::RotateSecret] {
        assert_eq!(after.requests(operation), before.requests(operation), "{operation:?}");
    }
    bench.finish().await;
}

/// The versions of all resources and of their Secrets.
async fn versions(bench: &Bench, names: &[String]) -> Vec<Option<String>> {
    let mut versions = Vec::new();
    for name in names {
        versions.push(bench.get(name).await.metadata.resource_version);
        let secrets = bench.api::<k8s_openapi::api::core::v1::Secret>();
        let secret = secrets.get(&format!("{name}-auth0")).await.unwrap();
        versions.push(secret.metadata.resource_version);
    }
    versions
}
