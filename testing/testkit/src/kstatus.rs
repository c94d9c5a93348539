//! Status of a custom resource as [kstatus] computes it, by which Flux, Helm 4 and `kubectl`-like tools
//! decide whether a release has succeeded.
//!
//! [kstatus]: https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md

use serde::Serialize;
use serde_json::Value;

/// Status of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kstatus {
    /// The actual state is the desired one.
    Current,
    /// The controller works on it.
    InProgress,
    /// The controller cannot reach the desired state.
    Failed,
    /// The resource is being deleted.
    Terminating,
}

impl Kstatus {
    /// Returns the status of a custom resource.
    pub fn of(resource: &impl Serialize) -> Self {
        let resource = serde_json::to_value(resource).unwrap_or_default();
        if resource.pointer("/metadata/deletionTimestamp").is_some() {
            return Self::Terminating;
        }
        let observed = resource.pointer("/status/observedGeneration").and_then(Value::as_i64);
        let generation = resource.pointer("/metadata/generation").and_then(Value::as_i64);
        if observed.is_some() && observed != generation {
            return Self::InProgress;
        }
        let conditions = resource.pointer("/status/conditions").and_then(Value::as_array);
        let conditions = conditions.map(Vec::as_slice).unwrap_or_default();
        for condition in conditions {
            match (condition["type"].as_str(), condition["status"].as_str()) {
                (Some("Reconciling"), Some("True")) => return Self::InProgress,
                (Some("Stalled"), Some("True")) => return Self::Failed,
                _ => {}
            }
        }
        // kstatus falls back to Ready last: anything but True is in progress.
        match conditions.iter().find(|condition| condition["type"] == "Ready") {
            Some(ready) if ready["status"] != "True" => Self::InProgress,
            _ => Self::Current,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status_of(generation: i64, conditions: &[(&str, &str)]) -> Kstatus {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|(type_, status)| json!({ "type": type_, "status": status }))
            .collect();
        Kstatus::of(&json!({
            "metadata": { "generation": 2 },
            "status": { "observedGeneration": generation, "conditions": conditions },
        }))
    }

    #[test]
    fn follows_the_documented_order() {
        assert_eq!(status_of(2, &[("Ready", "True"), ("Stalled", "False")]), Kstatus::Current);
        assert_eq!(status_of(1, &[("Ready", "True")]), Kstatus::InProgress);
        assert_eq!(status_of(2, &[("Ready", "True"), ("Stalled", "True")]), Kstatus::Failed);
        assert_eq!(status_of(2, &[("Reconciling", "True")]), Kstatus::InProgress);
        assert_eq!(status_of(2, &[("Ready", "False")]), Kstatus::InProgress);
        assert_eq!(status_of(2, &[]), Kstatus::Current);
        assert_eq!(Kstatus::of(&json!({ "metadata": { "generation": 1 } })), Kstatus::Current);
        let deleted = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } });
        assert_eq!(Kstatus::of(&deleted), Kstatus::Terminating);
    }
}
