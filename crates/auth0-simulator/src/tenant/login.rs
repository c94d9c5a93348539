//! Authentication of clients: the token and the revocation endpoint without HTTP.
//!
//! Sources: "Get Token" and "Revoke Refresh Token" in Auth0's Authentication API reference; the
//! texts of the 403s are those that tenants send.

use std::time::SystemTime;

use hyper::StatusCode;
use secrecy::{ExposeSecret, SecretString};

use super::client::{Client, Scopes};
use super::{Tenant, WrongSecret};
use crate::error::OAuthError;

/// Grant types that Auth0 has and the simulator doesn't serve.
const OTHER_GRANT_TYPES: &[&str] = &[
    "authorization_code",
    "refresh_token",
    "password",
    "http://auth0.com/oauth/grant-type/password-realm",
    "http://auth0.com/oauth/grant-type/mfa-otp",
    "http://auth0.com/oauth/grant-type/mfa-oob",
    "http://auth0.com/oauth/grant-type/mfa-recovery-code",
    "http://auth0.com/oauth/grant-type/passwordless/otp",
    "urn:ietf:params:oauth:grant-type:device_code",
    "urn:ietf:params:oauth:grant-type:token-exchange",
];

/// How a client proves who it is. Certificates would be a further variant.
#[derive(Debug)]
pub(crate) enum Proof {
    /// A secret, from the body or from HTTP Basic.
    Secret(SecretString),
    /// An assertion that a key of the client's signed.
    Assertion(SecretString),
    /// Nothing, as public clients do.
    None,
}

/// What a request says about its client.
#[derive(Debug)]
pub(crate) struct ClientAuth {
    pub(crate) client_id: String,
    pub(crate) proof: Proof,
}

/// The parameters of `POST /oauth/token`.
#[derive(Debug)]
pub(crate) struct TokenRequest {
    pub(crate) auth: ClientAuth,
    pub(crate) grant_type: String,
    pub(crate) audience: Option<String>,
    /// The scopes asked for; all granted ones when absent.
    pub(crate) scope: Option<String>,
}

/// An access token and what it is good for.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) access_token: SecretString,
    pub(crate) expires_in: u64,
    pub(crate) scopes: Scopes,
}

/// A refusal, and whether the client had proved who it is before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: OAuthError,
    pub(crate) authenticated: bool,
}

fn refused(authenticated: bool) -> impl Fn(OAuthError) -> Refusal {
    move |error| Refusal { error, authenticated }
}

impl Tenant {
    /// Whether authentication accepts the value now. Unknown clients and clients that prove
    /// themselves another way accept none.
    pub(crate) fn accepts(&self, id: &str, value: &str, now: SystemTime) -> bool {
        self.clients.get(id).is_some_and(|client| {
            !client.has_authentication_methods() && client.credential.accepts(value, now)
        })
    }

    /// `POST /oauth/token`.
    pub(crate) fn token(
        &mut self,
        request: &TokenRequest,
        now: SystemTime,
    ) -> Result<Grant, Refusal> {
        self.authenticate(&request.auth, now).map_err(refused(false))?;
        let client = self.clients.get(&request.auth.client_id);
        let client = client.ok_or_else(|| refused(false)(self.wrong_secret()))?;
        let (audience, scopes) = self.granted(client, request).map_err(refused(true))?;
        let ttl = self.settings.token_ttl;
        let client_id = &request.auth.client_id;
        let access_token = self.tokens.mint(client_id, &audience, scopes.clone(), now, ttl);
        self.values.add_token(&access_token);
        Ok(Grant { access_token, expires_in: ttl.as_secs(), scopes })
    }

    /// `POST /oauth/revoke`: there are no refresh tokens, so nothing is ever revoked, but only
    /// a client that proves itself hears so. A refusal is always `invalid_client`.
    pub(crate) fn revoke(&mut self, auth: &ClientAuth, now: SystemTime) -> Result<(), OAuthError> {
        match self.authenticate(auth, now) {
            Err(error) if error.error == "access_denied" => Err(invalid_client("")),
            other => other,
        }
    }

    fn authenticate(&mut self, auth: &ClientAuth, now: SystemTime) -> Result<(), OAuthError> {
        let id = auth.client_id.as_str();
        let proven = match &auth.proof {
            Proof::Secret(value) => self.accepts(id, value.expose_secret(), now),
            Proof::Assertion(value) => {
                self.check_assertion(id, value, now).map_err(invalid_client)?;
                true
            }
            Proof::None => false,
        };
        // A public client needs no proof here; it is stopped by its grant types below.
        let public = || self.clients.get(id).is_some_and(Client::is_public);
        if proven || public() { Ok(()) } else { Err(self.wrong_secret()) }
    }

    fn check_assertion(
        &mut self,
        id: &str,
        assertion: &SecretString,
        now: SystemTime,
    ) -> Result<(), &'static str> {
        self.values.add_token(assertion);
        let keyed = self.clients.get(id).filter(|client| client.has_authentication_methods());
        let keys = &keyed.ok_or("the client has no keys")?.keys;
        let audience = format!("https://{}/", self.settings.domain);
        self.used_assertions.accept(assertion.expose_secret(), keys, (id, &audience), now)
    }

    fn wrong_secret(&self) -> OAuthError {
        let (error, description) = match self.settings.wrong_secret {
            WrongSecret::AccessDenied => ("access_denied", "Unauthorized"),
            WrongSecret::InvalidClient => ("invalid_client", "Client authentication failed"),
        };
        OAuthError::new(StatusCode::UNAUTHORIZED, error, description)
    }

    fn granted(
        &self,
        client: &Client,
        request: &TokenRequest,
    ) -> Result<(String, Scopes), OAuthError> {
        check_grant_type(client, &request.grant_type)?;
        let audience = request.audience.as_deref().unwrap_or_default();
        if audience.is_empty() {
            return Err(OAuthError::access_denied(
                "No audience parameter was provided, and no default audience has been configured",
            ));
        }
        let Some(granted) = client.grants.get(audience) else {
            return Err(OAuthError::access_denied(if self.api_exists(audience) {
                format!(
                    "Client is not authorized to access \"{audience}\". You need to create a \
                     \"client-grant\" associated to this API. See: \
                     https://auth0.com/docs/api/v2#!/Client_Grants/post_client_grants"
                )
            } else {
                format!("Service not found: {audience}")
            }));
        };
        let Some(asked) = request.scope.as_deref().filter(|scope| !scope.trim().is_empty()) else {
            return Ok((audience.into(), granted.clone()));
        };
        let asked: Scopes = asked.split_whitespace().map(Into::into).collect();
        let missing: Vec<&str> = asked.difference(granted).map(String::as_str).collect();
        if !missing.is_empty() {
            let missing = missing.join(",");
            let text = format!("Client has not been granted scopes: {missing}");
            return Err(OAuthError::access_denied(text));
        }
        Ok((audience.into(), asked))
    }

    fn api_exists(&self, audience: &str) -> bool {
        audience == self.settings.audience
            || self.settings.apis.contains(audience)
            || self.clients.values().any(|client| client.grants.contains_key(audience))
    }
}

fn invalid_client(why: &str) -> OAuthError {
    let mut description = "Client authentication failed".to_owned();
    if !why.is_empty() {
        description.push_str(": ");
        description.push_str(why);
    }
    OAuthError::new(StatusCode::UNAUTHORIZED, "invalid_client", description)
}

fn check_grant_type(client: &Client, grant_type: &str) -> Result<(), OAuthError> {
    let known = grant_type == "client_credentials" || OTHER_GRANT_TYPES.contains(&grant_type);
    if !known {
        let text = format!("Unsupported grant type: {grant_type}");
        return Err(OAuthError::new(StatusCode::FORBIDDEN, "unsupported_grant_type", text));
    }
    let confidential = grant_type != "client_credentials" || !client.is_public();
    if !client.allows_grant_type(grant_type) || !confidential {
        let text = format!("Grant type '{grant_type}' not allowed for the client.");
        return Err(OAuthError::new(StatusCode::FORBIDDEN, "unauthorized_client", text));
    }
    if grant_type != "client_credentials" {
        let text = format!("The simulator serves client_credentials only, not {grant_type}");
        return Err(OAuthError::new(StatusCode::NOT_IMPLEMENTED, "unsupported_grant_type", text));
    }
    Ok(())
}
