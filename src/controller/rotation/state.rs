//! The in-memory state of one ClientSecretRotation.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use auth0_client::ClientSecret;
use chrono::{DateTime, Utc};
use leader_election::BootInstant;
use rotation::{ProbeControl, RevokedSecret, Sightings};

use super::{authorize::CachedMetadata, contest::Contests, pods::Search};
use crate::controller::{
    state::AbortOnDrop, target_secret::ValueOrigin, write_budget::WriteBudget,
};

/// Shortest time between two reconciles because another party keeps changing the target Secret.
const CONTESTED_PAUSE: Duration = Duration::from_secs(2);

/// The in-memory state of one ClientSecretRotation. What few resources have is boxed.
#[derive(Default)]
pub(super) struct RotationState {
    pub(super) seen_at: SeenAt,
    /// Failures in a row.
    pub(super) failures: u32,
    /// When Auth0 last rejected the published secret.
    pub(super) rejected_at: Option<BootInstant>,
    /// The last negative control.
    pub(super) probe_control: Option<ProbeControl>,
    /// The secret that the last `revoke` removed.
    pub(super) revoked: Option<Box<Revoked>>,
    /// When this process first saw the times of the status.
    pub(super) sightings: Sightings,
    /// The response of `rotate-secret`, until it is published.
    pub(super) unpublished_response: Option<Box<UnpublishedResponse>>,
    /// The attempt, by the time of its record, whose call this process made and which has ended.
    pub(super) finished_attempt: Option<DateTime<Utc>>,
    /// The number of the last rotation that this process tried to activate while it was allowed to.
    pub(super) attempted_number: Option<u64>,
    /// The client's metadata at Auth0, where a permission depends on it.
    pub(super) metadata: Option<CachedMetadata>,
    /// The name of the last target Secret that the resource was seen to have published.
    pub(super) published_target: Option<String>,
    /// The claim of the last reconcile that had nothing left to do.
    pub(super) finished_claim: Option<FinishedClaim>,
    /// The client in the last list of the tenant's clients.
    pub(super) listed: Option<ListedClient>,
    /// The watch on workloads whose rollouts are waited for.
    pub(super) rollout_watch: Option<AbortOnDrop>,
    /// The last restart of workloads that this process made.
    pub(super) restart: Option<Box<RestartMade>>,
    /// The values for which all workloads were seen to be restarted, and the spec that lists them.
    pub(super) rolled_out: Option<(RestartKey, Option<i64>)>,
    /// The last search for Pods that see no update.
    pub(super) unreached_search: Option<Box<Search>>,
    /// When it was last checked whether updates reach all consumers.
    pub(super) consumers_checked_at: Option<DateTime<Utc>>,
    /// When the client was last read.
    pub(super) client_checked_at: Option<DateTime<Utc>>,
    /// Whether a rollout changed, which no version shows.
    pub(super) is_triggered: bool,
    /// Whether this process has considered the resource before.
    pub(super) was_admitted: bool,
    /// Inputs of the last reconcile that had nothing left to do.
    pub(super) last_observed: Option<LastObserved>,
    /// Contests with others over the target Secret and the resource.
    pub(super) contests: Option<Box<Contests>>,
    /// The version of the resource that this process read live or wrote last.
    pub(super) last_version: u64,
    /// A hash of the status that this process stored last.
    pub(super) stored_status: Option<u64>,
    /// How many writes to the API server the resource may still cause.
    pub(super) writes: WriteBudget,
    /// When the cluster last denied a change of the target Secret's owner reference.
    pub(super) owner_denied_at: Option<Instant>,
    /// How the last reconcile failed.
    pub(super) last_failure: Option<Box<LastFailure>>,
}

/// When this process first saw a resource.
pub(super) struct SeenAt(pub(super) Instant);

impl Default for SeenAt {
    fn default() -> Self {
        Self(Instant::now())
    }
}

/// Facts on which the claim of a resource on its client depended.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct FinishedClaim {
    pub(super) tenant_version: Option<String>,
    /// Whether no other resource took precedence.
    pub(super) is_owner: bool,
}

/// The values of a rotation that workloads are restarted for: its number, and whether they are
/// promoted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct RestartKey {
    pub(super) number: u64,
    pub(super) is_promoted: bool,
}

/// A restart of workloads.
pub(super) struct RestartMade {
    pub(super) key: RestartKey,
    /// Workloads that could not be restarted, and why.
    pub(super) rejections: BTreeMap<String, String>,
}

/// A secret that `rotate-secret` returned and that is not published yet.
pub(super) struct UnpublishedResponse {
    pub(super) secret: ClientSecret,
    /// Where it came from: the tenant may be gone, or elsewhere, when it is published.
    pub(super) origin: ValueOrigin,
    pub(super) received_at: Instant,
}

/// A compromised secret that is not published anymore. Nothing but this has its value.
pub(super) struct Revoked {
    /// The value, until Auth0 rejects it or is not asked again.
    pub(super) secret: Option<ClientSecret>,
    /// Where it is valid: it is sent nowhere else.
    pub(super) origin: ValueOrigin,
    pub(super) observed: RevokedSecret,
}

/// A client in a list of the tenant's clients.
pub(super) struct ListedClient {
    pub(super) secret: ListedSecret,
    pub(super) listed_at: Instant,
}

/// A client's secret in a list of clients.
pub(super) enum ListedSecret {
    /// The list has this secret.
    Present(ClientSecret),
    /// The list has the client without its secret.
    Unreadable,
    /// The client, or its secret, can't be parsed.
    Unusable,
    /// The list does not have the client.
    ClientAbsent,
    /// The list has the client as one that cannot be rotated.
    ClientRejected,
}

/// The versions in which nothing was left to do before a certain time.
#[derive(Clone, Default)]
pub(super) struct LastObserved {
    /// Versions of the resource that the reconcile read or wrote.
    pub(super) resource_versions: Vec<String>,
    /// Versions of the target Secret that the reconcile read or wrote.
    pub(super) secret_versions: Vec<String>,
    pub(super) tenant_version: Option<String>,
    /// Whether another resource took precedence.
    pub(super) is_claimed: bool,
    /// Changes with the tenants whose credentials are in the target Secret.
    pub(super) credentials_version: String,
    /// How often the API server's storage was seen to be restored: resourceVersions repeat then.
    pub(super) restores: u64,
    /// When there is something to do again.
    pub(super) wake: Option<BootInstant>,
    /// When the reconcile ended.
    pub(super) finished_at: Option<Instant>,
}

impl LastObserved {
    /// Returns how long to ignore further changes of a contested target Secret.
    pub(super) fn pause_left(&self) -> Duration {
        let Some(finished_at) = self.finished_at else { return Duration::ZERO };
        CONTESTED_PAUSE.saturating_sub(finished_at.elapsed())
    }
}

/// Inputs of a reconcile that users control. After a failed reconcile, only a change of these brings
/// the next one forward; the operator's own writes don't.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct DesiredInputs {
    pub(super) generation: Option<i64>,
    pub(super) request: Option<String>,
    pub(super) is_deleting: bool,
    pub(super) tenant_version: Option<String>,
}

/// A failed reconcile, and when to retry it.
#[derive(Clone)]
pub(super) struct LastFailure {
    pub(super) inputs: DesiredInputs,
    pub(super) not_before: Instant,
    /// When a change of the inputs may bring the retry forward.
    pub(super) after_change: Instant,
    /// Whether the tenant's rate limit was used up or its circuit breaker was open.
    pub(super) is_throttled: bool,
}
