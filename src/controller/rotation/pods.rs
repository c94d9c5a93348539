//! Pods that never see an update of the target Secret, because they take it through environment
//! variables or `subPath` and no restart covers them.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume};
use kube::{
    Api, ResourceExt as _,
    api::ListParams,
    core::{Selector, SelectorExt as _},
};
use rotation::UnreachedPods;
use tokio::sync::Semaphore;

use super::workloads::{Workloads, is_forbidden};
use crate::controller::{error::Error, kube_call::kube_call};

/// How many Pods a message names.
const MAX_NAMES: usize = 10;

/// How many Pods one list request returns. Users decide how large they are, up to 1.5 MiB each.
const PAGE_SIZE: u32 = 10;

/// Lets one page at a time be in memory.
static PAGE: Semaphore = Semaphore::const_new(1);

/// Returns the Pods that take a Secret in a way that is never updated and that no restart covers.
pub(super) async fn find_unreached(
    workloads: &Workloads<'_>,
    secret: &str,
) -> Result<UnreachedPods, Error> {
    let mut restarted = Vec::new();
    // Without restarts, none covers a Pod.
    let restart = if workloads.is_enabled { workloads.restart } else { &[] };
    for reference in restart {
        if let Ok(Some(workload)) = workloads.get(reference).await {
            restarted.extend(Selector::try_from(workload.selector).ok());
        }
    }
    let pods: Api<Pod> = Api::namespaced(workloads.client.clone(), workloads.namespace);
    let mut names = Vec::new();
    let mut page = ListParams::default().limit(PAGE_SIZE);
    loop {
        // The only error is a closed semaphore, which nothing closes.
        let _page = PAGE.acquire().await.ok();
        let list = match kube_call("listing Pods", pods.list(&page)).await {
            Ok(list) => list,
            Err(error) if is_forbidden(&error) => {
                return Ok(UnreachedPods::Unknown(
                    "the operator may not list Pods in this namespace, so it cannot tell whether \
                     some take the Secret in a way that is never updated"
                        .into(),
                ));
            }
            Err(error) => return Err(error),
        };
        for pod in &list.items {
            let is_restarted = restarted.iter().any(|selector| selector.matches(pod.labels()));
            if !is_restarted && is_never_updated(pod, secret) {
                names.push(pod.name_any());
            }
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(UnreachedPods::Pods(shorten(names))),
        }
    }
}

/// Returns whether a Pod runs and takes a Secret's values only when it starts.
fn is_never_updated(pod: &Pod, secret: &str) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return false;
    }
    let Some(spec) = &pod.spec else { return false };
    let volumes = volumes_of(spec, secret);
    let init_containers = spec.init_containers.iter().flatten();
    spec.containers.iter().chain(init_containers).any(|container| {
        takes_by_environment(container, secret) || takes_by_sub_path(container, &volumes)
    })
}

/// Returns the names of a Pod's volumes that hold a Secret.
fn volumes_of<'p>(spec: &'p PodSpec, secret: &str) -> Vec<&'p str> {
    let volumes = spec.volumes.iter().flatten();
    volumes.filter(|volume| holds(volume, secret)).map(|volume| volume.name.as_str()).collect()
}

fn holds(volume: &Volume, secret: &str) -> bool {
    if let Some(source) = &volume.secret
        && source.secret_name.as_deref() == Some(secret)
    {
        return true;
    }
    let projected = volume.projected.iter().flat_map(|source| source.sources.iter().flatten());
    projected.filter_map(|source| source.secret.as_ref()).any(|source| source.name == secret)
}

fn takes_by_environment(container: &Container, secret: &str) -> bool {
    let variables = container.env.iter().flatten().filter_map(|variable| {
        variable.value_from.as_ref()?.secret_key_ref.as_ref().map(|key| key.name.as_str())
    });
    let whole_secrets = container
        .env_from
        .iter()
        .flatten()
        .filter_map(|source| source.secret_ref.as_ref().map(|secret| secret.name.as_str()));
    variables.chain(whole_secrets).any(|name| name == secret)
}

fn takes_by_sub_path(container: &Container, volumes: &[&str]) -> bool {
    container.volume_mounts.iter().flatten().any(|mount| {
        volumes.contains(&mount.name.as_str())
            && (mount.sub_path.is_some() || mount.sub_path_expr.is_some())
    })
}

fn shorten(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    if names.len() > MAX_NAMES {
        let more = names.len() - MAX_NAMES;
        names.truncate(MAX_NAMES);
        names.push(format!("and {more} more"));
    }
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({ "metadata": { "name": "p" }, "spec": spec })).unwrap()
    }

    #[test]
    fn finds_pods_that_never_see_an_update() {
        let volume = json!([{ "name": "v", "secret": { "secretName": "shop-auth0" } }]);
        let projected = json!([{ "name": "v", "projected": { "sources": [
            { "secret": { "name": "shop-auth0" } },
        ] } }]);
        let mount = |extra: serde_json::Value| {
            let mut mount = json!({ "name": "v", "mountPath": "/auth0" });
            mount.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            json!([{ "name": "c", "volumeMounts": [mount] }])
        };
        let key = json!({ "secretKeyRef": { "name": "shop-auth0", "key": "client_secret" } });
        let env = json!([{ "name": "c", "env": [{ "name": "S", "valueFrom": key }] }]);
        let env_from =
            json!([{ "name": "c", "envFrom": [{ "secretRef": { "name": "shop-auth0" } }] }]);
        let other = json!([{ "name": "c", "envFrom": [{ "secretRef": { "name": "other" } }] }]);
        for (spec, expected) in [
            (json!({ "containers": mount(json!({})), "volumes": volume }), false),
            (json!({ "containers": mount(json!({ "subPath": "x" })), "volumes": volume }), true),
            (
                json!({ "containers": mount(json!({ "subPathExpr": "$(X)" })), "volumes": projected }),
                true,
            ),
            (json!({ "containers": mount(json!({})), "volumes": projected }), false),
            (json!({ "containers": env }), true),
            (json!({ "containers": other, "initContainers": env_from }), true),
            (json!({ "containers": other }), false),
        ] {
            assert_eq!(is_never_updated(&pod(spec.clone()), "shop-auth0"), expected, "{spec}");
        }
    }

    #[test]
    fn long_lists_of_names_are_shortened() {
        let names = (0..14).map(|number| format!("pod-{number:02}")).collect();
        let short = shorten(names);
        assert_eq!((short.len(), short[10].as_str()), (11, "and 4 more"));
    }
}
