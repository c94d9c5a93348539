//! What the machine is told: facts about the resource, its target Secret and Auth0, never a value.

use chrono::{DateTime, Utc};

use crate::{request::Request, status::Status, trouble::Rejection};

/// All that [`crate::decide()`] knows.
///
/// Resource and target are read from the API server in the same pass. What needs a question to
/// Auth0 is absent until [`crate::Step`] asks for it, and is forgotten when the pass ends.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The generation of the resource's spec.
    pub generation: i64,
    /// The status of the resource as it is stored.
    pub status: Status,
    /// The request that stands in the resource's annotation.
    pub request: Option<Request>,
    /// The resource is marked as one whose initial rotation has been started.
    pub initialized: bool,
    /// Our finalizer is on the resource: an answer of `rotate-secret` may be outstanding.
    pub has_finalizer: bool,
    /// The resource is being deleted.
    pub is_deleting: bool,
    /// What the target Secret holds.
    pub target: Target,
    /// What Auth0 says of the client.
    pub client: ClientObservation,
    /// Whether the client signs ID tokens with its secret, if the client was read in this pass.
    pub signs_with_secret: Option<bool>,
    /// When Auth0 was asked for that.
    pub client_read_at: Option<DateTime<Utc>>,
    /// Whether Auth0 accepts the target Secret's current value.
    pub accepted: Option<bool>,
    /// When Auth0 was last asked that and refused, as far as this process remembers.
    pub rejected_at: Option<DateTime<Utc>>,
    /// This process holds a value that `rotate-secret` returned and that the target Secret doesn't
    /// have.
    pub has_unpublished_response: bool,
    /// The attempt that the record speaks of was made by this process, and its call has ended:
    /// nothing of it is on its way any more.
    pub attempt_finished: bool,
    /// The API server said in this pass that it would take the target Secret of a rotation.
    pub dry_run_passed: bool,
    /// A list of the tenant's clients showed another secret than the target Secret has. The list may
    /// be older than what was done since: it is a reason to look, and nothing more.
    pub drift_suspected: bool,
    /// The pods, by name, that take the target Secret in a way that is never updated and that no
    /// restart covers.
    pub unreached_pods: UnreachedPods,
    /// How far the restarts of consumers have come, if it was asked in this pass.
    pub rollouts: Option<Vec<Rollout>>,
    /// Auth0 acknowledged in this pass that it has the value numbered after the rotation in progress.
    pub secret_set: bool,
}

/// The target Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// It could not be read. A decision is never asked for then, only what becomes of the failure.
    Unknown,
    /// There is none.
    Absent,
    /// There is one that may not be written.
    Rejected(Rejection),
    /// There is one, and it is ours to write.
    Owned(OwnedTarget),
}

/// What a target Secret that is ours holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedTarget {
    /// The number of the value to try first. `None`: there is no value, or its number is unknown.
    pub current: Option<u64>,
    /// The number of the value to try second. `None`: there is no value, or its number is unknown.
    pub fallback: Option<u64>,
    /// There is a value to try first, whatever its number.
    pub has_current: bool,
    /// Someone else wrote values or numbers since we did: neither can be relied on.
    pub tampered: bool,
    /// Keys, labels and annotations are what the spec asks for.
    pub in_sync: bool,
}

/// What Auth0's Management API says of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientObservation {
    /// It has not been asked in this pass.
    NotRead,
    /// The client may not be rotated; the refusal says why.
    Rejected(Rejection),
    /// The client can be rotated.
    Found(SecretMatch),
}

/// How the client's secret at Auth0 compares with the values in the target Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecretMatch {
    /// It is the current one.
    Current,
    /// It is the fallback.
    Fallback,
    /// The target Secret doesn't have it.
    Other,
    /// The Management API doesn't tell: a scope is missing, or the answer carried no secret.
    Unreadable,
}

/// What is known of pods that will never see what is written into the target Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UnreachedPods {
    /// It has not been asked in this pass.
    #[default]
    NotChecked,
    /// Their names; none is good.
    Pods(Vec<String>),
    /// Pods can't be listed; why.
    Unknown(String),
}

/// A consumer that is restarted in a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// Kind and name, as in `Deployment checkout`.
    pub name: String,
    /// How far it has come.
    pub state: RolloutState,
}

/// How far a restart has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RolloutState {
    /// Its pod template doesn't have this rotation's time.
    NotRestarted,
    /// Not all of its pods are new and ready.
    InProgress,
    /// All of its pods are new and ready.
    Complete,
    /// It doesn't exist, or may not be restarted; why.
    Blocked(String),
}
