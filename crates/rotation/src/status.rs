//! The durable record: the status of a `ClientSecretRotation`, which the machine reads and writes.
//!
//! Values of secrets live in the target Secret, under the same numbers. Nothing here is derived
//! from a value.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;

/// The status of a `ClientSecretRotation`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Reconciling, Stalled and TenantReady.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The number of the secret that applications should try first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 0))]
    pub current: Option<u64>,
    /// The number of the superseded secret that is kept as a fallback until its grace period is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 0))]
    pub previous: Option<u64>,
    /// When the current secret became active at Auth0, or was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rotation_time: Option<DateTime<Utc>>,
    /// When the next scheduled rotation is due, jitter included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation_time: Option<DateTime<Utc>>,
    /// The text of the last request annotation that was acted upon; the same text again does nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_request: Option<String>,
    /// Why that request was not carried out, if it wasn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_rejection: Option<String>,
    /// The rotation in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// The last ten rotations that ended, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
}

/// One numbered change of a client's secret, from its start until the previous value is retired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// The number of the rotation and of the secret that it brings.
    #[schemars(with = "i64", range(min = 0))]
    pub number: u64,
    /// Why it was started.
    pub cause: Cause,
    /// How the secret is changed.
    pub strategy: Strategy,
    /// How far it has come.
    pub phase: Phase,
    /// When it was started.
    pub started_at: DateTime<Utc>,
    /// When the pair of current and next was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged_at: Option<DateTime<Utc>>,
    /// When the last attempt to change the secret at Auth0 was recorded, before it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activating_at: Option<DateTime<Utc>>,
    /// When the new secret, known to be at Auth0, was published as the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<DateTime<Utc>>,
    /// When Auth0 was first seen to accept the new secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<DateTime<Utc>>,
    /// When the previous secret may be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retire_at: Option<DateTime<Utc>>,
    /// How often a change of the secret at Auth0 was attempted.
    #[serde(default)]
    #[schemars(with = "i32", range(min = 0))]
    pub attempts: u32,
    /// Set when consumers can't be helped by waiting: the staging period is left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_staging: bool,
    /// Set when the secret is compromised: the previous one goes as soon as Auth0 accepts the new one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_grace: bool,
    /// Set when the next secret is one that was the current one before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rollback: bool,
    /// When consumers were to be restarted: the time that their pod templates are stamped with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_at: Option<DateTime<Utc>>,
    /// How the rotation will end once the next secret is withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn_as: Option<Outcome>,
    /// What made this rotation unusual, for its history entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Why a rotation was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Cause {
    /// `initial: Rotate` of a resource that is new.
    Initial,
    /// A due time of the schedule.
    Schedule,
    /// The annotation `auth0-rotator.dev/request`.
    Request,
    /// The secret was changed at Auth0 by someone else, for example in its dashboard.
    Drift,
    /// The record of a rotation was lost while its values were still in the target Secret.
    Recovery,
}

/// How a secret is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Strategy {
    /// Call `rotate-secret`, publish what comes back.
    #[default]
    Rotate,
    /// Publish a value of our own as a fallback first, wait, then set it with `PATCH`.
    Staged,
}

/// How far a rotation has come. What each phase means after a crash is in [`crate::decide()`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Recorded; nothing has been changed at Auth0.
    Started,
    /// Staged only: the pair of current and next is published, consumers are given time to see it.
    Staging,
    /// A change at Auth0 was recorded and perhaps made: its outcome is not known yet.
    Activating,
    /// The new secret is published; Auth0 has not been seen to accept it yet.
    Confirming,
    /// Auth0 accepts the new secret; the previous one stays until its grace period is over.
    Grace,
    /// The next secret is taken out of the target Secret again; Auth0 doesn't have it.
    Withdrawing,
}

/// A rotation that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// The number of the rotation.
    #[schemars(with = "i64", range(min = 0))]
    pub number: u64,
    /// Why it was started.
    pub cause: Cause,
    /// When it was started.
    pub started_at: DateTime<Utc>,
    /// When its secret was published as the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<DateTime<Utc>>,
    /// When the secret before it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<DateTime<Utc>>,
    /// How it ended.
    pub outcome: Outcome,
    /// What a person should know of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// How a rotation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    /// Its secret is the current one and the one before it is gone.
    Completed,
    /// Another change of the secret came before it was over.
    Superseded,
    /// It was withdrawn on request, before its secret was activated.
    Aborted,
    /// Auth0 did not take its secret; the one before it stays.
    Rejected,
}

/// How many ended rotations are remembered.
pub const HISTORY_LIMIT: usize = 10;

impl Status {
    /// The highest number ever given out, as far as this status knows.
    pub fn highest_number(&self) -> u64 {
        let ended = self.history.iter().map(|entry| entry.number).max();
        let running = self.rotation.as_ref().map(|rotation| rotation.number);
        [self.current, self.previous, ended, running].into_iter().flatten().max().unwrap_or(0)
    }

    /// Ends the rotation in progress, if there is one, and remembers it.
    pub(crate) fn end_rotation(&mut self, outcome: Outcome, now: DateTime<Utc>) {
        let Some(rotation) = self.rotation.take() else {
            return;
        };
        let entry = HistoryEntry {
            number: rotation.number,
            cause: rotation.cause,
            started_at: rotation.started_at,
            activated_at: rotation.activated_at,
            retired_at: (outcome == Outcome::Completed).then_some(now),
            outcome,
            message: rotation.message.unwrap_or_default(),
        };
        self.history.insert(0, entry);
        self.history.truncate(HISTORY_LIMIT);
    }
}

impl Rotation {
    /// A rotation that starts now.
    pub(crate) fn start(
        number: u64,
        cause: Cause,
        strategy: Strategy,
        now: DateTime<Utc>,
    ) -> Rotation {
        Rotation {
            number,
            cause,
            strategy,
            phase: Phase::Started,
            started_at: now,
            staged_at: None,
            activating_at: None,
            activated_at: None,
            confirmed_at: None,
            retire_at: None,
            attempts: 0,
            skip_staging: false,
            skip_grace: false,
            rollback: false,
            restart_at: None,
            withdrawn_as: None,
            message: None,
        }
    }
}
