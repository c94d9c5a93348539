//! How the operator gets into the cluster.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt as _};
use rig::{cluster, manifests};
use serde_json::Value;

use crate::images;

/// Where the operator runs.
pub(crate) const NAMESPACE: &str = "auth0-rotator";
/// Its Deployment, and its program.
const NAME: &str = "auth0-rotator";
/// The pods of its Deployment.
const SELECTOR: &str = "app.kubernetes.io/name=auth0-rotator";
const DEADLINE: Duration = Duration::from_secs(90);

/// Installs the definitions and the operator, with the image that was built, and waits until it is
/// ready.
pub(crate) async fn install(client: &Client) -> Result<()> {
    cluster::install(client, &manifests::read(&manifests::place("crds"))?).await?;
    let mut operator = manifests::read(&manifests::place("deploy/operator.yaml"))?;
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
    Ok(client.request_text(http::Request::get(path).body(Vec::new())?).await?)
}

/// The most memory that a process of the operator has had resident, in bytes. Pods' processes are
/// in the PID namespace of this one, or below it.
pub(crate) fn memory() -> Result<u64> {
    let mut most = None;
    for entry in fs::read_dir("/proc")?.flatten() {
        // A process may end at any time.
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        if name.trim_end() == NAME {
            most = most.max(peak(&status));
        }
    }
    most.context("no process of the operator is to be found")
}

/// The line `VmHWM:     12345 kB` of a process's status.
fn peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_of_a_process_is_read() {
        let status = "Name:\tauth0-rotator\nVmPeak:\t  99999 kB\nVmHWM:\t   12000 kB\n";
        assert_eq!(peak(status), Some(12_288_000));
        assert_eq!(peak("Name:\tkthreadd\n"), None);
    }
}
