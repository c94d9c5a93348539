//! Definitions that are missing, older or later than the operator.

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

/// A control plane on which nothing is installed.
struct Bare {
    control_plane: ControlPlane,
    client: Client,
    log_dir: Arc<SupervisedDir>,
}

impl Bare {
    async fn start() -> Bare {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let control_plane = ControlPlane::start().await.unwrap();
        let client = Client::try_from(control_plane.client_config()).unwrap();
        let log_dir = operator::log_dir("auth0-rotator-test-").unwrap();
        Bare { control_plane, client, log_dir }
    }

    /// An operator with no permissions at all: it needs none to see the definitions.
    fn operator(&self, arguments: &[&str]) -> Operator {
        let kubeconfig = self.control_plane.kubeconfig_for("nobody", &[]).unwrap();
        let executable = operator::executable().unwrap();
        let command = OperatorCommand::new(executable, kubeconfig, self.log_dir.clone());
        command.args(arguments.iter().copied()).spawn().unwrap()
    }

    async fn install(&self, change: impl Fn(&mut Value)) {
        install(&self.client, change).await;
    }
}

/// Installs the definitions with a change to each.
async fn install(client: &Client, change: impl Fn(&mut Value)) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in crds() {
        let mut crd = serde_json::to_value(&crd).unwrap();
        change(&mut crd);
        let name = crd["metadata"]["name"].as_str().unwrap().to_owned();
        let params = PatchParams::apply("tests").force();
        let crd: CustomResourceDefinition = from_json(crd);
        api.patch(&name, &params, &Patch::Apply(&crd)).await.unwrap();
        let established = kube::runtime::conditions::is_crd_established();
        let waiting = kube::runtime::wait::await_condition(api.clone(), &name, established);
        tokio::time::timeout(DEADLINE, waiting).await.unwrap().unwrap();
    }
}

fn is_rotation(crd: &Value) -> bool {
    crd["metadata"]["name"] == ROTATIONS
}

fn fields<'a>(crd: &'a mut Value, part: &str) -> &'a mut serde_json::Map<String, Value> {
    let schema = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["properties"][part]["properties"].as_object_mut().unwrap()
}

/// Waits for what `/readyz` says.
async fn says(operator: &Operator, wanted: &str) -> String {
    let url = format!("http://{}/readyz", operator.address("health").await);
    let deadline = Instant::now() + DEADLINE;
    loop {
        let answer = reqwest::get(&url).await.unwrap();
        let ready = answer.status().is_success();
        let said = answer.text().await.unwrap();
        if said.contains(wanted) {
            assert_eq!(ready, wanted == "ok");
            return said;
        }
        assert!(Instant::now() < deadline, "never {wanted:?}: {said}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn logged(operator: &Operator, wanted: &str) -> bool {
    operator
        .log()
        .iter()
        .any(|line| line["message"].as_str().is_some_and(|message| message.contains(wanted)))
}

#[tokio::test]
async fn an_operator_without_definitions_says_so_and_waits_for_them() {
    let bare = Bare::start().await;
    let operator = bare.operator(&[]);
    let said = says(&operator, "CRDs are not installed").await;
    assert!(said.contains(ROTATIONS) && said.contains("clusterauth0tenants"), "{said}");
    assert!(said.contains("kubectl apply -f crds/"), "{said}");
    assert!(logged(&operator, "CRDs are not installed"));
    let health = operator.address("health").await;
    let alive = reqwest::get(format!("http://{health}/livez")).await.unwrap();
    assert!(alive.status().is_success(), "it waits: it is not to be started again");
    assert!(!logged(&operator, "a watch failed"), "nothing is watched that isn't there");

    bare.install(|_| ()).await;
    says(&operator, "the watches are not synced yet").await;
    assert!(operator.terminate().await.unwrap().success());
}

#[tokio::test]
async fn an_operator_that_waits_for_definitions_can_be_stopped() {
    let bare = Bare::start().await;
    let operator = bare.operator(&["--namespace", "default"]);
    let said = says(&operator, "CRDs are not installed").await;
    assert!(!said.contains("clusterauth0tenants"), "one namespace doesn't need them: {said}");
    assert!(operator.terminate().await.unwrap().success());
}

#[tokio::test]
async fn an_operator_with_older_definitions_says_what_they_lack_and_waits() {
    let bare = Bare::start().await;
    bare.install(|crd| {
        if is_rotation(crd) {
            assert!(fields(crd, "spec").remove("windows").is_some());
            assert!(fields(crd, "status").remove("lastHandledRequest").is_some());
        }
    })
    .await;
    let operator = bare.operator(&[]);
    let said = says(&operator, "are older than this operator").await;
    assert!(said.contains("ClientSecretRotation.spec.windows"), "{said}");
    assert!(said.contains("ClientSecretRotation.status.lastHandledRequest"), "{said}");
    bare.install(|_| ()).await;
    says(&operator, "the watches are not synced yet").await;
}

#[tokio::test]
async fn an_operator_with_later_definitions_works_and_leaves_what_it_does_not_know() {
    let simulator = Simulator::builder()
        .propagation(Duration::ZERO..=Duration::from_secs(1))
        .client(ClientSeed::new(MANAGER).scopes(SCOPES))
        .start()
        .await
        .unwrap();
    let mut bench = Fixture::with_dedicated_control_plane(simulator).await;
    install(&bench.client, |crd| {
        if is_rotation(crd) {
            fields(crd, "spec").insert("futureWish".to_owned(), json!({ "type": "string" }));
        }
    })
    .await;
    wait_for_openapi(&bench.client, "futureWish").await.unwrap();
    bench.start_operator();
    bench.apply_rotation("checkout", json!({ "futureWish": "kept" })).await;
    bench.wait_until_rotated("checkout", 1).await;
    bench.request("checkout", "rotate/now").await;
    bench.wait_until_rotated("checkout", 2).await;
    assert!(logged(
        bench.operator(),
        "ignores unknown fields: ClientSecretRotation.spec.futureWish"
    ));
    let resource = ApiResource::erase::<ClientSecretRotation>(&());
    let api: Api<DynamicObject> =
        Api::namespaced_with(bench.client.clone(), &bench.namespace, &resource);
    let stored = api.get("checkout").await.unwrap();
    assert_eq!(stored.data["spec"]["futureWish"], "kept");
    bench.finish().await;
}

#[tokio::test]
async fn wait_ready_polls_until_the_operator_is_ready() {
    let wait_ready = |url: String, timeout: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_auth0-rotator"));
        command.args(["wait-ready", "--timeout", timeout, &url]);
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let bare = Bare::start().await;
    let operator = bare.operator(&["--namespace", "default"]);
    let health = operator.address("health").await;
    let alive = wait_ready(format!("http://{health}/livez"), "20s").await.unwrap();
    assert!(alive.status.success(), "{}", String::from_utf8_lossy(&alive.stderr));
    let ready = wait_ready(format!("http://{health}/readyz"), "2s").await.unwrap();
    assert_eq!(ready.status.code(), Some(1));
    let said = String::from_utf8(ready.stderr).unwrap();
    assert!(said.contains("CRDs are not installed"), "{said}");
    operator.terminate().await.unwrap();
    let gone = wait_ready(format!("http://{health}/readyz"), "1s").await.unwrap();
    let said = String::from_utf8(gone.stderr).unwrap();
    assert!(said.contains("is not ready after"), "{said}");
}
