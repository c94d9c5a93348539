//! Lists of Pods that searches share.
//!
//! When many rotations of a namespace publish at once, each asks which Pods never see the update. A
//! search takes the list of another one if that list was begun after the search, so that one or two
//! lists serve all that wait. A list holds only the references of Pods to Secrets, of bounded size, and
//! only while a search waits.

use std::{collections::HashMap, ops::ControlFlow, sync::Arc, time::Instant};

use k8s_openapi::api::core::v1::{Container, Pod, Volume};
use kube::{Api, api::ListParams};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::workloads::is_forbidden;
use crate::controller::{error::Error, kube_call::kube_call};

/// How many Pods one list request returns. Users decide how large they are, up to 1.5 MiB each.
pub(super) const PAGE_SIZE: u32 = 10;

/// Lets one page at a time be in memory.
pub(super) static PAGE: Semaphore = Semaphore::const_new(1);

/// Largest size of the Pods in a shared list, in bytes of JSON. In memory they take up to twenty times as
/// much.
const MAX_SIZE: usize = 256 * 1024;

/// The Pods of a namespace that take a value of any Secret when they start.
#[derive(Clone)]
pub(super) enum Takers {
    /// All of them, without anything else.
    All(Arc<[Pod]>),
    /// There are too many to hold.
    TooMany,
    /// The operator may not list Pods.
    Forbidden,
}

struct SharedList {
    begun_at: Instant,
    takers: Takers,
}

/// The last list of one namespace. The lock is held while a new one is read.
type Slot = Arc<tokio::sync::Mutex<Option<SharedList>>>;

/// The lists of all namespaces in which a search is in progress.
#[derive(Default)]
pub(super) struct PodLists(Mutex<HashMap<String, Slot>>);

impl PodLists {
    /// Returns the Pods of a namespace that take a value of a Secret when they start, as they were after
    /// this call.
    pub(super) async fn takers(&self, pods: &Api<Pod>, namespace: &str) -> Result<Takers, Error> {
        let asked_at = Instant::now();
        let slot = self.0.lock().entry(namespace.to_owned()).or_default().clone();
        let takers = takers_after(asked_at, &slot, pods).await;
        drop(slot);
        // Nobody waits for the others.
        self.0.lock().retain(|_, slot| Arc::strong_count(slot) > 1);
        takers
    }
}

async fn takers_after(asked_at: Instant, slot: &Slot, pods: &Api<Pod>) -> Result<Takers, Error> {
    let mut last = slot.lock().await;
    if let Some(list) = last.as_ref().filter(|list| list.begun_at >= asked_at) {
        return Ok(list.takers.clone());
    }
    let begun_at = Instant::now();
    let takers = list_takers(pods).await?;
    *last = Some(SharedList { begun_at, takers: takers.clone() });
    Ok(takers)
}

async fn list_takers(pods: &Api<Pod>) -> Result<Takers, Error> {
    let (mut takers, mut size) = (Vec::new(), 0);
    let result = visit(pods, |pod| {
        if let Some(taker) = reduce(pod) {
            size += serde_json::to_vec(&taker).map_or(MAX_SIZE, |json| json.len());
            takers.push(taker);
        }
        if size > MAX_SIZE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match result.await {
        Ok(()) if size > MAX_SIZE => Ok(Takers::TooMany),
        Ok(()) => Ok(Takers::All(takers.into())),
        Err(error) if is_forbidden(&error) => Ok(Takers::Forbidden),
        Err(error) => Err(error),
    }
}

/// Lists the Pods of a namespace, one page at a time, until `each` breaks.
pub(super) async fn visit(
    pods: &Api<Pod>,
    mut each: impl FnMut(Pod) -> ControlFlow<()>,
) -> Result<(), Error> {
    let mut page = ListParams::default().limit(PAGE_SIZE);
    loop {
        // The only error is a closed semaphore, which nothing closes.
        let _page = PAGE.acquire().await.ok();
        let list = kube_call("listing Pods", pods.list(&page)).await?;
        if list.items.into_iter().try_for_each(&mut each).is_break() {
            return Ok(());
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(()),
        }
    }
}

/// Returns the parts of a Pod that show which Secrets it takes in environment variables and `subPath`
/// mounts; `None` if it takes none. Values of other variables are dropped.
fn reduce(pod: Pod) -> Option<Pod> {
    let mut spec = pod.spec?;
    let mut volumes = spec.volumes.take().unwrap_or_default();
    volumes.retain(has_secret);
    let reduce = |containers: Vec<Container>| -> Vec<Container> {
        let reduced = containers.into_iter().map(|container| reduce_container(container, &volumes));
        reduced.filter(takes_a_secret).collect()
    };
    let containers = reduce(spec.containers);
    let init_containers = reduce(spec.init_containers.unwrap_or_default());
    if containers.is_empty() && init_containers.is_empty() {
        return None;
    }
    let mut reduced = Pod::default();
    reduced.metadata.name = pod.metadata.name;
    reduced.metadata.uid = pod.metadata.uid;
    reduced.metadata.labels = pod.metadata.labels;
    let spec = reduced.spec.get_or_insert_default();
    (spec.containers, spec.init_containers) = (containers, Some(init_containers));
    spec.volumes = Some(volumes);
    if let Some(phase) = pod.status.and_then(|status| status.phase) {
        reduced.status.get_or_insert_default().phase = Some(phase);
    }
    Some(reduced)
}

fn reduce_container(container: Container, volumes: &[Volume]) -> Container {
    let Container { env, env_from, volume_mounts, .. } = container;
    let mut reduced = Container { env, env_from, volume_mounts, ..Container::default() };
    if let Some(variables) = &mut reduced.env {
        variables.retain_mut(|variable| {
            variable.value = None;
            let source = variable.value_from.as_ref();
            source.is_some_and(|source| source.secret_key_ref.is_some())
        });
    }
    if let Some(sources) = &mut reduced.env_from {
        sources.retain(|source| source.secret_ref.is_some());
    }
    if let Some(mounts) = &mut reduced.volume_mounts {
        mounts.retain(|mount| {
            let has_sub_path = mount.sub_path.is_some() || mount.sub_path_expr.is_some();
            has_sub_path && volumes.iter().any(|volume| volume.name == mount.name)
        });
    }
    reduced
}

/// Returns whether a reduced container has a reference to a Secret.
fn takes_a_secret(container: &Container) -> bool {
    let Container { env, env_from, volume_mounts, .. } = container;
    [
        env.as_ref().map(Vec::len),
        env_from.as_ref().map(Vec::len),
        volume_mounts.as_ref().map(Vec::len),
    ]
    .into_iter()
    .flatten()
    .any(|length| length > 0)
}

fn has_secret(volume: &Volume) -> bool {
    let projected = volume.projected.iter().flat_map(|source| source.sources.iter().flatten());
    volume.secret.is_some() || projected.into_iter().any(|source| source.secret.is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keeps_the_references_to_secrets_and_nothing_else() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": "web", "uid": "u", "labels": { "app": "web" },
                "annotations": { "large": "x".repeat(1000) },
            },
            "spec": {
                "nodeName": "n",
                "containers": [
                    {
                        "name": "c", "image": "i",
                        "env": [
                            { "name": "PASSWORD", "value": "hidden" },
                            { "name": "S", "valueFrom": { "secretKeyRef": { "name": "a", "key": "k" } } },
                        ],
                        "envFrom": [{ "configMapRef": { "name": "m" } }, { "secretRef": { "name": "b" } }],
                        "volumeMounts": [
                            { "name": "v", "mountPath": "/whole" },
                            { "name": "v", "mountPath": "/file", "subPath": "file" },
                            { "name": "other", "mountPath": "/other", "subPath": "file" },
                        ],
                    },
                    { "name": "without", "image": "i" },
                ],
                "volumes": [{ "name": "v", "secret": { "secretName": "a" } }, { "name": "other", "emptyDir": {} }],
            },
            "status": { "phase": "Running", "message": "m" },
        }))
        .unwrap();
        let reduced = reduce(pod).unwrap();
        let text = serde_json::to_string(&reduced).unwrap();
        for kept in ["web", "\"u\"", "app", "secretKeyRef", "\"b\"", "subPath", "Running"] {
            assert!(text.contains(kept), "{kept} in {text}");
        }
        for dropped in
            ["hidden", "large", "configMapRef", "/whole", "/other", "without", "nodeName"]
        {
            assert!(!text.contains(dropped), "{dropped} in {text}");
        }
    }

    #[test]
    fn drops_pods_that_take_no_secret_at_their_start() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "web" },
            "spec": {
                "containers": [{ "name": "c", "volumeMounts": [{ "name": "v", "mountPath": "/auth0" }] }],
                "volumes": [{ "name": "v", "secret": { "secretName": "a" } }],
            },
        }))
        .unwrap();
        assert!(reduce(pod).is_none());
    }
}
