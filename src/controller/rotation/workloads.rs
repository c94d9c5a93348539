//! The workloads that are restarted so that their Pods read the target Secret.

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use futures::{
    StreamExt as _,
    future::join_all,
    stream::{BoxStream, select_all},
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{DaemonSet, Deployment, StatefulSet},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{
    Api, Client, Resource,
    api::{PartialObjectMeta, Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use leader_election::WriteFence;
use rotation::{ErrorClass, Rollout, RolloutState};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    api::{FIELD_MANAGER, WorkloadKind, WorkloadRef},
    controller::{
        error::{Error, KubeFailure},
        kube_call::{check_fence, kube_call},
    },
};

/// The annotation on a Pod template by which `kubectl rollout restart` restarts a workload.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// The workloads of one namespace that a resource restarts.
pub(super) struct Workloads<'a> {
    pub(super) client: &'a Client,
    pub(super) namespace: &'a str,
    pub(super) restart: &'a [WorkloadRef],
    /// Whether the operator may restart workloads. Otherwise it makes no call.
    pub(super) is_enabled: bool,
}

/// Parts of a workload that decide about a restart and show the progress of its rollout.
pub(super) struct Workload {
    pub(super) selector: LabelSelector,
    template: PodTemplateSpec,
    /// Whether all Pods have the present template and are ready.
    is_rolled_out: bool,
    /// Why a new template would not restart the Pods, if it would not.
    blocked: Option<&'static str>,
}

impl<'a> Workloads<'a> {
    /// Returns the progress of the restarts that were ordered for `restart_at`. `rejections` names
    /// the workloads that could not be restarted.
    pub(super) async fn rollouts(
        &self,
        restart_at: DateTime<Utc>,
        rejections: &BTreeMap<String, String>,
    ) -> Result<Vec<Rollout>, Error> {
        let rollouts = self.restart.iter().map(async |reference| {
            let name = describe(reference);
            if !self.is_enabled {
                let state = RolloutState::Blocked("restarts are disabled in this operator".into());
                return Ok(Rollout { name, state });
            }
            let state = match self.get(reference).await {
                Ok(None) => RolloutState::Blocked("it does not exist".into()),
                Ok(Some(workload)) => match rejections.get(&name) {
                    Some(why) => RolloutState::Blocked(why.clone()),
                    None => rollout_state(&workload, restart_at),
                },
                Err(error) if is_forbidden(&error) => {
                    RolloutState::Blocked("the operator may not read it".into())
                }
                Err(error) => return Err(error),
            };
            Ok(Rollout { name, state })
        });
        join_all(rollouts).await.into_iter().collect()
    }

    /// Restarts the workloads that were not restarted for `restart_at` yet, as kubectl does. Returns
    /// those that could not be restarted, and why.
    pub(super) async fn restart(
        &self,
        restart_at: DateTime<Utc>,
        fence: WriteFence<'_>,
    ) -> Result<BTreeMap<String, String>, Error> {
        let mut rejections = BTreeMap::new();
        if !self.is_enabled {
            return Ok(rejections);
        }
        for reference in self.restart {
            let workload = match self.get(reference).await {
                Ok(Some(workload)) => workload,
                Ok(None) => continue,
                Err(error) if is_forbidden(&error) => continue,
                Err(error) => return Err(error),
            };
            if workload.blocked.is_some() || restarted_at(&workload.template) >= Some(restart_at) {
                continue;
            }
            check_fence(fence)?;
            match self.restart_one(reference, restart_at).await {
                Ok(()) => {}
                Err(error) if is_forbidden(&error) => {
                    rejections.insert(describe(reference), "the operator may not patch it".into());
                }
                Err(error) if matches!(error.class(), ErrorClass::Invalid | ErrorClass::Denied) => {
                    rejections.insert(describe(reference), error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(rejections)
    }

    async fn restart_one(
        &self,
        reference: &WorkloadRef,
        restart_at: DateTime<Utc>,
    ) -> Result<(), Error> {
        let restart_at = restart_at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let annotations = json!({ "annotations": { RESTARTED_AT: restart_at } });
        let patch = json!({ "spec": { "template": { "metadata": annotations } } });
        match reference.kind {
            WorkloadKind::Deployment => self.patch::<Deployment>(reference, patch).await,
            WorkloadKind::StatefulSet => self.patch::<StatefulSet>(reference, patch).await,
            WorkloadKind::DaemonSet => self.patch::<DaemonSet>(reference, patch).await,
        }
    }

    async fn patch<K>(&self, reference: &WorkloadRef, patch: Value) -> Result<(), Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), self.namespace);
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        let action = format!("restarting {}", describe(reference));
        kube_call(&action, api.patch(&reference.name, &params, &Patch::Merge(patch))).await?;
        Ok(())
    }

    pub(super) async fn get(&self, reference: &WorkloadRef) -> Result<Option<Workload>, Error> {
        let name = reference.name.as_str();
        let action = format!("reading {}", describe(reference));
        let (client, namespace) = (self.client.clone(), self.namespace);
        Ok(match reference.kind {
            WorkloadKind::Deployment => {
                let api = Api::<Deployment>::namespaced(client, namespace);
                kube_call(&action, api.get_opt(name)).await?.and_then(from_deployment)
            }
            WorkloadKind::StatefulSet => {
                let api = Api::<StatefulSet>::namespaced(client, namespace);
                kube_call(&action, api.get_opt(name)).await?.and_then(from_stateful_set)
            }
            WorkloadKind::DaemonSet => {
                let api = Api::<DaemonSet>::namespaced(client, namespace);
                kube_call(&action, api.get_opt(name)).await?.and_then(from_daemon_set)
            }
        })
    }
}

/// Calls `changed` for each change of one of the workloads, until `timeout` has passed. The next
/// reconcile then watches again.
pub(super) async fn watch(
    client: Client,
    namespace: String,
    restart: Vec<WorkloadRef>,
    timeout: Duration,
    changed: impl Fn(),
) {
    let changes = select_all(restart.iter().map(|reference| match reference.kind {
        WorkloadKind::Deployment => changes::<Deployment>(&client, &namespace, &reference.name),
        WorkloadKind::StatefulSet => changes::<StatefulSet>(&client, &namespace, &reference.name),
        WorkloadKind::DaemonSet => changes::<DaemonSet>(&client, &namespace, &reference.name),
    }));
    drop(tokio::time::timeout(timeout, changes.for_each(async |()| changed())).await);
}

fn changes<K>(client: &Client, namespace: &str, name: &str) -> BoxStream<'static, ()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let api: Api<PartialObjectMeta<K>> = Api::namespaced(client.clone(), namespace);
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    watcher::watcher(api, only).default_backoff().touched_objects().map(|_| ()).boxed()
}

/// Returns kind and name, as in `Deployment checkout`.
fn describe(reference: &WorkloadRef) -> String {
    format!("{:?} {}", reference.kind, reference.name)
}

pub(super) fn is_forbidden(error: &Error) -> bool {
    matches!(error, Error::Kube { failure: KubeFailure::Forbidden { .. }, .. })
}

fn restarted_at(template: &PodTemplateSpec) -> Option<DateTime<Utc>> {
    let annotations = template.metadata.as_ref()?.annotations.as_ref()?;
    Some(DateTime::parse_from_rfc3339(annotations.get(RESTARTED_AT)?).ok()?.to_utc())
}

fn rollout_state(workload: &Workload, restart_at: DateTime<Utc>) -> RolloutState {
    if let Some(why) = workload.blocked {
        return RolloutState::Blocked(why.to_owned());
    }
    if restarted_at(&workload.template) < Some(restart_at) {
        return RolloutState::NotRestarted;
    }
    if workload.is_rolled_out { RolloutState::Complete } else { RolloutState::InProgress }
}

/// Judges the rollout as `kubectl rollout status` does.
fn from_deployment(deployment: Deployment) -> Option<Workload> {
    let spec = deployment.spec?;
    let status = deployment.status.unwrap_or_default();
    let replicas = spec.replicas.unwrap_or(1);
    let updated = status.updated_replicas.unwrap_or_default();
    let is_rolled_out = status.observed_generation >= deployment.metadata.generation
        && updated >= replicas
        && status.replicas.unwrap_or_default() <= updated
        && status.available_replicas.unwrap_or_default() >= updated;
    let is_paused = spec.paused.unwrap_or_default();
    let blocked = is_paused.then_some("it is paused, so its Pods are not restarted");
    Some(Workload { selector: spec.selector, template: spec.template, is_rolled_out, blocked })
}

fn from_stateful_set(set: StatefulSet) -> Option<Workload> {
    let spec = set.spec?;
    let status = set.status.unwrap_or_default();
    let replicas = spec.replicas.unwrap_or(1);
    let is_rolled_out = status.observed_generation >= set.metadata.generation
        && status.updated_replicas.unwrap_or_default() >= replicas
        && status.ready_replicas.unwrap_or_default() >= replicas;
    let strategy = spec.update_strategy.unwrap_or_default();
    let partition = strategy.rolling_update.and_then(|update| update.partition).unwrap_or_default();
    let blocked = match strategy.type_.as_deref() {
        Some("OnDelete") => Some(ON_DELETE),
        _ if partition > 0 => {
            Some("its update strategy has a partition, so not all of its Pods are restarted")
        }
        _ => None,
    };
    Some(Workload { selector: spec.selector, template: spec.template, is_rolled_out, blocked })
}

fn from_daemon_set(set: DaemonSet) -> Option<Workload> {
    let spec = set.spec?;
    let status = set.status.unwrap_or_default();
    let scheduled = status.desired_number_scheduled;
    let is_rolled_out = status.observed_generation >= set.metadata.generation
        && status.updated_number_scheduled.unwrap_or_default() >= scheduled
        && status.number_available.unwrap_or_default() >= scheduled;
    let strategy = spec.update_strategy.unwrap_or_default();
    let blocked = (strategy.type_.as_deref() == Some("OnDelete")).then_some(ON_DELETE);
    Some(Workload { selector: spec.selector, template: spec.template, is_rolled_out, blocked })
}

const ON_DELETE: &str = "its update strategy is OnDelete, so its Pods are not restarted";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rollout_is_complete_when_all_pods_are_new_and_ready() {
        let at: DateTime<Utc> = "2026-11-23T10:00:00Z".parse().unwrap();
        let deployment =
            |restarted_at: &str, observed: i64, updated: i32, available: i32, paused: bool| {
                let template_metadata = json!({ "annotations": { RESTARTED_AT: restarted_at } });
                let deployment: Deployment = serde_json::from_value(json!({
                    "metadata": { "generation": 2 },
                    "spec": {
                        "replicas": 2, "paused": paused,
                        "selector": {}, "template": { "metadata": template_metadata },
                    },
                    "status": {
                        "observedGeneration": observed, "replicas": 2,
                        "updatedReplicas": updated, "availableReplicas": available,
                    },
                }))
                .unwrap();
                rollout_state(&from_deployment(deployment).unwrap(), at)
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
}
