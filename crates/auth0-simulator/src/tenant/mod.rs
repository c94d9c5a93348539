//! The tenant as a state machine: every function takes `now`, none reads a clock or does IO.

pub(crate) mod assertion;
pub(crate) mod client;
pub(crate) mod fields;
pub(crate) mod login;
pub(crate) mod manage;
pub(crate) mod tokens;
pub(crate) mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use secrecy::{ExposeSecret, SecretString};

use self::assertion::Used;
use self::client::{Client, ClientSeed};
use self::tokens::TokenStore;
use self::values::Values;
use crate::error::SeedError;
use crate::propagation::Propagation;

/// How a wrong secret is refused; Auth0 documents the one and is seen to send the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WrongSecret {
    /// 401 `access_denied`, "Unauthorized", as tenants are seen to answer.
    #[default]
    AccessDenied,
    /// 401 `invalid_client`, as Auth0's OpenAPI document of the Authentication API has it.
    InvalidClient,
}

/// What the tenant is set to.
#[derive(Clone, Debug)]
pub(crate) struct TenantSettings {
    /// The canonical domain.
    pub(crate) domain: String,
    /// The Management API's audience.
    pub(crate) audience: String,
    /// APIs that exist beside it, whether or not a client has a grant for them.
    pub(crate) apis: BTreeSet<String>,
    pub(crate) seed: u64,
    pub(crate) propagation: Propagation,
    pub(crate) token_ttl: Duration,
    pub(crate) wrong_secret: WrongSecret,
    /// rotate-secret answers with the secret even when the token couldn't read it.
    pub(crate) rotate_shows_secret: bool,
}

impl TenantSettings {
    /// The tenant's name, the first label of its domain.
    pub(crate) fn tenant(&self) -> &str {
        self.domain.split('.').next().unwrap_or_default()
    }
}

/// All that Auth0 remembers.
pub(crate) struct Tenant {
    pub(crate) settings: TenantSettings,
    clients: BTreeMap<String, Client>,
    tokens: TokenStore,
    values: Values,
    used_assertions: Used,
}

impl Tenant {
    pub(crate) fn new(settings: TenantSettings) -> Self {
        Self {
            settings,
            clients: BTreeMap::new(),
            tokens: TokenStore::default(),
            values: Values::default(),
            used_assertions: Used::default(),
        }
    }

    /// Puts a client into the tenant, in the place of one with the same id.
    pub(crate) fn seed(&mut self, seed: ClientSeed, now: SystemTime) -> Result<String, SeedError> {
        let (id, client) = Client::from_seed(seed, &self.settings.audience, now)?;
        self.values.add_secret(&id, client.credential.current());
        self.clients.insert(id.clone(), client);
        Ok(id)
    }

    /// Replaces the scopes granted for the Management API. Tokens minted before keep theirs.
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

    /// Takes a client away; whether there was one.
    pub(crate) fn remove(&mut self, id: &str) -> bool {
        self.clients.remove(id).is_some()
    }

    pub(crate) fn clients(&self) -> &BTreeMap<String, Client> {
        &self.clients
    }

    pub(crate) fn values(&self) -> &Values {
        &self.values
    }

    fn client_mut(&mut self, id: &str) -> Result<&mut Client, SeedError> {
        self.clients.get_mut(id).ok_or_else(|| SeedError::UnknownClient(id.into()))
    }

    /// Changes a secret as somebody at the dashboard would; a value is generated when none is
    /// given. Returns the value and whether it is another one than before.
    pub(crate) fn dashboard_change(
        &mut self,
        id: &str,
        value: Option<SecretString>,
        now: SystemTime,
    ) -> Result<(SecretString, bool), SeedError> {
        if value.as_ref().is_some_and(|value| value.expose_secret().is_empty()) {
            return Err(SeedError::EmptySecret);
        }
        self.client_mut(id)?;
        let value = value.unwrap_or_else(crate::secret::new_client_secret);
        let changed = self.change_secret(id, value.clone(), now);
        Ok((value, changed))
    }

    /// Makes a value current and lets authentication learn of it. A value that is current
    /// already is no change: whether there was one.
    fn change_secret(&mut self, id: &str, value: SecretString, now: SystemTime) -> bool {
        let Some(client) = self.clients.get_mut(id) else {
            return false;
        };
        let current = client.credential.current();
        if bool::from(crate::secret::same(current, value.expose_secret())) {
            return false;
        }
        let changes = client.credential.changes();
        let moments = self.settings.propagation.draw(self.settings.seed, id, changes);
        self.values.add_secret(id, &value);
        client.credential.change(value, now, moments);
        true
    }
}

#[cfg(test)]
#[path = "tenant_tests.rs"]
mod tests;
