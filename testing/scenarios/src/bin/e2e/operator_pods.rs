//! The operator's Pods: the leader, their metrics and memory, and the objects that outlive them.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use auth0_rotator::api::ClientSecretRotation;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        coordination::v1::Lease,
        core::v1::{Pod, Secret},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams},
    runtime::wait::await_condition,
};
use testkit::measure::ProcessMemory;

/// Namespace of the operator.
pub(crate) const NAMESPACE: &str = "auth0-rotator";
/// Name of the operator's release, Deployment, Lease and executable.
pub(crate) const NAME: &str = "auth0-rotator";
const SELECTOR: &str = "app.kubernetes.io/name=auth0-rotator";
const CRDS: [&str; 3] = ["auth0tenants", "clientsecretrotations", "clusterauth0tenants"];
const DEADLINE: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Returns the name of the leader's Pod.
async fn leader(client: &Client) -> Result<Option<String>> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let holder = leases.get_opt(NAME).await?.and_then(|lease| lease.spec?.holder_identity);
    // The identity is POD_UUID.
    let pod = holder.and_then(|holder| Some(holder.split_once('_')?.0.to_owned()));
    Ok(pod.filter(|pod| !pod.is_empty()))
}

/// Deletes the leader's Pod and returns the time until another Pod is the leader.
pub(crate) async fn delete_leader(client: &Client) -> Result<Duration> {
    let before = leader(client).await?.context("no Pod of the operator is the leader")?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let since = Instant::now();
    let deleted = pods.delete(&before, &DeleteParams::default()).await;
    deleted.with_context(|| format!("the Lease names the Pod {before}"))?;
    loop {
        match leader(client).await? {
            Some(now) if now != before => return Ok(since.elapsed()),
            _ if since.elapsed() > DEADLINE => bail!("there is no leader after {DEADLINE:?}"),
            _ => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// Waits until the operator's Pods are gone, and returns the number of objects that are left: the
/// CRDs, the resources and these Secrets.
pub(crate) async fn count_left(
    client: &Client,
    namespace: &str,
    secrets: &[String],
) -> Result<usize> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for name in CRDS {
        crds.get(&format!("{name}.auth0-rotator.dev")).await?;
    }
    let targets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    for secret in secrets {
        targets.get(secret).await?;
    }
    let resources: Api<ClientSecretRotation> = Api::namespaced(client.clone(), namespace);
    let resources = resources.list(&ListParams::default()).await?.items.len();
    ensure!(resources == secrets.len(), "{resources} ClientSecretRotations are left");
    let since = Instant::now();
    while !pods(client).await?.is_empty() {
        ensure!(since.elapsed() < DEADLINE, "a Pod of the operator is left after {DEADLINE:?}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(CRDS.len() + secrets.len() + resources)
}

/// Waits until all Pods of the operator are ready.
pub(crate) async fn wait_until_ready(client: &Client) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    wait_until_available(deployments, NAME).await.context("the operator is not ready")
}

/// Waits until all Pods of a Deployment are ready.
pub(crate) async fn wait_until_available(deployments: Api<Deployment>, name: &str) -> Result<()> {
    let is_available = |deployment: Option<&Deployment>| {
        let Some(deployment) = deployment else { return false };
        let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let status = deployment.status.as_ref();
        status.and_then(|status| status.ready_replicas).unwrap_or_default() >= replicas
    };
    tokio::time::timeout(DEADLINE, await_condition(deployments, name, is_available))
        .await
        .with_context(|| format!("not all Pods of {name} are ready after {DEADLINE:?}"))??;
    Ok(())
}

async fn pods(client: &Client) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    Ok(pods.list(&ListParams::default().labels(SELECTOR)).await?.items)
}

/// Returns the metrics of all Pods of the operator.
pub(crate) async fn metrics(client: &Client) -> Result<String> {
    let mut text = String::new();
    for pod in pods(client).await? {
        let name = pod.name_any();
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}:8080/proxy/metrics");
        text.push_str(&client.request_text(http::Request::get(path).body(Vec::new())?).await?);
    }
    Ok(text)
}

/// Returns the peak resident memory of the operator's processes, in bytes. The processes of Pods are
/// in the PID namespace of this process, or below it.
pub(crate) fn peak_memory() -> Result<u64> {
    let mut peak = None;
    for entry in fs::read_dir("/proc")?.flatten() {
        // A process may end at any time.
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        if name.trim_end() == NAME {
            peak = peak.max(ProcessMemory::parse(&status).map(|memory| memory.peak_resident));
        }
    }
    peak.context("there is no process of the operator")
}
