//! Authorization of a resource for its client: the tenant's rules, claims of other resources, and
//! protection of the operator's own credentials.
//!
//! When the permission for a client is withdrawn during a rotation, a secret that Auth0 does not have
//! is withdrawn. One that Auth0 may have is completed, but only by the process that made the attempt
//! while it was allowed to: a status can claim anything.

use std::time::{Duration, Instant};

use auth0_client::{ClientInfo, Priority};
use rotation::{Phase, Reason, Rejection};

use super::{ownership, reconcile::Reconciliation};
use crate::{
    api::{ClientMetadata, DeletionPolicy, Keys, TargetSpec},
    controller::{
        error::Error,
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
}

/// Whether a client has the metadata that its permission depends on.
#[derive(Clone)]
pub(super) struct CachedMetadata {
    wanted: Vec<ClientMetadata>,
    matches: bool,
    read_at: Instant,
}

/// Authorizes a reconcile. Auth0 is called only where a rule depends on the client's metadata, and not
/// while a response is unpublished, which goes first.
pub(super) async fn authorize(reconciliation: &mut Reconciliation<'_>) -> Result<(), Error> {
    let stores = &reconciliation.controller.context.stores;
    let conflict = ownership::conflicting(&reconciliation.resource, stores);
    reconciliation.authorization =
        Authorization { is_claimed: conflict.is_some(), conflict, ..Authorization::default() };
    let Ok(tenant) = reconciliation.tenant.clone() else { return Ok(()) };
    reconciliation.authorization.denied = match &tenant.permission {
        Permission::Granted => None,
        Permission::Denied(rejection) => Some(rejection.clone()),
        Permission::ByMetadata(wanted) => check_metadata(reconciliation, &tenant, wanted).await?,
    };
    if reconciliation.authorization.denied.is_none() {
        check_own_credentials(reconciliation, &tenant).await?;
    }
    Ok(())
}

/// Updates the authorization from a client that was read for another purpose.
pub(super) fn update_metadata(reconciliation: &mut Reconciliation<'_>, client: &ClientInfo) {
    let Ok(TenantHandle { permission: Permission::ByMetadata(wanted), .. }) =
        &reconciliation.tenant
    else {
        return;
    };
    let wanted = wanted.clone();
    let matches = wanted.iter().any(|entry| client.metadata.get(&entry.key) == Some(&entry.value));
    reconciliation.authorization.denied = (!matches).then(|| not_allowed(reconciliation));
    let cached = CachedMetadata { wanted, matches, read_at: Instant::now() };
    reconciliation.with_state(|state| state.metadata = Some(cached));
}

/// Returns why the client's metadata denies it, if it does.
async fn check_metadata(
    reconciliation: &mut Reconciliation<'_>,
    tenant: &TenantHandle,
    wanted: &[ClientMetadata],
) -> Result<Option<Rejection>, Error> {
    let (has_response, cached) = reconciliation.with_state(|state| {
        let is_valid = |cached: &&CachedMetadata| {
            cached.read_at.elapsed() < METADATA_TTL && cached.wanted == wanted
        };
        let cached = state.metadata.as_ref().filter(is_valid).cloned();
        (state.unpublished_response.is_some(), cached)
    });
    if has_response {
        return Ok(None);
    }
    if let Some(cached) = cached {
        return Ok((!cached.matches).then(|| not_allowed(reconciliation)));
    }
    let client_id = &reconciliation.resource.spec.client_id;
    let read = tenant.client.read_client(client_id, false, Priority::New).await;
    tenant.meter.count_operation("read-metadata", &read);
    match read {
        Ok(client) => {
            update_metadata(reconciliation, &client);
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

/// Keeps the operator from locking itself out: its own client is rotated in its credentials Secret,
/// and nothing else is written there.
async fn check_own_credentials(
    reconciliation: &mut Reconciliation<'_>,
    tenant: &TenantHandle,
) -> Result<(), Error> {
    let spec = &reconciliation.resource.spec;
    let credentials = &tenant.credentials;
    let is_credentials = credentials.namespace == reconciliation.key.namespace
        && credentials.name == spec.target.name;
    let management_client = match tenant.client.management_client_id().await {
        Ok(client_id) => client_id,
        // The tenant cannot be used, which each step that needs it reports.
        Err(_) if !is_credentials => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let is_management_client = management_client == spec.client_id;
    let conflict = match (is_credentials, is_management_client) {
        (false, false) => None,
        (true, false) => Some(Rejection::new(
            Reason::CredentialsTarget,
            format!(
                "the Secret {} holds the credentials of the tenant's management client, and this is \
                 another client. Set another spec.target.name",
                credentials.name
            ),
        )),
        (false, true) => Some(Rejection::new(
            Reason::ManagementClient,
            format!(
                "the operator authenticates with this client, so it can only be rotated in its \
                 credentials Secret. Create a ClientSecretRotation in the namespace {} with \
                 spec.target.name {} and spec.target.adopt true",
                credentials.namespace, credentials.name
            ),
        )),
        (true, true) => unusable_as_credentials(&spec.target),
    };
    reconciliation.authorization.is_own_credentials = is_credentials && is_management_client;
    if reconciliation.authorization.conflict.is_none() {
        reconciliation.authorization.conflict = conflict;
    }
    Ok(())
}

/// Returns why the operator could not authenticate with a target Secret, if it could not.
fn unusable_as_credentials(target: &TargetSpec) -> Option<Rejection> {
    let message = if target.keys != Keys::default() {
        "the operator authenticates with the target Secret and reads its default keys. Remove \
         spec.target.keys"
    } else if target.deletion_policy == DeletionPolicy::Delete {
        "the operator authenticates with the target Secret, which must not be deleted with this \
         resource. Set spec.target.deletionPolicy to Retain"
    } else {
        return None;
    };
    Some(Rejection::new(Reason::CredentialsTarget, message))
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
