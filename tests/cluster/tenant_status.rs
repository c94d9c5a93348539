//! Waits for the status of an Auth0Tenant.

use std::time::{Duration, Instant};

use auth0_rotator::api::Auth0Tenant;
use testkit::fixture::NamespaceFixture;

/// Time in which the status must change.
const LIMIT: Duration = Duration::from_secs(30);

/// Waits until the condition `Ready` of an Auth0Tenant has this reason, and returns its message.
pub(crate) async fn wait_for_tenant_reason(
    namespace: &NamespaceFixture,
    name: &str,
    reason: &str,
) -> String {
    let deadline = Instant::now() + LIMIT;
    loop {
        let tenant = namespace.api::<Auth0Tenant>().get(name).await.unwrap();
        let conditions = tenant.status.unwrap_or_default().conditions;
        let ready = rotation::find_condition(&conditions, "Ready");
        if let Some(ready) = ready
            && ready.reason == reason
        {
            return ready.message.clone();
        }
        assert!(
            Instant::now() < deadline,
            "{name} is never {reason}: {ready:?}\n{}",
            namespace.log_tail()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
