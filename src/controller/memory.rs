//! What this process remembers of a resource between passes. Losing it costs a question or two,
//! never a secret: what must not be lost is in the status and in the target Secret.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use chrono::{DateTime, Utc};

use super::{authority::Vouched, tenants::credentials_watch::CredentialsWatch};
use auth0_client::ClientSecret;

/// What is remembered of one resource.
#[derive(Default)]
pub(super) struct Remembered {
    /// Failures in a row.
    pub(super) failures: u32,
    /// When Auth0 last refused the published secret.
    pub(super) rejected_at: Option<DateTime<Utc>>,
    /// A value that `rotate-secret` returned and that isn't published yet, and when it came.
    pub(super) answer: Option<(ClientSecret, Instant)>,
    /// The attempt, by the time it was recorded at, whose call was made here and has ended.
    pub(super) ended_attempt: Option<DateTime<Utc>>,
    /// The number of the rotation whose activation was last tried here, with permission.
    pub(super) attempted: Option<u64>,
    /// What Auth0 said of the client's metadata, where a permission is due to that.
    pub(super) vouched: Option<Vouched>,
    /// The tenant's domain, for an answer that has to be published when the tenant is gone.
    pub(super) domain: Option<String>,
    /// What a list of the tenant's clients showed (`None`: the client isn't there), and when.
    pub(super) listed: Option<(Option<ClientSecret>, Instant)>,
    /// The watch on consumers whose rollouts are waited for. It ends when this is dropped.
    pub(super) rollout_watch: Option<Watching>,
    /// The watch on the credentials Secret, when this is a tenant that waits for it to change.
    pub(super) credentials_watch: Option<CredentialsWatch>,
    /// When the status of a tenant, if this is one, told what is left of its budget.
    pub(super) budget_told: Option<Instant>,
    /// Something that no version tells of has changed: a consumer's rollout.
    pub(super) poked: bool,
    /// What the last pass that came to rest has seen.
    pub(super) settled: Option<Settled>,
    /// What the last pass that failed has seen.
    pub(super) failed: Option<Failed>,
}

/// A task that watches something, until this is dropped.
pub(super) struct Watching(pub(super) tokio::task::JoinHandle<()>);

impl Watching {
    pub(super) fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The state of the world in which there was nothing to do before a certain time.
#[derive(Clone, Default)]
pub(super) struct Settled {
    /// Versions of the resource that the pass has read or written.
    pub(super) resource_versions: Vec<String>,
    /// Versions of the target Secret that the pass has read or written.
    pub(super) secret_versions: Vec<String>,
    /// The tenant resource's version.
    pub(super) tenant_version: Option<String>,
    /// Another resource stood in the way.
    pub(super) is_claimed: bool,
    /// When there will be something to do.
    pub(super) wake: Option<DateTime<Utc>>,
}

/// What a failure was met with. What the operator itself writes when it fails is no reason to try
/// again sooner.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) generation: Option<i64>,
    pub(super) request: Option<String>,
    pub(super) deleting: bool,
    pub(super) tenant_version: Option<String>,
}

/// A failure, and when to try again if nobody wishes otherwise meanwhile.
#[derive(Clone)]
pub(super) struct Failed {
    pub(super) wishes: Wishes,
    pub(super) not_before: Instant,
    /// The tenant was closed: its limit was used up, or it was taken to be down.
    pub(super) closed: bool,
}

/// All that is remembered, by the UID of the resource.
#[derive(Default)]
pub(super) struct Memory(Mutex<HashMap<String, Remembered>>);

impl Memory {
    /// Looks at, or changes, what is remembered of a resource.
    pub(super) fn with<T>(&self, uid: &str, look: impl FnOnce(&mut Remembered) -> T) -> T {
        look(self.lock().entry(uid.to_owned()).or_default())
    }

    /// Forgets a resource that is gone, and what it had in hand: nobody can publish that.
    pub(super) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// Forgets the resources for which `exists` is false.
    pub(super) fn prune(&self, exists: impl Fn(&str) -> bool) {
        self.lock().retain(|uid, _| exists(uid));
    }

    /// How many resources are remembered.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// The resources whose secret is in hand.
    pub(super) fn in_hand(&self) -> Vec<String> {
        let in_hand = |(uid, remembered): (&String, &Remembered)| {
            remembered.answer.is_some().then(|| uid.clone())
        };
        self.lock().iter().filter_map(in_hand).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Remembered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
