//! The control plane, and what is applied to it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt as _, discovery};
use local_cluster::{Assets, Binary, ControlPlane, Options, Progress};
use serde_json::Value;

use crate::terminal::Terminal;

const FIELD_MANAGER: &str = "rig";
const ESTABLISH_DEADLINE: Duration = Duration::from_secs(30);

/// Starts the control plane, and tells how its build goes when there is one.
///
/// # Errors
///
/// When it doesn't start.
pub async fn start(terminal: &Terminal, options: Options) -> Result<ControlPlane> {
    let control_plane = options.progress(progress(terminal)).start().await?;
    terminal.clear_status();
    Ok(control_plane)
}

/// Builds what is missing of etcd, kube-apiserver and, if it is wanted, kubectl. Returns whether
/// there is a kubectl: a folder that the user named may have none.
///
/// # Errors
///
/// When they can't be built.
pub async fn provide(terminal: &Terminal, kubectl: bool) -> Result<bool> {
    let progress = progress(terminal);
    let provided = tokio::task::spawn_blocking(move || {
        let assets = Assets::provide(&Binary::SERVERS, &progress)?;
        let kubectl = kubectl && assets.ensure(Binary::Kubectl, &progress).is_ok();
        Ok::<_, local_cluster::AssetsError>(kubectl)
    });
    let provided = provided.await??;
    terminal.clear_status();
    Ok(provided)
}

fn progress(terminal: &Terminal) -> Progress {
    let terminal = terminal.clone();
    Progress::new(move |event| terminal.status(&format!("  building {event}")))
}

/// Applies manifests in their order, as `kubectl apply --server-side` does.
///
/// # Errors
///
/// When one is refused; which one is said.
pub async fn apply(client: &Client, manifests: &[Value]) -> Result<()> {
    for manifest in manifests {
        let object: DynamicObject = serde_json::from_value(manifest.clone())?;
        let name = object.name_any();
        let kind = object.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default();
        let applied = apply_one(client, &object).await;
        applied.with_context(|| format!("can't apply {kind} {name}"))?;
    }
    Ok(())
}

async fn apply_one(client: &Client, object: &DynamicObject) -> Result<()> {
    let types = object.types.as_ref().context("it has no kind")?;
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

/// Installs custom resource definitions and waits until the API server serves them.
///
/// # Errors
///
/// When one is refused, or not served in time.
pub async fn install(client: &Client, definitions: &[Value]) -> Result<()> {
    apply(client, definitions).await?;
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in definitions {
        let name = definition["metadata"]["name"].as_str().unwrap_or_default();
        let established = await_condition(api.clone(), name, conditions::is_crd_established());
        tokio::time::timeout(ESTABLISH_DEADLINE, established)
            .await
            .with_context(|| format!("{name} is not served after {ESTABLISH_DEADLINE:?}"))??;
    }
    Ok(())
}
