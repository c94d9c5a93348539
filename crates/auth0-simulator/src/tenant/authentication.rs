//! Authentication of clients: the token and revocation endpoints without HTTP.
//!
//! Sources: "Get Token" and "Revoke Refresh Token" in Auth0's Authentication API reference; the
//! error descriptions of 403 are those that tenants send.

use std::time::SystemTime;

use hyper::StatusCode;
use secrecy::{ExposeSecret, SecretString};

use super::{
    RevocationAuth, Tenant, WrongSecret,
    client::{Client, Scopes},
    client_assertion::ExpectedClaims,
};
use crate::error::OAuthError;

/// Grant types of Auth0 that the simulator doesn't support.
const UNSUPPORTED_GRANT_TYPES: &[&str] = &[
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

/// Proof of a client's identity. Certificates (mTLS) are not supported.
#[derive(Debug)]
pub(crate) enum Proof {
    /// Secret from the body or from HTTP Basic.
    Secret(SecretString),
    /// Assertion signed by a key of the client.
    Assertion(SecretString),
    /// No proof, as sent by public clients.
    None,
}

/// Client authentication as sent in a request.
#[derive(Debug)]
pub(crate) struct ClientAuth {
    pub(crate) client_id: String,
    pub(crate) proof: Proof,
}

/// Parameters of `POST /oauth/token`.
#[derive(Debug)]
pub(crate) struct TokenRequest {
    pub(crate) auth: ClientAuth,
    pub(crate) grant_type: String,
    pub(crate) audience: Option<String>,
    /// Requested scopes. If absent, all granted scopes are issued.
    pub(crate) scope: Option<String>,
}

/// An issued access token with its lifetime in seconds and its scopes.
#[derive(Debug)]
pub(crate) struct IssuedToken {
    pub(crate) access_token: SecretString,
    pub(crate) expires_in: u64,
    pub(crate) scopes: Scopes,
}

/// Rejection of a token request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokenRejection {
    pub(crate) error: OAuthError,
    /// Whether the client was authenticated before its request was rejected.
    pub(crate) is_authenticated: bool,
}

impl TokenRejection {
    fn unauthenticated(error: OAuthError) -> Self {
        Self { error, is_authenticated: false }
    }

    fn authenticated(error: OAuthError) -> Self {
        Self { error, is_authenticated: true }
    }
}

/// Audience and scopes that a token is issued for.
struct Grant {
    audience: String,
    scopes: Scopes,
}

impl Tenant {
    /// Returns whether authentication accepts the value now. Always false for unknown clients and
    /// for clients that authenticate by other means than a secret.
    pub(crate) fn accepts(&self, id: &str, value: &str, now: SystemTime) -> bool {
        match self.clients.get(id) {
            Some(client)
                if !client.has_authentication_methods() && !client.is_from_metadata_document() =>
            {
                client.secret.accepts(value, now)
            }
            _ => false,
        }
    }

    /// Executes `POST /oauth/token`.
    pub(crate) fn token(
        &mut self,
        request: &TokenRequest,
        now: SystemTime,
    ) -> Result<IssuedToken, TokenRejection> {
        self.authenticate(&request.auth, now).map_err(TokenRejection::unauthenticated)?;
        let client_id = &request.auth.client_id;
        let Some(client) = self.clients.get(client_id) else {
            return Err(TokenRejection::unauthenticated(self.wrong_secret()));
        };
        let Grant { audience, scopes } =
            self.grant(client, request).map_err(TokenRejection::authenticated)?;
        let ttl = self.settings.token_ttl;
        let access_token = self.tokens.issue(client_id, &audience, scopes.clone(), now, ttl);
        self.values.add_token(&access_token);
        Ok(IssuedToken { access_token, expires_in: ttl.as_secs(), scopes })
    }

    /// Executes `POST /oauth/revoke`. The simulator has no refresh tokens, so it only authenticates
    /// the client. The error for a wrong secret is always `invalid_client`.
    pub(crate) fn revoke(&mut self, auth: &ClientAuth, now: SystemTime) -> Result<(), OAuthError> {
        if self.settings.revocation_auth == RevocationAuth::RegularWebApplications
            && self.clients.get(&auth.client_id).is_some_and(|client| !client.is_regular_web())
        {
            return Ok(());
        }
        match self.authenticate(auth, now) {
            Err(error) if error.error == "access_denied" => Err(invalid_client("")),
            other => other,
        }
    }

    fn authenticate(&mut self, auth: &ClientAuth, now: SystemTime) -> Result<(), OAuthError> {
        let id = auth.client_id.as_str();
        let is_proven = match &auth.proof {
            Proof::Secret(value) => self.accepts(id, value.expose_secret(), now),
            Proof::Assertion(value) => {
                self.check_assertion(id, value, now).map_err(invalid_client)?;
                true
            }
            Proof::None => false,
        };
        // A public client needs no proof. `check_grant_type` later denies it a token.
        if is_proven || self.clients.get(id).is_some_and(Client::is_public) {
            return Ok(());
        }
        Err(self.wrong_secret())
    }

    fn check_assertion(
        &mut self,
        id: &str,
        assertion: &SecretString,
        now: SystemTime,
    ) -> Result<(), &'static str> {
        self.values.add_token(assertion);
        let keys = match self.clients.get(id) {
            Some(client) if client.has_authentication_methods() => &client.keys,
            _ => return Err("the client has no keys"),
        };
        let audience = format!("https://{}/", self.settings.domain);
        let expected = ExpectedClaims { client_id: id, audience: &audience };
        self.used_assertions.accept(assertion.expose_secret(), keys, expected, now)
    }

    fn wrong_secret(&self) -> OAuthError {
        let (error, description) = match self.settings.wrong_secret {
            WrongSecret::AccessDenied => ("access_denied", "Unauthorized"),
            WrongSecret::InvalidClient => ("invalid_client", "Client authentication failed"),
        };
        OAuthError::new(StatusCode::UNAUTHORIZED, error, description)
    }

    /// Determines audience and scopes of the requested token.
    fn grant(&self, client: &Client, request: &TokenRequest) -> Result<Grant, OAuthError> {
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
        let requested = request.scope.as_deref().unwrap_or_default();
        let requested: Scopes = requested.split_whitespace().map(Into::into).collect();
        if requested.is_empty() {
            return Ok(Grant { audience: audience.into(), scopes: granted.clone() });
        }
        let missing: Vec<&str> = requested.difference(granted).map(String::as_str).collect();
        if !missing.is_empty() {
            let missing = missing.join(",");
            let text = format!("Client has not been granted scopes: {missing}");
            return Err(OAuthError::access_denied(text));
        }
        Ok(Grant { audience: audience.into(), scopes: requested })
    }

    fn api_exists(&self, audience: &str) -> bool {
        audience == self.settings.audience
            || self.settings.apis.contains(audience)
            || self.clients.values().any(|client| client.grants.contains_key(audience))
    }
}

fn invalid_client(reason: &str) -> OAuthError {
    let mut description = "Client authentication failed".to_owned();
    if !reason.is_empty() {
        description.push_str(": ");
        description.push_str(reason);
    }
    OAuthError::new(StatusCode::UNAUTHORIZED, "invalid_client", description)
}

fn check_grant_type(client: &Client, grant_type: &str) -> Result<(), OAuthError> {
    let is_known =
        grant_type == "client_credentials" || UNSUPPORTED_GRANT_TYPES.contains(&grant_type);
    if !is_known {
        let text = format!("Unsupported grant type: {grant_type}");
        return Err(OAuthError::new(StatusCode::FORBIDDEN, "unsupported_grant_type", text));
    }
    let requires_confidential_client = grant_type == "client_credentials";
    if !client.allows_grant_type(grant_type) || requires_confidential_client && client.is_public() {
        let text = format!("Grant type '{grant_type}' not allowed for the client.");
        return Err(OAuthError::new(StatusCode::FORBIDDEN, "unauthorized_client", text));
    }
    if grant_type != "client_credentials" {
        let text = format!("The simulator supports client_credentials only, not {grant_type}");
        return Err(OAuthError::new(StatusCode::NOT_IMPLEMENTED, "unsupported_grant_type", text));
    }
    Ok(())
}
