//! The tenant as a state machine: every function takes `now`, and none reads a clock or does IO.

pub(crate) mod client;
pub(crate) mod client_fields;

pub(crate) mod authentication;
pub(crate) mod client_assertion;
pub(crate) mod tokens;

pub(crate) mod management;

pub(crate) mod value_history;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use secrecy::{ExposeSecret, SecretString};

use self::{
    client::{Client, ClientSeed},
    client_assertion::UsedAssertions,
    client_fields::{BodyKind, Fields},
    tokens::TokenStore,
    value_history::ValueRecorder,
};
use crate::{error::SeedError, propagation::Propagation};

/// Error response to a wrong secret. Auth0 documents one and was observed to send the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WrongSecret {
    /// 401 `access_denied`, "Unauthorized", as observed from tenants.
    #[default]
    AccessDenied,
    /// 401 `invalid_client`, as documented in the OpenAPI document of the Authentication API.
    InvalidClient,
}

/// Which clients must authenticate at `POST /oauth/revoke`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RevocationAuth {
    /// All confidential clients.
    #[default]
    AllClients,
    /// Regular Web Applications only, as Auth0 documents. The secret of any other client is not
    /// checked.
    RegularWebApplications,
}

/// Settings of the tenant.
#[derive(Clone, Debug)]
pub(crate) struct TenantSettings {
    /// Canonical domain.
    pub(crate) domain: String,
    /// Audience of the Management API.
    pub(crate) audience: String,
    /// Audiences of other APIs that exist even if no client has a grant for them.
    pub(crate) apis: BTreeSet<String>,
    pub(crate) seed: u64,
    pub(crate) propagation: Propagation,
    pub(crate) token_ttl: Duration,
    pub(crate) wrong_secret: WrongSecret,
    pub(crate) revocation_auth: RevocationAuth,
    /// Whether the response of rotate-secret contains the secret even if the token can't read it.
    pub(crate) rotate_shows_secret: bool,
}

impl TenantSettings {
    /// Returns the tenant's name, which is the first label of its domain.
    pub(crate) fn tenant_name(&self) -> &str {
        self.domain.split('.').next().unwrap_or_default()
    }
}

/// Result of changing a secret at the dashboard.
pub(crate) struct DashboardChange {
    /// The current value after the change.
    pub(crate) value: SecretString,
    /// Whether it differs from the previous value.
    pub(crate) has_changed: bool,
}

/// State of the tenant.
pub(crate) struct Tenant {
    pub(crate) settings: TenantSettings,
    clients: BTreeMap<String, Client>,
    tokens: TokenStore,
    values: ValueRecorder,
    used_assertions: UsedAssertions,
}

impl Tenant {
    pub(crate) fn new(settings: TenantSettings) -> Self {
        Self {
            settings,
            clients: BTreeMap::new(),
            tokens: TokenStore::default(),
            values: ValueRecorder::default(),
            used_assertions: UsedAssertions::default(),
        }
    }

    /// Adds a client and returns its id. Replaces an existing client with the same id.
    pub(crate) fn seed(&mut self, seed: ClientSeed, now: SystemTime) -> Result<String, SeedError> {
        let (id, client) = Client::from_seed(seed, &self.settings.audience, now)?;
        self.values.add_secret(&id, client.secret.current());
        self.clients.insert(id.clone(), client);
        Ok(id)
    }

    /// Replaces the scopes granted for the Management API. Existing tokens keep their scopes.
    pub(crate) fn set_scopes(&mut self, id: &str, scopes: Vec<String>) -> Result<(), SeedError> {
        let audience = self.settings.audience.clone();
        let client = self.client_mut(id)?;
        if scopes.is_empty() {
            client.grants.remove(&audience);
        } else {
            client.grants.insert(audience, scopes.into_iter().collect());
        }
        Ok(())
    }

    /// Changes fields of a client as a user of the dashboard would. `null` removes a field.
    pub(crate) fn set_fields(&mut self, id: &str, mut fields: Fields) -> Result<(), SeedError> {
        let client = self.client_mut(id)?;
        let read_only = client_fields::take_read_only(&mut fields).map_err(SeedError::BadField)?;
        client_fields::validate(&fields, BodyKind::Update).map_err(SeedError::BadField)?;
        client_fields::apply(&mut client.fields, fields).map_err(SeedError::BadField)?;
        client.fields.extend(read_only);
        Ok(())
    }

    /// Removes a client and returns whether it existed.
    pub(crate) fn remove(&mut self, id: &str) -> bool {
        self.clients.remove(id).is_some()
    }

    pub(crate) fn clients(&self) -> &BTreeMap<String, Client> {
        &self.clients
    }

    pub(crate) fn values(&self) -> &ValueRecorder {
        &self.values
    }

    fn client_mut(&mut self, id: &str) -> Result<&mut Client, SeedError> {
        self.clients.get_mut(id).ok_or_else(|| SeedError::UnknownClient(id.into()))
    }

    /// Changes a secret as a user of the dashboard would. Generates the value if none is given.
    pub(crate) fn dashboard_change(
        &mut self,
        id: &str,
        value: Option<SecretString>,
        now: SystemTime,
    ) -> Result<DashboardChange, SeedError> {
        if value.as_ref().is_some_and(|value| value.expose_secret().is_empty()) {
            return Err(SeedError::EmptySecret);
        }
        self.client_mut(id)?;
        let value = value.unwrap_or_else(crate::secret::new_client_secret);
        let has_changed = self.change_secret(id, value.clone(), now);
        Ok(DashboardChange { value, has_changed })
    }

    /// Makes a value current and starts its propagation to authentication. Returns false if the
    /// value was already current.
    fn change_secret(&mut self, id: &str, value: SecretString, now: SystemTime) -> bool {
        let Some(client) = self.clients.get_mut(id) else {
            return false;
        };
        let current = client.secret.current();
        if bool::from(crate::secret::constant_time_eq(current, value.expose_secret())) {
            return false;
        }
        client.shown_secret = None;
        let changes = client.secret.changes();
        let delays = self.settings.propagation.sample(self.settings.seed, id, changes);
        self.values.add_secret(id, &value);
        client.secret.change(value, now, delays);
        true
    }
}

#[cfg(test)]
#[path = "tenant_tests.rs"]
mod tests;
