//! Several operators side by side, each for the resources and tenants that its label selector selects.

use std::time::Duration;

use auth0_rotator::api::{Auth0Tenant, ClientSecretRotation};
use kube::api::{Patch, PatchParams};
use rotation::{condition_types, find_condition, is_condition_true};
use serde_json::{Value, json};
use testkit::{
    fixture::{Fixture, NamespaceFixture},
    operator::{Operator, OperatorCommand},
};

const SHARD: &str = "auth0-rotator.dev/shard";

/// How long an operator that ignores an object is given to act on it.
const QUIET: Duration = Duration::from_secs(3);

fn command(fixture: &Fixture, selector: &str) -> OperatorCommand {
    let selector = format!("--watch-label-selector={selector}");
    fixture.operator_command().args(["--allow-http-endpoints".to_owned(), selector])
}

fn start_shard(fixture: &Fixture, shard: &str) -> Operator {
    command(fixture, &format!("{SHARD}={shard}")).spawn().unwrap()
}

fn labels(shard: Option<&str>) -> Value {
    json!({ "metadata": { "labels": { SHARD: shard } } })
}

async fn move_tenant(namespace: &NamespaceFixture, name: &str, shard: Option<&str>) {
    let api = namespace.api::<Auth0Tenant>();
    api.patch(name, &PatchParams::default(), &Patch::Merge(labels(shard))).await.unwrap();
}

async fn move_rotation(namespace: &NamespaceFixture, name: &str, shard: Option<&str>) {
    namespace.patch_rotation(name, labels(shard)).await;
}

/// Applies a tenant of a shard, at the fixture's Auth0.
async fn apply_tenant(fixture: &Fixture, name: &str, shard: Option<&str>) {
    let acme = fixture.api::<Auth0Tenant>().get("acme").await.unwrap();
    fixture.try_apply_tenant(name, json!(acme.spec)).await.unwrap();
    move_tenant(fixture, name, shard).await;
}

/// Applies a resource of a shard.
async fn apply_rotation(fixture: &Fixture, name: &str, tenant: &str, shard: Option<&str>) {
    let spec = json!({ "tenantRef": { "name": tenant } });
    fixture.apply_rotation(name, spec).await;
    move_rotation(fixture, name, shard).await;
}

/// Returns the names of the resources that an operator has reconciled.
fn reconciled(operator: &Operator) -> Vec<String> {
    let mut names: Vec<String> = operator
        .log()
        .iter()
        .filter(|line| line["message"] == "reconciled")
        .filter_map(|line| Some(line["name"].as_str()?.to_owned()))
        .collect();
    names.sort();
    names.dedup();
    names
}

#[tokio::test]
async fn each_operator_manages_only_its_shard() {
    let fixture = Fixture::without_operator().await;
    for (name, shard) in [("in-a", Some("a")), ("in-b", Some("b")), ("in-none", None)] {
        let tenant = format!("tenant-{name}");
        apply_tenant(&fixture, &tenant, shard).await;
        apply_rotation(&fixture, name, &tenant, shard).await;
    }
    let operators = [
        (command(&fixture, &format!("{SHARD}=a")).spawn().unwrap(), "in-a"),
        (command(&fixture, &format!("{SHARD}=b")).spawn().unwrap(), "in-b"),
        (command(&fixture, &format!("!{SHARD}")).spawn().unwrap(), "in-none"),
    ];
    for (_, name) in &operators {
        fixture.wait_until_rotated(name, 1).await;
        fixture.request(name, "rotate/now").await;
    }
    for (_, name) in &operators {
        fixture.wait_until_rotated(name, 2).await;
        assert_eq!(fixture.rotation_count(name), 1);
    }
    // Each counts, calls and shows only its own.
    for (operator, name) in &operators {
        assert_eq!(reconciled(operator), [*name]);
        let metrics = operator.metrics().await;
        let of_others = |line: &&str| {
            let others = ["in-a", "in-b", "in-none"].into_iter().filter(|other| other != name);
            others.into_iter().any(|other| {
                line.contains(&format!("name=\"{other}\""))
                    || line.contains(&format!("tenant=\"tenant-{other}\""))
            })
        };
        assert_eq!(metrics.lines().find(of_others), None);
        assert!(metrics.contains(&format!("auth0_rotator_resource_ready{{name=\"{name}\"")));
    }
    fixture.finish().await;
}

#[tokio::test]
async fn labels_hand_a_tenant_and_its_resources_over() {
    let fixture = Fixture::without_operator().await;
    apply_tenant(&fixture, "shared", Some("a")).await;
    apply_rotation(&fixture, "shop", "shared", Some("a")).await;
    let (first, second) = (start_shard(&fixture, "a"), start_shard(&fixture, "b"));
    fixture.wait_until_rotated("shop", 1).await;
    second.wait_until_ready().await;
    assert!(reconciled(&second).is_empty());

    move_tenant(&fixture, "shared", Some("b")).await;
    move_rotation(&fixture, "shop", Some("b")).await;
    fixture.wait_until("the other shard takes over", || reconciled(&second) == ["shop"]).await;
    let is_ready = |resource: &ClientSecretRotation| {
        let status = resource.status.as_ref();
        status.is_some_and(|status| is_condition_true(&status.conditions, condition_types::READY))
    };
    fixture.wait_for("shop", "ready", is_ready).await;
    let count = |operator: &Operator| {
        operator.log().iter().filter(|line| line["message"] == "reconciled").count()
    };
    let before = count(&first);
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(count(&first), before, "the former operator still reconciles the resource");
    assert_eq!(fixture.rotation_count("shop"), 1);

    // Back, and to no shard at all.
    move_tenant(&fixture, "shared", Some("a")).await;
    move_rotation(&fixture, "shop", Some("a")).await;
    fixture.request("shop", "rotate/again").await;
    fixture.wait_until_rotated("shop", 3).await;
    assert_eq!(fixture.rotation_count("shop"), 2);
    move_rotation(&fixture, "shop", None).await;
    fixture.request("shop", "rotate/unheard").await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(fixture.rotation_count("shop"), 2);
    fixture.assert_published("shop").await;
    fixture.finish().await;
}

#[tokio::test]
async fn resource_whose_tenant_is_in_another_shard_is_reported_and_not_neglected() {
    let fixture = Fixture::without_operator().await;
    apply_tenant(&fixture, "shared", Some("b")).await;
    apply_rotation(&fixture, "shop", "shared", Some("a")).await;
    let (_first, second) = (start_shard(&fixture, "a"), start_shard(&fixture, "b"));
    let message =
        fixture.wait_for_reason("shop", condition_types::TENANT_READY, "TenantInOtherShard").await;
    assert!(message.contains("Give both the same labels"), "{message}");
    assert!(message.contains("auth0-rotator.dev/shard=a"), "{message}");
    let status = fixture.get("shop").await.status.unwrap();
    assert!(!is_condition_true(&status.conditions, condition_types::READY));
    assert!(find_condition(&status.conditions, condition_types::READY).is_some());
    fixture.assert_no_requests("shop");
    assert!(reconciled(&second).is_empty());
    // Labels of the tenant are enough: the change is noticed at once.
    move_tenant(&fixture, "shared", Some("a")).await;
    fixture.wait_until_rotated("shop", 1).await;
    // A tenant that leaves stops its resources, even in the middle of their life.
    move_tenant(&fixture, "shared", None).await;
    fixture.wait_for_reason("shop", condition_types::TENANT_READY, "TenantInOtherShard").await;
    fixture.request("shop", "rotate/now").await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(fixture.rotation_count("shop"), 0);
    move_tenant(&fixture, "shared", Some("a")).await;
    fixture.wait_until_rotated("shop", 2).await;
    assert_eq!(fixture.rotation_count("shop"), 1);
    fixture.finish().await;
}

#[tokio::test]
async fn conflicts_are_found_across_shards() {
    let fixture = Fixture::without_operator().await;
    for (tenant, shard) in [("tenant-a", "a"), ("tenant-b", "b")] {
        apply_tenant(&fixture, tenant, Some(shard)).await;
    }
    let (_first, _second) = (start_shard(&fixture, "a"), start_shard(&fixture, "b"));
    apply_rotation(&fixture, "owner", "tenant-a", Some("a")).await;
    fixture.wait_until_rotated("owner", 1).await;
    // The other shard's tenant is another resource, at the same Auth0.
    let spec = json!({ "tenantRef": { "name": "tenant-b" } });
    fixture.apply_rotation_of("rival", "owner", spec).await;
    move_rotation(&fixture, "rival", Some("b")).await;
    fixture.wait_until_stalled("rival", "ClientClaimed").await;
    let target = json!({ "name": "owner-auth0" });
    let spec = json!({ "tenantRef": { "name": "tenant-b" }, "target": target });
    fixture.apply_rotation("same-target", spec).await;
    move_rotation(&fixture, "same-target", Some("b")).await;
    fixture.wait_until_stalled("same-target", "TargetClaimed").await;

    fixture.request("rival", "rotate/now").await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(fixture.rotation_count("owner"), 0);
    fixture.assert_no_requests("same-target");
    fixture.assert_published("owner").await;
    fixture.finish().await;
}

/// How long the former operator is suspended: longer than the other one takes for two rotations.
#[cfg(feature = "failpoints")]
const SUSPENSION: Duration = Duration::from_secs(25);

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn former_shard_sends_no_change_that_it_has_announced() {
    for (strategy, failpoint) in
        [("Rotate", "before-rotate-secret"), ("Staged", "before-set-secret")]
    {
        let fixture = Fixture::without_operator().await;
        apply_tenant(&fixture, "shared", Some("a")).await;
        let spec = json!({
            "tenantRef": { "name": "shared" }, "strategy": strategy, "staging": { "period": "1s" },
        });
        fixture.apply_rotation("shop", spec).await;
        move_rotation(&fixture, "shop", Some("a")).await;
        let sleep = format!("{failpoint}=1*sleep({})", SUSPENSION.as_millis());
        let selector = format!("{SHARD}=a");
        let first = command(&fixture, &selector).env("FAILPOINTS", sleep).spawn().unwrap();
        fixture.wait_until_rotated("shop", 1).await;
        fixture.request("shop", "rotate/first").await;
        let is_activating = |resource: &ClientSecretRotation| {
            resource.status.as_ref().and_then(testkit::status::phase)
                == Some(rotation::Phase::Activating)
        };
        fixture.wait_for("shop", "activating", is_activating).await;
        // The first operator is about to send the change. The other one continues the rotation.
        move_tenant(&fixture, "shared", Some("b")).await;
        move_rotation(&fixture, "shop", Some("b")).await;
        let _second = start_shard(&fixture, "b");
        fixture.wait_until_rotated("shop", 2).await;
        fixture.request("shop", "rotate/second").await;
        fixture.wait_until_rotated("shop", 3).await;
        let changes = || {
            let effects = fixture.simulator.counters().client("shop").effects;
            effects.rotations + effects.patches
        };
        assert_eq!(changes(), 2, "{strategy}");
        let reconciles =
            || first.log().iter().filter(|line| line["message"] == "reconciled").count();
        let before = reconciles();
        let has_resumed = async || reconciles() > before;
        fixture.wait_within(2 * SUSPENSION, "the first operator resumes", has_resumed).await;
        assert_eq!(changes(), 2, "{strategy}: the former operator sent its change");
        fixture.assert_published("shop").await;
        fixture.finish().await;
    }
}
