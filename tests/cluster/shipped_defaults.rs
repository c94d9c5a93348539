//! The rate limit that the operator ships with: two requests per second, in bursts of two.

use std::time::{Duration, Instant};

use auth0_rotator::api::ENDPOINT_ANNOTATION;
use auth0_simulator::{ClientSeed, Operation, RateLimit, Simulator, SimulatorBuilder};
use kube::{
    Api, ResourceExt as _,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::{
    auth0::{self, MANAGER, SCOPES},
    fixture::Fixture,
    manifests,
    operator::{self, OperatorCommand},
};

/// Limits of Auth0's self-service plans: the reads of clients have one of their own, and only that one
/// is reported in headers.
fn self_service(builder: SimulatorBuilder) -> SimulatorBuilder {
    builder
        .rate_limit(RateLimit::per_minute(150, 10).unwrap())
        .read_rate_limit(RateLimit::per_minute(100, 5).unwrap())
}

/// Auth0's free plan.
fn free(builder: SimulatorBuilder) -> SimulatorBuilder {
    builder.rate_limit(RateLimit::new(2, 2).unwrap())
}

fn assert_none_throttled(simulator: &Simulator) {
    let log = simulator.audit_log(0);
    let throttled = log.iter().filter(|entry| entry.status == Some(429)).count();
    assert_eq!(throttled, 0, "requests were rejected with 429");
}

/// The shipped manifests of the quickstart, with only the names that the test has to choose.
struct Quickstart {
    manifests: Vec<Value>,
}

impl Quickstart {
    fn read() -> Self {
        let mut manifests = manifests::read("examples/quickstart").unwrap();
        manifests.retain(|manifest| manifest["kind"] != "Namespace");
        Self { manifests }
    }

    fn rotations(&self) -> impl Iterator<Item = &Value> {
        self.manifests.iter().filter(|manifest| manifest["kind"] == "ClientSecretRotation")
    }

    fn manager(&self) -> &str {
        let secret = self.manifests.iter().find(|manifest| manifest["kind"] == "Secret").unwrap();
        secret["stringData"]["client_id"].as_str().unwrap()
    }

    fn tenant(&self) -> SimulatorBuilder {
        let manager = ClientSeed::new(self.manager()).scopes(SCOPES);
        // The fixture applies a tenant of its own first.
        let builder = Simulator::builder().client(manager).client(ClientSeed::new(MANAGER));
        let clients = self.rotations().map(|manifest| &manifest["spec"]["clientId"]);
        clients.fold(builder, |builder, client_id| {
            builder.client(auth0::application(client_id.as_str().unwrap()))
        })
    }

    async fn apply(&mut self, fixture: &Fixture) {
        let url = fixture.simulator.url();
        let secret = fixture.simulator.client_secret(self.manager()).unwrap();
        for manifest in &mut self.manifests {
            manifest["metadata"]["namespace"] = json!(fixture.namespace);
            match manifest["kind"].as_str() {
                Some("Secret") => {
                    manifest["stringData"]["client_secret"] = json!(secret.expose_secret());
                    manifest["metadata"]["annotations"] = json!({ ENDPOINT_ANNOTATION: url });
                }
                Some("Auth0Tenant") => manifest["spec"]["endpoint"] = json!(url),
                _ => {}
            }
            let object: DynamicObject = serde_json::from_value(manifest.clone()).unwrap();
            let types = object.types.as_ref().unwrap();
            let kind = GroupVersionKind::try_from(types).unwrap();
            let kind = ApiResource::from_gvk(&kind);
            let api: Api<DynamicObject> =
                Api::namespaced_with(fixture.client.clone(), &fixture.namespace, &kind);
            let params = PatchParams::apply("tests").force();
            api.patch(&object.name_any(), &params, &Patch::Apply(&object)).await.unwrap();
        }
    }
}

/// Waits until a client's rotation `current` is published and accepted, and logs in with it.
async fn assert_rotated(fixture: &Fixture, name: &str, current: u64, limit: Duration) {
    let is_confirmed = async || {
        let status = fixture.get(name).await.status.unwrap_or_default();
        let rotation = status.rotation.as_ref();
        status.current == Some(current)
            && rotation.is_none_or(|rotation| rotation.phase == rotation::Phase::Grace)
    };
    fixture.wait_within(limit, &format!("{name} is rotated and confirmed"), is_confirmed).await;
    let client_id = fixture.get(name).await.spec.client_id;
    let published = fixture.current_value(name).await.unwrap();
    assert!(fixture.simulator.accepts(&client_id, &published), "{name} can't log in");
}

/// Everything as shipped: the manifests of the quickstart with their staging period, the operator with
/// its defaults, and Auth0's propagation of up to half a minute.
#[tokio::test]
async fn quickstart_rotates_as_shipped() {
    let mut quickstart = Quickstart::read();
    let tenant = self_service(quickstart.tenant()).start().await.unwrap();
    let mut fixture = Fixture::with_simulator(tenant).await;
    quickstart.apply(&fixture).await;
    fixture.start_shipped_operator();
    let names = ["checkout", "billing", "reports"];
    for name in names {
        fixture.wait_until_rotated(name, 1).await;
    }
    for name in names {
        fixture.request(name, "rotate/now").await;
    }
    for name in ["checkout", "reports"] {
        assert_rotated(&fixture, name, 2, Duration::from_secs(60)).await;
    }
    assert_rotated(&fixture, "billing", 2, Duration::from_secs(240)).await;
    assert_none_throttled(&fixture.simulator);
    fixture.finish().await;
}

/// Rotates with the shipped rate limit and a propagation window that is hardly longer than the pace.
async fn rotate_within_short_window(window: &str, tenant: SimulatorBuilder) {
    let tenant = tenant.propagation(Duration::ZERO..=Duration::ZERO).start().await.unwrap();
    let mut fixture = Fixture::with_simulator(tenant).await;
    fixture.apply_tenant(json!({ "rateLimit": { "requestsPerSecond": 2, "burst": 2 } })).await;
    let executable = operator::executable().unwrap();
    let command =
        OperatorCommand::new(executable, fixture.kubeconfig.clone(), fixture.log_dir.clone())
            .args(["--namespace", &fixture.namespace, "--allow-http-endpoints"])
            .args(["--propagation-window", window]);
    fixture.operator = Some(command.spawn().unwrap());
    let strategies = [("generated", "Rotate"), ("chosen", "Staged")];
    for (name, strategy) in strategies {
        let staging = json!({ "period": "1s" });
        fixture.apply_rotation(name, json!({ "strategy": strategy, "staging": staging })).await;
        fixture.wait_until_rotated(name, 1).await;
    }
    let reads = || fixture.simulator.counters().requests(Operation::GetClient);
    let (before, started) = (reads(), Instant::now());
    for (name, _) in strategies {
        fixture.request(name, "rotate/now").await;
    }
    for (name, _) in strategies {
        assert_rotated(&fixture, name, 2, Duration::from_secs(20)).await;
    }
    let reads = reads() - before;
    assert!(reads <= 8, "the clients were read {reads} times in {:?}", started.elapsed());
    assert_none_throttled(&fixture.simulator);
    fixture.finish().await;
}

#[tokio::test]
async fn rotates_within_a_window_of_three_seconds() {
    rotate_within_short_window("3s", self_service(auth0::tenant())).await;
}

#[tokio::test]
async fn rotates_within_a_window_of_one_second() {
    rotate_within_short_window("1s", free(auth0::tenant())).await;
}

#[tokio::test]
async fn rotates_within_a_window_shorter_than_the_pace() {
    rotate_within_short_window("300ms", free(auth0::tenant())).await;
}
