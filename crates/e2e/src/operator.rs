//! The operator's pods: which of them leads, what they have used, and what they tell.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, DynamicObject, ListParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt as _};
use testbed::world::client_secret_rotations;

/// Where the operator runs.
pub(crate) const NAMESPACE: &str = "auth0-rotator";
/// Its release, its Deployment, its Lease and its program.
pub(crate) const NAME: &str = "auth0-rotator";
/// The pods of its Deployment.
const SELECTOR: &str = "app.kubernetes.io/name=auth0-rotator";
const DEADLINE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(20);

/// The name of the pod that leads.
async fn leader(client: &Client) -> Result<Option<String>> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let holder = leases.get_opt(NAME).await?.and_then(|lease| lease.spec?.holder_identity);
    // Behind it is what tells this process from another one of the same name.
    let pod = holder.and_then(|holder| Some(holder.split_once('_')?.0.to_owned()));
    Ok(pod.filter(|pod| !pod.is_empty()))
}

/// Deletes the pod that leads, and returns how long it took until another one did.
pub(crate) async fn delete_leader(client: &Client) -> Result<Duration> {
    let before = leader(client).await?.context("no pod of the operator leads")?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let since = Instant::now();
    let deleted = pods.delete(&before, &DeleteParams::default()).await;
    deleted.with_context(|| format!("the leader calls itself {before}"))?;
    loop {
        match leader(client).await? {
            Some(now) if now != before => return Ok(since.elapsed()),
            _ if since.elapsed() > DEADLINE => bail!("nobody leads after {DEADLINE:?}"),
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

/// Waits until the operator's pods are gone, and returns how many objects it leaves behind: the
/// definitions, the resources, and these Secrets.
///
/// # Errors
///
/// When one of them is gone.
pub(crate) async fn left(client: &Client, namespace: &str, secrets: &[String]) -> Result<usize> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let names = ["auth0tenants", "clientsecretrotations", "clusterauth0tenants"];
    for name in names {
        definitions.get(&format!("{name}.auth0-rotator.dev")).await?;
    }
    let targets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    for secret in secrets {
        targets.get(secret).await?;
    }
    let resources: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), namespace, &client_secret_rotations());
    let resources = resources.list(&ListParams::default()).await?.items.len();
    ensure!(resources == secrets.len(), "there are {resources} ClientSecretRotations");
    let since = Instant::now();
    while !pods(client).await?.is_empty() {
        ensure!(since.elapsed() < DEADLINE, "a pod of the operator is left after {DEADLINE:?}");
        tokio::time::sleep(POLL).await;
    }
    Ok(names.len() + secrets.len() + resources)
}

/// Waits until the operator has all its pods.
pub(crate) async fn ready(client: &Client) -> Result<()> {
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

async fn pods(client: &Client) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    Ok(pods.list(&ListParams::default().labels(SELECTOR)).await?.items)
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
