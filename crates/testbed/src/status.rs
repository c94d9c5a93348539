//! The status of a ClientSecretRotation as anyone reads it from the API server.
//!
//! Only what is looked at, and words instead of enumerations: a phase or cause that it doesn't
//! know is shown as it is.

use chrono::{DateTime, Utc};
use serde::Deserialize;

/// The status of a ClientSecretRotation.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Status {
    pub conditions: Vec<Condition>,
    pub current: Option<u64>,
    pub next_rotation_time: Option<DateTime<Utc>>,
    pub last_handled_request: Option<String>,
    pub rotation: Option<Rotation>,
    pub history: Vec<Ended>,
}

/// The rotation in progress.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Rotation {
    pub number: u64,
    pub cause: String,
    pub strategy: String,
    pub phase: String,
}

/// A rotation that ended.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Ended {
    pub number: u64,
    pub cause: String,
    pub outcome: String,
    pub message: String,
}

/// A condition of any resource.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub reason: String,
    pub message: String,
}

impl Status {
    /// The condition named `kind`, if it is there.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// The condition named `kind`, if it is there and true.
    pub fn holds(&self, kind: &str) -> Option<&Condition> {
        self.condition(kind).filter(|condition| condition.status == "True")
    }

    /// What stands in the way, in the operator's words: the first condition that isn't as it
    /// should be.
    pub fn obstacle(&self) -> Option<String> {
        let stalled = self.holds("Stalled");
        let is_false = |kind| self.condition(kind).filter(|condition| condition.status != "True");
        let wrong = stalled.or_else(|| is_false("TenantReady")).or_else(|| is_false("Ready"))?;
        Some(format!("{} is {}: {}: {}", wrong.kind, wrong.status, wrong.reason, wrong.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_with_what_it_has() {
        let status: Status = serde_json::from_value(serde_json::json!({
            "current": 2,
            "surprise": {"of": "a later version"},
            "rotation": {"number": 3, "cause": "Request", "phase": "Grace", "attempts": 1},
            "history": [
                {"number": 2, "cause": "Schedule", "outcome": "Completed", "startedAt": "x"},
                {"number": 1, "cause": "Schedule", "outcome": "Superseded"},
            ],
            "conditions": [{"type": "Ready", "status": "True", "reason": "Published"}],
        }))
        .unwrap();
        assert_eq!(status.history[1].outcome, "Superseded");
        assert_eq!(status.rotation.as_ref().unwrap().phase, "Grace");
        assert_eq!(status.obstacle(), None);
    }

    #[test]
    fn an_obstacle_is_told_in_the_operators_words() {
        let condition = |kind: &str, status: &str| Condition {
            kind: kind.into(),
            status: status.into(),
            reason: "Unreachable".into(),
            message: "check the endpoint".into(),
        };
        let mut status = Status::default();
        assert_eq!(status.obstacle(), None);
        status.conditions = vec![condition("Ready", "False"), condition("TenantReady", "False")];
        let told = status.obstacle().unwrap();
        assert_eq!(told, "TenantReady is False: Unreachable: check the endpoint");
    }
}
