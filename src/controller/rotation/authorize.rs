//! Authorization of a resource for its client: the tenant's rules, claims of other resources, and
//! protection of the operator's own credentials.
//!
//! When the permission for a client is withdrawn during a rotation, a secret that Auth0 does not have
//! is withdrawn. One that Auth0 may have is completed, but only by the process that made the attempt
//! while it was allowed to: a status can claim anything.

use std::time::{Duration, Instant};

use auth0_client::{Authentication, ClientInfo};
use rotation::{Phase, Rejection};

use super::{
    RotationController,
    client_lists::{ListedAnswer, has_metadata},
    credentials_guard, ownership,
    reconcile::Reconciliation,
};
use crate::{
    api::ClientMetadata,
    controller::{
        error::Error,
        object_key::ObjectKey,
        tenant::{Permission, TenantHandle, client_not_allowed},
    },
};

/// How long a client's metadata is cached. It is read again with every read of the client, and so
/// before each rotation.
const METADATA_TTL: Duration = Duration::from_secs(60);

/// Reasons that keep a resource from its client.
#[derive(Clone, Debug, Default)]
pub(super) struct Authorization {
    /// The tenant does not allow this namespace to use the client.
    pub(super) denied: Option<Rejection>,
    /// Another resource, or the operator's own credentials, is in conflict.
    pub(super) conflict: Option<Rejection>,
    /// Whether another resource is in conflict.
    pub(super) is_claimed: bool,
    /// Whether the target Secret holds the operator's own credentials.
    pub(super) is_own_credentials: bool,
    /// Whether credentials of a tenant are in conflict: no watch reports when they change.
    pub(super) has_credentials_conflict: bool,
}

/// Whether a client has the metadata that its permission depends on.
#[derive(Clone)]
pub(super) struct CachedMetadata {
    wanted: Vec<ClientMetadata>,
    matches: bool,
    read_at: Instant,
}

impl CachedMetadata {
    /// Returns whether the client had this metadata when it was last read; `None` if other metadata was
    /// checked.
    pub(super) fn matches_for(&self, wanted: &[ClientMetadata]) -> Option<bool> {
        (self.wanted == wanted).then_some(self.matches)
    }

    fn is_recent(&self, wanted: &[ClientMetadata]) -> bool {
        self.read_at.elapsed() < METADATA_TTL && self.wanted == wanted
    }
}

/// Authorizes a reconcile. Auth0 is called only where a rule depends on the client's metadata or the
/// owner of the client depends on the tenant's origin, and not while a response is unpublished, which
/// goes first.
pub(super) async fn authorize(reconciliation: &mut Reconciliation<'_>) -> Result<(), Error> {
    reconciliation.authorization = Authorization::default();
    let tenant = reconciliation.tenant.clone();
    if let Ok(tenant) = &tenant {
        reconciliation.authorization.denied = match &tenant.permission {
            Permission::Granted => None,
            Permission::Denied(rejection) => Some(rejection.clone()),
            Permission::ByMetadata(wanted) => {
                check_metadata(reconciliation, tenant, wanted).await?
            }
        };
        if reconciliation.authorization.denied.is_none() {
            prove_origin(reconciliation, tenant).await;
        }
    }
    let ObjectKey { namespace, name } = &reconciliation.key;
    let controller = reconciliation.controller;
    if let Some(conflict) = ownership::conflicting(&reconciliation.resource, controller) {
        let ownership::Conflict { rejection, owner } = conflict;
        tracing::info!(namespace, name, %owner, reason = %rejection.reason, "rejected in favor of another resource");
        reconciliation.authorization.conflict = Some(rejection);
        reconciliation.authorization.is_claimed = true;
    }
    let Ok(tenant) = tenant else { return Ok(()) };
    if reconciliation.authorization.denied.is_none() {
        let check = credentials_guard::check(reconciliation, &tenant).await?;
        let authorization = &mut reconciliation.authorization;
        authorization.is_own_credentials = check.is_own_credentials;
        if authorization.conflict.is_none() {
            authorization.has_credentials_conflict = check.conflict.is_some();
            authorization.conflict = check.conflict;
        }
    }
    Ok(())
}

/// Updates the authorization from a client that was read for another purpose.
pub(super) fn update_metadata(
    reconciliation: &mut Reconciliation<'_>,
    client: &ClientInfo,
    read_at: Instant,
) {
    let Ok(TenantHandle { permission: Permission::ByMetadata(wanted), .. }) =
        &reconciliation.tenant
    else {
        return;
    };
    let wanted = wanted.clone();
    let matches = has_metadata(client, &wanted);
    reconciliation.authorization.denied = (!matches).then(|| not_allowed(reconciliation));
    let cached = CachedMetadata { wanted, matches, read_at };
    reconciliation.with_state(|state| state.metadata = Some(cached));
}

/// Returns whether the metadata of a resource's client need not be read.
pub(super) fn has_recent_metadata(
    controller: &RotationController,
    uid: &str,
    wanted: &[ClientMetadata],
) -> bool {
    controller
        .states
        .with(uid, |state| state.metadata.as_ref().is_some_and(|cached| cached.is_recent(wanted)))
}

/// Returns why the client's metadata denies it, if it does.
async fn check_metadata(
    reconciliation: &mut Reconciliation<'_>,
    tenant: &TenantHandle,
    wanted: &[ClientMetadata],
) -> Result<Option<Rejection>, Error> {
    let (has_response, cached) = reconciliation.with_state(|state| {
        let cached = state.metadata.as_ref().filter(|cached| cached.is_recent(wanted)).cloned();
        (state.unpublished_response.is_some(), cached)
    });
    if has_response {
        return Ok(None);
    }
    if let Some(cached) = cached {
        return Ok((!cached.matches).then(|| not_allowed(reconciliation)));
    }
    let listed = reconciliation.controller.client_lists.metadata(&reconciliation.uid, tenant);
    if let Some(ListedAnswer { client, received_at, .. }) = listed {
        update_metadata(reconciliation, &client, received_at);
        return Ok(reconciliation.authorization.denied.clone());
    }
    let client_id = &reconciliation.resource.spec.client_id;
    let read = tenant.client.read_client(client_id, false, reconciliation.priority());
    let read = reconciliation.run_permit.suspended(read).await;
    tenant.meter.count_operation("read-metadata", &read);
    match read {
        Ok(client) => {
            update_metadata(reconciliation, &client, Instant::now());
            Ok(reconciliation.authorization.denied.clone())
        }
        Err(
            error @ (auth0_client::Error::ClientNotFound | auth0_client::Error::MissingScope(_)),
        ) => Ok(Some(Rejection::new(error.reason(), error.to_string()))),
        Err(error) => Err(error.into()),
    }
}

fn not_allowed(reconciliation: &Reconciliation<'_>) -> Rejection {
    let tenant = &reconciliation.resource.spec.tenant_ref.name;
    client_not_allowed(tenant, &reconciliation.key.namespace)
}

/// Checks facts again, right before a change at Auth0, that may have changed since the reconcile began:
/// the owner of the client, and the clients that the operator authenticates with.
pub(super) async fn recheck(reconciliation: &Reconciliation<'_>) -> Result<(), Error> {
    let rotation = reconciliation.rotation();
    if rotation.is_some_and(|rotation| rotation.phase != Phase::Started) {
        return Ok(());
    }
    let controller = reconciliation.controller;
    if let Some(conflict) = ownership::conflicting(&reconciliation.resource, controller) {
        return Err(Error::Rejected(conflict.rejection));
    }
    let tenant = reconciliation.tenant.clone()?;
    credentials_guard::check_change(reconciliation, &tenant).await
}

/// Obtains a token if another resource names the same client, and nothing has proven yet which Auth0
/// tenant this is: the owner is decided by that.
async fn prove_origin(reconciliation: &mut Reconciliation<'_>, tenant: &TenantHandle) {
    let has_response = reconciliation.with_state(|state| state.unpublished_response.is_some());
    let is_unknown = tenant.client.authentication() == Authentication::Unknown;
    if has_response
        || !is_unknown
        || !ownership::has_rivals(&reconciliation.resource, reconciliation.controller)
    {
        return;
    }
    let scopes = reconciliation.run_permit.suspended(tenant.client.granted_scopes(&[])).await;
    tenant.meter.count_operation("scopes", &scopes);
    if let Err(error) = scopes {
        // The step that needs a token reports it.
        tracing::debug!(%error, "failed to obtain a token to prove the origin of a tenant");
    }
}

/// Returns why the target Secret may not be written, if it may not.
pub(super) fn forbids_writing<'r>(
    reconciliation: &'r Reconciliation<'_>,
    is_owner: bool,
) -> Option<&'r Rejection> {
    let rotation = reconciliation.rotation();
    if let Some(denied) = &reconciliation.authorization.denied {
        // A published value can be confirmed and removed without asking Auth0 for a value.
        let needs_no_value = matches!(
            rotation.map(|rotation| rotation.phase),
            Some(Phase::Staging | Phase::Confirming | Phase::Grace | Phase::Withdrawing)
        );
        let may_complete = is_owner && (needs_no_value || was_attempted_here(reconciliation));
        return if may_complete { None } else { Some(denied) };
    }
    // A rotation that has changed something at Auth0 is completed, even if another resource claims
    // the client.
    let is_past_start = rotation.is_some_and(|rotation| rotation.phase != Phase::Started);
    if is_owner && is_past_start {
        return None;
    }
    reconciliation.authorization.conflict.as_ref()
}

/// Returns whether this process tried to activate the rotation in progress while it was allowed to.
fn was_attempted_here(reconciliation: &Reconciliation<'_>) -> bool {
    match reconciliation.rotation() {
        Some(rotation) if rotation.attempts > 0 => {
            let number = Some(rotation.number);
            reconciliation.with_state(|state| state.attempted_number == number)
        }
        _ => false,
    }
}

/// Returns why the operator may not call Auth0 for the client, if it may not.
pub(super) fn forbids_asking(reconciliation: &Reconciliation<'_>) -> Option<Rejection> {
    if was_attempted_here(reconciliation) {
        return None;
    }
    reconciliation.authorization.denied.clone()
}
