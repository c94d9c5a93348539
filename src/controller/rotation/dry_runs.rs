//! Results of dry runs that rotations share.
//!
//! Policies, webhooks and limits tell Secrets of a namespace apart by their labels, keys and sizes. Where
//! these are equal, one dry run shows what happens to all: when many rotations are due at once, only the
//! first ones ask. A policy may also select a name. With `Rotate`, a real write of the Secret follows
//! before Auth0 is called. A Secret that does not exist has none, and is always asked for.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::controller::target_secret::{Rendered, Snapshot};

/// How long the result of a dry run holds for other Secrets: as long as other facts that are read
/// before a change.
const LIFETIME: Duration = Duration::from_secs(10);

/// Maximum number of results.
const CAPACITY: usize = 1024;

/// Properties of a write by which policies, webhooks and limits distinguish it. Never printed: it has the
/// lengths of values.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct AdmissionKey {
    namespace: String,
    present_labels: BTreeMap<String, String>,
    present_data: BTreeMap<String, usize>,
    labels: BTreeMap<String, String>,
    data: BTreeMap<String, usize>,
    has_owner: bool,
}

impl AdmissionKey {
    /// Returns the properties of a write over an existing Secret.
    pub(super) fn new(namespace: &str, rendered: &Rendered, present: &Snapshot) -> Self {
        Self {
            namespace: namespace.to_owned(),
            present_labels: present.metadata.labels.clone().unwrap_or_default(),
            present_data: present.data_lengths(),
            labels: rendered.labels().clone(),
            data: rendered.data_lengths(),
            has_owner: rendered.has_owner(),
        }
    }
}

/// The dry runs that passed a short time ago.
#[derive(Default)]
pub(super) struct DryRuns(Mutex<HashMap<AdmissionKey, Instant>>);

impl DryRuns {
    /// Returns whether such a write passed a dry run a short time ago.
    pub(super) fn has_passed(&self, key: &AdmissionKey) -> bool {
        self.0.lock().get(key).is_some_and(|passed_at| passed_at.elapsed() < LIFETIME)
    }

    /// Records that a dry run passed that was sent at `asked_at`.
    pub(super) fn note(&self, key: AdmissionKey, asked_at: Instant) {
        let mut passed = self.0.lock();
        passed.retain(|_, passed_at| passed_at.elapsed() < LIFETIME);
        if passed.len() < CAPACITY {
            passed.insert(key, asked_at);
        }
    }

    /// Drops the results of a namespace, in which a write was denied.
    pub(super) fn forget(&self, namespace: &str) {
        self.0.lock().retain(|key, _| key.namespace != namespace);
    }
}
