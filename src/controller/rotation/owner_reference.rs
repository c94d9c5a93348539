//! A cluster that denies changes of owner references: OpenShift enables the admission plugin
//! OwnerReferencesPermissionEnforcement, which requires the permission to delete the Secret. The operator
//! works without it: everything else is written, and the denial is reported and retried.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use rotation::Reason;

use super::reconcile::Reconciliation;
use crate::{
    api::{ClientSecretRotation, DeletionPolicy},
    controller::{error::Error, server_time::now},
};

/// How long a denial is taken for granted.
const RETRY_INTERVAL: Duration = Duration::from_secs(300);

/// Returns whether the owner reference stays as it is for now.
pub(super) fn is_denied(reconciliation: &Reconciliation<'_>) -> bool {
    let denied_at = reconciliation.with_state(|state| state.owner_denied_at);
    denied_at.is_some_and(|denied_at| denied_at.elapsed() < RETRY_INTERVAL)
}

/// Records a denied write. Returns whether it was denied for its change of the owner reference, so that
/// it can be repeated without that change.
pub(super) fn note_denial(reconciliation: &Reconciliation<'_>, error: &Error) -> bool {
    let is_owner_denied = error.reason() == Reason::OwnerReferenceForbidden;
    if is_owner_denied && !is_denied(reconciliation) {
        reconciliation.with_state(|state| state.owner_denied_at = Some(Instant::now()));
        return true;
    }
    false
}

/// Records a write that changed the owner reference, or needed no change of it.
pub(super) fn note_written(reconciliation: &Reconciliation<'_>) {
    if !is_denied(reconciliation) {
        reconciliation.with_state(|state| state.owner_denied_at = None);
    }
}

/// Returns when a denied change is tried again.
pub(super) fn recheck_at(reconciliation: &Reconciliation<'_>) -> Option<DateTime<Utc>> {
    let denied_at = reconciliation.with_state(|state| state.owner_denied_at)?;
    let left = RETRY_INTERVAL.saturating_sub(denied_at.elapsed());
    Some(now() + TimeDelta::from_std(left).unwrap_or_default())
}

/// Returns the message about a denial.
pub(super) fn denial(resource: &ClientSecretRotation) -> String {
    let target = &resource.spec.target;
    let consequence = match target.deletion_policy {
        DeletionPolicy::Delete => "would not be deleted with this resource",
        DeletionPolicy::Retain => "would be deleted with the resource that it had before",
    };
    format!(
        "the cluster's admission plugin OwnerReferencesPermissionEnforcement denies the operator to \
         change the owner of the Secret {}, which {consequence}; rotations continue, and the operator \
         tries again every few minutes. Grant the operator delete on secrets in this namespace, or \
         restore spec.target.deletionPolicy",
        target.name
    )
}
