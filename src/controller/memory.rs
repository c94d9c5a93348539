//! What this process remembers of a resource between passes. Losing it costs a question or two,
//! never a secret: what must not be lost is in the status and in the target Secret.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};

use crate::auth0::ClientSecret;

/// What is remembered of one resource.
#[derive(Default)]
pub(super) struct Remembered {
    /// Failures in a row.
    pub(super) failures: u32,
    /// When Auth0 last refused the published secret.
    pub(super) refused_at: Option<DateTime<Utc>>,
    /// A value that `rotate-secret` returned and that isn't published yet, and when it came.
    pub(super) answer: Option<(ClientSecret, std::time::Instant)>,
    /// What the last pass that came to rest has seen.
    pub(super) settled: Option<Settled>,
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
    /// When there will be something to do.
    pub(super) wake: Option<DateTime<Utc>>,
}

/// All that is remembered, by the UID of the resource.
#[derive(Default)]
pub(super) struct Memory(Mutex<HashMap<String, Remembered>>);

impl Memory {
    /// Looks at, or changes, what is remembered of a resource.
    pub(super) fn with<T>(&self, uid: &str, look: impl FnOnce(&mut Remembered) -> T) -> T {
        look(self.lock().entry(uid.to_owned()).or_default())
    }

    /// Forgets a resource that is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// Forgets resources for which `exists` is false, unless a secret of theirs is in hand.
    pub(super) fn prune(&self, exists: impl Fn(&str) -> bool) {
        self.lock().retain(|uid, remembered| remembered.answer.is_some() || exists(uid));
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
