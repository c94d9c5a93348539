//! The Management API's operations on clients without HTTP.
//!
//! Source: "Clients" in Auth0's Management API reference.

use std::time::SystemTime;

use secrecy::SecretString;
use serde_json::Value;

use super::Tenant;
use super::client::{Client, Scopes, Sight};
use super::fields::{self, Body, Fields};
use super::tokens::TokenProblem;
use crate::error::ApiError;
use crate::secret;

const READ: &[&str] =
    &["read:clients", "read:client_keys", "read:client_credentials", "read:client_summary"];
const UPDATE: &[&str] = &[
    "update:clients",
    "update:client_keys",
    "update:client_credentials",
    "update:client_token_vault_privileged_access",
];
const CREATE: &[&str] = &["create:clients"];
const DELETE: &[&str] = &["delete:clients"];
const UPDATE_KEYS: &[&str] = &["update:client_keys"];

/// Who calls the Management API, from the bearer token.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) client_id: String,
    scopes: Scopes,
}

impl Caller {
    fn needs(&self, any_of: &[&str]) -> Result<(), ApiError> {
        if any_of.iter().any(|scope| self.scopes.contains(*scope)) {
            return Ok(());
        }
        Err(ApiError::insufficient_scope(any_of))
    }
}

/// An answer of the Management API about one or more clients, and what it did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) body: Value,
    /// Something changed at the tenant.
    pub(crate) effect: bool,
    /// The secret became another one.
    pub(crate) secret_changed: bool,
    /// A client secret is in the body.
    pub(crate) shows_secret: bool,
}

impl Tenant {
    /// Who a bearer token belongs to.
    pub(crate) fn caller(&self, bearer: Option<&str>, now: SystemTime) -> Result<Caller, ApiError> {
        let bearer = bearer.ok_or_else(|| ApiError::unauthorized("Missing authentication"))?;
        let token = self.tokens.find(bearer, now).map_err(|problem| {
            ApiError::unauthorized(match problem {
                TokenProblem::Unknown => "Invalid token",
                TokenProblem::Expired => "Expired token received for JSON Web Token validation",
            })
        })?;
        if token.audience != self.settings.audience {
            return Err(ApiError::unauthorized(format!("Bad audience: {}", token.audience)));
        }
        Ok(Caller { client_id: token.client_id.clone(), scopes: token.scopes.clone() })
    }

    /// Lets a token expire now, for the fault of that name.
    pub(crate) fn expire_token(&mut self, bearer: &str, now: SystemTime) {
        self.tokens.expire(bearer, now);
    }

    /// `GET /clients/{id}`: the fields that the scopes show, before `fields` is applied.
    pub(crate) fn get(&self, caller: &Caller, id: &str) -> Result<Fields, ApiError> {
        caller.needs(READ)?;
        let client = self.clients.get(id).ok_or_else(ApiError::inexistent_client)?;
        Ok(self.view(id, client, Sight::of_read(&caller.scopes)))
    }

    /// `GET /clients`: all of them by id, as the scopes show them.
    pub(crate) fn list(&self, caller: &Caller) -> Result<Vec<Fields>, ApiError> {
        caller.needs(READ)?;
        let sight = Sight::of_read(&caller.scopes);
        Ok(self.clients.iter().map(|(id, client)| self.view(id, client, sight)).collect())
    }

    /// `POST /clients`. The answer shows the secret, for nobody else could know it.
    pub(crate) fn create(
        &mut self,
        caller: &Caller,
        body: Fields,
        now: SystemTime,
    ) -> Result<Done, ApiError> {
        caller.needs(CREATE)?;
        fields::check(&body, Body::Create).map_err(ApiError::invalid_body)?;
        if body.contains_key("client_authentication_methods") {
            caller.needs(&["create:client_credentials"])?;
        }
        let client = Client::created(body, now);
        let id = secret::new_client_id();
        self.values.add_secret(&id, client.credential.current());
        self.clients.insert(id.clone(), client);
        Ok(Done { effect: true, ..self.written(caller, &id, true) })
    }

    /// `PATCH /clients/{id}`: the secret and its kind need another scope than the rest.
    pub(crate) fn update(
        &mut self,
        caller: &Caller,
        id: &str,
        mut body: Fields,
        now: SystemTime,
    ) -> Result<Done, ApiError> {
        caller.needs(UPDATE)?;
        fields::check(&body, Body::Update).map_err(ApiError::invalid_body)?;
        for name in body.keys() {
            caller.needs(scope_to_update(name))?;
        }
        let client = self.clients.get_mut(id).ok_or_else(ApiError::inexistent_client)?;
        let new_secret = match body.remove("client_secret") {
            Some(Value::String(value)) => Some(SecretString::from(value)),
            _ => None,
        };
        let sets_methods =
            body.get("client_authentication_methods").is_some_and(|value| !value.is_null());
        if new_secret.is_some() && (client.has_authentication_methods() || sets_methods) {
            return Err(no_secret_here("updated"));
        }
        let mut next = client.fields.clone();
        fields::apply(&mut next, body).map_err(ApiError::invalid_body)?;
        let changed = client.fields != next;
        client.fields = next;
        let secret_changed = new_secret.is_some_and(|value| self.change_secret(id, value, now));
        let effect = changed || secret_changed;
        Ok(Done { effect, secret_changed, ..self.written(caller, id, false) })
    }

    /// `POST /clients/{id}/rotate-secret`.
    pub(crate) fn rotate(
        &mut self,
        caller: &Caller,
        id: &str,
        now: SystemTime,
    ) -> Result<Done, ApiError> {
        caller.needs(UPDATE_KEYS)?;
        let client = self.clients.get(id).ok_or_else(ApiError::inexistent_client)?;
        if client.has_authentication_methods() {
            return Err(no_secret_here("rotated"));
        }
        self.change_secret(id, secret::new_client_secret(), now);
        let done = self.written(caller, id, self.settings.rotate_shows_secret);
        Ok(Done { effect: true, secret_changed: true, ..done })
    }

    /// `DELETE /clients/{id}`: a client that isn't there is no error. Whether one was.
    pub(crate) fn delete(&mut self, caller: &Caller, id: &str) -> Result<bool, ApiError> {
        caller.needs(DELETE)?;
        Ok(self.remove(id))
    }

    fn view(&self, id: &str, client: &Client, sight: Sight) -> Fields {
        client.view(id, self.settings.tenant(), sight)
    }

    fn written(&self, caller: &Caller, id: &str, shows_secret: bool) -> Done {
        let sight = Sight::of_write(&caller.scopes, shows_secret);
        let view = self.clients.get(id).map(|client| self.view(id, client, sight));
        let view = view.unwrap_or_default();
        let shows_secret = view.contains_key("client_secret");
        Done { body: Value::Object(view), shows_secret, ..Done::default() }
    }
}

/// "Update a client": secrets need `update:client_keys`, ways to authenticate
/// `update:client_credentials`, everything else `update:clients`.
fn scope_to_update(field: &str) -> &'static [&'static str] {
    match field {
        "client_secret" => UPDATE_KEYS,
        "client_authentication_methods" => &["update:client_credentials"],
        "token_vault_privileged_access" => &["update:client_token_vault_privileged_access"],
        _ => &["update:clients"],
    }
}

fn no_secret_here(verb: &str) -> ApiError {
    ApiError::not_for_this_client(format!(
        "The secret can't be {verb}: the client authenticates with client_authentication_methods"
    ))
}
