//! A tenant whose domain or endpoint has a typo: applications keep the domain that worked.

use std::collections::BTreeMap;

use auth0_rotator::api::{Auth0Tenant, REQUEST_ANNOTATION};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use rotation::{condition_types, find_condition};
use serde_json::{Value, json};
use testkit::fixture::Fixture;

use crate::tenant_status::wait_for_tenant_reason;

const RESOURCES: usize = 20;

/// The domain of the simulated tenant.
const DOMAIN: &str = "acme.eu.auth0.com";

fn names() -> Vec<String> {
    (0..RESOURCES).map(|number| format!("app-{number}")).collect()
}

/// Starts an operator that has published the secrets of twenty clients.
async fn published_fixture() -> Fixture {
    let fixture = Fixture::start().await;
    for name in names() {
        fixture.apply_rotation(&name, json!({ "driftCheck": { "every": "1s" } })).await;
    }
    for name in names() {
        fixture.wait_until_rotated(&name, 1).await;
    }
    fixture
}

async fn patch_tenant(fixture: &Fixture, spec: Value) {
    let patch = Patch::Merge(json!({ "spec": spec }));
    fixture.api::<Auth0Tenant>().patch("acme", &PatchParams::default(), &patch).await.unwrap();
}

/// Returns the resource versions of all target Secrets.
async fn secret_versions(fixture: &Fixture) -> BTreeMap<String, Option<String>> {
    let secrets = fixture.api::<Secret>();
    let versions = names().into_iter().map(async |name| {
        let secret = secrets.get(&format!("{name}-auth0")).await.unwrap();
        (name, secret.resource_version())
    });
    join_all(versions).await.into_iter().collect()
}

/// Waits until all resources report a tenant that is not ready.
async fn wait_until_reported(fixture: &Fixture) {
    for name in names() {
        fixture
            .wait_for(&name, "not TenantReady", |resource| {
                let conditions = resource.status.clone().unwrap_or_default().conditions;
                let ready = find_condition(&conditions, condition_types::TENANT_READY);
                ready.is_some_and(|ready| ready.status == rotation::ConditionStatus::False)
            })
            .await;
    }
}

async fn wait_until_usable_again(fixture: &Fixture) {
    wait_for_tenant_reason(fixture, "acme", "Usable").await;
    for name in names() {
        let resource = fixture.wait_until_rotated(&name, 1).await;
        assert!(resource.status.unwrap().history.is_empty(), "{name} was rotated");
    }
}

#[tokio::test]
async fn typo_in_the_domain_does_not_reach_applications() {
    let mut fixture = published_fixture().await;
    let before = secret_versions(&fixture).await;
    patch_tenant(&fixture, json!({ "domain": "acme.eu.auth0.con" })).await;
    let message = wait_for_tenant_reason(&fixture, "acme", "TokenForbidden").await;
    assert!(message.contains(&format!("keep the domain {DOMAIN}")), "{message}");
    wait_until_reported(&fixture).await;
    let message = fixture.wait_for_reason("app-0", "TenantReady", "TokenForbidden").await;
    assert!(message.contains(&format!("keep the domain {DOMAIN}")), "{message}");
    assert!(secret_versions(&fixture).await == before, "a target Secret was written");
    // A process that never knew the domain.
    fixture.stop_operator().await;
    fixture.start_operator();
    fixture.operator().wait_until_ready().await;
    // A write for another reason keeps the domain too.
    let target = json!({ "target": { "template": { "url": "https://{{ domain }}/" } } });
    fixture.apply_rotation("app-0", target).await;
    fixture.wait_for_secret_data("app-0-auth0", |data| data.contains_key("url")).await;
    let data = fixture.secret_data("app-0-auth0").await.unwrap();
    let domain_and_url = (data["domain"].as_str(), data["url"].as_str());
    assert_eq!(domain_and_url, (DOMAIN, "https://acme.eu.auth0.com/"));
    let now = secret_versions(&fixture).await;
    assert!(now.iter().skip(1).eq(before.iter().skip(1)), "a target Secret was written");

    patch_tenant(&fixture, json!({ "domain": DOMAIN })).await;
    wait_until_usable_again(&fixture).await;
    let now = secret_versions(&fixture).await;
    assert!(now.iter().skip(1).eq(before.iter().skip(1)), "a target Secret was written");
    fixture.finish().await;
}

#[tokio::test]
async fn new_domain_reaches_applications_once_the_tenant_is_ready_under_it() {
    let fixture = published_fixture().await;
    let (domain, audience) = ("login.acme.example", fixture.simulator.audience());
    patch_tenant(&fixture, json!({ "domain": domain, "audience": audience })).await;
    for name in names() {
        let secret = format!("{name}-auth0");
        fixture.wait_for_secret_data(&secret, |data| data["domain"] == domain).await;
    }
    let tenant = fixture.api::<Auth0Tenant>().get("acme").await.unwrap();
    assert_eq!(tenant.status.unwrap().domain.as_deref(), Some(domain));
    fixture.finish().await;
}

#[tokio::test]
async fn typo_in_the_endpoint_does_not_reach_applications() {
    let mut fixture = published_fixture().await;
    let before = secret_versions(&fixture).await;
    // Nothing listens on this port.
    let typo = json!({ "domain": "acme.eu.auth0.con", "endpoint": "http://127.0.0.1:9" });
    patch_tenant(&fixture, typo).await;
    wait_for_tenant_reason(&fixture, "acme", "Unreachable").await;
    wait_until_reported(&fixture).await;
    fixture.stop_operator().await;
    fixture.start_operator();
    fixture.operator().wait_until_ready().await;
    fixture.request("app-0", "rotate/now").await;
    fixture.wait_for_reason("app-0", "Reconciling", "Unreachable").await;
    let resource = fixture.get("app-0").await;
    let conditions = resource.status.unwrap().conditions;
    assert!(rotation::is_condition_true(&conditions, condition_types::READY), "{conditions:?}");
    assert!(secret_versions(&fixture).await == before, "a target Secret was written");
    let no_request = json!({ "metadata": { "annotations": { REQUEST_ANNOTATION: null } } });
    fixture.patch_rotation("app-0", no_request).await;
    let endpoint = fixture.simulator.url().to_owned();
    patch_tenant(&fixture, json!({ "domain": DOMAIN, "endpoint": endpoint })).await;
    wait_until_usable_again(&fixture).await;
    assert!(secret_versions(&fixture).await == before, "a target Secret was written");
    fixture.finish().await;
}
