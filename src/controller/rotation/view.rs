//! Where a reconcile has the resource and its target Secret from: from the API server, or from the
//! watches.
//!
//! The watches are enough for an import and for a check that finds nothing to do. Their reads can be
//! repeated, and their writes fail if the watches are wrong: the status is written over the version that
//! was seen, and a Secret that is not there is created, which fails if there is one. After such a
//! conflict both are read live. Rotations, repairs and any other step need live reads first, because a
//! value that Auth0 has, or that is gone, can't be taken back.

use std::time::{Duration, Instant};

use kube::ResourceExt as _;
use rotation::{Purpose, Status, Step, condition_types, is_condition_true};

use super::{
    RotationController, contest, reconcile::Reconciliation, scheduling, state::RotationState,
};
use crate::{
    api::ClientSecretRotation,
    controller::{
        error::Error, object_key::ObjectKey, server_time::now, target_secret::Snapshot,
        watch::restores,
    },
};

/// How long after a reconcile the watch may not have seen its write of the target Secret.
const WATCH_LAG: Duration = Duration::from_secs(5);

/// Where an object was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// In the store of a watch, which may be behind.
    Stored,
    /// At the API server, or in its response to a write.
    Live,
}

/// Returns whether a step needs live reads of the resource and its target Secret.
fn needs_live_reads(step: &Step) -> bool {
    match step {
        Step::Wait
        | Step::StoreStatus
        | Step::ReadClient
        | Step::CheckClient
        | Step::ProbeRandomValue
        | Step::ProbeSecret
        | Step::ProbeFallback
        | Step::ProbeRevoked
        | Step::DryRun
        | Step::FindUnreachedPods
        | Step::ReadRollouts => false,
        Step::Publish(publication) => publication.purpose != Purpose::Import,
        // The store has no finalizers of others.
        Step::AddFinalizer
        | Step::RemoveFinalizer
        | Step::RestartWorkloads
        | Step::RotateSecret
        | Step::SetSecret(_) => true,
    }
}

/// Returns the resource as its watch saw it, if a reconcile can begin with that: complete, no older than
/// the last version that this process has read or written, without a rotation or a cause of one, and
/// not in dispute.
pub(super) fn stored_resource(
    controller: &RotationController,
    key: &ObjectKey,
) -> Option<ClientSecretRotation> {
    let resource = controller.context.stores.complete_rotation(key)?;
    if resource.metadata.deletion_timestamp.is_some() || scheduling::has_work(&resource, now()) {
        return None;
    }
    let version: u64 = resource.resource_version()?.parse().ok()?;
    let status = contest::fingerprint(resource.status.as_ref().unwrap_or(&Status::default()));
    let is_usable = controller.states.with(&resource.uid()?, |state| {
        state.unpublished_response.is_none()
            && !is_contested(state)
            && state.last_version <= version
            // The store may still be the one of before.
            && state.last_observed.as_ref().is_none_or(|seen| seen.restores == restores())
            && state.stored_status.is_none_or(|stored| Some(stored) == status)
    });
    is_usable.then_some(resource)
}

fn is_contested(state: &RotationState) -> bool {
    let (contests, now) = (state.contests.as_ref(), Instant::now());
    contests.is_some_and(|contests| contests.is_held_off(now) || contests.contested(now).is_some())
}

/// Returns whether the watches show that there is no target Secret to import into. One without our label
/// exists for the watches as little as none does, so a resource that adopts one, or was rejected, reads
/// it; one that has published before reads it too, because a repair needs a live read.
pub(super) fn is_target_absent(reconciliation: &Reconciliation<'_>) -> bool {
    let resource = &reconciliation.resource;
    let status = reconciliation.status();
    if resource.spec.target.adopt
        || resource.metadata.deletion_timestamp.is_some()
        || status.rotation.is_some()
        || status.current.is_some()
        || is_condition_true(&status.conditions, condition_types::STALLED)
    {
        return false;
    }
    let stores = &reconciliation.controller.context.stores;
    let key = target_key(reconciliation);
    if !stores.is_absent_secret(&key) || !stores.tenants_with_credentials(&key).is_empty() {
        return false;
    }
    reconciliation.with_state(|state| {
        let has_settled = match &state.last_observed {
            None => true,
            Some(observed) => observed.finished_at.is_none_or(|at| at.elapsed() > WATCH_LAG),
        };
        has_settled && state.unpublished_response.is_none() && !is_contested(state)
    })
}

/// Makes sure that both objects were read live before a step, or the record of a rotation, that needs it.
///
/// # Errors
/// A conflict if one has changed; the decision is then made again.
pub(super) async fn require_live(
    reconciliation: &mut Reconciliation<'_>,
    step: &Step,
    status: &Status,
) -> Result<(), Error> {
    let is_live = [reconciliation.resource_view, reconciliation.target_view] == [View::Live; 2];
    if is_live || (!needs_live_reads(step) && status.rotation.is_none()) {
        return Ok(());
    }
    read_unchanged(reconciliation).await
}

/// Reads both objects live.
///
/// # Errors
/// A conflict if one is not as it was seen.
pub(super) async fn read_unchanged(reconciliation: &mut Reconciliation<'_>) -> Result<(), Error> {
    let read_at = Instant::now();
    let key = target_key(reconciliation);
    let resource = reconciliation.api.get().await?;
    let secret = reconciliation.controller.context.secrets.get(&key).await?;
    let secret_version = secret.as_ref().map(Snapshot::resource_version);
    if secret_version != reconciliation.target.snapshot().map(Snapshot::resource_version) {
        return Err(changed());
    }
    match resource {
        Some(live) if live.resource_version() == reconciliation.resource.resource_version() => {
            // The store has only a part of the metadata.
            reconciliation.resource.metadata = live.metadata;
        }
        _ => return Err(changed()),
    }
    reconciliation.resource_view = View::Live;
    reconciliation.target_view = View::Live;
    reconciliation.read_at = read_at;
    Ok(())
}

fn changed() -> Error {
    Error::Conflict("the resource or its target Secret changed meanwhile")
}

fn target_key(reconciliation: &Reconciliation<'_>) -> ObjectKey {
    let name = &reconciliation.resource.spec.target.name;
    ObjectKey::new(&reconciliation.key.namespace, name)
}

#[cfg(test)]
mod tests {
    use rotation::{NumberedValue, Publication, ValueSource};

    use super::*;

    fn publish(purpose: Purpose) -> Step {
        let current = NumberedValue { number: 1, value: ValueSource::Current };
        Step::Publish(Publication { purpose, current, fallback: None })
    }

    #[test]
    fn irreversible_steps_need_live_reads() {
        for step in [
            Step::RotateSecret,
            Step::SetSecret(2),
            Step::AddFinalizer,
            Step::RemoveFinalizer,
            Step::RestartWorkloads,
        ] {
            assert!(needs_live_reads(&step), "{step:?}");
        }
        for purpose in [
            Purpose::Response,
            Purpose::ReadBack,
            Purpose::ProveWrite,
            Purpose::Stage,
            Purpose::Promote,
            Purpose::Retire,
            Purpose::Withdraw,
            Purpose::Repair,
            Purpose::Render,
        ] {
            assert!(needs_live_reads(&publish(purpose)), "{purpose:?}");
        }
        for step in [Step::ReadClient, Step::StoreStatus, Step::Wait, publish(Purpose::Import)] {
            assert!(!needs_live_reads(&step), "{step:?}");
        }
    }
}
