//! Objects on a control plane: the CRDs, the operator's permissions, and manifests.

use anyhow::{Context as _, Result, ensure};
use auth0_rotator::api;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
    discovery,
    runtime::wait::{await_condition, conditions},
};
use serde_json::Value;

use crate::{
    manifests,
    poll::{DEADLINE, poll_until},
};

/// User of an operator with the permissions of `deploy/operator.yaml`.
pub const OPERATOR_USER: &str = "system:serviceaccount:auth0-rotator:auth0-rotator";
/// Groups of every service account.
pub const SERVICE_ACCOUNT_GROUPS: [&str; 1] = ["system:serviceaccounts"];

const FIELD_MANAGER: &str = "testkit";

/// Applies manifests in their order, as `kubectl apply --server-side` does. An error names the one
/// that the API server rejects.
pub async fn apply(client: &Client, manifests: &[Value]) -> Result<()> {
    for manifest in manifests {
        let object: DynamicObject = serde_json::from_value(manifest.clone())?;
        let name = object.name_any();
        let kind = manifest["kind"].as_str().unwrap_or_default();
        let applied = apply_object(client, &object).await;
        applied.with_context(|| format!("can't apply {kind} {name}"))?;
    }
    Ok(())
}

async fn apply_object(client: &Client, object: &DynamicObject) -> Result<()> {
    let types = object.types.as_ref().context("the manifest has no kind")?;
    let kind = GroupVersionKind::try_from(types)?;
    let (resource, _) = discovery::pinned_kind(client, &kind).await?;
    let api: Api<DynamicObject> = match object.namespace() {
        Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let params = PatchParams::apply(FIELD_MANAGER);
    api.patch(&object.name_any(), &params, &Patch::Apply(object)).await?;
    Ok(())
}

/// Applies CRDs and waits until the API server serves them.
pub async fn install_crds(client: &Client, crds: &[Value]) -> Result<()> {
    apply(client, crds).await?;
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in crds {
        let name = crd["metadata"]["name"].as_str().unwrap_or_default();
        let established = await_condition(api.clone(), name, conditions::is_crd_established());
        tokio::time::timeout(DEADLINE, established)
            .await
            .with_context(|| format!("{name} is not served after {DEADLINE:?}"))??;
    }
    Ok(())
}

/// Installs the CRDs and `deploy/operator.yaml` without its admission policies, and waits until the API server describes the CRDs
/// in its OpenAPI document.
pub async fn install_operator_manifests(client: &Client) -> Result<()> {
    let crds = api::crds();
    let manifests = crds.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
    install_crds(client, &manifests).await?;
    for crd in &crds {
        wait_for_openapi(client, &format!("/{}", crd.spec.names.plural)).await?;
    }
    let mut manifests = manifests::read("deploy/operator.yaml")?;
    manifests.retain(|manifest| !is_admission_policy(manifest));
    apply(client, &manifests).await
}

/// Installs the admission policies of a manifest file, and waits until the API server enforces them
/// in a namespace: until a probe, made as a user without permissions on Secrets, is rejected.
///
/// Tests run without the policies by default, because they show that the operator is safe by itself.
pub async fn install_admission_policies(
    client: &Client,
    file: &str,
    is_enforced: impl AsyncFn() -> bool,
) -> Result<()> {
    let mut policies = manifests::read(file)?;
    policies.retain(is_admission_policy);
    ensure!(policies.len() == 4, "{file} has two policies and their bindings");
    apply(client, &policies).await?;
    ensure!(poll_until(is_enforced).await, "the admission policies are never enforced");
    Ok(())
}

fn is_admission_policy(manifest: &Value) -> bool {
    let kind = manifest["kind"].as_str().unwrap_or_default();
    kind.starts_with("ValidatingAdmissionPolicy")
}

/// Waits until the OpenAPI document of the operator's API group contains `text`. It lags a moment
/// behind the CRDs.
pub async fn wait_for_openapi(client: &Client, text: &str) -> Result<()> {
    let contains_text = async || {
        let path = "/openapi/v3/apis/auth0-rotator.dev/v1alpha1";
        let Ok(request) = http::Request::get(path).body(Vec::new()) else { return false };
        client.request_text(request).await.is_ok_and(|document| document.contains(text))
    };
    ensure!(poll_until(contains_text).await, "the OpenAPI document never contains {text}");
    Ok(())
}
