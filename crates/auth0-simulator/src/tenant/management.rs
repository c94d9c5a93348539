//! The Management API's operations on clients, without HTTP.
//!
//! Source: "Clients" in Auth0's Management API reference.

use std::time::SystemTime;

use secrecy::SecretString;
use serde_json::Value;

use super::{
    Tenant,
    client::{Client, Scopes, Visibility},
    client_fields::{self, BodyKind, Fields},
    tokens::TokenError,
};
use crate::{error::ApiError, secret};

const READ_SCOPES: &[&str] =
    &["read:clients", "read:client_keys", "read:client_credentials", "read:client_summary"];
const UPDATE_SCOPES: &[&str] = &[
    "update:clients",
    "update:client_keys",
    "update:client_credentials",
    "update:client_token_vault_privileged_access",
];
const CREATE_SCOPES: &[&str] = &["create:clients"];
const DELETE_SCOPES: &[&str] = &["delete:clients"];
const UPDATE_KEYS_SCOPES: &[&str] = &["update:client_keys"];

/// Caller of the Management API, identified by its bearer token.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) client_id: String,
    scopes: Scopes,
}

impl Caller {
    /// Returns an error unless the caller has at least one of the scopes.
    fn require_any(&self, any_of: &[&str]) -> Result<(), ApiError> {
        if any_of.iter().any(|scope| self.scopes.contains(*scope)) {
            return Ok(());
        }
        Err(ApiError::insufficient_scope(any_of))
    }
}

/// Response body and effect of a write.
#[derive(Debug, Default)]
pub(crate) struct WriteResult {
    pub(crate) body: Value,
    /// Whether something changed in the tenant.
    pub(crate) effect: bool,
    /// Whether the secret changed.
    pub(crate) secret_changed: bool,
    /// Whether the body contains a client secret.
    pub(crate) shows_secret: bool,
}

impl Tenant {
    /// Identifies the caller by its bearer token.
    pub(crate) fn caller(&self, bearer: Option<&str>, now: SystemTime) -> Result<Caller, ApiError> {
        let bearer = bearer.ok_or_else(|| ApiError::unauthorized("Missing authentication"))?;
        let token = self.tokens.find(bearer, now).map_err(|error| {
            ApiError::unauthorized(match error {
                TokenError::Unknown => "Invalid token",
                TokenError::Expired => "Expired token received for JSON Web Token validation",
            })
        })?;
        if token.audience != self.settings.audience {
            return Err(ApiError::unauthorized(format!("Bad audience: {}", token.audience)));
        }
        Ok(Caller { client_id: token.client_id.clone(), scopes: token.scopes.clone() })
    }

    /// Expires a token now, for the fault `expired_token`.
    pub(crate) fn expire_token(&mut self, bearer: &str, now: SystemTime) {
        self.tokens.expire(bearer, now);
    }

    /// Executes `GET /clients/{id}`. Returns the fields that the scopes allow; the query's field
    /// selection is applied later.
    pub(crate) fn get(&self, caller: &Caller, id: &str) -> Result<Fields, ApiError> {
        caller.require_any(READ_SCOPES)?;
        let client = self.clients.get(id).ok_or_else(ApiError::inexistent_client)?;
        Ok(self.view(id, client, Visibility::for_read(&caller.scopes)))
    }

    /// Executes `GET /clients`. Returns all clients in id order, with the fields that the scopes
    /// allow.
    pub(crate) fn list(&self, caller: &Caller) -> Result<Vec<Fields>, ApiError> {
        caller.require_any(READ_SCOPES)?;
        let visibility = Visibility::for_read(&caller.scopes);
        Ok(self.clients.iter().map(|(id, client)| self.view(id, client, visibility)).collect())
    }

    /// Executes `POST /clients`. The response always contains the generated secret.
    pub(crate) fn create(
        &mut self,
        caller: &Caller,
        body: Fields,
        now: SystemTime,
    ) -> Result<WriteResult, ApiError> {
        caller.require_any(CREATE_SCOPES)?;
        client_fields::validate(&body, BodyKind::Create).map_err(ApiError::invalid_body)?;
        if body.contains_key("client_authentication_methods") {
            caller.require_any(&["create:client_credentials"])?;
        }
        let client = Client::created(body, now);
        let id = secret::new_client_id();
        self.values.add_secret(&id, client.secret.current());
        self.clients.insert(id.clone(), client);
        Ok(WriteResult { effect: true, ..self.write_result(caller, &id, true) })
    }

    /// Executes `PATCH /clients/{id}`. The required scopes depend on the fields in the body.
    pub(crate) fn update(
        &mut self,
        caller: &Caller,
        id: &str,
        mut body: Fields,
        now: SystemTime,
    ) -> Result<WriteResult, ApiError> {
        caller.require_any(UPDATE_SCOPES)?;
        client_fields::validate(&body, BodyKind::Update).map_err(ApiError::invalid_body)?;
        for name in body.keys() {
            caller.require_any(scopes_to_update(name))?;
        }
        let client = self.clients.get_mut(id).ok_or_else(ApiError::inexistent_client)?;
        let new_secret = match body.remove("client_secret") {
            Some(Value::String(value)) => Some(SecretString::from(value)),
            _ => None,
        };
        let sets_methods =
            body.get("client_authentication_methods").is_some_and(|value| !value.is_null());
        if new_secret.is_some() && (client.has_authentication_methods() || sets_methods) {
            return Err(secret_not_supported("updated"));
        }
        if new_secret.is_some() && client.is_strict_third_party() {
            return Err(ApiError::not_allowed_for_client(
                "The secret of a third-party client in strict mode can't be updated",
            ));
        }
        let mut next = client.fields.clone();
        client_fields::apply(&mut next, body).map_err(ApiError::invalid_body)?;
        let fields_changed = client.fields != next;
        client.fields = next;
        let secret_changed = new_secret.is_some_and(|value| self.change_secret(id, value, now));
        let effect = fields_changed || secret_changed;
        Ok(WriteResult { effect, secret_changed, ..self.write_result(caller, id, false) })
    }

    /// Executes `POST /clients/{id}/rotate-secret`.
    pub(crate) fn rotate(
        &mut self,
        caller: &Caller,
        id: &str,
        now: SystemTime,
    ) -> Result<WriteResult, ApiError> {
        caller.require_any(UPDATE_KEYS_SCOPES)?;
        let client = self.clients.get(id).ok_or_else(ApiError::inexistent_client)?;
        if client.has_authentication_methods() {
            return Err(secret_not_supported("rotated"));
        }
        self.change_secret(id, secret::new_client_secret(), now);
        let result = self.write_result(caller, id, self.settings.rotate_shows_secret);
        Ok(WriteResult { effect: true, secret_changed: true, ..result })
    }

    /// Executes `DELETE /clients/{id}`. Returns whether the client existed; an absent client is not
    /// an error.
    pub(crate) fn delete(&mut self, caller: &Caller, id: &str) -> Result<bool, ApiError> {
        caller.require_any(DELETE_SCOPES)?;
        Ok(self.remove(id))
    }

    fn view(&self, id: &str, client: &Client, visibility: Visibility) -> Fields {
        client.view(id, self.settings.tenant_name(), visibility)
    }

    fn write_result(&self, caller: &Caller, id: &str, shows_secret: bool) -> WriteResult {
        let visibility = Visibility::for_write(&caller.scopes, shows_secret);
        let view = self.clients.get(id).map(|client| self.view(id, client, visibility));
        let view = view.unwrap_or_default();
        let shows_secret = view.contains_key("client_secret");
        WriteResult { body: Value::Object(view), shows_secret, ..WriteResult::default() }
    }
}

/// Returns the scopes of which a caller needs one to update the field ("Update a client" in the
/// Management API reference).
fn scopes_to_update(field: &str) -> &'static [&'static str] {
    match field {
        "client_secret" => UPDATE_KEYS_SCOPES,
        "client_authentication_methods" => &["update:client_credentials"],
        "token_vault_privileged_access" => &["update:client_token_vault_privileged_access"],
        _ => &["update:clients"],
    }
}

fn secret_not_supported(verb: &str) -> ApiError {
    ApiError::not_allowed_for_client(format!(
        "The secret can't be {verb}: the client authenticates with client_authentication_methods"
    ))
}
