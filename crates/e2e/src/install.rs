//! How the operator gets into the cluster.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use testbed::{cluster, manifests};

use crate::images;

/// Where the operator runs.
pub(crate) const NAMESPACE: &str = "auth0-rotator";
/// Its Deployment.
const NAME: &str = "auth0-rotator";
/// The pods of its Deployment.
const SELECTOR: &str = "app.kubernetes.io/name=auth0-rotator";
const DEADLINE: Duration = Duration::from_secs(90);

/// Installs the definitions and the operator, with the image that was built, and waits until it is
/// ready.
pub(crate) async fn install(client: &Client) -> Result<()> {
    cluster::install(client, &manifests::read(&manifests::folder("crds"))?).await?;
    let mut operator = manifests::read_file(&manifests::folder("deploy/operator.yaml"))?;
    let images = operator.iter_mut().filter(|manifest| manifest["kind"] == "Deployment");
    for deployment in images {
        let container = &mut deployment["spec"]["template"]["spec"]["containers"][0];
        container["image"] = Value::from(images::OPERATOR);
    }
    cluster::apply(client, &operator).await?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    available(deployments, NAME).await.context("the operator is not ready")
}

/// Waits until a Deployment has all its pods.
pub(crate) async fn available(deployments: Api<Deployment>, name: &str) -> Result<()> {
    let is_available = |deployment: Option<&Deployment>| {
        deployment.is_some_and(|deployment| {
            let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
            let status = deployment.status.as_ref();
            status.and_then(|status| status.ready_replicas).unwrap_or_default() >= wanted
        })
    };
    tokio::time::timeout(DEADLINE, await_condition(deployments, name, is_available))
        .await
        .with_context(|| format!("{name} has not all its pods after {DEADLINE:?}"))??;
    Ok(())
}

/// The names of the operator's pods.
pub(crate) async fn pods(client: &Client) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    Ok(pods.list(&ListParams::default().labels(SELECTOR)).await?.items)
}

/// How often the containers of a pod were started again, in all.
pub(crate) fn restarts(pods: &[Pod]) -> i32 {
    let statuses = pods.iter().filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref());
    statuses.flatten().map(|container| container.restart_count).sum()
}

/// The text of all logs of the operator.
pub(crate) async fn logs(client: &Client) -> Result<String> {
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let mut text = String::new();
    for pod in pods(client).await? {
        text.push_str(&api.logs(&pod.name_any(), &kube::api::LogParams::default()).await?);
    }
    Ok(text)
}

/// The metrics of all pods of the operator.
pub(crate) async fn metrics(client: &Client) -> Result<String> {
    let mut text = String::new();
    for pod in pods(client).await? {
        text.push_str(&proxied(client, &pod, "8080", "metrics").await?);
    }
    Ok(text)
}

async fn proxied(client: &Client, pod: &Pod, port: &str, path: &str) -> Result<String> {
    let name = pod.name_any();
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}:{port}/proxy/{path}");
    let request = http_get(&path)?;
    Ok(client.request_text(request).await?)
}

/// The operator's memory as its kubelet measures it, in bytes: resident set of its largest pod.
pub(crate) async fn memory(client: &Client) -> Result<u64> {
    let stats = client.request_text(http_get("/api/v1/nodes/node/proxy/stats/summary")?).await?;
    let stats: Value = serde_json::from_str(&stats)?;
    let pods = stats["pods"].as_array().cloned().unwrap_or_default();
    let ours = pods.iter().filter(|pod| pod["podRef"]["namespace"] == NAMESPACE);
    let containers = ours.flat_map(|pod| pod["containers"].as_array().cloned().unwrap_or_default());
    let resident = containers.filter_map(|container| container["memory"]["rssBytes"].as_u64());
    resident.max().context("the kubelet does not know it")
}

fn http_get(path: &str) -> Result<http::Request<Vec<u8>>> {
    Ok(http::Request::get(path).body(Vec::new())?)
}
