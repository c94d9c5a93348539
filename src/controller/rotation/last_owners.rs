//! The resources that others last lost against.

use std::collections::HashMap;

use kube::ResourceExt as _;
use parking_lot::Mutex;
use rotation::Reason;

use crate::{api::ClientSecretRotation, controller::object_key::ObjectKey};

/// The resources that others last lost against, by client. They are only checked first: losing
/// this costs time.
#[derive(Default)]
pub(super) struct LastOwners(Mutex<HashMap<Shared, ObjectKey>>);

/// A client or a target Secret.
#[derive(PartialEq, Eq, Hash)]
enum Shared {
    Client(String),
    Target(ObjectKey),
}

impl Shared {
    fn client_of(resource: &ClientSecretRotation) -> Self {
        Self::Client(resource.spec.client_id.clone())
    }

    fn target_of(resource: &ClientSecretRotation) -> Self {
        let namespace = resource.namespace().unwrap_or_default();
        Self::Target(ObjectKey::new(namespace, &resource.spec.target.name))
    }
}

impl LastOwners {
    /// Returns the owners that resources with the same target or client last lost against.
    pub(super) fn of(&self, resource: &ClientSecretRotation) -> Vec<ObjectKey> {
        let owners = self.0.lock();
        let shared = [Shared::target_of(resource), Shared::client_of(resource)];
        shared.iter().filter_map(|shared| owners.get(shared).cloned()).collect()
    }

    /// Remembers the owner that a resource lost against, for this reason.
    pub(super) fn set(&self, resource: &ClientSecretRotation, reason: Reason, owner: &ObjectKey) {
        let shared = match reason {
            Reason::TargetClaimed => Shared::target_of(resource),
            _ => Shared::client_of(resource),
        };
        self.0.lock().insert(shared, owner.clone());
    }

    /// Forgets all of them, and so those that no resource loses against anymore.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }
}
