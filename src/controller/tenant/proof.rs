//! Proof of the Auth0 tenant that a tenant resource describes, and of the clients with which the
//! operator itself authenticates there.
//!
//! A spec can name any host. The origin that issued a token to the tenant is a proof: the operator
//! called that host over TLS, and the host accepted the tenant's credentials. This process remembers
//! it for each generation of the spec. The tenant's status holds it across restarts, and counts until
//! this process has an answer of its own.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use auth0_client::Authentication;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{Api, Resource, api::ListParams, core::DeserializeGuard};
use rotation::{ErrorClass, Reason};

use super::registry::{TenantHandle, TenantRegistry};
use crate::{
    api::{AnyTenant, Auth0Tenant, ClusterAuth0Tenant, TenantId, TenantResource},
    controller::{
        error::{Error, KubeFailure},
        kube_call::{KUBE_DEADLINE, kube_call},
        object_key::ObjectKey,
    },
};

/// How many tenants a live list reads at a time. Users decide how large they are.
const PAGE_SIZE: u32 = 10;

/// How many tenants a live list reads at most.
const MAX_LISTED: usize = 1000;

/// How many credentials Secrets are read at a time.
const CONCURRENT_READS: usize = 4;

/// A tenant whose credentials are in a Secret.
#[derive(Clone, Debug)]
pub(crate) struct CredentialsUse {
    pub(crate) tenant: TenantId,
    /// The origin that the tenant calls.
    pub(crate) origin: Option<String>,
    /// Whether the credentials are a private key, and not a client secret.
    pub(crate) is_private_key: bool,
}

/// The client ID in a credentials Secret. Callers at the same time share a read.
#[derive(Default)]
pub(super) struct KnownClient(tokio::sync::Mutex<Option<LastClient>>);

/// The client ID in a credentials Secret when it was last read.
struct LastClient {
    client_id: Option<String>,
    /// When the read began.
    read_at: Instant,
}

impl CredentialsUse {
    fn of<T: TenantResource>(tenant: &T) -> Self {
        Self::new(TenantId::of::<T>(tenant), tenant.access())
    }

    fn new(tenant: TenantId, access: &crate::api::TenantAccess) -> Self {
        Self {
            tenant,
            origin: access.endpoint_origin(),
            is_private_key: access.credentials.client_secret.is_none(),
        }
    }
}

impl TenantRegistry {
    /// Returns the origin that has accepted the credentials of a tenant, if one has. It is always the
    /// one that the spec makes the operator call.
    pub(crate) fn proven_origin(&self, tenant: &AnyTenant) -> Option<String> {
        let origin = tenant.access()?.endpoint_origin()?;
        let is_proven = match self.authentication(&tenant.uid()?, tenant.generation()) {
            Authentication::Accepted => true,
            Authentication::Rejected => false,
            Authentication::Unknown => {
                tenant.status().and_then(|status| status.origin.as_ref()) == Some(&origin)
            }
        };
        is_proven.then_some(origin)
    }

    /// Returns the tenants whose credentials are in this Secret, as the watches know them.
    pub(crate) fn credentials_uses(&self, secret: &ObjectKey) -> Vec<CredentialsUse> {
        let tenants = self.context.stores.tenants_with_credentials(secret);
        let uses = tenants.iter().filter_map(|tenant| {
            tenant.access().map(|access| CredentialsUse::new(tenant.id(), access))
        });
        uses.collect()
    }

    /// Returns the tenants whose credentials are in this Secret, from the API server.
    pub(crate) async fn read_credentials_uses(
        &self,
        secret: &ObjectKey,
    ) -> Result<Vec<CredentialsUse>, Error> {
        let client = self.context.client.clone();
        let namespaced: Api<DeserializeGuard<Auth0Tenant>> =
            Api::namespaced(client.clone(), &secret.namespace);
        let mut uses = list_uses(&namespaced, &secret.name).await?;
        if self.has_cluster_credentials_in(&secret.namespace) {
            let cluster: Api<DeserializeGuard<ClusterAuth0Tenant>> = Api::all(client);
            uses.extend(list_uses(&cluster, &secret.name).await?);
        }
        Ok(uses)
    }

    /// Returns the credentials Secret of a tenant that authenticates with this client at the host of
    /// `handle`, if there is one. Considers all tenants that have proven to be at that host, and
    /// `handle` itself; reads Secrets that were last read longer ago than `max_age`.
    ///
    /// # Errors
    /// When the API server fails; a Secret that cannot be read is as it was when it last could.
    pub(crate) async fn find_management_client(
        &self,
        handle: &TenantHandle,
        client_id: &str,
        max_age: Duration,
    ) -> Result<Option<ObjectKey>, Error> {
        let mut secrets = BTreeMap::new();
        for origin in &handle.named_origins {
            for tenant in self.context.stores.tenants_calling(origin) {
                let is_own = tenant.uid().as_ref() == Some(&handle.uid);
                if !is_own && self.proven_origin(&tenant).as_ref() != Some(origin) {
                    continue;
                }
                let Some(access) = tenant.access() else { continue };
                let secret = self.credentials_secret(&tenant.id(), &access.credentials);
                match &access.credentials.private_key_jwt {
                    Some(key) if key.client_id == client_id => return Ok(Some(secret)),
                    Some(_) => {}
                    None => drop(secrets.insert(secret, ())),
                }
            }
        }
        let reads = stream::iter(secrets.into_keys()).map(|secret| async move {
            let found = self.client_id_in(&secret, max_age).await?;
            Ok::<_, Error>((found.as_deref() == Some(client_id)).then_some(secret))
        });
        let mut found = reads
            .buffer_unordered(CONCURRENT_READS)
            .try_filter_map(async |found| Ok(found))
            .boxed();
        found.try_next().await
    }

    async fn client_id_in(
        &self,
        secret: &ObjectKey,
        max_age: Duration,
    ) -> Result<Option<String>, Error> {
        let asked_at = Instant::now();
        let known = self.known_clients.lock().entry(secret.clone()).or_default().clone();
        let Ok(mut known) = tokio::time::timeout(KUBE_DEADLINE, known.0.lock()).await else {
            let action = "reading the credentials of a tenant".to_owned();
            return Err(Error::Kube { action, failure: KubeFailure::Timeout });
        };
        if let Some(known) = &*known
            && (known.read_at >= asked_at || asked_at - known.read_at < max_age)
        {
            return Ok(known.client_id.clone());
        }
        let last = known.as_ref().and_then(|known| known.client_id.clone());
        let read_at = Instant::now();
        let client_id = match self.context.secrets.get(secret).await {
            Ok(Some(read)) => read.text("client_id").map(|text| text.trim().to_owned()),
            Ok(None) => last,
            Err(error) if error.class() == ErrorClass::Retry => return Err(error),
            Err(_) => last,
        };
        *known = Some(LastClient { client_id: client_id.clone(), read_at });
        Ok(client_id)
    }
}

/// Lists the tenants whose credentials are in the Secret of this name.
async fn list_uses<T: TenantResource>(
    api: &Api<DeserializeGuard<T>>,
    name: &str,
) -> Result<Vec<CredentialsUse>, Error>
where
    DeserializeGuard<T>: Resource,
{
    let mut uses = Vec::new();
    let mut params = ListParams::default().limit(PAGE_SIZE);
    let mut listed = 0;
    while listed < MAX_LISTED {
        let page = kube_call("listing the tenants", api.list(&params)).await?;
        listed += page.items.len();
        let tenants = page.items.iter().filter_map(|tenant| tenant.0.as_ref().ok());
        let using =
            tenants.filter(|tenant| tenant.access().credentials.secret_name() == Some(name));
        uses.extend(using.map(CredentialsUse::of));
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => params = params.continue_token(&token),
            _ => return Ok(uses),
        }
    }
    Err(Error::rejected(
        Reason::CredentialsTarget,
        format!(
            "there are more than {MAX_LISTED} tenants whose credentials the target Secret might hold. \
             Delete those that are not used, or create the resource in another namespace"
        ),
    ))
}
