//! Whether a pass may touch its client: what the tenant allows, who else claims it, and what the
//! operator itself signs in with.
//!
//! When the right to a client is withdrawn in the middle of a rotation, what Auth0 wasn't told is
//! taken back. What it may have been told is ended, but only by the process that made the attempt
//! while it was allowed to: a status can say anything.

use std::time::{Duration, Instant};

use rotation::{Failure, Phase, Reason, Rejection};

use super::{
    claims,
    pass::Pass,
    tenants::{Permission, Usable, permission},
};
use crate::api::{ClientMetadata, DeletionPolicy, Keys};
use auth0_client::{ClientInfo, Priority};

/// How long an answer about a client's metadata is relied on. It is asked anew with each reading of
/// the client, so also before each rotation.
const METADATA_KEPT: Duration = Duration::from_secs(60);

/// What speaks against touching the client.
#[derive(Clone, Debug, Default)]
pub(super) struct Authority {
    /// The tenant does not give the client to this namespace.
    pub(super) denied: Option<Rejection>,
    /// Something else is in the way: another resource, or the operator's own credentials.
    pub(super) blocked: Option<Rejection>,
    /// Another resource is what is in the way.
    pub(super) claimed: bool,
    /// The target Secret is what the operator signs in with.
    pub(super) is_own: bool,
}

/// What Auth0 said of a client's metadata.
#[derive(Clone)]
pub(super) struct Vouched {
    wanted: Vec<ClientMetadata>,
    has: bool,
    at: Instant,
}

impl Pass<'_> {
    /// Finds out what may be done. Auth0 is asked only where a rule goes by the client's metadata,
    /// and not while an answer is in hand: that must be published first.
    pub(super) async fn find_authority(&mut self) -> Result<(), Failure> {
        let blocked = claims::refusal(&self.resource, &self.context.watched);
        self.authority = Authority { claimed: blocked.is_some(), blocked, ..Authority::default() };
        let Ok(usable) = self.tenant.clone() else { return Ok(()) };
        match &usable.permission {
            Permission::Granted => {}
            Permission::Denied(refusal) => self.authority.denied = Some(refusal.clone()),
            Permission::ByMetadata(wanted) => {
                self.authority.denied = self.vouched(&usable, wanted).await?;
            }
        }
        if self.authority.denied.is_none() {
            self.look_at_own_credentials(&usable).await?;
        }
        Ok(())
    }

    /// Auth0 has said what the client's metadata is, on another occasion.
    pub(super) fn note_metadata(&mut self, facts: &ClientInfo) {
        let Ok(Usable { permission: Permission::ByMetadata(wanted), .. }) = &self.tenant else {
            return;
        };
        let has = |wanted: &ClientMetadata| facts.metadata.get(&wanted.key) == Some(&wanted.value);
        let (wanted, has) = (wanted.clone(), wanted.iter().any(has));
        self.authority.denied = (!has).then(|| self.other_client());
        let vouched = Some(Vouched { wanted, has, at: Instant::now() });
        self.context.memory.with(&self.uid, |known| known.vouched = vouched);
    }

    /// Why the client's metadata speaks against it, if so.
    async fn vouched(
        &mut self,
        usable: &Usable,
        wanted: &[ClientMetadata],
    ) -> Result<Option<Rejection>, Failure> {
        let (in_hand, known) = self.context.memory.with(&self.uid, |known| {
            let kept = known
                .vouched
                .clone()
                .filter(|vouched| vouched.at.elapsed() < METADATA_KEPT && vouched.wanted == wanted);
            (known.answer.is_some(), kept)
        });
        if in_hand {
            return Ok(None);
        }
        if let Some(known) = known {
            return Ok((!known.has).then(|| self.other_client()));
        }
        let read =
            usable.tenant.read_client(&self.resource.spec.client_id, false, Priority::New).await;
        usable.meter.called("read-metadata", &read);
        match read {
            Ok(facts) => {
                self.note_metadata(&facts);
                Ok(self.authority.denied.clone())
            }
            Err(
                error
                @ (auth0_client::Error::ClientNotFound | auth0_client::Error::MissingScope(_)),
            ) => Ok(Some(Rejection::new(error.reason(), error.to_string()))),
            Err(error) => Err(Failure::from(&error)),
        }
    }

    fn other_client(&self) -> Rejection {
        permission::other_client(&self.resource.spec.tenant_ref.name, self.namespace())
    }

    /// The operator must not lock itself out: its own client is rotated in its credentials Secret,
    /// and nothing else is written there.
    async fn look_at_own_credentials(&mut self, usable: &Usable) -> Result<(), Failure> {
        let spec = &self.resource.spec;
        let (namespace, name) = &usable.credentials;
        let is_credentials = namespace == self.namespace() && *name == spec.target.name;
        let manager = match usable.tenant.management_client_id().await {
            Ok(manager) => manager,
            // The tenant can't be used, as whatever needs it will say.
            Err(_) if !is_credentials => return Ok(()),
            Err(error) => return Err(Failure::from(&error)),
        };
        let is_manager = manager == spec.client_id;
        self.authority.is_own = is_credentials && is_manager;
        let refusal = match (is_credentials, is_manager) {
            (false, false) => return Ok(()),
            (true, false) => Rejection::new(
                Reason::CredentialsTarget,
                format!(
                    "the Secret {name} has the credentials of the tenant's management client, and this \
                     is another client: choose another spec.target.name"
                ),
            ),
            (false, true) => Rejection::new(
                Reason::ManagementClient,
                format!(
                    "this is the client that the operator signs in with: it can only be rotated in its \
                     credentials Secret, by a ClientSecretRotation in the namespace {namespace} with \
                     spec.target.name {name} and spec.target.adopt true"
                ),
            ),
            (true, true) if spec.target.keys != Keys::default() => Rejection::new(
                Reason::CredentialsTarget,
                "the target Secret is what the operator signs in with, which reads the default keys: \
                 remove spec.target.keys",
            ),
            (true, true) if spec.target.deletion_policy == DeletionPolicy::Delete => {
                Rejection::new(
                    Reason::CredentialsTarget,
                    "the target Secret is what the operator signs in with: it can't go with this resource; \
                 set spec.target.deletionPolicy to Retain",
                )
            }
            (true, true) => return Ok(()),
        };
        self.authority.blocked.get_or_insert(refusal);
        Ok(())
    }

    /// What keeps the target Secret from being written.
    pub(super) fn forbids_writing(&self, is_owner: bool) -> Option<&Rejection> {
        let status = self.resource.status.as_ref();
        let phase = status.and_then(|status| status.rotation.as_ref()).map(|r| r.phase);
        if let Some(denied) = &self.authority.denied {
            // What is published already can be confirmed, and taken out again, without Auth0 being
            // asked for a value.
            let harmless = matches!(
                phase,
                Some(Phase::Staging | Phase::Confirming | Phase::Grace | Phase::Withdrawing)
            );
            let may_end = is_owner && (harmless || self.attempted_here());
            return Some(denied).filter(|_| !may_end);
        }
        // Past the point at which it could be left alone a rotation ends, whoever claims what.
        let under_way = phase.is_some_and(|phase| phase != Phase::Started);
        self.authority.blocked.as_ref().filter(|_| !(is_owner && under_way))
    }

    /// The rotation in progress was tried to be activated by this process, when it was allowed to.
    pub(super) fn attempted_here(&self) -> bool {
        let status = self.resource.status.as_ref();
        let rotation = status.and_then(|status| status.rotation.as_ref());
        rotation.filter(|rotation| rotation.attempts > 0).is_some_and(|rotation| {
            let number = Some(rotation.number);
            self.context.memory.with(&self.uid, |known| known.attempted == number)
        })
    }

    /// Auth0 may not be asked about the client.
    pub(super) fn forbids_asking(&self) -> Option<Rejection> {
        self.authority.denied.clone().filter(|_| !self.attempted_here())
    }
}
