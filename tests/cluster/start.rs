//! What keeps an operator from working when it is started: it says so, lives, and waits.

use std::time::Duration;

use serde_json::json;

use crate::{
    bench::{Bench, DEADLINE},
    cluster::control_plane,
    place::auth0,
    replicas::SHORT,
};

#[tokio::test]
async fn without_permission_for_leases_it_says_what_to_grant_and_waits_for_it() {
    let bench = Bench::without_operator().await;
    let operator = bench.replica(&SHORT);
    let what = format!("can't read the Lease {}/auth0-rotator: forbidden", bench.namespace);
    operator.eventually_says(&what, DEADLINE).await;
    operator.eventually_says("watches are synced", DEADLINE).await;
    assert_eq!(operator.health("/livez").await, (200, "ok".to_owned()));
    let (status, why) = operator.health("/readyz").await;
    assert_eq!(status, 503);
    for word in ["get and update on leases", "auth0-rotator", "deploy/operator.yaml", &what] {
        assert!(why.contains(word), "{word}: {why}");
    }
    assert!(!operator.says("acquired leadership"));
    // Nothing has to be started anew once it is granted.
    bench.allow_leases().await;
    operator.leads().await;
    operator.ready().await;
    finish(bench, operator).await;
}

#[tokio::test]
async fn it_waits_for_an_api_server_that_is_not_there_yet() {
    let mut bench = Bench::with_cluster(auth0(&["shop"]).await).await;
    // A process that is asked to stop before it listens to that is ended by it.
    bench.operator().ready().await;
    assert!(bench.take_operator().stop().await.success());
    bench.allow_leases().await;
    bench.own.as_ref().unwrap().stop_apiserver().await.unwrap();
    bench.start_cluster_operator_with(&["--leader-elect"]);
    let operator = bench.operator();
    operator.eventually_says("can't reach the API server", DEADLINE).await;
    assert_eq!(operator.health("/livez").await, (200, "ok".to_owned()));
    assert_eq!(operator.health("/readyz").await.0, 503);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(operator.health("/livez").await, (200, "ok".to_owned()));
    bench.own.as_ref().unwrap().start_apiserver().await.unwrap();
    bench.operator().leads().await;
    bench.operator().ready().await;
    bench.rotation("shop", json!({})).await;
    bench.rotated("shop", 1).await;
    bench.finish().await;
}

#[tokio::test]
async fn it_is_not_ready_before_it_knows_what_there_is() {
    let mut bench = Bench::without_operator().await;
    // Its watches can't begin: it may not list in this namespace.
    let user = "system:serviceaccount:nowhere:nobody";
    let groups = &["system:serviceaccounts"];
    bench.kubeconfig = control_plane().await.kubeconfig_for(user, groups).unwrap();
    bench.start_operator();
    let operator = bench.take_operator();
    operator.eventually_says("a watch failed", DEADLINE).await;
    assert_eq!(operator.health("/livez").await.0, 200);
    let (status, why) = operator.health("/readyz").await;
    assert_eq!((status, why.as_str()), (503, "the watches are not synced yet"));
    operator.kill();
    bench.finish().await;
}

async fn finish(mut bench: Bench, operator: crate::operator::Operator) {
    bench.operator = Some(operator);
    bench.finish().await;
}
