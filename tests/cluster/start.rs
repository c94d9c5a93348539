//! What keeps an operator from working when it is started: it says so, lives, and waits.

use std::time::Duration;

use serde_json::json;
use testkit::{
    auth0::tenant_with_clients,
    fixture::{Fixture, SHORT_LEASE, shared_control_plane},
    operator::Operator,
};

#[tokio::test]
async fn without_permission_for_leases_it_says_what_to_grant_and_waits_for_it() {
    let bench = Fixture::without_operator().await;
    let operator = bench.start_replica(&SHORT_LEASE);
    let what = format!("can't read the Lease {}/auth0-rotator: forbidden", bench.namespace);
    operator.wait_for_log(&what).await;
    operator.wait_for_log("watches are synced").await;
    assert_eq!(operator.health("/livez").await, (200, "ok".to_owned()));
    let (status, why) = operator.health("/readyz").await;
    assert_eq!(status, 503);
    for word in ["get and update on leases", "auth0-rotator", "deploy/operator.yaml", &what] {
        assert!(why.contains(word), "{word}: {why}");
    }
    assert!(!operator.has_logged("acquired leadership"));
    // Nothing has to be started anew once it is granted.
    bench.grant_lease_access().await;
    operator.wait_until_leader().await;
    operator.wait_until_ready().await;
    finish(bench, operator).await;
}

#[tokio::test]
async fn it_waits_for_an_api_server_that_is_not_there_yet() {
    let mut bench = Fixture::cluster_wide(tenant_with_clients(&["shop"]).await).await;
    // A process that is asked to stop before it listens to that is ended by it.
    bench.operator().wait_until_ready().await;
    bench.stop_operator().await;
    bench.grant_lease_access().await;
    bench.dedicated_control_plane.as_ref().unwrap().stop_apiserver().await.unwrap();
    bench.start_cluster_operator_with(&["--leader-elect"]);
    let operator = bench.operator();
    operator.wait_for_log("can't reach the API server").await;
    assert_eq!(operator.health("/livez").await, (200, "ok".to_owned()));
    assert_eq!(operator.health("/readyz").await.0, 503);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(operator.health("/livez").await, (200, "ok".to_owned()));
    bench.dedicated_control_plane.as_ref().unwrap().start_apiserver().await.unwrap();
    bench.operator().wait_until_leader().await;
    bench.operator().wait_until_ready().await;
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.finish().await;
}

#[tokio::test]
async fn it_is_not_ready_before_it_knows_what_there_is() {
    let mut bench = Fixture::without_operator().await;
    // Its watches can't begin: it may not list in this namespace.
    let user = "system:serviceaccount:nowhere:nobody";
    let groups = &["system:serviceaccounts"];
    bench.kubeconfig = shared_control_plane().await.kubeconfig_for(user, groups).unwrap();
    bench.start_operator();
    let operator = bench.take_operator();
    operator.wait_for_log("a watch failed").await;
    assert_eq!(operator.health("/livez").await.0, 200);
    let (status, why) = operator.health("/readyz").await;
    assert_eq!((status, why.as_str()), (503, "the watches are not synced yet"));
    operator.kill();
    bench.finish().await;
}

async fn finish(mut bench: Fixture, operator: Operator) {
    bench.operator = Some(operator);
    bench.finish().await;
}
