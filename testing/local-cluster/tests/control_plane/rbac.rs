//! RBAC decides what users other than administrators may do.

use k8s_openapi::api::{
    core::v1::ConfigMap,
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use local_cluster::{ControlPlane, shared};
use serde_json::json;

use crate::support::{create_config_map, create_namespace};

async fn client_for(control_plane: &ControlPlane, user: &str, groups: &[&str]) -> Client {
    let path = control_plane.kubeconfig_for(user, groups).unwrap();
    let kubeconfig = kube::config::Kubeconfig::read_from(path).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    Client::try_from(config).unwrap()
}

/// Subject of a role binding.
struct Subject<'a> {
    kind: &'a str,
    name: &'a str,
}

/// Lets `subject` list and create ConfigMaps in `namespace`.
async fn allow(client: &Client, namespace: &str, subject: Subject<'_>) {
    let role: Role = serde_json::from_value(json!({
        "metadata": {"name": "editors"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "list"]}],
    }))
    .unwrap();
    let roles = Api::<Role>::namespaced(client.clone(), namespace);
    roles.create(&PostParams::default(), &role).await.unwrap();
    let group = "rbac.authorization.k8s.io";
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "editors"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "editors"},
        "subjects": [{"apiGroup": group, "kind": subject.kind, "name": subject.name}],
    }))
    .unwrap();
    let bindings = Api::<RoleBinding>::namespaced(client.clone(), namespace);
    bindings.create(&PostParams::default(), &binding).await.unwrap();
}

/// Waits until `client` may list ConfigMaps. The authorizer sees a new binding a moment after it was
/// created, through its watch.
async fn wait_until_allowed(client: &Client, namespace: &str) {
    let start = std::time::Instant::now();
    let maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    while let Err(error) = maps.list(&ListParams::default()).await {
        assert!(is_forbidden(&error), "{error}");
        assert!(start.elapsed().as_secs() < 10, "still forbidden");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

#[tokio::test]
async fn rejects_user_without_role() {
    let control_plane = shared().await;
    let admin = Client::try_from(control_plane.client_config()).unwrap();
    create_namespace(&admin, "user-needs-role").await;
    let alice = client_for(control_plane, "alice@example.com", &[]).await;
    let error = create_config_map(&alice, "user-needs-role", "one").await.unwrap_err();
    assert!(is_forbidden(&error), "{error}");
    assert!(error.to_string().contains("alice@example.com"), "{error}");

    allow(&admin, "user-needs-role", Subject { kind: "User", name: "alice@example.com" }).await;
    wait_until_allowed(&alice, "user-needs-role").await;
    create_config_map(&alice, "user-needs-role", "one").await.unwrap();
}

#[tokio::test]
async fn binding_to_one_of_several_groups_suffices() {
    let control_plane = shared().await;
    let admin = Client::try_from(control_plane.client_config()).unwrap();
    create_namespace(&admin, "groups-count").await;
    allow(&admin, "groups-count", Subject { kind: "Group", name: "developers" }).await;
    let groups = ["first", "developers", "dritte Gruppe äöü"];
    let bob = client_for(control_plane, "bob", &groups).await;
    wait_until_allowed(&bob, "groups-count").await;
    let eve = client_for(control_plane, "eve", &["first"]).await;
    let error = create_config_map(&eve, "groups-count", "one").await.unwrap_err();
    assert!(is_forbidden(&error), "{error}");
}

#[tokio::test]
async fn api_server_reads_user_and_groups_from_the_certificate() {
    use k8s_openapi::api::authentication::v1::SelfSubjectReview;
    let groups = ["one", "two", "three"];
    let config = shared().await.client_config_for("carol:x/y", &groups).unwrap();
    let reviews = Api::<SelfSubjectReview>::all(Client::try_from(config).unwrap());
    let review = SelfSubjectReview::default();
    let review = reviews.create(&PostParams::default(), &review).await.unwrap();
    let info = review.status.unwrap().user_info.unwrap();
    assert_eq!(info.username.as_deref(), Some("carol:x/y"));
    assert_eq!(info.groups.unwrap(), ["one", "two", "three", "system:authenticated"]);
}

#[tokio::test]
async fn rejects_certificates_of_another_control_plane() {
    let other = ControlPlane::start().await.unwrap();
    let mut config = other.client_config();
    let here = shared().await.client_config();
    config.cluster_url = here.cluster_url;
    let untrusted = Client::try_from(config.clone()).unwrap();
    untrusted.apiserver_version().await.unwrap_err();
    config.root_cert = here.root_cert;
    let unknown = Client::try_from(config).unwrap();
    let error = unknown.list_core_api_versions().await.unwrap_err();
    assert!(matches!(&error, kube::Error::Api(status) if status.code == 401), "{error}");
    other.stop().await.unwrap();
}
