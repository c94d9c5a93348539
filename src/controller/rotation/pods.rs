//! The Pods that use a target Secret: those that never see an update of it, because they take it
//! through environment variables or `subPath` and no restart covers them, and those of workloads that
//! were restarted.

use std::ops::ControlFlow;

use chrono::{DateTime, Utc};
use k8s_openapi::{
    api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::OwnerReference, jiff::Timestamp,
};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, ObjectMeta},
    core::{Selector, SelectorExt as _},
};
use rotation::{RestartNeed, UnreachedPods};

use super::{
    pod_lists::{self, PAGE, PAGE_SIZE, PodLists, Takers},
    restarts::is_new_pod,
    workloads::{Found, Workload, Workloads, is_forbidden},
};
use crate::{
    api::WorkloadKind,
    controller::{error::Error, kube_call::kube_call},
};

/// How many Pods a message names.
const MAX_NAMES: usize = 10;

/// Pods that run, or will.
const RUNNING: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Evidence from the Pods of a workload about its restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PodEvidence {
    /// Some Pod may have started before the values were published. Pods that terminate still run.
    Old,
    /// All Pods are new.
    AllNew,
    /// There are no Pods.
    None,
    /// The operator may not list them.
    Unknown,
}

/// A search for unreached Pods, so that a later one can detect whether anything has changed.
#[derive(Clone)]
pub(super) struct Search {
    /// Generation of the resource's spec.
    pub(super) generation: Option<i64>,
    pub(super) found: UnreachedPods,
    /// Name and UID of one of the unreached Pods.
    example: Option<(String, String)>,
}

/// Returns what the Pods of a workload show. Stops at the first old one.
pub(super) async fn evidence(
    workloads: &Workloads<'_>,
    workload: &Workload,
    need: &RestartNeed,
) -> Result<PodEvidence, Error> {
    let Some(selector) = workload.selector.as_ref().filter(|_| workloads.may_list_pods) else {
        return Ok(PodEvidence::Unknown);
    };
    let pods: Api<Pod> = Api::namespaced(workloads.client.clone(), workloads.namespace);
    let mut page = ListParams::default().labels_from(selector).fields(RUNNING).limit(PAGE_SIZE);
    let mut evidence = PodEvidence::None;
    loop {
        // The only error is a closed semaphore, which nothing closes.
        let _page = PAGE.acquire().await.ok();
        let list = match kube_call("listing Pods", pods.list_metadata(&page)).await {
            Ok(list) => list,
            Err(error) if is_forbidden(&error) => return Ok(PodEvidence::Unknown),
            Err(error) => return Err(error),
        };
        for pod in &list.items {
            if !belongs_to(&pod.metadata, workload) {
                continue;
            }
            if !is_new_pod(&pod.metadata, workloads.uid, need) {
                return Ok(PodEvidence::Old);
            }
            evidence = PodEvidence::AllNew;
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(evidence),
        }
    }
}

/// Returns whether a Pod that a workload selects belongs to it, and not to another one with the same
/// labels. A Pod without a controller is adopted.
fn belongs_to(pod: &ObjectMeta, workload: &Workload) -> bool {
    let owners = pod.owner_references.iter().flatten();
    let Some(owner) = owners.into_iter().find(|owner| owner.controller == Some(true)) else {
        return true;
    };
    match workload.kind {
        WorkloadKind::StatefulSet | WorkloadKind::DaemonSet => {
            workload.metadata.uid.as_ref() == Some(&owner.uid)
        }
        WorkloadKind::Deployment => is_replica_set(owner, pod, "pod-template-hash", workload),
        WorkloadKind::Rollout => is_replica_set(owner, pod, "rollouts-pod-template-hash", workload),
    }
}

/// Returns whether a Pod's owner is a ReplicaSet with the name that the workload gives it.
fn is_replica_set(
    owner: &OwnerReference,
    pod: &ObjectMeta,
    label: &str,
    workload: &Workload,
) -> bool {
    let hash = pod.labels.as_ref().and_then(|labels| labels.get(label));
    let name = workload.metadata.name.as_deref().unwrap_or_default();
    owner.kind == "ReplicaSet" && hash.is_none_or(|hash| owner.name == format!("{name}-{hash}"))
}

/// Returns the Pods that take a Secret in a way that is never updated and that no restart covers. If
/// one of those that the previous search found still runs, nothing has been solved.
pub(super) async fn find_unreached(
    workloads: &Workloads<'_>,
    lists: &PodLists,
    generation: Option<i64>,
    previous: Option<Search>,
) -> Result<Search, Error> {
    let pods: Api<Pod> = Api::namespaced(workloads.client.clone(), workloads.namespace);
    if let Some(previous) = previous
        && previous.generation == generation
        && let Some((name, uid)) = &previous.example
        && still_runs(&pods, name, uid).await?
    {
        return Ok(previous);
    }
    let mut restarted = Vec::new();
    // Without restarts, none covers a Pod.
    let restart = if workloads.is_enabled { workloads.restart } else { &[] };
    for reference in restart {
        if let Ok(Found::Present(workload)) = workloads.get(reference).await {
            restarted.extend(workload.selector);
        }
    }
    list_unreached(workloads, lists, &pods, &restarted, generation).await
}

async fn list_unreached(
    workloads: &Workloads<'_>,
    lists: &PodLists,
    pods: &Api<Pod>,
    restarted: &[Selector],
    generation: Option<i64>,
) -> Result<Search, Error> {
    let (mut names, mut example) = (Vec::new(), None);
    let mut check = |pod: &Pod| {
        let is_restarted = restarted.iter().any(|selector| selector.matches(pod.labels()));
        let taken = workloads.secret.taken_by_pod(pod);
        if !is_restarted && (taken.pair || taken.current_only) {
            example = Some((pod.name_any(), pod.uid().unwrap_or_default()));
            names.push(pod.name_any());
        }
    };
    match lists.takers(pods, workloads.namespace).await? {
        Takers::All(takers) => takers.iter().for_each(check),
        Takers::TooMany => {
            let visit = |pod| {
                check(&pod);
                ControlFlow::Continue(())
            };
            pod_lists::visit(pods, visit).await?;
        }
        Takers::Forbidden => {
            let found = UnreachedPods::Unknown(
                "the operator may not list Pods in this namespace, so it cannot determine whether \
                 some take the Secret in a way that is never updated"
                    .into(),
            );
            return Ok(Search { generation, found, example: None });
        }
    }
    let found = UnreachedPods::Pods(shorten(names));
    Ok(Search { generation, found, example })
}

async fn still_runs(pods: &Api<Pod>, name: &str, uid: &str) -> Result<bool, Error> {
    let only = ListParams::default().fields(&format!("metadata.name={name},{RUNNING}")).limit(1);
    match kube_call("reading a Pod", pods.list_metadata(&only)).await {
        Ok(list) => Ok(list.items.iter().any(|pod| pod.metadata.uid.as_deref() == Some(uid))),
        Err(error) if is_forbidden(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns a time of the API server.
pub(super) fn to_utc(time: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp(time.as_second(), 0).unwrap_or_default()
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
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn long_lists_of_names_are_shortened() {
        let names = (0..14).map(|number| format!("pod-{number:02}")).collect();
        let short = shorten(names);
        assert_eq!((short.len(), short[10].as_str()), (11, "and 4 more"));
    }

    #[test]
    fn pods_of_others_with_the_same_labels_do_not_count() {
        let workload = |kind| Workload {
            metadata: serde_json::from_value(json!({ "name": "web", "uid": "u" })).unwrap(),
            kind,
            selector: None,
            template: None,
            stamp: Default::default(),
            is_rolled_out: true,
            is_scaled_to_zero: false,
            blocked: None,
        };
        let owner = |kind: &str, name: &str, uid: &str| json!([{ "kind": kind, "name": name, "uid": uid, "apiVersion": "v1", "controller": true }]);
        let hash = json!({ "pod-template-hash": "7d4" });
        for (kind, owners, labels, expected) in [
            (WorkloadKind::Deployment, Value::Null, json!({}), true),
            (WorkloadKind::Deployment, owner("ReplicaSet", "web-7d4", "r"), hash.clone(), true),
            (WorkloadKind::Deployment, owner("ReplicaSet", "web-b-7d4", "r"), hash.clone(), false),
            (WorkloadKind::Deployment, owner("Job", "web-7d4", "j"), hash, false),
            (WorkloadKind::StatefulSet, owner("StatefulSet", "web", "u"), json!({}), true),
            (WorkloadKind::DaemonSet, owner("DaemonSet", "other", "v"), json!({}), false),
            (
                WorkloadKind::Rollout,
                owner("ReplicaSet", "web-5f", "r"),
                json!({ "rollouts-pod-template-hash": "5f" }),
                true,
            ),
        ] {
            let pod = json!({ "ownerReferences": owners, "labels": labels });
            let pod: ObjectMeta = serde_json::from_value(pod.clone()).unwrap();
            assert_eq!(belongs_to(&pod, &workload(kind)), expected, "{kind:?} {pod:?}");
        }
    }
}
