//! Permissions that the author of a resource needs.

use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use testkit::{auth0::tenant_with_clients, fixture::Fixture};

#[tokio::test]
async fn restricted_user_writes_resources_and_reads_no_secret() {
    let mut fixture = Fixture::with_simulator(tenant_with_clients(&["first"]).await).await;
    fixture.start_operator();
    let user = fixture.restricted_user("mallory").await;
    user.apply_rotation_of("first", "first", json!({})).await;
    user.wait_until_rotated("first", 1).await;
    let error = user.api::<Secret>().get("first-auth0").await.unwrap_err();
    assert!(error.to_string().contains("forbidden"), "{error}");
    let error = user.api::<Secret>().list(&Default::default()).await.unwrap_err();
    assert!(error.to_string().contains("forbidden"), "{error}");
    fixture.finish().await;
}
