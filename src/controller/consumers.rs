//! The applications that use a target Secret: who will never see what is written into it, and the
//! restarts of those that are named for that.

use std::{collections::BTreeMap, future::Future, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use futures::{StreamExt as _, future::join_all, stream::select_all};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{DaemonSet, Deployment, StatefulSet},
        core::v1::{Container, Pod, PodSpec, PodTemplateSpec},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, PartialObjectMeta, Patch, PatchParams},
    core::{Selector, SelectorExt as _},
    runtime::{WatchStreamExt as _, watcher},
};
use rotation::{Failure, Rollout, RolloutState, UnreachedPods};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{KUBE_DEADLINE, trouble};
use crate::{
    api::{FIELD_MANAGER, WorkloadKind, WorkloadRef},
    telemetry,
};
use leader_election::WriteFence;

/// The annotation on a pod template by which kubectl restarts a workload.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// The most pods that are named: the message is for people.
const MOST_NAMES: usize = 10;

/// How many pods are listed at a time.
const PAGE: u32 = 500;

/// The consumers of one namespace.
pub(super) struct Consumers<'a> {
    client: &'a Client,
    namespace: &'a str,
    restart: &'a [WorkloadRef],
}

/// What a restart and its rollout are judged by.
struct Workload {
    selector: LabelSelector,
    template: PodTemplateSpec,
    /// All pods are of the present template, and ready.
    rolled_out: bool,
    /// Why a new template would not restart its pods.
    stuck: Option<&'static str>,
}

impl<'a> Consumers<'a> {
    pub(super) fn new(
        client: &'a Client,
        namespace: &'a str,
        restart: &'a [WorkloadRef],
    ) -> Consumers<'a> {
        Consumers { client, namespace, restart }
    }

    /// The pods that take a Secret through environment variables or `subPath` and that no restart
    /// covers.
    pub(super) async fn unreached(&self, secret: &str) -> Result<UnreachedPods, Failure> {
        let mut covered = Vec::new();
        for reference in self.restart {
            if let Ok(Some(workload)) = self.get(reference).await {
                covered.extend(Selector::try_from(workload.selector).ok());
            }
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), self.namespace);
        let mut names = Vec::new();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let listed = match in_time("listing pods", pods.list(&page)).await {
                Ok(listed) => listed,
                Err(CallError::Forbidden) => {
                    return Ok(UnreachedPods::Unknown(
                        "the operator may not list pods in this namespace: it can't tell whether \
                         some take the Secret in a way that is never updated"
                            .into(),
                    ));
                }
                Err(CallError::Failed(trouble)) => return Err(trouble),
            };
            let unreached = listed.items.iter().filter(|pod| {
                takes_once(pod, secret)
                    && !covered.iter().any(|selector| selector.matches(pod.labels()))
            });
            names.extend(unreached.map(ResourceExt::name_any));
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(UnreachedPods::Pods(shortened(names))),
            }
        }
    }

    /// How far the restarts that were ordered for `restart_at` have come.
    pub(super) async fn rollouts(
        &self,
        restart_at: DateTime<Utc>,
        refused: &BTreeMap<String, String>,
    ) -> Result<Vec<Rollout>, Failure> {
        let seen = self.restart.iter().map(async |reference| {
            let name = named(reference);
            let state = match self.get(reference).await {
                Ok(None) => RolloutState::Blocked("it does not exist".into()),
                Ok(Some(workload)) => match refused.get(&name) {
                    Some(why) => RolloutState::Blocked(why.clone()),
                    None => state(&workload, restart_at),
                },
                Err(CallError::Forbidden) => {
                    RolloutState::Blocked("the operator may not read it".into())
                }
                Err(CallError::Failed(trouble)) => return Err(trouble),
            };
            Ok(Rollout { name, state })
        });
        join_all(seen).await.into_iter().collect()
    }

    /// Restarts the workloads that haven't been for `restart_at`, as kubectl does. What can't be
    /// restarted comes back with the reason.
    pub(super) async fn restart(
        &self,
        restart_at: DateTime<Utc>,
        right: WriteFence<'_>,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let mut refused = BTreeMap::new();
        for reference in self.restart {
            let workload = match self.get(reference).await {
                Ok(Some(workload)) => workload,
                Ok(None) | Err(CallError::Forbidden) => continue,
                Err(CallError::Failed(trouble)) => return Err(trouble),
            };
            if workload.stuck.is_some() || restarted_at(&workload.template) >= Some(restart_at) {
                continue;
            }
            trouble::check(right)?;
            match self.stamp(reference, restart_at).await {
                Ok(()) => {}
                Err(CallError::Forbidden) => {
                    refused.insert(named(reference), "the operator may not patch it".into());
                }
                Err(CallError::Failed(trouble))
                    if trouble.class == rotation::ErrorClass::Invalid =>
                {
                    refused.insert(named(reference), trouble.message);
                }
                Err(CallError::Failed(trouble)) => return Err(trouble),
            }
        }
        Ok(refused)
    }

    async fn stamp(&self, reference: &WorkloadRef, at: DateTime<Utc>) -> Result<(), CallError> {
        let at = at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let annotations = json!({ "annotations": { RESTARTED_AT: at } });
        let patch = json!({ "spec": { "template": { "metadata": annotations } } });
        match reference.kind {
            WorkloadKind::Deployment => self.patch::<Deployment>(reference, patch).await,
            WorkloadKind::StatefulSet => self.patch::<StatefulSet>(reference, patch).await,
            WorkloadKind::DaemonSet => self.patch::<DaemonSet>(reference, patch).await,
        }
    }

    async fn patch<K>(
        &self,
        reference: &WorkloadRef,
        patch: serde_json::Value,
    ) -> Result<(), CallError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), self.namespace);
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        let what = format!("restarting {}", named(reference));
        in_time(&what, api.patch(&reference.name, &params, &Patch::Merge(patch))).await.map(drop)
    }

    async fn get(&self, reference: &WorkloadRef) -> Result<Option<Workload>, CallError> {
        let name = reference.name.as_str();
        let what = format!("reading {}", named(reference));
        let (client, namespace) = (self.client.clone(), self.namespace);
        Ok(match reference.kind {
            WorkloadKind::Deployment => {
                let api = Api::<Deployment>::namespaced(client, namespace);
                in_time(&what, api.get_opt(name)).await?.and_then(of_deployment)
            }
            WorkloadKind::StatefulSet => {
                let api = Api::<StatefulSet>::namespaced(client, namespace);
                in_time(&what, api.get_opt(name)).await?.and_then(of_stateful_set)
            }
            WorkloadKind::DaemonSet => {
                let api = Api::<DaemonSet>::namespaced(client, namespace);
                in_time(&what, api.get_opt(name)).await?.and_then(of_daemon_set)
            }
        })
    }
}

/// Calls `changed` whenever one of the workloads changes, for `most` at the longest.
pub(super) async fn watch(
    client: Client,
    namespace: String,
    restart: Vec<WorkloadRef>,
    most: Duration,
    changed: impl Fn(),
) {
    let changes = select_all(restart.iter().map(|reference| match reference.kind {
        WorkloadKind::Deployment => changes::<Deployment>(&client, &namespace, &reference.name),
        WorkloadKind::StatefulSet => changes::<StatefulSet>(&client, &namespace, &reference.name),
        WorkloadKind::DaemonSet => changes::<DaemonSet>(&client, &namespace, &reference.name),
    }));
    // The end is no loss: then it is looked at again, and watched again.
    drop(tokio::time::timeout(most, changes.for_each(async |()| changed())).await);
}

fn changes<K>(
    client: &Client,
    namespace: &str,
    name: &str,
) -> futures::stream::BoxStream<'static, ()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let api: Api<PartialObjectMeta<K>> = Api::namespaced(client.clone(), namespace);
    let one = watcher::Config::default().fields(&format!("metadata.name={name}"));
    watcher::watcher(api, one).default_backoff().touched_objects().map(|_| ()).boxed()
}

/// `Deployment checkout`.
fn named(reference: &WorkloadRef) -> String {
    format!("{:?} {}", reference.kind, reference.name)
}

fn restarted_at(template: &PodTemplateSpec) -> Option<DateTime<Utc>> {
    let annotations = template.metadata.as_ref()?.annotations.as_ref()?;
    Some(DateTime::parse_from_rfc3339(annotations.get(RESTARTED_AT)?).ok()?.to_utc())
}

fn state(workload: &Workload, restart_at: DateTime<Utc>) -> RolloutState {
    match workload.stuck {
        Some(why) => RolloutState::Blocked(why.to_owned()),
        None if restarted_at(&workload.template) < Some(restart_at) => RolloutState::NotRestarted,
        None if workload.rolled_out => RolloutState::Complete,
        None => RolloutState::InProgress,
    }
}

/// As `kubectl rollout status` judges it.
fn of_deployment(deployment: Deployment) -> Option<Workload> {
    let spec = deployment.spec?;
    let status = deployment.status.unwrap_or_default();
    let wanted = spec.replicas.unwrap_or(1);
    let updated = status.updated_replicas.unwrap_or_default();
    let rolled_out = status.observed_generation >= deployment.metadata.generation
        && updated >= wanted
        && status.replicas.unwrap_or_default() <= updated
        && status.available_replicas.unwrap_or_default() >= updated;
    let paused = spec.paused.unwrap_or_default();
    let stuck = paused.then_some("it is paused: its pods are not restarted");
    Some(Workload { selector: spec.selector, template: spec.template, rolled_out, stuck })
}

fn of_stateful_set(set: StatefulSet) -> Option<Workload> {
    let spec = set.spec?;
    let status = set.status.unwrap_or_default();
    let wanted = spec.replicas.unwrap_or(1);
    let rolled_out = status.observed_generation >= set.metadata.generation
        && status.updated_replicas.unwrap_or_default() >= wanted
        && status.ready_replicas.unwrap_or_default() >= wanted;
    let strategy = spec.update_strategy.unwrap_or_default();
    let partition = strategy.rolling_update.and_then(|update| update.partition).unwrap_or_default();
    let stuck = match strategy.type_.as_deref() {
        Some("OnDelete") => Some("its update strategy is OnDelete: its pods are not restarted"),
        _ if partition > 0 => Some("its update has a partition: not all of its pods are restarted"),
        _ => None,
    };
    Some(Workload { selector: spec.selector, template: spec.template, rolled_out, stuck })
}

fn of_daemon_set(set: DaemonSet) -> Option<Workload> {
    let spec = set.spec?;
    let status = set.status.unwrap_or_default();
    let wanted = status.desired_number_scheduled;
    let rolled_out = status.observed_generation >= set.metadata.generation
        && status.updated_number_scheduled.unwrap_or_default() >= wanted
        && status.number_available.unwrap_or_default() >= wanted;
    let strategy = spec.update_strategy.unwrap_or_default();
    let stuck = (strategy.type_.as_deref() == Some("OnDelete"))
        .then_some("its update strategy is OnDelete: its pods are not restarted");
    Some(Workload { selector: spec.selector, template: spec.template, rolled_out, stuck })
}

/// A pod that runs and takes a Secret's values when it starts, and never again.
fn takes_once(pod: &Pod, secret: &str) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return false;
    }
    let Some(spec) = &pod.spec else { return false };
    let volumes = volumes_of(spec, secret);
    let init = spec.init_containers.iter().flatten();
    spec.containers
        .iter()
        .chain(init)
        .any(|container| in_environment(container, secret) || by_sub_path(container, &volumes))
}

fn volumes_of<'p>(spec: &'p PodSpec, secret: &str) -> Vec<&'p str> {
    let has = |volume: &&k8s_openapi::api::core::v1::Volume| {
        let own = volume.secret.as_ref().and_then(|source| source.secret_name.as_deref());
        let projected = volume.projected.iter().flat_map(|source| source.sources.iter().flatten());
        let mut projected = projected.filter_map(|source| source.secret.as_ref());
        own == Some(secret) || projected.any(|source| source.name == secret)
    };
    spec.volumes.iter().flatten().filter(has).map(|volume| volume.name.as_str()).collect()
}

fn in_environment(container: &Container, secret: &str) -> bool {
    let keys = container.env.iter().flatten().filter_map(|variable| {
        variable.value_from.as_ref()?.secret_key_ref.as_ref().map(|key| key.name.as_str())
    });
    let whole = container
        .env_from
        .iter()
        .flatten()
        .filter_map(|source| source.secret_ref.as_ref().map(|secret| secret.name.as_str()));
    keys.chain(whole).any(|name| name == secret)
}

fn by_sub_path(container: &Container, volumes: &[&str]) -> bool {
    container.volume_mounts.iter().flatten().any(|mount| {
        volumes.contains(&mount.name.as_str())
            && (mount.sub_path.is_some() || mount.sub_path_expr.is_some())
    })
}

fn shortened(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    if names.len() > MOST_NAMES {
        let more = names.len() - MOST_NAMES;
        names.truncate(MOST_NAMES);
        names.push(format!("and {more} more"));
    }
    names
}

enum CallError {
    Forbidden,
    Failed(Failure),
}

async fn in_time<T>(
    what: &str,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, CallError> {
    let call = async {
        match tokio::time::timeout(KUBE_DEADLINE, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => Err(CallError::Forbidden),
            Ok(Err(error)) => Err(CallError::Failed(trouble::of_kube(what, &error))),
            Err(_) => Err(CallError::Failed(trouble::of_timeout(what))),
        }
    };
    let word = |failure: &CallError| match failure {
        CallError::Forbidden => "Forbidden",
        CallError::Failed(trouble) => trouble.reason.as_str(),
    };
    telemetry::trace_request(telemetry::kubernetes_span(what), word, call).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({ "metadata": { "name": "p" }, "spec": spec })).unwrap()
    }

    #[test]
    fn pods_that_are_never_updated_are_told_from_those_that_are() {
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
            assert_eq!(takes_once(&pod(spec.clone()), "shop-auth0"), expected, "{spec}");
        }
    }

    #[test]
    fn a_rollout_is_done_when_all_pods_are_new_and_ready() {
        let at: DateTime<Utc> = "2026-11-23T10:00:00Z".parse().unwrap();
        let deployment =
            |stamp: &str, observed: i64, updated: i32, available: i32, paused: bool| {
                let stamp = json!({ "annotations": { RESTARTED_AT: stamp } });
                let deployment: Deployment = serde_json::from_value(json!({
                    "metadata": { "generation": 2 },
                    "spec": {
                        "replicas": 2, "paused": paused,
                        "selector": {}, "template": { "metadata": stamp },
                    },
                    "status": {
                        "observedGeneration": observed, "replicas": 2,
                        "updatedReplicas": updated, "availableReplicas": available,
                    },
                }))
                .unwrap();
                state(&of_deployment(deployment).unwrap(), at)
            };
        let (before, exactly, after) =
            ("2026-11-23T09:59:59Z", "2026-11-23T10:00:00Z", "2026-11-23T12:00:01+01:00");
        assert_eq!(deployment(before, 2, 2, 2, false), RolloutState::NotRestarted);
        assert_eq!(deployment("yesterday", 2, 2, 2, false), RolloutState::NotRestarted);
        assert_eq!(deployment(exactly, 1, 2, 2, false), RolloutState::InProgress);
        assert_eq!(deployment(exactly, 2, 1, 2, false), RolloutState::InProgress);
        assert_eq!(deployment(exactly, 2, 2, 1, false), RolloutState::InProgress);
        assert_eq!(deployment(exactly, 2, 2, 2, false), RolloutState::Complete);
        assert_eq!(deployment(after, 2, 2, 2, false), RolloutState::Complete);
        assert!(matches!(deployment(exactly, 2, 2, 2, true), RolloutState::Blocked(_)));
    }

    #[test]
    fn many_names_are_shortened() {
        let names = (0..14).map(|number| format!("pod-{number:02}")).collect();
        let short = shortened(names);
        assert_eq!((short.len(), short[10].as_str()), (11, "and 4 more"));
    }
}
