//! The part of Argo Rollouts' `Rollout` that a restart needs.
//!
//! Its controller replaces each Pod that was created before `spec.restartAt`, and then copies that
//! time to `status.restartedAt`. A changed Pod template would start a whole canary or blue-green
//! update instead.

#![expect(unreachable_pub, reason = "CustomResource generates a public type")]

use chrono::{DateTime, Utc};
use k8s_openapi::{
    api::core::v1::PodTemplateSpec, apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::CustomResource;
use serde::{Deserialize, Serialize};

#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default)]
#[kube(
    group = "argoproj.io",
    version = "v1alpha1",
    kind = "Rollout",
    namespaced,
    status = "RolloutStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutSpec {
    pub replicas: Option<i32>,
    /// Absent if the Rollout refers to a Deployment.
    pub selector: Option<LabelSelector>,
    /// Absent if the Rollout refers to a Deployment.
    pub template: Option<PodTemplateSpec>,
    pub restart_at: Option<String>,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStatus {
    /// A number, in a string.
    pub observed_generation: Option<String>,
    pub restarted_at: Option<String>,
    /// `Healthy`, `Degraded`, `Progressing` or `Paused`.
    pub phase: Option<String>,
    pub replicas: Option<i32>,
}

impl Rollout {
    /// Returns whether the controller has done what the spec says about restarts.
    pub(super) fn is_restarted(&self) -> bool {
        let status = self.status.clone().unwrap_or_default();
        let observed = status.observed_generation.as_deref().and_then(|text| text.parse().ok());
        let generation: i64 = self.metadata.generation.unwrap_or_default();
        if observed.is_some_and(|observed: i64| observed < generation) {
            return false;
        }
        match (&self.spec.restart_at, &status.restarted_at) {
            (None, _) => status.phase.as_deref() == Some("Healthy"),
            (Some(_), None) => false,
            (Some(wanted), Some(done)) => time(wanted).is_some() && time(wanted) == time(done),
        }
    }
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    Some(DateTime::parse_from_rfc3339(text).ok()?.to_utc())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn restart_is_complete_when_the_controller_says_so() {
        let at = "2026-11-30T10:00:00Z";
        for (spec, status, expected) in [
            (json!({}), json!({ "phase": "Healthy", "observedGeneration": "2" }), true),
            (json!({}), json!({ "phase": "Progressing", "observedGeneration": "2" }), false),
            (json!({ "restartAt": at }), json!({ "phase": "Healthy" }), false),
            (json!({ "restartAt": at }), json!({ "restartedAt": at }), true),
            (
                json!({ "restartAt": at }),
                json!({ "restartedAt": at, "observedGeneration": "1" }),
                false,
            ),
            (
                json!({ "restartAt": at }),
                json!({ "restartedAt": "2026-11-30T11:00:00+01:00", "phase": "Paused" }),
                true,
            ),
            (json!({ "restartAt": at }), json!({ "restartedAt": "2026-11-30T09:59:59Z" }), false),
        ] {
            let rollout: Rollout = serde_json::from_value(json!({
                "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
                "metadata": { "name": "web", "generation": 2 }, "spec": spec, "status": status,
            }))
            .unwrap();
            assert_eq!(rollout.is_restarted(), expected, "{spec} {status}");
        }
    }
}
