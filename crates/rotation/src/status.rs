//! Status of a resource: the durable state that [`crate::decide()`] reads and writes.
//!
//! Secret values live in the target Secret, under the same numbers. Nothing here is derived from a
//! value. The doc comments of fields are the text that `kubectl explain` shows.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{condition::Condition, text::bounded};

/// Observed state of a ClientSecretRotation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Generation of the spec that this status reflects. -1 until the operator has seen the resource.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "deserialize_generation"
    )]
    pub observed_generation: Option<i64>,
    /// Conditions: Ready, Reconciling, Stalled, TenantReady, RequestAccepted, ConsumersReached,
    /// SignsWithSecret, ProbeInconclusive, RevokedSecretRejected, ClientRotatable and InSync.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Number of the secret that applications should try first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 0))]
    pub current: Option<u64>,
    /// Number of the superseded secret, which stays as a fallback until the grace period is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 0))]
    pub previous: Option<u64>,
    /// When the current secret became active at Auth0 or was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rotation_time: Option<DateTime<Utc>>,
    /// When the next scheduled rotation is due, including jitter and windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation_time: Option<DateTime<Utc>>,
    /// Value of the last request annotation that was handled. The same value again has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_request: Option<String>,
    /// Why the last handled request was rejected. Empty if it was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_rejection: Option<String>,
    /// Rotation in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// When the operator may follow the next out-of-band change of the secret. Present since it
    /// followed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_hold_off: Option<DriftHoldOff>,
    /// Until when an earlier request to Auth0 without a response may take effect. No other secret is
    /// set before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unanswered_until: Option<DateTime<Utc>>,
    /// Result of the last negative control: a probe with a random value, which Auth0 must reject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_control: Option<ProbeControl>,
    /// The last ten rotations that ended, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
    /// Marker by which an operator that starts recognizes that nothing is left to do. For the operator
    /// only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Box<Settled>>,
}

/// Circumstances under which nothing was left to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settled {
    /// When the operator decided that nothing was left to do.
    pub at: DateTime<Utc>,
    /// When there is something to do again, even if nothing changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// Version of the target Secret.
    #[schemars(length(max = 64))]
    pub target_version: String,
    /// Fingerprint of the other facts that the decision depended on, none of which is secret.
    #[schemars(length(max = 64))]
    pub facts: String,
    /// Fingerprint of the rest of this status.
    #[schemars(length(max = 64))]
    pub status: String,
}

/// One numbered change of a client's secret, from its start until the previous secret is removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// Number of the rotation and of its new secret.
    #[schemars(with = "i64", range(min = 0))]
    pub number: u64,
    /// Why the rotation started.
    pub cause: Cause,
    /// How the secret is changed.
    pub strategy: Strategy,
    /// Current phase of the rotation.
    pub phase: Phase,
    /// When the rotation started.
    pub started_at: DateTime<Utc>,
    /// When the next secret was published as a fallback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged_at: Option<DateTime<Utc>>,
    /// When the last attempt to change the secret at Auth0 was recorded, before the request was
    /// sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activating_at: Option<DateTime<Utc>>,
    /// When the oldest attempt to change the secret whose outcome is not known was recorded. From one
    /// propagation window later, Ready is false until the outcome is known and published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unresolved_since: Option<DateTime<Utc>>,
    /// When the new secret was published as the current one, after Auth0 had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<DateTime<Utc>>,
    /// When the operator first saw Auth0 accept the new secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<DateTime<Utc>>,
    /// When the previous secret may be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retire_at: Option<DateTime<Utc>>,
    /// Number of attempts to change the secret at Auth0.
    #[serde(default)]
    #[schemars(with = "i32", range(min = 0))]
    pub attempts: u32,
    /// Whether the rotation skips the staging period, because waiting helps no application.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_staging: bool,
    /// Whether the rotation skips the grace period, because the previous secret is compromised. It
    /// is removed as soon as Auth0 accepts the new one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_grace: bool,
    /// Whether the next secret is the previous one, which becomes current again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rollback: bool,
    /// When the operator first restarted the workloads in spec.consumers.restart for the values that
    /// are published now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_at: Option<DateTime<Utc>>,
    /// How often the operator restarted these workloads for the values that are published now. It
    /// restarts them again only if another party takes a restart back.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(with = "i32", range(min = 0))]
    pub restart_attempts: u32,
    /// When the operator last restarted these workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_attempted_at: Option<DateTime<Utc>>,
    /// How the rotation ends once its next secret is withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn_as: Option<Outcome>,
    /// Origin of the Auth0 endpoint that the rotation changes the secret at. It is completed at no
    /// other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub origin: Option<String>,
    /// Unusual circumstances, such as a lost response. The history entry keeps this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Hold-off for out-of-band changes of the secret, which grows while they recur.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftHoldOff {
    /// Number of changes in a row that came shortly after the hold-off of the previous one.
    #[schemars(with = "i32", range(min = 0))]
    pub recurrences: u32,
    /// Until when the operator does not follow another change.
    pub until: DateTime<Utc>,
    /// Whether there is another change, so that the published secret is not the one that Auth0 has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
}

/// A negative control. A probe proves that Auth0 accepts a secret only if the same call with a random
/// value is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProbeControl {
    /// How Auth0 answered.
    pub result: ControlResult,
    /// When the probe was made.
    pub probed_at: DateTime<Utc>,
    /// The method for which the result holds.
    pub method: ProbeMethod,
}

/// Answer of Auth0 to a random value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ControlResult {
    /// Auth0 rejected the random value, so a probe that it accepts is a proof.
    Rejected,
    /// Auth0 accepted the random value, so a probe proves nothing.
    Accepted,
    /// No probe gets an answer: status 403, or a rate limit of the client that outlasts the propagation
    /// window.
    Forbidden,
}

/// How to ask Auth0 whether it accepts a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ProbeMethod {
    /// Calls `POST /oauth/revoke` with a token that doesn't exist, which has no effect.
    #[default]
    Revocation,
    /// Requests a token with the grant `client_credentials`. The token is a real one.
    ClientCredentials,
}

/// Why a rotation started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Cause {
    /// `spec.initial: Rotate` of a new resource.
    Initial,
    /// A due time of the schedule.
    Schedule,
    /// The annotation `auth0-rotator.dev/request`.
    Request,
    /// An out-of-band change of the secret, for example in the Auth0 dashboard.
    Drift,
    /// Lost rotation state, while the values were still in the target Secret.
    Recovery,
}

/// How a secret is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Strategy {
    /// Calls `rotate-secret` and publishes the response.
    #[default]
    Rotate,
    /// Publishes a generated value as a fallback, waits, and then sets it with `PATCH`.
    Staged,
}

/// Progress of a rotation. A table in `src/decide/mod.rs` lists what happens after a crash in each
/// phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Recorded; nothing has changed at Auth0.
    Started,
    /// Staged only: the pair of current and next value is published; consumers get time to read it.
    Staging,
    /// A change at Auth0 is recorded and may have been made: its outcome is unknown.
    Activating,
    /// The new secret is published; no probe has seen Auth0 accept it yet.
    Confirming,
    /// Auth0 accepts the new secret; the previous one stays until its grace period is over.
    Grace,
    /// The next secret, which Auth0 does not have, is being removed from the target Secret.
    Withdrawing,
}

/// A rotation that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Number of the rotation.
    #[schemars(with = "i64", range(min = 0))]
    pub number: u64,
    /// Why the rotation started.
    pub cause: Cause,
    /// When the rotation started.
    pub started_at: DateTime<Utc>,
    /// When its new secret was published as the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<DateTime<Utc>>,
    /// When the previous secret was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<DateTime<Utc>>,
    /// How the rotation ended.
    pub outcome: Outcome,
    /// Unusual circumstances, such as a lost response. Empty for an ordinary rotation.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// How a rotation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    /// Its secret is the current one and the previous one was removed.
    Completed,
    /// Another change of the secret came before the rotation was complete.
    Superseded,
    /// A user aborted it before its secret was activated.
    Aborted,
    /// Auth0 or a policy rejected its secret; the previous one stays current.
    Rejected,
}

/// Reads a generation. The CustomResourceDefinition sets -1 in a new resource, so that tools which
/// compare it with the generation of the spec don't take the resource for complete.
fn deserialize_generation<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<i64>, D::Error> {
    let generation = Option::<i64>::deserialize(deserializer)?;
    Ok(generation.filter(|generation| *generation >= 0))
}

/// Maximum length of the message of a history entry in characters.
const HISTORY_MESSAGE_LIMIT: usize = 512;

/// Maximum number of history entries.
pub const HISTORY_LIMIT: usize = 10;

impl Status {
    /// Returns the highest number that this status knows a secret or rotation to have had.
    pub fn highest_number(&self) -> u64 {
        let ended = self.history.iter().map(|entry| entry.number).max();
        let in_progress = self.rotation.as_ref().map(|rotation| rotation.number);
        [self.current, self.previous, ended, in_progress].into_iter().flatten().max().unwrap_or(0)
    }

    /// Moves the rotation in progress, if there is one, to the history.
    pub(crate) fn end_rotation(&mut self, outcome: Outcome, now: DateTime<Utc>) {
        let Some(rotation) = self.rotation.take() else { return };
        let entry = HistoryEntry {
            number: rotation.number,
            cause: rotation.cause,
            started_at: rotation.started_at,
            activated_at: rotation.activated_at,
            retired_at: (outcome == Outcome::Completed).then_some(now),
            outcome,
            message: bounded(&rotation.message.unwrap_or_default(), HISTORY_MESSAGE_LIMIT),
        };
        self.history.insert(0, entry);
        self.history.truncate(HISTORY_LIMIT);
    }
}

/// Returns whether a rotation has not published its secret as the current one, which Auth0 may have.
pub fn is_unresolved(rotation: &Rotation) -> bool {
    match rotation.phase {
        Phase::Started | Phase::Staging | Phase::Activating | Phase::Withdrawing => true,
        Phase::Confirming | Phase::Grace => false,
    }
}

impl Rotation {
    /// Returns a rotation that starts now.
    pub(crate) fn new(number: u64, cause: Cause, strategy: Strategy, now: DateTime<Utc>) -> Self {
        Self {
            number,
            cause,
            strategy,
            phase: Phase::Started,
            started_at: now,
            staged_at: None,
            activating_at: None,
            unresolved_since: None,
            activated_at: None,
            confirmed_at: None,
            retire_at: None,
            attempts: 0,
            skip_staging: false,
            skip_grace: false,
            rollback: false,
            restart_at: None,
            restart_attempts: 0,
            restart_attempted_at: None,
            withdrawn_as: None,
            origin: None,
            message: None,
        }
    }
}
