//! CRDs that are missing, or older or newer than the operator.

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use auth0_rotator::api::{ClientSecretRotation, crds};
use auth0_simulator::{ClientSeed, Simulator};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    discovery::ApiResource,
};
use local_cluster::{ControlPlane, supervised::SupervisedDir};
use serde_json::{Value, json};
use testkit::{
    auth0::{MANAGER, SCOPES},
    cluster::wait_for_openapi,
    fixture::{DEADLINE, Fixture, from_json},
    operator::{self, Operator, OperatorCommand},
};

const ROTATIONS: &str = "clientsecretrotations.auth0-rotator.dev";

/// Control plane on which nothing is installed.
struct EmptyCluster {
    control_plane: ControlPlane,
    client: Client,
    log_dir: Arc<SupervisedDir>,
}

impl EmptyCluster {
    async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let control_plane = ControlPlane::start().await.unwrap();
        let client = Client::try_from(control_plane.client_config()).unwrap();
        let log_dir = operator::log_dir("auth0-rotator-test-").unwrap();
        Self { control_plane, client, log_dir }
    }

    /// Starts an operator without any permissions. It needs none to check the CRDs.
    fn start_operator(&self, arguments: &[&str]) -> Operator {
        let kubeconfig = self.control_plane.kubeconfig_for("nobody", &[]).unwrap();
        let executable = operator::executable().unwrap();
        let command = OperatorCommand::new(executable, kubeconfig, self.log_dir.clone());
        command.args(arguments.iter().copied()).spawn().unwrap()
    }

    async fn install_crds(&self, modify: impl Fn(&mut Value)) {
        install_crds(&self.client, modify).await;
    }
}

/// Installs the CRDs after `modify` has changed each of them.
async fn install_crds(client: &Client, modify: impl Fn(&mut Value)) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in crds() {
        let mut crd = serde_json::to_value(&crd).unwrap();
        modify(&mut crd);
        let name = crd["metadata"]["name"].as_str().unwrap().to_owned();
        let params = PatchParams::apply("tests").force();
        let crd: CustomResourceDefinition = from_json(crd);
        api.patch(&name, &params, &Patch::Apply(&crd)).await.unwrap();
        let established = kube::runtime::conditions::is_crd_established();
        let established = kube::runtime::wait::await_condition(api.clone(), &name, established);
        tokio::time::timeout(DEADLINE, established).await.unwrap().unwrap();
    }
}

fn is_rotation(crd: &Value) -> bool {
    crd["metadata"]["name"] == ROTATIONS
}

/// Returns the fields of `spec` or `status`.
fn fields<'a>(crd: &'a mut Value, part: &str) -> &'a mut serde_json::Map<String, Value> {
    let schema = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["properties"][part]["properties"].as_object_mut().unwrap()
}

/// Waits until the response of `/readyz` contains `expected`, and returns its body.
async fn wait_for_readyz(operator: &Operator, expected: &str) -> String {
    let url = format!("http://{}/readyz", operator.address("health").await);
    let deadline = Instant::now() + DEADLINE;
    loop {
        let response = reqwest::get(&url).await.unwrap();
        let is_ready = response.status().is_success();
        let body = response.text().await.unwrap();
        if body.contains(expected) {
            assert_eq!(is_ready, expected == "ok");
            return body;
        }
        assert!(Instant::now() < deadline, "never {expected:?}: {body}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn reports_missing_crds_and_waits_for_them() {
    let cluster = EmptyCluster::start().await;
    let operator = cluster.start_operator(&[]);
    let body = wait_for_readyz(&operator, "CRDs are not installed").await;
    assert!(body.contains(ROTATIONS) && body.contains("clusterauth0tenants"), "{body}");
    assert!(body.contains("kubectl apply -f crds/"), "{body}");
    assert!(operator.has_logged("CRDs are not installed"));
    let health = operator.address("health").await;
    let alive = reqwest::get(format!("http://{health}/livez")).await.unwrap();
    assert!(alive.status().is_success(), "alive while it waits");
    assert!(!operator.has_logged("watch failed"), "watches only what is installed");

    cluster.install_crds(|_| ()).await;
    wait_for_readyz(&operator, "the watches are not synced yet").await;
    assert!(operator.terminate().await.unwrap().success());
}

#[tokio::test]
async fn terminates_while_it_waits_for_crds() {
    let cluster = EmptyCluster::start().await;
    let operator = cluster.start_operator(&["--namespace", "default"]);
    let body = wait_for_readyz(&operator, "CRDs are not installed").await;
    assert!(!body.contains("clusterauth0tenants"), "not needed for one namespace: {body}");
    assert!(operator.terminate().await.unwrap().success());
}

#[tokio::test]
async fn reports_fields_that_older_crds_lack_and_waits() {
    let cluster = EmptyCluster::start().await;
    cluster
        .install_crds(|crd| {
            if is_rotation(crd) {
                assert!(fields(crd, "spec").remove("windows").is_some());
                assert!(fields(crd, "status").remove("lastHandledRequest").is_some());
            }
        })
        .await;
    let operator = cluster.start_operator(&[]);
    let body = wait_for_readyz(&operator, "are older than this operator").await;
    assert!(body.contains("ClientSecretRotation.spec.windows"), "{body}");
    assert!(body.contains("ClientSecretRotation.status.lastHandledRequest"), "{body}");
    cluster.install_crds(|_| ()).await;
    wait_for_readyz(&operator, "the watches are not synced yet").await;
}

#[tokio::test]
async fn works_with_newer_crds_and_keeps_unknown_fields() {
    let simulator = Simulator::builder()
        .propagation(Duration::ZERO..=Duration::from_secs(1))
        .client(ClientSeed::new(MANAGER).scopes(SCOPES))
        .start()
        .await
        .unwrap();
    let mut fixture = Fixture::with_dedicated_control_plane(simulator).await;
    install_crds(&fixture.client, |crd| {
        if is_rotation(crd) {
            fields(crd, "spec").insert("futureField".to_owned(), json!({ "type": "string" }));
        }
    })
    .await;
    wait_for_openapi(&fixture.client, "futureField").await.unwrap();
    fixture.start_operator();
    fixture.apply_rotation("checkout", json!({ "futureField": "kept" })).await;
    fixture.wait_until_rotated("checkout", 1).await;
    fixture.request("checkout", "rotate/now").await;
    fixture.wait_until_rotated("checkout", 2).await;
    let warning = "ignores unknown fields: ClientSecretRotation.spec.futureField";
    assert!(fixture.operator().has_logged(warning));
    let resource = ApiResource::erase::<ClientSecretRotation>(&());
    let api: Api<DynamicObject> =
        Api::namespaced_with(fixture.client.clone(), &fixture.namespace, &resource);
    let stored = api.get("checkout").await.unwrap();
    assert_eq!(stored.data["spec"]["futureField"], "kept");
    fixture.finish().await;
}

#[tokio::test]
async fn wait_ready_polls_until_the_operator_is_ready() {
    let wait_ready = |url: String, timeout: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_auth0-rotator"));
        command.args(["wait-ready", "--timeout", timeout, &url]);
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let cluster = EmptyCluster::start().await;
    let operator = cluster.start_operator(&["--namespace", "default"]);
    let health = operator.address("health").await;
    let alive = wait_ready(format!("http://{health}/livez"), "20s").await.unwrap();
    assert!(alive.status.success(), "{}", String::from_utf8_lossy(&alive.stderr));
    let ready = wait_ready(format!("http://{health}/readyz"), "2s").await.unwrap();
    assert_eq!(ready.status.code(), Some(1));
    let stderr = String::from_utf8(ready.stderr).unwrap();
    assert!(stderr.contains("CRDs are not installed"), "{stderr}");
    operator.terminate().await.unwrap();
    let stopped = wait_ready(format!("http://{health}/readyz"), "1s").await.unwrap();
    let stderr = String::from_utf8(stopped.stderr).unwrap();
    assert!(stderr.contains("is not ready after"), "{stderr}");
}

#[tokio::test]
async fn readyz_reports_a_crd_that_is_deleted_while_the_operator_runs() {
    let simulator =
        Simulator::builder().client(ClientSeed::new(MANAGER).scopes(SCOPES)).start().await.unwrap();
    let mut fixture = Fixture::with_dedicated_control_plane(simulator).await;
    fixture.start_cluster_operator_with(&[]);
    wait_for_readyz(fixture.operator(), "ok").await;
    let api: Api<CustomResourceDefinition> = Api::all(fixture.client.clone());
    let name = "clusterauth0tenants.auth0-rotator.dev";
    api.delete(name, &Default::default()).await.unwrap();
    let body = wait_for_readyz(fixture.operator(), "CRDs are not installed").await;
    assert!(body.contains(name) && !body.contains(ROTATIONS), "{body}");
    let is_gone = async || api.get_opt(name).await.unwrap().is_none();
    fixture.wait_until_async("the CRD is gone", is_gone).await;
    install_crds(&fixture.client, |_| ()).await;
    wait_for_readyz(fixture.operator(), "ok").await;
    fixture.finish().await;
}
