//! The control plane is a real API server.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use local_cluster::{ControlPlane, kubernetes_version, shared};
use serde_json::Value;

use crate::support::{create_config_map, create_namespace, eventually};

#[tokio::test]
async fn stores_created_objects() {
    let client = Client::try_from(shared().await.client_config()).unwrap();
    create_namespace(&client, "stores-objects").await;
    let created = create_config_map(&client, "stores-objects", "one").await.unwrap();
    let read: ConfigMap = Api::namespaced(client, "stores-objects").get("one").await.unwrap();
    assert_eq!(read, created);
    assert!(read.metadata.resource_version.is_some());
}

#[tokio::test]
async fn other_runtime_gets_the_same_shared_control_plane() {
    let here = shared().await;
    let there = std::thread::spawn(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let control_plane = shared().await;
            let client = Client::try_from(control_plane.client_config()).unwrap();
            client.apiserver_version().await.unwrap();
            control_plane
        })
    });
    assert!(std::ptr::eq(here, there.join().unwrap()));
}

#[tokio::test]
async fn kubectl_and_server_report_the_pinned_version() {
    let control_plane = shared().await;
    let mut kubectl =
        tokio::task::spawn_blocking(|| control_plane.kubectl()).await.unwrap().unwrap();
    let output = kubectl.args(["version", "--output=json"]).output().unwrap();
    let version: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(version["clientVersion"]["gitVersion"], kubernetes_version());
    assert_eq!(version["serverVersion"]["gitVersion"], kubernetes_version());
    assert_eq!(version["serverVersion"]["major"], "1");
}

#[tokio::test]
async fn concurrent_control_planes_are_separate() {
    let (one, two) = tokio::join!(ControlPlane::start(), ControlPlane::start());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.apiserver_port(), two.apiserver_port());
    assert_ne!(one.data_dir(), two.data_dir());
    let client_of_one = Client::try_from(one.client_config()).unwrap();
    let client_of_two = Client::try_from(two.client_config()).unwrap();
    create_namespace(&client_of_one, "only-in-one").await;
    let namespaces = Api::<k8s_openapi::api::core::v1::Namespace>::all(client_of_two);
    assert!(namespaces.get_opt("only-in-one").await.unwrap().is_none());
    tokio::try_join!(one.stop(), two.stop()).unwrap();
}

#[tokio::test]
async fn audit_log_follows_the_policy() {
    const POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n";
    let control_plane = ControlPlane::options().audit_policy(POLICY).start().await.unwrap();
    let client = Client::try_from(control_plane.client_config()).unwrap();
    create_namespace(&client, "audited").await;
    let log = control_plane.audit_log_path().unwrap();
    let is_logged = || {
        let text = fs::read_to_string(log).unwrap();
        // The last line may be incomplete.
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut by_admin = events.filter(|event| event["user"]["username"] == "admin");
        by_admin.any(|event| event["verb"] == "create" && event["objectRef"]["name"] == "audited")
    };
    eventually(Duration::from_secs(10), "the creation is logged", is_logged);
    assert_eq!(shared().await.audit_log_path(), None);
}

#[tokio::test]
async fn only_its_owner_may_read_the_data() {
    let control_plane = shared().await;
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(control_plane.data_dir()), 0o700);
    assert_eq!(mode(control_plane.kubeconfig_path()), 0o600);
    assert_eq!(mode(control_plane.ca_key_path()), 0o600);
}

/// The API server admits Pods although no controller manager creates default service accounts.
#[tokio::test]
async fn issues_service_account_tokens_and_admits_pods() {
    use k8s_openapi::api::{
        authentication::v1::{TokenRequest, TokenRequestSpec, TokenReview},
        core::v1::{Pod, ServiceAccount},
    };
    use kube::api::PostParams;

    let client = Client::try_from(shared().await.client_config()).unwrap();
    create_namespace(&client, "tokens").await;
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "tokens");
    let mut account = ServiceAccount::default();
    account.metadata.name = Some("robot".to_owned());
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let request = TokenRequest { spec: Some(TokenRequestSpec::default()), ..Default::default() };
    let response =
        accounts.create_token_request("robot", &PostParams::default(), &request).await.unwrap();

    let mut review = TokenReview::default();
    review.spec.token = response.status.unwrap().token.unwrap();
    let reviews = Api::<TokenReview>::all(client.clone());
    let review = reviews.create(&PostParams::default(), &review).await.unwrap();
    let user = review.status.unwrap().user.unwrap().username;
    assert_eq!(user.as_deref(), Some("system:serviceaccount:tokens:robot"));

    let pod: Pod = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "pod"},
        "spec": {"containers": [{"name": "main", "image": "none.invalid/none"}]},
    }))
    .unwrap();
    let pods = Api::<Pod>::namespaced(client, "tokens");
    pods.create(&PostParams::default(), &pod).await.unwrap();
}
