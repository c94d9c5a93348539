//! Restarts of workloads, and how far they are.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use kube::ResourceExt as _;
use leader_election::WriteFence;
use rotation::{
    Deferral, ErrorClass, Phase, RestartLevel, RestartNeed, Rollout, RolloutState, Status, Verb,
};

use super::{
    pods::{self, PodEvidence},
    restart_stamp::Coverage,
    workloads::{CLOCK_TOLERANCE, Found, Others, Workload, Workloads, describe},
};
use crate::{
    api::{ClientSecretRotation, ParsedRotation, REQUEST_ANNOTATION, WorkloadKind, WorkloadRef},
    controller::{
        error::{Error, KubeFailure},
        kube_call::check_fence,
        watch::Stores,
    },
};

/// How often a restart is tried when the workload changes at the same time.
const MAX_CONFLICTS: usize = 10;

impl Workloads<'_> {
    /// Returns how far the workloads are with the restarts that the status asks for. `rejections`
    /// names those that could not be restarted.
    pub(super) async fn rollouts(
        &self,
        status: &Status,
        rejections: &BTreeMap<String, String>,
    ) -> Result<Vec<Rollout>, Error> {
        let rollouts = self.restart.iter().enumerate().map(async |(index, reference)| {
            let name = describe(reference);
            let state = if self.is_enabled {
                self.rollout_state(index, reference, status, rejections.get(&name)).await?
            } else {
                RolloutState::Blocked("restarts are disabled in this operator".into())
            };
            Ok(Rollout { name, state })
        });
        join_all(rollouts).await.into_iter().collect()
    }

    async fn rollout_state(
        &self,
        index: usize,
        reference: &WorkloadRef,
        status: &Status,
        rejection: Option<&String>,
    ) -> Result<RolloutState, Error> {
        let workload = match self.get(reference).await? {
            Found::Present(workload) => workload,
            missing => return Ok(RolloutState::Blocked(describe_missing(&missing, reference))),
        };
        let taken = self.secret.taken_by_workload(workload.template.as_ref());
        let Some(need) = status.restart_need(taken) else { return Ok(RolloutState::Complete) };
        let is_stamped = workload.stamp.covers(self.uid, &need);
        if is_stamped && !workload.is_rolled_out && workload.blocked.is_none() {
            return Ok(RolloutState::InProgress);
        }
        let evidence = pods::evidence(self, &workload, &need).await?;
        if let Some(state) = judge(&workload, is_stamped, evidence) {
            return Ok(state);
        }
        Ok(if let Some(rejection) = rejection {
            RolloutState::Rejected(rejection.clone())
        } else if !workload.stamp.is_empty() && !workload.is_rolled_out {
            RolloutState::Deferred(Deferral::OtherRestart)
        } else if self.others.get(index).is_some_and(|others| others.is_pending) {
            RolloutState::Deferred(Deferral::OthersPending)
        } else {
            RolloutState::NotRestarted { changed_by: workload.changed_by() }
        })
    }

    /// Restarts the workloads with these names. Returns those that could not be restarted, and why.
    pub(super) async fn restart(
        &self,
        names: &[String],
        status: &Status,
        restart_at: DateTime<Utc>,
        fence: WriteFence<'_>,
    ) -> Result<BTreeMap<String, String>, Error> {
        let mut rejections = BTreeMap::new();
        for (index, reference) in self.restart.iter().enumerate() {
            let name = describe(reference);
            if !self.is_enabled || !names.contains(&name) {
                continue;
            }
            match self.restart_one(index, reference, status, restart_at, fence).await {
                Ok(()) => {}
                Err(error) if matches!(error.class(), ErrorClass::Invalid | ErrorClass::Denied) => {
                    rejections.insert(name, error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(rejections)
    }

    /// Adds the rotation to the stamp of a workload, and those of other resources that have published.
    /// A stamp that was written meanwhile is read again, so that none is lost.
    async fn restart_one(
        &self,
        index: usize,
        reference: &WorkloadRef,
        status: &Status,
        restart_at: DateTime<Utc>,
        fence: WriteFence<'_>,
    ) -> Result<(), Error> {
        for _ in 0..MAX_CONFLICTS {
            let Found::Present(workload) = self.get(reference).await? else { return Ok(()) };
            let taken = self.secret.taken_by_workload(workload.template.as_ref());
            let Some(need) = status.restart_need(taken) else { return Ok(()) };
            if workload.blocked.is_some() || workload.stamp.covers(self.uid, &need) {
                return Ok(());
            }
            let others = self.others.get(index).map(|others| &others.published);
            let stamp = workload.stamp.renewed(self.uid, &need, others.unwrap_or(&BTreeMap::new()));
            let version = workload.metadata.resource_version.as_deref();
            // All Pods that are older than this are replaced, where a time decides about that.
            let restart_at = restart_at.max(need.since + CLOCK_TOLERANCE);
            check_fence(fence)?;
            match self.write_stamp(reference, version, &stamp, restart_at).await {
                Err(error) if error.class() == ErrorClass::Conflict => {}
                result => return result,
            }
        }
        let action = format!("restarting {}, which changes all the time", describe(reference));
        Err(Error::Kube { action, failure: KubeFailure::Unavailable(409) })
    }
}

/// Judges a workload by its Pods. Returns `None` if it must be restarted.
fn judge(workload: &Workload, is_stamped: bool, evidence: PodEvidence) -> Option<RolloutState> {
    let is_settled = workload.is_rolled_out || workload.blocked.is_some();
    let state = match evidence {
        PodEvidence::AllNew if is_settled => RolloutState::Complete,
        PodEvidence::AllNew => RolloutState::InProgress,
        PodEvidence::Old if workload.is_scaled_to_zero => RolloutState::OldPods,
        PodEvidence::None | PodEvidence::Unknown if workload.is_scaled_to_zero => {
            RolloutState::Complete
        }
        _ if let Some(why) = workload.blocked => RolloutState::Blocked(why.to_owned()),
        PodEvidence::Old if is_stamped => RolloutState::OldPods,
        PodEvidence::None | PodEvidence::Unknown if is_stamped => RolloutState::Complete,
        PodEvidence::Old | PodEvidence::None | PodEvidence::Unknown => return None,
    };
    Some(state)
}

fn describe_missing(missing: &Found, reference: &WorkloadRef) -> String {
    let is_rollout = reference.kind == WorkloadKind::Rollout;
    match missing {
        Found::Present(_) | Found::Absent => "it does not exist",
        Found::KindMissing if is_rollout => "Argo Rollouts is not installed in this cluster",
        Found::KindMissing => "the API server does not know its kind",
        Found::Forbidden if is_rollout => {
            "the operator may not read it; the chart's value restarts.argoRollouts allows that"
        }
        Found::Forbidden => "the operator may not read it",
    }
    .to_owned()
}

/// Returns, for each workload, the other resources of the namespace that restart it.
pub(super) fn others(
    stores: &Stores,
    resource: &ClientSecretRotation,
    now: DateTime<Utc>,
) -> Vec<Others> {
    let (uid, namespace) = (resource.uid(), resource.namespace());
    let mut others: Vec<Others> = Vec::new();
    others.resize_with(resource.spec.consumers.restart.len(), Others::default);
    for other in stores.rotations() {
        let ParsedRotation { 0: Ok(other) } = &*other else { continue };
        if other.namespace() != namespace || other.uid() == uid {
            continue;
        }
        for (reference, entry) in resource.spec.consumers.restart.iter().zip(&mut others) {
            if other.spec.consumers.restart.contains(reference) {
                entry.published.insert(other.uid().unwrap_or_default(), published(other));
                entry.is_pending |= is_pending(other, now);
            }
        }
    }
    others
}

/// Returns what a resource has certainly published.
fn published(resource: &ClientSecretRotation) -> Option<Coverage> {
    let rotation = resource.status.as_ref()?.rotation.as_ref()?;
    let level = match rotation.phase {
        Phase::Staging => RestartLevel::Staged,
        Phase::Confirming | Phase::Grace => RestartLevel::Promoted,
        Phase::Started | Phase::Activating | Phase::Withdrawing => return None,
    };
    Some(Coverage { number: rotation.number, level })
}

/// Returns whether a resource is about to publish.
fn is_pending(resource: &ClientSecretRotation, now: DateTime<Utc>) -> bool {
    let status = resource.status.clone().unwrap_or_default();
    if let Some(rotation) = &status.rotation {
        return rotation.phase == Phase::Started;
    }
    let is_due = status.next_rotation_time.is_some_and(|due| due <= now);
    let request = resource.annotations().get(REQUEST_ANNOTATION);
    let request = request.map(|text| rotation::Request::parse(text));
    let is_requested = request.is_some_and(|request| {
        let is_new = Some(&request.text) != status.last_handled_request.as_ref();
        is_new && matches!(request.verb, Ok(Verb::Rotate | Verb::Revoke))
    });
    (is_due && !resource.spec.suspend) || is_requested
}

/// Returns whether a Pod of a workload is certainly new enough: it has the stamp of the restart, or it
/// was created later than the values were published.
pub(super) fn is_new_pod(pod: &kube::api::ObjectMeta, uid: &str, need: &RestartNeed) -> bool {
    let stamp = super::workloads::stamp_of(Some(pod));
    let created_at = pod.creation_timestamp.as_ref().map(|time| time.0);
    stamp.covers(uid, need)
        || created_at.is_some_and(|at| pods::to_utc(at) > need.since + CLOCK_TOLERANCE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workload(is_rolled_out: bool, is_paused: bool, replicas: i32) -> Workload {
        Workload {
            metadata: Default::default(),
            kind: WorkloadKind::Deployment,
            selector: None,
            template: None,
            stamp: Default::default(),
            is_rolled_out,
            is_scaled_to_zero: replicas == 0,
            blocked: is_paused.then_some("it is paused"),
        }
    }

    #[test]
    fn pods_decide_whether_a_workload_must_be_restarted() {
        use PodEvidence::{AllNew, None as NoPods, Old, Unknown};
        use RolloutState::{Blocked, Complete, InProgress, OldPods};
        let blocked = || Some(Blocked("it is paused".into()));
        for (evidence, stamped, rolled_out, paused, replicas, expected) in [
            (AllNew, false, true, false, 1, Some(Complete)),
            (AllNew, false, false, false, 1, Some(InProgress)),
            (AllNew, false, false, true, 1, Some(Complete)),
            (Old, false, true, false, 1, None),
            (Old, true, true, false, 1, Some(OldPods)),
            (Old, true, true, true, 1, blocked()),
            (Old, false, true, false, 0, Some(OldPods)),
            (Unknown, false, true, false, 1, None),
            (Unknown, true, true, false, 1, Some(Complete)),
            (Unknown, false, true, true, 1, blocked()),
            (Unknown, false, true, true, 0, Some(Complete)),
            // The Pods may not have been created yet.
            (NoPods, false, true, false, 1, None),
            (NoPods, true, true, false, 1, Some(Complete)),
            (NoPods, false, true, false, 0, Some(Complete)),
        ] {
            let found = judge(&workload(rolled_out, paused, replicas), stamped, evidence);
            assert_eq!(found, expected, "{evidence:?} {stamped} {rolled_out} {paused} {replicas}");
        }
    }

    #[test]
    fn pod_is_new_by_its_stamp_or_its_creation_time() {
        let need = RestartNeed {
            number: 3,
            level: RestartLevel::Staged,
            since: "2026-11-30T10:00:00Z".parse().unwrap(),
        };
        let stamp = crate::api::RESTART_ANNOTATION;
        for (created_at, annotation, expected) in [
            ("2026-11-30T09:59:59Z", "", false),
            ("2026-11-30T10:00:03Z", "", false),
            ("2026-11-30T10:00:04Z", "", true),
            ("2026-11-30T10:00:00Z", "u=3-staged", true),
            ("2026-11-30T10:00:00Z", "u=2-promoted,v=3-staged", false),
        ] {
            let pod = serde_json::from_value(json!({
                "creationTimestamp": created_at, "annotations": { stamp: annotation },
            }))
            .unwrap();
            assert_eq!(is_new_pod(&pod, "u", &need), expected, "{created_at} {annotation}");
        }
    }
}
