//! Limits on changes to a target Secret that exists, and to its labels and annotations.
//!
//! A Secret that the resource has not written yet is left alone until nothing is wrong. For one that
//! it has written, a mistake in the spec starts no rotation; one in progress is published, without
//! the parts that are not allowed.

use rotation::{Phase, Reason, Rejection};

use super::reconcile::Reconciliation;
use crate::{api::DeletionPolicy, controller::target_secret::Snapshot};

/// Returns why an existing Secret may not be written at all, if it may not.
pub(super) fn forbids_secret(
    reconciliation: &Reconciliation<'_>,
    secret: &Snapshot,
    is_owner: bool,
) -> Option<Rejection> {
    let spec = &reconciliation.resource.spec.target;
    let rotation = reconciliation.rotation();
    let is_past_start = rotation.is_some_and(|rotation| rotation.phase != Phase::Started);
    // An admission policy may have chosen the type of a Secret that the operator created.
    let is_created = secret.was_created_for(&reconciliation.key.name);
    if !(secret.is_opaque() || is_created || is_owner && is_past_start) {
        return Some(not_opaque(&spec.name));
    }
    let can_keep_its_keys = is_owner && secret.recorded().is_some();
    if can_keep_its_keys { None } else { forbids_spec(reconciliation, secret) }
}

/// Returns why no rotation may start with this spec, if none may.
pub(super) fn forbids_rotation(reconciliation: &Reconciliation<'_>) -> Option<Rejection> {
    let spec = &reconciliation.resource.spec.target;
    let allowed = &reconciliation.controller.context.settings.allowed_metadata;
    let secret = reconciliation.target.snapshot();
    let own = secret.filter(|secret| secret.owner() == Some(reconciliation.key.name.as_str()));
    own.and_then(|secret| forbids_spec(reconciliation, secret)).or_else(|| allowed.check(spec))
}

fn forbids_spec(reconciliation: &Reconciliation<'_>, secret: &Snapshot) -> Option<Rejection> {
    let spec = &reconciliation.resource.spec.target;
    let name = &spec.name;
    if let Some(key) = secret.taken_key(spec) {
        let fix = if spec.adopt || spec.keys.fallback == key {
            "Remove the key from the Secret, or set another key in spec.target.keys"
        } else {
            "Set another key in spec.target.keys, or set spec.target.adopt to true to overwrite it"
        };
        return Some(key_taken(name, key, fix));
    }
    if let Some(key) = secret.taken_template_key(spec) {
        let fix = "Remove the key from the Secret, or set another key in spec.target.template";
        return Some(key_taken(name, key, fix));
    }
    let was_created = secret.was_created_for(&reconciliation.key.name);
    if spec.deletion_policy == DeletionPolicy::Delete && !was_created {
        return Some(Rejection::new(
            Reason::TargetNotDeletable,
            format!(
                "the operator did not create the Secret {name} for this resource, so it cannot be \
                 deleted with it. Set spec.target.deletionPolicy to Retain"
            ),
        ));
    }
    None
}

fn key_taken(secret: &str, key: &str, fix: &str) -> Rejection {
    Rejection::new(
        Reason::TargetKeyTaken,
        format!("the key {key} of the Secret {secret} has content of another party. {fix}"),
    )
}

fn not_opaque(name: &str) -> Rejection {
    Rejection::new(
        Reason::TargetNotOpaque,
        format!(
            "the Secret {name} has a type other than Opaque, which the operator does not write. Set \
             another spec.target.name in a new resource"
        ),
    )
}
