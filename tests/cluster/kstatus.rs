//! The status in tools that follow kstatus: Flux with `wait: true`, Helm 4 with `--wait`, and others.

use auth0_rotator::api::{ClientSecretRotation, REQUEST_ANNOTATION};
use auth0_simulator::{Action, Fault, Operation, When};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use rotation::Phase;
use serde_json::{Value, json};
use testkit::{auth0, fixture::Fixture, kstatus::Kstatus};

use crate::phases::wait_for_phase;

async fn kstatus(fixture: &Fixture) -> Kstatus {
    // The operator's own type drops the generation that means "not seen yet".
    let resource = ApiResource::erase::<ClientSecretRotation>(&());
    let api: Api<DynamicObject> =
        Api::namespaced_with(fixture.client.clone(), &fixture.namespace, &resource);
    Kstatus::of(&api.get("shop").await.unwrap())
}

/// Applies a new resource with this request annotation.
async fn create_with_request(fixture: &Fixture, request: &str, spec: Value) {
    let mut resource = json!({
        "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "ClientSecretRotation",
        "metadata": { "name": "shop", "annotations": { REQUEST_ANNOTATION: request } },
        "spec": {
            "clientId": "shop", "tenantRef": { "name": "acme" }, "gracePeriod": "3s",
            "target": { "name": "shop-auth0" },
        },
    });
    testkit::manifests::merge(&mut resource["spec"], spec);
    let api = fixture.api::<ClientSecretRotation>();
    let params = PatchParams::apply("tests").force();
    api.patch("shop", &params, &Patch::Apply(resource)).await.unwrap();
}

#[tokio::test]
async fn resource_is_in_progress_until_it_has_published_something() {
    let mut fixture = Fixture::without_operator().await;
    fixture.apply_rotation("shop", json!({})).await;
    assert_eq!(kstatus(&fixture).await, Kstatus::InProgress, "without an operator");
    let delay = Action::Delay { ms: 1_500, when: When::Before };
    fixture.simulator.faults().inject(Fault::new(delay).on(Operation::GetClient)).unwrap();
    fixture.start_operator();
    let mut observed = 0;
    while kstatus(&fixture).await == Kstatus::InProgress {
        observed += 1;
        tokio::task::yield_now().await;
    }
    assert!(observed > 0);
    assert_eq!(kstatus(&fixture).await, Kstatus::Current);
    assert!(fixture.current_value("shop").await.is_some(), "nothing is published");
    fixture.finish().await;
}

#[tokio::test]
async fn resource_is_current_at_rest_and_in_the_grace_period() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({ "gracePeriod": "1h" })).await;
    fixture.wait_until_rotated("shop", 1).await;
    assert_eq!(kstatus(&fixture).await, Kstatus::Current);
    fixture.request("shop", "rotate/now").await;
    wait_for_phase(&fixture, Phase::Grace).await;
    assert_eq!(kstatus(&fixture).await, Kstatus::Current, "in the grace period");
    // A change of the spec in the grace period is observed.
    fixture.apply_rotation("shop", json!({ "gracePeriod": "2h" })).await;
    fixture
        .wait_for("shop", "current again", |resource| Kstatus::of(resource) == Kstatus::Current)
        .await;
    fixture.finish().await;
}

#[tokio::test]
async fn resource_is_in_progress_while_a_secret_is_staged() {
    let fixture = Fixture::start().await;
    let staged = json!({ "strategy": "Staged", "staging": { "period": "1h" } });
    fixture.apply_rotation("shop", staged).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    wait_for_phase(&fixture, Phase::Staging).await;
    assert_eq!(kstatus(&fixture).await, Kstatus::InProgress);
    fixture.finish().await;
}

#[tokio::test]
async fn mistyped_request_fails_no_release() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    for request in ["rotate", "revoque/leaked", "/", "rollback/none", "abort/none"] {
        fixture.request("shop", request).await;
        let is_refused = |resource: &ClientSecretRotation| {
            let conditions = resource.status.clone().unwrap_or_default().conditions;
            let accepted = rotation::find_condition(&conditions, "RequestAccepted");
            accepted.is_some_and(|condition| {
                let is_valid = request.starts_with("rollback") || request.starts_with("abort");
                let reason = if is_valid { "RequestRejected" } else { "InvalidRequest" };
                condition.status == rotation::ConditionStatus::False && condition.reason == reason
            })
        };
        let resource = fixture.wait_for("shop", "with a refused request", is_refused).await;
        assert_eq!(Kstatus::of(&resource), Kstatus::Current, "{request}");
    }
    fixture.finish().await;
}

#[tokio::test]
async fn resource_fails_only_when_it_is_stalled() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.apply_rotation("shop", json!({ "schedule": { "cron": "0 3 31 2 *" } })).await;
    fixture.wait_until_stalled("shop", "InvalidSchedule").await;
    assert_eq!(kstatus(&fixture).await, Kstatus::Failed);
    fixture.apply_rotation("shop", json!({})).await;
    let is_current = |resource: &ClientSecretRotation| Kstatus::of(resource) == Kstatus::Current;
    fixture.wait_for("shop", "current", is_current).await;
    fixture.finish().await;
}

#[tokio::test]
async fn request_of_a_new_resource_is_carried_out() {
    for request in ["rotate/first", "revoke/first"] {
        let fixture = Fixture::start().await;
        fixture.simulator.add_client(auth0::application("shop")).unwrap();
        create_with_request(&fixture, request, json!({})).await;
        fixture.wait_until_rotated("shop", 2).await;
        fixture.wait_for_reason("shop", "RequestAccepted", "RequestHandled").await;
        assert_eq!(fixture.rotation_count("shop"), 1, "{request}");
        fixture.finish().await;
    }
}

/// The annotation stays in git, and the resource is deleted and created again.
#[tokio::test]
async fn request_of_a_recreated_resource_is_refused_if_the_target_remains() {
    let fixture = Fixture::start().await;
    fixture.simulator.add_client(auth0::application("shop")).unwrap();
    create_with_request(&fixture, "rotate/first", json!({})).await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.api::<ClientSecretRotation>().delete("shop", &Default::default()).await.unwrap();
    fixture.wait_until_deleted("shop").await;
    create_with_request(&fixture, "rotate/first", json!({})).await;
    fixture.wait_for_reason("shop", "RequestAccepted", "RequestRejected").await;
    fixture.wait_for_event("RequestRejected").await;
    fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(fixture.rotation_count("shop"), 1);
    fixture.request("shop", "rotate/second").await;
    fixture.wait_until_rotated("shop", 3).await;
    fixture.finish().await;
}

/// Nothing shows whether the request was handled before the status was lost.
#[tokio::test]
async fn request_after_a_lost_status_is_refused_aloud() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.request("shop", "rotate/first").await;
    fixture.wait_until_rotated("shop", 2).await;
    let api = fixture.api::<ClientSecretRotation>();
    let wipe = Patch::Merge(json!({ "status": null }));
    api.patch_status("shop", &PatchParams::default(), &wipe).await.unwrap();
    fixture.wait_for_reason("shop", "RequestAccepted", "RequestRejected").await;
    fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(fixture.rotation_count("shop"), 1);
    fixture.finish().await;
}
