//! Input of [`crate::decide()`]: facts about the resource, its target Secret and Auth0, never a
//! value.

use chrono::{DateTime, Utc};

use crate::{
    error::Rejection,
    request::Request,
    status::{ProbeControl, Status},
};

/// Everything that [`crate::decide()`] knows.
///
/// The resource and the target Secret are read from the API server in the same reconcile. Facts
/// that cost a request to Auth0 are absent until a [`crate::Step`] asks for them, and are dropped
/// when the reconcile ends.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Generation of the resource's spec.
    pub generation: i64,
    /// Stored status of the resource.
    pub status: Status,
    /// Request annotation of the resource.
    pub request: Option<Request>,
    /// The resource is marked as initialized: its initial rotation has started.
    pub initialized: bool,
    /// The target Secret shows that this resource, or one of its name, published it before.
    pub was_published: bool,
    /// The resource has the finalizer: a response of `rotate-secret` may be outstanding.
    pub has_finalizer: bool,
    /// The resource is being deleted.
    pub is_deleting: bool,
    /// The target Secret.
    pub target: Target,
    /// The client at Auth0.
    pub client: ClientObservation,
    /// Whether the client signs ID tokens with its secret, if the client was read in this
    /// reconcile.
    pub signs_with_secret: Option<bool>,
    /// Whether the client may be rotated, if it was read without its secret in this reconcile.
    pub client_check: ClientCheck,
    /// Doubts about a client that can be rotated, if it was read in this reconcile.
    pub client_doubt: Option<ClientDoubt>,
    /// When the client was read, before the request was sent.
    pub client_read_at: Option<DateTime<Utc>>,
    /// Whether Auth0 accepts the current value of the target Secret, if it was probed in this
    /// reconcile.
    pub accepted: Option<bool>,
    /// Whether Auth0 accepts the fallback of the target Secret, if it was probed in this reconcile.
    pub fallback_accepted: Option<bool>,
    /// The last negative control of this process.
    pub probe_control: Option<ProbeControl>,
    /// When Auth0 last rejected the current value, as far as this process knows.
    pub rejected_at: Option<DateTime<Utc>>,
    /// This process holds a response of `rotate-secret` that is not in the target Secret.
    pub has_unpublished_response: bool,
    /// This process made the recorded attempt and its call has returned, so no request of it is in
    /// flight.
    pub attempt_finished: bool,
    /// The API server accepted the target Secret of a rotation in a dry run in this reconcile.
    pub dry_run_passed: bool,
    /// A list of the tenant's clients showed another secret than the target Secret has, or a client
    /// that must not be rotated. The list may be older than the last change, so the client is read
    /// before anything is concluded.
    pub drift_suspected: bool,
    /// Pods that never see updates of the target Secret and that no restart covers.
    pub unreached_pods: UnreachedPods,
    /// Progress of the workload rollouts for the values that are published now, if it was read in
    /// this reconcile.
    pub rollouts: Option<Vec<Rollout>>,
    /// The compromised secret that the last `revoke` removed, if this process did.
    pub revoked: Option<RevokedSecret>,
    /// This process restarted the workloads for the values that are published now.
    pub restart_attempted: bool,
    /// When this process last checked whether updates reach all consumers.
    pub consumers_checked_at: Option<DateTime<Utc>>,
    /// When this process last read the client.
    pub client_checked_at: Option<DateTime<Utc>>,
    /// Auth0 acknowledged in this reconcile that it has the value of the rotation in progress.
    pub secret_set: bool,
    /// Another party keeps changing the target Secret, so it is restored only after a hold-off.
    pub target_hold_off: Option<TargetHoldOff>,
    /// Another party keeps changing the status or the finalizer of the resource.
    pub contested: Option<Contested>,
    /// Another party keeps removing the finalizer, so rotations go on without it.
    pub finalizer_contested: bool,
}

/// Another party keeps changing the resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contested {
    /// The change and its author.
    pub rejection: Rejection,
    /// When the fight counts as over.
    pub ends: DateTime<Utc>,
}

/// Hold-off for restoring a target Secret that another party keeps changing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetHoldOff {
    /// Until when the target Secret is not restored.
    pub until: DateTime<Utc>,
    /// When the fight counts as over, unless the target Secret has to be restored again before.
    pub ends: DateTime<Utc>,
    /// The change affects the data that applications read: values, or the keys made from them.
    pub affects_values: bool,
    /// The author and the change, as far as the Secret shows them. Starts with the subject of a
    /// sentence, such as `the field manager "kyverno"`.
    pub changed_by: String,
}

/// A compromised secret that is not published anymore, and Auth0's response to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RevokedSecret {
    /// Number that the secret had.
    pub number: u64,
    /// When it was removed from the target Secret, after Auth0 had another one.
    pub removed_at: DateTime<Utc>,
    /// When Auth0 was last asked about it.
    pub probed_at: Option<DateTime<Utc>>,
    /// Whether Auth0 accepted it then, unless it did not say.
    pub is_accepted: Option<bool>,
    /// Number of probes.
    pub probes: u32,
}

impl Observation {
    /// Returns whether anything but the status shows that the operator has handled the resource
    /// before, so that a request may have been handled too.
    pub(crate) fn has_earlier_record(&self) -> bool {
        self.initialized || self.was_published
    }
}

/// The target Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// It could not be read. [`crate::decide()`] is called with this only to find out what must happen
    /// regardless, which writes nothing to it.
    Unknown,
    /// It does not exist.
    Absent,
    /// It exists and the operator may not write it.
    Rejected(Rejection),
    /// It exists and the operator may write it.
    Owned(OwnedTarget),
}

/// Contents of a target Secret that the operator may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedTarget {
    /// Number of the value to try first. `None` if there is no value or its number is unknown.
    pub current: Option<u64>,
    /// Number of the value to try second. `None` if there is no value or its number is unknown.
    pub fallback: Option<u64>,
    /// There is a value to try first, whether or not its number is known.
    pub has_current: bool,
    /// The operator wrote the value to try first, even if another party changed its number or the rest.
    pub current_is_ours: bool,
    /// The same of the value to try second.
    pub fallback_is_ours: bool,
    /// Another party wrote values or numbers after the operator did: neither is reliable.
    pub tampered: bool,
    /// The operator wrote its values, and they came from another Auth0 endpoint than the tenant's:
    /// they are neither sent nor published, so none of them is reported here.
    pub is_from_elsewhere: bool,
    /// Keys, labels and annotations match the spec.
    pub in_sync: bool,
    /// Number of the last rotation that wrote the Secret before it called `rotate-secret`.
    pub write_proven: Option<u64>,
}

/// The client, as Auth0's Management API returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientObservation {
    /// The client was not read in this reconcile.
    NotRead,
    /// The client must not be rotated.
    Rejected(Rejection),
    /// The client can be rotated.
    Found(SecretMatch),
}

/// Result of a read of the client without its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientCheck {
    /// There was none in this reconcile.
    #[default]
    NotMade,
    /// The client must not be rotated.
    Rejected(Rejection),
    /// The client can be rotated.
    Passed,
}

/// Why the rotation of a client's secret may be of no use, or fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientDoubt {
    /// It is a native application without a confidential authentication method.
    Native,
    /// It is a third-party client in strict mode: Auth0 may reject a secret that the operator sets.
    StrictThirdParty,
}

/// How the client's secret at Auth0 compares with the values in the target Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecretMatch {
    /// Equal to the current value.
    Current,
    /// Equal to the fallback.
    Fallback,
    /// Equal to no value in the target Secret.
    Other,
    /// Equal to no value in the target Secret, and impossible to publish: it has control characters,
    /// is too long, or is no text.
    Unpublishable,
    /// The Management API does not return it: a scope is missing, or the response has no secret.
    Unreadable,
}

/// Pods that never see updates of the target Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UnreachedPods {
    /// They were not searched for in this reconcile.
    #[default]
    NotChecked,
    /// Their names. An empty list means that updates reach all Pods.
    Pods(Vec<String>),
    /// Pods cannot be listed, with the reason.
    Unknown(String),
    /// The operator runs without Pod detection.
    Disabled,
}

/// A workload that is restarted in each rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// Kind and name, such as `Deployment checkout`.
    pub name: String,
    /// Progress of the restart.
    pub state: RolloutState,
}

/// Progress of a workload's restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RolloutState {
    /// Pods may run that started before the values were published that they need now.
    NotRestarted {
        /// The field manager that last changed the Pod template, other than the operator.
        changed_by: Option<String>,
    },
    /// As [`Self::NotRestarted`], but another restart may make this one unnecessary.
    Deferred(Deferral),
    /// The API server rejected the restart, with the reason.
    Rejected(String),
    /// Some Pods are old or not ready.
    InProgress,
    /// All Pods of the present template are new and ready, but old ones still run, for example while
    /// they terminate.
    OldPods,
    /// All Pods are new and ready, or none has to be restarted for the present values.
    Complete,
    /// The workload does not exist or cannot be restarted, with the reason.
    Blocked(String),
}

/// Why a restart is deferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deferral {
    /// A restart that the operator ordered for another resource is in progress.
    OtherRestart,
    /// Other resources that restart the workload are about to publish.
    OthersPending,
}

/// Values that Pods take when they start. They do not see later ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenValues {
    /// Some containers take the list, or the fallback.
    pub pair: bool,
    /// Some containers take the current value and no fallback.
    pub current_only: bool,
}
