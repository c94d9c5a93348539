//! A control plane with what an administrator installs.

use std::{
    fs,
    time::{Duration, Instant},
};

use auth0_rotator::api::crds;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
    discovery::ApiResource,
};
use local_cluster::ControlPlane;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::bench::DEADLINE;

/// The control plane that all tests of this process share, with what an administrator installs.
pub(crate) async fn control_plane() -> &'static ControlPlane {
    static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
    SHARED.get_or_init(another_control_plane).await
}

/// A control plane with what an administrator installs.
pub(crate) async fn another_control_plane() -> ControlPlane {
    let control_plane = ControlPlane::options().audit_policy(AUDIT_POLICY).start().await.unwrap();
    install(&control_plane).await;
    control_plane
}

/// What the operator does is written down, without bodies.
const AUDIT_POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, userGroups: ['system:serviceaccounts']}
- {level: None}
";

/// The user that `deploy/operator.yaml` makes the operator.
pub(crate) const OPERATOR: &str = "system:serviceaccount:auth0-rotator:auth0-rotator";

/// The role that `deploy/operator.yaml` gives the operator in its own namespace.
pub(crate) const LEASE_ROLE: &str = "auth0-rotator-leader";

async fn install(control_plane: &ControlPlane) {
    let client = Client::try_from(control_plane.client_config()).unwrap();
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply("tests");
    for crd in crds() {
        api.patch(&crd.name_any(), &params, &Patch::Apply(&crd)).await.unwrap();
    }
    for crd in crds() {
        let name = crd.name_any();
        let established = kube::runtime::conditions::is_crd_established();
        let waiting = kube::runtime::wait::await_condition(api.clone(), &name, established);
        tokio::time::timeout(DEADLINE, waiting).await.unwrap().unwrap();
    }
    for crd in crds() {
        described(&client, &format!("/{}", crd.spec.names.plural)).await;
    }
    install_manifest(&client, "deploy/operator.yaml", None).await;
}

/// Waits until the API server's description of itself has a text: it follows the definitions, a
/// moment after they are in force.
pub(crate) async fn described(client: &Client, text: &str) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let path = "/openapi/v3/apis/auth0-rotator.dev/v1alpha1";
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        let answer = client.request_text(request).await;
        if answer.is_ok_and(|answer| answer.contains(text)) {
            return;
        }
        assert!(Instant::now() < deadline, "{text} is never described");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Applies a manifest of this repository, in a namespace if it names none.
pub(crate) async fn install_manifest(client: &Client, path: &str, namespace: Option<&str>) {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    let params = PatchParams::apply("tests");
    for document in fs::read_to_string(path).unwrap().split("\n---\n") {
        let mut object: DynamicObject = serde_norway::from_str(document).unwrap();
        if let Some(namespace) = namespace {
            object.metadata.namespace = Some(namespace.to_owned());
            if let Some(subject) = object.data.pointer_mut("/subjects/0") {
                subject["namespace"] = json!(namespace);
            }
        }
        let types = object.types.clone().unwrap();
        let kind: GroupVersionKind = (&types).try_into().unwrap();
        let resource = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> = match object.namespace() {
            Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        api.patch(&object.name_any(), &params, &Patch::Apply(&object)).await.unwrap();
    }
}
