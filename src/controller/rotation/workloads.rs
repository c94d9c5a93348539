//! The workloads that are restarted so that their Pods read the target Secret.

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use chrono::{DateTime, SecondsFormat, SubsecRound as _, TimeDelta, Utc};
use futures::{
    StreamExt as _,
    stream::{BoxStream, select_all},
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{DaemonSet, Deployment, StatefulSet},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry,
};
use kube::{
    Api, Client, Resource,
    api::{ObjectMeta, PartialObjectMeta, Patch, PatchParams},
    core::Selector,
    runtime::{WatchStreamExt as _, watcher},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    argo_rollout::Rollout,
    restart_stamp::{Coverage, RestartStamp},
    taken_values::PublishedSecret,
};
use crate::{
    api::{FIELD_MANAGER, RESTART_ANNOTATION, WorkloadKind, WorkloadRef},
    controller::{
        error::{Error, KubeFailure},
        kube_call::kube_call,
    },
};

/// Longest difference between the API server's clock, which creates Pods, and this process's.
pub(super) const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(3);

/// Shortest time between two notifications of a watch on workloads. A rollout changes its workload's
/// status with every Pod.
const WATCH_PAUSE: Duration = Duration::from_millis(500);

/// Longest name of a field manager that a message quotes, in characters.
const MANAGER_LIMIT: usize = 64;

/// The workloads of one namespace that a resource restarts.
pub(super) struct Workloads<'a> {
    pub(super) client: &'a Client,
    pub(super) namespace: &'a str,
    pub(super) restart: &'a [WorkloadRef],
    /// Whether the operator may restart workloads. Otherwise it makes no call.
    pub(super) is_enabled: bool,
    /// Whether the operator may list Pods.
    pub(super) may_list_pods: bool,
    /// UID of the resource.
    pub(super) uid: &'a str,
    pub(super) secret: PublishedSecret<'a>,
    /// The other resources of the namespace that restart each workload.
    pub(super) others: Vec<Others>,
}

/// The other resources that restart one workload.
#[derive(Default)]
pub(super) struct Others {
    /// How far each of them was seen to have published, by UID.
    pub(super) published: BTreeMap<String, Option<Coverage>>,
    /// Whether one of them is about to publish.
    pub(super) is_pending: bool,
}

/// Parts of a workload that decide about a restart and show the progress of its rollout.
pub(super) struct Workload {
    pub(super) metadata: ObjectMeta,
    pub(super) kind: WorkloadKind,
    /// Selector of its Pods. `None` if it can't be parsed.
    pub(super) selector: Option<Selector>,
    pub(super) template: Option<PodTemplateSpec>,
    pub(super) stamp: RestartStamp,
    /// Whether all Pods have the present template and are ready.
    pub(super) is_rolled_out: bool,
    /// Whether it has no Pods, and wants none.
    pub(super) is_scaled_to_zero: bool,
    /// Why a new template would not restart the Pods, if it would not.
    pub(super) blocked: Option<&'static str>,
}

/// A workload as the API server has it.
pub(super) enum Found {
    Present(Box<Workload>),
    Absent,
    /// The API server doesn't know its kind.
    KindMissing,
    Forbidden,
}

impl Workloads<'_> {
    pub(super) async fn get(&self, reference: &WorkloadRef) -> Result<Found, Error> {
        match reference.kind {
            WorkloadKind::Deployment => self.get_as(reference, from_deployment).await,
            WorkloadKind::StatefulSet => self.get_as(reference, from_stateful_set).await,
            WorkloadKind::DaemonSet => self.get_as(reference, from_daemon_set).await,
            WorkloadKind::Rollout => self.get_as(reference, from_rollout).await,
        }
    }

    async fn get_as<K>(
        &self,
        reference: &WorkloadRef,
        convert: fn(K) -> Option<Workload>,
    ) -> Result<Found, Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let action = format!("reading {}", describe(reference));
        let api = Api::<K>::namespaced(self.client.clone(), self.namespace);
        let call = async {
            match api.get_opt(&reference.name).await {
                Ok(Some(object)) => Ok(match convert(object) {
                    Some(workload) => Found::Present(Box::new(workload)),
                    None => Found::Absent,
                }),
                Ok(None) => Ok(Found::Absent),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(Found::KindMissing),
                Err(error) => Err(error),
            }
        };
        match kube_call(&action, call).await {
            Err(error) if is_forbidden(&error) => Ok(Found::Forbidden),
            result => result,
        }
    }

    /// Writes a stamp to the version of a workload that was read.
    pub(super) async fn write_stamp(
        &self,
        reference: &WorkloadRef,
        version: Option<&str>,
        stamp: &RestartStamp,
        restart_at: DateTime<Utc>,
    ) -> Result<(), Error> {
        let annotations = json!({ "annotations": { RESTART_ANNOTATION: stamp.to_string() } });
        let mut patch = match reference.kind {
            WorkloadKind::Rollout => {
                let time = (restart_at + TimeDelta::seconds(1)).trunc_subsecs(0);
                let restart_at = time.to_rfc3339_opts(SecondsFormat::Secs, true);
                json!({ "metadata": annotations, "spec": { "restartAt": restart_at } })
            }
            _ => json!({ "spec": { "template": { "metadata": annotations } } }),
        };
        patch["metadata"]["resourceVersion"] = json!(version);
        match reference.kind {
            WorkloadKind::Deployment => self.patch::<Deployment>(reference, patch).await,
            WorkloadKind::StatefulSet => self.patch::<StatefulSet>(reference, patch).await,
            WorkloadKind::DaemonSet => self.patch::<DaemonSet>(reference, patch).await,
            WorkloadKind::Rollout => self.patch::<Rollout>(reference, patch).await,
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
}

/// Calls `changed` for changes of the workloads, until `timeout` has passed. The next reconcile then
/// watches again.
pub(super) async fn watch(
    client: Client,
    namespace: String,
    restart: Vec<WorkloadRef>,
    timeout: Duration,
    changed: impl Fn(),
) {
    let mut changes = select_all(restart.iter().map(|reference| match reference.kind {
        WorkloadKind::Deployment => changes::<Deployment>(&client, &namespace, &reference.name),
        WorkloadKind::StatefulSet => changes::<StatefulSet>(&client, &namespace, &reference.name),
        WorkloadKind::DaemonSet => changes::<DaemonSet>(&client, &namespace, &reference.name),
        WorkloadKind::Rollout => changes::<Rollout>(&client, &namespace, &reference.name),
    }))
    .ready_chunks(64);
    let notify = async {
        while changes.next().await.is_some() {
            changed();
            tokio::time::sleep(WATCH_PAUSE).await;
        }
    };
    drop(tokio::time::timeout(timeout, notify).await);
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
pub(super) fn describe(reference: &WorkloadRef) -> String {
    format!("{:?} {}", reference.kind, reference.name)
}

pub(super) fn is_forbidden(error: &Error) -> bool {
    matches!(error, Error::Kube { failure: KubeFailure::Forbidden { .. }, .. })
}

impl Workload {
    /// Returns the field manager that last changed the Pod template, other than the operator, with
    /// only characters that are safe in a message.
    pub(super) fn changed_by(&self) -> Option<String> {
        let entries = self.metadata.managed_fields.iter().flatten();
        let others = entries.filter(|entry| is_other_template_manager(entry));
        let last = others.max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?;
        let name: String = last.manager.as_deref()?.chars().take(MANAGER_LIMIT).collect();
        let is_safe = |char: char| char.is_ascii_alphanumeric() || "-_./:@".contains(char);
        Some(name.replace(|char: char| !is_safe(char), "_"))
    }
}

fn is_other_template_manager(entry: &ManagedFieldsEntry) -> bool {
    let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
    let has_template = fields.is_some_and(|fields| fields["f:spec"].get("f:template").is_some());
    let is_operator = entry.manager.as_deref() == Some(FIELD_MANAGER);
    has_template && !is_operator && entry.subresource.as_deref().unwrap_or_default().is_empty()
}

pub(super) fn stamp_of(metadata: Option<&ObjectMeta>) -> RestartStamp {
    let annotations = metadata.and_then(|metadata| metadata.annotations.as_ref());
    let text = annotations.and_then(|annotations| annotations.get(RESTART_ANNOTATION));
    text.map(|text| RestartStamp::parse(text)).unwrap_or_default()
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
    Some(Workload {
        metadata: deployment.metadata,
        kind: WorkloadKind::Deployment,
        selector: Selector::try_from(spec.selector).ok(),
        stamp: stamp_of(spec.template.metadata.as_ref()),
        template: Some(spec.template),
        is_rolled_out,
        is_scaled_to_zero: replicas == 0 && status.replicas.unwrap_or_default() == 0,
        blocked: is_paused.then_some("it is paused, so its Pods are not restarted"),
    })
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
    Some(Workload {
        metadata: set.metadata,
        kind: WorkloadKind::StatefulSet,
        selector: Selector::try_from(spec.selector).ok(),
        stamp: stamp_of(spec.template.metadata.as_ref()),
        template: Some(spec.template),
        is_rolled_out,
        is_scaled_to_zero: replicas == 0 && status.replicas == 0,
        blocked,
    })
}

fn from_daemon_set(set: DaemonSet) -> Option<Workload> {
    let spec = set.spec?;
    let status = set.status.unwrap_or_default();
    let scheduled = status.desired_number_scheduled;
    let is_observed = status.observed_generation >= set.metadata.generation;
    let is_rolled_out = is_observed
        && status.updated_number_scheduled.unwrap_or_default() >= scheduled
        && status.number_available.unwrap_or_default() >= scheduled;
    let strategy = spec.update_strategy.unwrap_or_default();
    Some(Workload {
        metadata: set.metadata,
        kind: WorkloadKind::DaemonSet,
        selector: Selector::try_from(spec.selector).ok(),
        stamp: stamp_of(spec.template.metadata.as_ref()),
        template: Some(spec.template),
        is_rolled_out,
        is_scaled_to_zero: false,
        blocked: (strategy.type_.as_deref() == Some("OnDelete")).then_some(ON_DELETE),
    })
}

fn from_rollout(rollout: Rollout) -> Option<Workload> {
    let is_rolled_out = rollout.is_restarted();
    let status = rollout.status.unwrap_or_default();
    let selector = rollout.spec.selector.and_then(|selector| Selector::try_from(selector).ok());
    let is_scaled_to_zero =
        rollout.spec.replicas == Some(0) && status.replicas.unwrap_or_default() == 0;
    Some(Workload {
        stamp: stamp_of(Some(&rollout.metadata)),
        metadata: rollout.metadata,
        kind: WorkloadKind::Rollout,
        selector,
        template: rollout.spec.template,
        is_rolled_out,
        is_scaled_to_zero,
        blocked: None,
    })
}

const ON_DELETE: &str = "its update strategy is OnDelete, so its Pods are not restarted";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rollout_is_complete_when_all_pods_are_new_and_ready() {
        let is_rolled_out = |observed: i64, updated: i32, available: i32| {
            let deployment = json!({
                "metadata": { "generation": 2 },
                "spec": { "replicas": 2, "selector": {}, "template": {} },
                "status": {
                    "observedGeneration": observed, "replicas": 2,
                    "updatedReplicas": updated, "availableReplicas": available,
                },
            });
            from_deployment(serde_json::from_value(deployment).unwrap()).unwrap().is_rolled_out
        };
        assert!(is_rolled_out(2, 2, 2));
        assert!(!is_rolled_out(1, 2, 2));
        assert!(!is_rolled_out(2, 1, 2));
        assert!(!is_rolled_out(2, 2, 1));
    }

    #[test]
    fn paused_deployment_is_blocked() {
        let deployment = json!({
            "metadata": {}, "spec": { "paused": true, "selector": {}, "template": {} },
        });
        let workload = from_deployment(serde_json::from_value(deployment).unwrap()).unwrap();
        assert!(workload.blocked.unwrap().contains("paused"));
    }

    #[test]
    fn names_the_manager_that_last_changed_the_template() {
        let entry = |manager: &str, time: &str, fields: Value, subresource: &str| {
            json!({
                "manager": manager, "operation": "Update", "time": time, "fieldsType": "FieldsV1",
                "fieldsV1": fields, "subresource": subresource,
            })
        };
        let template = json!({ "f:spec": { "f:template": { "f:spec": {} } } });
        let deployment = json!({
            "metadata": { "managedFields": [
                entry("kubectl", "2026-11-30T10:00:00Z", template.clone(), ""),
                entry("argo\ncd <b>", "2026-11-30T10:00:02Z", template.clone(), ""),
                entry(FIELD_MANAGER, "2026-11-30T10:00:03Z", template.clone(), ""),
                entry("hpa", "2026-11-30T10:00:04Z", json!({ "f:spec": { "f:replicas": {} } }), ""),
                entry("manager", "2026-11-30T10:00:05Z", template, "status"),
            ] },
            "spec": { "selector": {}, "template": {} },
        });
        let workload = from_deployment(serde_json::from_value(deployment).unwrap()).unwrap();
        assert_eq!(workload.changed_by().as_deref(), Some("argo_cd__b_"));
    }
}
