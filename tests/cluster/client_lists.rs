//! One list of a tenant's clients serves many imports: how many requests they cost at Auth0.

use std::time::Duration;

use auth0_rotator::api::ClientSecretRotation;
use auth0_simulator::{Fault, Operation, Simulator};
use futures::{StreamExt as _, stream};
use kube::api::ListParams;
use rotation::{condition_types, is_condition_true};
use serde_json::json;
use testkit::{
    auth0::{self, application},
    fixture::Fixture,
};

const LIMIT: Duration = Duration::from_secs(180);

/// Starts a tenant with the clients `app-0` and so on.
async fn tenant(clients: usize) -> Simulator {
    let builder = (0..clients).fold(auth0::tenant(), |builder, number| {
        builder.client(application(format!("app-{number}")))
    });
    builder.start().await.unwrap()
}

fn names(numbers: impl Iterator<Item = usize>) -> Vec<String> {
    numbers.map(|number| format!("app-{number}")).collect()
}

async fn apply(fixture: &Fixture, names: &[String]) {
    stream::iter(names)
        .for_each_concurrent(8, async |name| {
            fixture.apply_rotation(name, json!({ "gracePeriod": "1m" })).await;
        })
        .await;
}

async fn count_ready(fixture: &Fixture) -> usize {
    let all = fixture.api::<ClientSecretRotation>().list(&ListParams::default()).await.unwrap();
    let is_ready = |resource: &&ClientSecretRotation| {
        let conditions = resource.status.iter().flat_map(|status| &status.conditions);
        let conditions: Vec<_> = conditions.cloned().collect();
        is_condition_true(&conditions, condition_types::READY)
    };
    all.items.iter().filter(is_ready).count()
}

async fn wait_until_ready(fixture: &Fixture, expected: usize) {
    let is_met = async || count_ready(fixture).await == expected;
    fixture.wait_within(LIMIT, &format!("{expected} resources are ready"), is_met).await;
}

/// Returns the requests that list clients, and those that read one.
fn requests(fixture: &Fixture) -> (u64, u64) {
    let counters = fixture.simulator.counters();
    (counters.requests(Operation::ListClients), counters.requests(Operation::GetClient))
}

/// Everything as shipped, with the rate limit of Auth0's free plan: single reads would take five minutes.
#[tokio::test]
async fn import_of_300_clients_takes_three_lists() {
    let mut fixture = Fixture::with_simulator(tenant(299).await).await;
    fixture.apply_tenant(json!({ "rateLimit": { "requestsPerSecond": 2, "burst": 2 } })).await;
    let names = names(0..299);
    apply(&fixture, &names).await;
    fixture.start_shipped_operator();
    wait_until_ready(&fixture, 299).await;
    let (lists, gets) = requests(&fixture);
    assert!(lists <= 3 && gets <= 3, "{lists} lists and {gets} single reads");
    for name in [&names[0], &names[150], &names[298]] {
        fixture.assert_published(name).await;
    }
    // A restart is no reason for a request.
    fixture.stop_operator().await;
    fixture.start_shipped_operator();
    fixture.operator().wait_until_ready().await;
    let is_quiet = async || fixture.operator().considered().await >= 299.0;
    fixture.wait_within(LIMIT, "all resources are reconciled", is_quiet).await;
    assert_eq!(requests(&fixture), (lists, gets));
    fixture.finish().await;
}

#[tokio::test]
async fn imports_that_arrive_one_after_the_other_share_lists() {
    let mut fixture = Fixture::with_simulator(tenant(300).await).await;
    fixture.start_operator();
    fixture.operator().wait_until_ready().await;
    apply(&fixture, &names(0..300)).await;
    wait_until_ready(&fixture, 300).await;
    let (lists, gets) = requests(&fixture);
    assert!(lists + gets <= 25, "{lists} lists and {gets} single reads");
    fixture.finish().await;
}

#[tokio::test]
async fn single_import_costs_one_read() {
    let mut fixture = Fixture::with_simulator(tenant(300).await).await;
    fixture.start_shipped_operator();
    apply(&fixture, &names(7..8)).await;
    wait_until_ready(&fixture, 1).await;
    assert_eq!(requests(&fixture), (0, 1));
    fixture.finish().await;
}

#[tokio::test]
async fn few_imports_of_a_large_tenant_cost_few_requests() {
    let mut fixture = Fixture::with_simulator(tenant(2000).await).await;
    apply(&fixture, &names((0..5).map(|number| 399 * number))).await;
    fixture.start_operator();
    wait_until_ready(&fixture, 5).await;
    let (lists, gets) = requests(&fixture);
    assert!(lists + gets <= 10, "{lists} lists and {gets} single reads");
    fixture.finish().await;
}

#[tokio::test]
async fn list_that_fails_in_the_middle_is_completed_by_single_reads() {
    let mut fixture = Fixture::with_simulator(tenant(300).await).await;
    apply(&fixture, &names(0..150)).await;
    let faults = fixture.simulator.faults();
    let second_page = Fault::cut_before().on(Operation::ListClients).skip(1);
    faults.inject(second_page).unwrap();
    fixture.start_operator();
    wait_until_ready(&fixture, 150).await;
    for name in names((0..150).step_by(10)) {
        fixture.assert_published(&name).await;
    }
    fixture.finish().await;
}

#[tokio::test]
async fn listed_clients_are_rejected_like_clients_that_are_read() {
    let keys = json!({ "private_key_jwt": { "credentials": [{ "id": "cred_1" }] } });
    let builder = (0..20).fold(auth0::tenant(), |builder, number| {
        builder.client(application(format!("app-{number}")))
    });
    let builder = builder
        .client(application("public").field("token_endpoint_auth_method", "none"))
        .client(application("keyed").field("client_authentication_methods", keys))
        .client(application("global").field("global", true))
        .client(application("cimd").field("external_metadata_type", "cimd"))
        .client(application("odd").secret("vT3k\u{1}Qx9w".to_owned()));
    let mut fixture = Fixture::with_simulator(builder.start().await.unwrap()).await;
    apply(&fixture, &names(0..20)).await;
    let rejected = [
        ("public", "PublicClient"),
        ("keyed", "ClientUsesKeys"),
        ("global", "GlobalClient"),
        ("cimd", "MetadataDocumentClient"),
        ("odd", "SecretUnpublishable"),
        ("absent", "ClientNotFound"),
    ];
    for (name, _) in rejected {
        fixture.apply_rotation_of(name, name, json!({})).await;
    }
    fixture.start_operator();
    wait_until_ready(&fixture, 20).await;
    for (name, reason) in rejected {
        fixture.wait_until_stalled(name, reason).await;
        assert_eq!(fixture.secret_data(&format!("{name}-auth0")).await, None, "{name}");
    }
    assert!(requests(&fixture).0 >= 1, "no list was made");
    fixture.finish().await;
}

/// A rule depends on the metadata of each client, which no status shows after a restart.
#[tokio::test]
async fn metadata_of_many_clients_is_read_from_lists_without_secrets() {
    let metadata = json!({ "k8s-namespace": "shop" });
    let names = names(0..40);
    let builder = names.iter().fold(auth0::tenant(), |builder, name| {
        builder.client(application(name).field("client_metadata", metadata.clone()))
    });
    let mut fixture = Fixture::cluster_wide(builder.start().await.unwrap()).await;
    let rule = json!([{
        "namespaces": { "matchLabels": { "team": "shop" } },
        "clientMetadata": { "key": "k8s-namespace", "value": "shop" },
    }]);
    fixture.apply_shared_tenant(rule).await;
    let shop = fixture.create_namespace("shop", json!({ "team": "shop" })).await;
    for name in &names {
        shop.apply_rotation_of(name, name, json!({ "gracePeriod": "1m" })).await;
    }
    for name in &names {
        shop.wait_until_rotated(name, 1).await;
    }
    fixture.stop_operator().await;
    let before = requests(&fixture);
    fixture.start_cluster_operator_with(&[]);
    fixture.operator().wait_until_ready().await;
    let is_quiet = async || fixture.operator().considered().await >= 40.0;
    fixture.wait_within(LIMIT, "all resources are reconciled", is_quiet).await;
    let after = requests(&fixture);
    let (lists, gets) = (after.0 - before.0, after.1 - before.1);
    assert!(lists <= 2 && gets <= 5, "{lists} lists and {gets} single reads");
    fixture.finish().await;
}
