//! Results of dry runs that rotations share.
//!
//! Policies and webhooks select Secrets by namespace and labels, so that one dry run shows what happens
//! to all Secrets of a namespace with the same labels. When many rotations are due at once, only the
//! first ones ask. The real write after the dry run is checked for each Secret.

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

/// Properties of a write by which policies and webhooks select it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct AdmissionKey {
    namespace: String,
    /// Labels of the present Secret; `None` if it does not exist.
    present: Option<BTreeMap<String, String>>,
    written: BTreeMap<String, String>,
    has_owner: bool,
}

impl AdmissionKey {
    pub(super) fn new(namespace: &str, rendered: &Rendered, present: Option<&Snapshot>) -> Self {
        Self {
            namespace: namespace.to_owned(),
            present: present.map(|present| present.metadata.labels.clone().unwrap_or_default()),
            written: rendered.labels().clone(),
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
