//! Conditions of a resource, after the Kubernetes API conventions and kstatus.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The names of the conditions.
pub mod condition_types {
    /// The target Secret holds a secret that Auth0 accepts, as far as is known. It stays `True`
    /// through a healthy rotation.
    pub const READY: &str = "Ready";
    /// Work is in progress, or is being retried.
    pub const RECONCILING: &str = "Reconciling";
    /// Nothing will happen until a person changes something; the message says what.
    pub const STALLED: &str = "Stalled";
    /// No pod takes the target Secret in a way that is never updated and that no restart covers.
    pub const CONSUMERS_REACHED: &str = "ConsumersReached";
    /// The client signs ID tokens with its secret: whoever validates them with the secret needs the
    /// new one at once. A warning.
    pub const SIGNS_WITH_SECRET: &str = "SignsWithSecret";
    /// The tenant can be used.
    pub const TENANT_READY: &str = "TenantReady";
}

/// `metav1.Condition`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The name of the condition.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: ConditionStatus,
    /// A word for programs that says why.
    pub reason: String,
    /// A sentence for people that says why and what to do.
    pub message: String,
    /// The generation of the spec that this condition speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When `status` last changed.
    pub last_transition_time: DateTime<Utc>,
}

/// The status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It is so.
    True,
    /// It isn't so.
    False,
    /// Nobody knows yet.
    Unknown,
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> ConditionStatus {
        if holds { ConditionStatus::True } else { ConditionStatus::False }
    }
}

/// The longest message that is written, in characters: what comes from outside is bounded.
pub const MESSAGE_LIMIT: usize = 1024;

/// The condition named `type_`, if it is there.
pub fn find_condition<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the condition named `type_` is there and `True`.
pub fn is_condition_true(conditions: &[Condition], type_: &str) -> bool {
    find_condition(conditions, type_)
        .is_some_and(|condition| condition.status == ConditionStatus::True)
}

/// Sets a condition. The time of its transition moves only when its status flips, so that setting
/// what is already so changes nothing.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: impl Into<ConditionStatus>,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: DateTime<Utc>,
) {
    let mut condition = Condition {
        type_: type_.to_owned(),
        status: status.into(),
        reason: reason.to_owned(),
        message: message.chars().take(MESSAGE_LIMIT).collect(),
        observed_generation: generation,
        last_transition_time: now,
    };
    match conditions.iter_mut().find(|present| present.type_ == type_) {
        Some(present) => {
            if present.status == condition.status {
                condition.last_transition_time = present.last_transition_time;
            }
            *present = condition;
        }
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn the_transition_time_moves_only_when_the_status_flips() {
        let mut conditions = Vec::new();
        set_condition(
            &mut conditions,
            condition_types::READY,
            true,
            "Published",
            "a",
            Some(1),
            at(1),
        );
        set_condition(
            &mut conditions,
            condition_types::READY,
            true,
            "Published",
            "b",
            Some(2),
            at(2),
        );
        let ready = find_condition(&conditions, condition_types::READY).unwrap();
        assert_eq!((ready.last_transition_time, ready.message.as_str()), (at(1), "b"));
        set_condition(
            &mut conditions,
            condition_types::READY,
            false,
            "NotConfirmed",
            "c",
            Some(2),
            at(3),
        );
        assert_eq!(
            find_condition(&conditions, condition_types::READY).unwrap().last_transition_time,
            at(3)
        );
        assert_eq!(conditions.len(), 1);
    }

    #[test]
    fn a_message_is_bounded() {
        let mut conditions = Vec::new();
        set_condition(
            &mut conditions,
            condition_types::STALLED,
            true,
            "X",
            &"ß".repeat(5000),
            None,
            at(1),
        );
        assert_eq!(conditions[0].message.chars().count(), MESSAGE_LIMIT);
    }
}
