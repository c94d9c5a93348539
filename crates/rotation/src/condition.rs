//! Conditions of a resource, which follow the Kubernetes API conventions and kstatus.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{reason::Reason, text::bounded};

/// Condition types.
pub mod condition_types {
    /// Applications can log in with the values in the target Secret, as far as the operator knows. Stays
    /// `True` through a healthy rotation.
    pub const READY: &str = "Ready";
    /// A rotation is in progress that has not reached its grace period, or the operator retries after
    /// a failure.
    pub const RECONCILING: &str = "Reconciling";
    /// Nothing happens until a user acts; the message says how.
    pub const STALLED: &str = "Stalled";
    /// The request annotation is valid and was carried out. `Unknown` while the request waits. A
    /// request that is not accepted affects no other condition.
    pub const REQUEST_ACCEPTED: &str = "RequestAccepted";
    /// Updates of the target Secret reach every Pod that uses it, directly or by a restart.
    pub const CONSUMERS_REACHED: &str = "ConsumersReached";
    /// The client signs ID tokens with its secret, so applications that validate them need the new
    /// secret at once. A warning.
    pub const SIGNS_WITH_SECRET: &str = "SignsWithSecret";
    /// The target Secret has the owner reference that `spec.target.deletionPolicy` asks for. Present
    /// only if the cluster ever denied it.
    pub const OWNER_REFERENCE_SET: &str = "OwnerReferenceSet";
    /// A probe does not show whether Auth0 accepts a secret of this client. A warning.
    pub const PROBE_INCONCLUSIVE: &str = "ProbeInconclusive";
    /// The client authenticates with a secret that the operator can rotate. Absent as long as nothing
    /// speaks against it.
    pub const CLIENT_ROTATABLE: &str = "ClientRotatable";
    /// Auth0 rejects the secret that the last `revoke` removed.
    pub const REVOKED_SECRET_REJECTED: &str = "RevokedSecretRejected";
    /// No other party keeps changing what the operator writes. Set once one did.
    pub const IN_SYNC: &str = "InSync";
    /// The operator can use the tenant.
    pub const TENANT_READY: &str = "TenantReady";
}

/// One aspect of the current state of the resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type of the condition, such as Ready.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// Machine-readable reason for the status.
    pub reason: String,
    /// Human-readable explanation, with the remedy if you must act.
    pub message: String,
    /// Generation of the spec that the condition was set for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the status of the condition last changed.
    pub last_transition_time: DateTime<Utc>,
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// The operator does not know.
    Unknown,
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// Maximum length of a message in characters, because messages can quote other systems.
pub const MESSAGE_LIMIT: usize = 1024;

impl Condition {
    /// Returns a condition that transitions at `now`. The message is put on one line and cut at
    /// [`MESSAGE_LIMIT`].
    pub fn new(
        type_: &str,
        status: impl Into<ConditionStatus>,
        reason: Reason,
        message: &str,
        observed_generation: Option<i64>,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            type_: type_.to_owned(),
            status: status.into(),
            reason: reason.as_str().to_owned(),
            message: bounded(message, MESSAGE_LIMIT),
            observed_generation,
            last_transition_time: now,
        }
    }
}

/// Returns the condition of this type, if it is present.
pub fn find_condition<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Returns whether the condition of this type is present and `True`.
pub fn is_condition_true(conditions: &[Condition], type_: &str) -> bool {
    find_condition(conditions, type_)
        .is_some_and(|condition| condition.status == ConditionStatus::True)
}

/// Adds or replaces a condition. The transition time moves only when the status flips, so setting
/// the same condition again changes nothing.
pub fn set_condition(conditions: &mut Vec<Condition>, mut new: Condition) {
    match conditions.iter_mut().find(|present| present.type_ == new.type_) {
        Some(present) => {
            if present.status == new.status {
                new.last_transition_time = present.last_transition_time;
            }
            *present = new;
        }
        None => conditions.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn ready(status: bool, message: &str, generation: i64, now: i64) -> Condition {
        let reason = if status { Reason::Published } else { Reason::NotConfirmed };
        Condition::new(condition_types::READY, status, reason, message, Some(generation), at(now))
    }

    #[test]
    fn transition_time_moves_only_when_the_status_flips() {
        let mut conditions = Vec::new();
        set_condition(&mut conditions, ready(true, "a", 1, 1));
        set_condition(&mut conditions, ready(true, "b", 2, 2));
        let found = find_condition(&conditions, condition_types::READY).unwrap();
        assert_eq!((found.last_transition_time, found.message.as_str()), (at(1), "b"));
        set_condition(&mut conditions, ready(false, "c", 2, 3));
        let found = find_condition(&conditions, condition_types::READY).unwrap();
        assert_eq!(found.last_transition_time, at(3));
        assert_eq!(conditions.len(), 1);
    }

    #[test]
    fn message_is_bounded() {
        let condition = ready(true, &"ß".repeat(5000), 1, 1);
        assert_eq!(condition.message.chars().count(), MESSAGE_LIMIT);
    }
}
