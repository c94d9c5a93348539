//! Startup while something is missing: the operator reports it, stays alive and not ready, and waits.

use std::time::Duration;

use serde_json::json;
use testkit::{
    auth0::tenant_with_clients,
    fixture::{Fixture, SHORT_LEASE, shared_control_plane},
};

#[tokio::test]
async fn waits_for_permission_for_leases() {
    let mut fixture = Fixture::without_operator().await;
    let operator = fixture.start_replica(&SHORT_LEASE);
    let problem = format!("can't read the Lease {}/auth0-rotator: forbidden", fixture.namespace);
    operator.wait_for_log(&problem).await;
    operator.wait_for_log("watches are synced").await;
    assert_eq!(operator.health("/livez").await, (200, "ok".to_owned()));
    let (status, body) = operator.health("/readyz").await;
    assert_eq!(status, 503);
    for text in ["get and update on leases", "auth0-rotator", "deploy/operator.yaml", &problem] {
        assert!(body.contains(text), "{text}: {body}");
    }
    assert!(!operator.has_logged("acquired leadership"));
    // The running process notices the permission.
    fixture.grant_lease_access().await;
    operator.wait_for_log("acquired leadership").await;
    operator.wait_until_ready().await;
    fixture.operator = Some(operator);
    fixture.finish().await;
}

#[tokio::test]
async fn waits_for_the_api_server() {
    let mut fixture = Fixture::cluster_wide(tenant_with_clients(&["shop"]).await).await;
    fixture.stop_operator().await;
    fixture.grant_lease_access().await;
    fixture.dedicated_control_plane.as_ref().unwrap().stop_apiserver().await.unwrap();
    fixture.start_cluster_operator_with(&["--leader-elect"]);
    let operator = fixture.operator();
    operator.wait_for_log("can't reach the API server").await;
    assert_eq!(operator.health("/livez").await, (200, "ok".to_owned()));
    assert_eq!(operator.health("/readyz").await.0, 503);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(operator.health("/livez").await, (200, "ok".to_owned()));
    fixture.dedicated_control_plane.as_ref().unwrap().start_apiserver().await.unwrap();
    fixture.operator().wait_for_log("acquired leadership").await;
    fixture.operator().wait_until_ready().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.finish().await;
}

#[tokio::test]
async fn is_not_ready_before_the_watches_are_synced() {
    let mut fixture = Fixture::without_operator().await;
    // This user may not list resources, so the watches can't complete their initial list.
    let user = "system:serviceaccount:nowhere:nobody";
    let groups = &["system:serviceaccounts"];
    fixture.kubeconfig = shared_control_plane().await.kubeconfig_for(user, groups).unwrap();
    fixture.start_operator();
    let operator = fixture.take_operator();
    operator.wait_for_log("watch failed").await;
    assert_eq!(operator.health("/livez").await.0, 200);
    let (status, body) = operator.health("/readyz").await;
    assert_eq!((status, body.as_str()), (503, "the watches are not synced yet"));
    operator.kill();
    fixture.finish().await;
}
