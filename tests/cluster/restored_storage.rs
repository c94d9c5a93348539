//! etcd is restored from a snapshot: its revision goes back, and the status and the target Secret with it.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use rotation::Cause;
use serde_json::json;
use testkit::{
    auth0::tenant_with_clients,
    fixture::{Fixture, from_json},
};

/// Within which the operator has to notice that its watches are silent.
const LIMIT: Duration = Duration::from_secs(180);

#[tokio::test]
async fn silent_watches_start_again_and_no_due_time_is_repeated() {
    let fixture = Fixture::cluster_wide(tenant_with_clients(&["shop"]).await).await;
    let spec = json!({ "schedule": { "every": "720h" }, "driftCheck": { "every": "1h" } });
    fixture.apply_rotation("shop", spec).await;
    let imported = fixture.wait_until_rotated("shop", 1).await;
    let due = imported.status.unwrap().next_rotation_time;
    let control_plane = fixture.dedicated_control_plane.as_ref().unwrap();
    control_plane.save_snapshot().await.unwrap();
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    // The revision must not catch up before the operator notices.
    for number in 0..200 {
        let map = json!({ "metadata": { "name": format!("map-{number}") } });
        let map: ConfigMap = from_json(map);
        fixture.api().create(&PostParams::default(), &map).await.unwrap();
    }
    control_plane.restore_snapshot().await.unwrap();
    // Only a watch shows this request.
    fixture.request("shop", "rotate/again").await;
    let is_rotated = async || fixture.rotation_count("shop") == 2;
    fixture.wait_within(LIMIT, "the request is carried out", is_rotated).await;
    let is_idle = |status: &rotation::Status| status.rotation.is_none();
    fixture
        .wait_for("shop", "idle", |resource| resource.status.as_ref().is_some_and(is_idle))
        .await;
    fixture.assert_published("shop").await;
    let status = fixture.get("shop").await.status.unwrap();
    let causes: Vec<_> = status.history.iter().map(|entry| entry.cause).collect();
    assert!(!causes.contains(&Cause::Schedule), "{causes:?}");
    assert!(status.next_rotation_time >= due);
    fixture.finish().await;
}
