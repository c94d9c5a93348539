//! `POST /oauth/token` and `POST /oauth/revoke`.

use std::time::SystemTime;

use hyper::StatusCode;
use secrecy::ExposeSecret;
use serde_json::json;

use super::{
    Outcome, Payload, Request,
    client_auth::{Parameters, client_auth},
};
use crate::{
    audit::AuditKind,
    error::OAuthError,
    tenant::{
        Tenant,
        authentication::{ClientAuth, TokenRequest},
    },
};

/// Executes `POST /oauth/token`.
pub(crate) fn token(
    tenant: &mut Tenant,
    request: &Request,
    parameters: Result<&Parameters, OAuthError>,
    now: SystemTime,
) -> Outcome {
    let token_request = match parameters.and_then(|it| parse_token_request(request, it)) {
        Ok(token_request) => token_request,
        Err(error) => return Outcome::oauth_error(&error, AuditKind::FailedLogin),
    };
    match tenant.token(&token_request, now) {
        Ok(token) => {
            let scopes: Vec<&str> = token.scopes.iter().map(String::as_str).collect();
            let body = json!({
                "access_token": token.access_token.expose_secret(),
                "token_type": "Bearer",
                "expires_in": token.expires_in,
                "scope": scopes.join(" "),
            });
            Outcome::new(StatusCode::OK, Payload::Json(body), AuditKind::Login)
        }
        Err(rejection) => Outcome {
            secret_rejected: !rejection.is_authenticated,
            ..Outcome::oauth_error(&rejection.error, AuditKind::FailedLogin)
        },
    }
}

fn parse_token_request(
    request: &Request,
    parameters: &Parameters,
) -> Result<TokenRequest, OAuthError> {
    let grant_type = parameters.required("grant_type")?.to_string();
    Ok(TokenRequest {
        auth: client_auth(request, parameters)?,
        grant_type,
        audience: parameters.get("audience").map(Into::into),
        scope: parameters.get("scope").map(Into::into),
    })
}

/// Executes `POST /oauth/revoke`. Responds to an authenticated client with 200 and an empty body,
/// independent of the token.
pub(crate) fn revoke(
    tenant: &mut Tenant,
    request: &Request,
    parameters: Result<&Parameters, OAuthError>,
    now: SystemTime,
) -> Outcome {
    let auth = match parameters.and_then(|it| parse_revocation(request, it)) {
        Ok(auth) => auth,
        Err(error) => return Outcome::oauth_error(&error, AuditKind::FailedRevocation),
    };
    match tenant.revoke(&auth, now) {
        Ok(()) => Outcome::new(StatusCode::OK, Payload::Empty, AuditKind::Revocation),
        Err(error) => Outcome {
            secret_rejected: true,
            ..Outcome::oauth_error(&error, AuditKind::FailedRevocation)
        },
    }
}

fn parse_revocation(request: &Request, parameters: &Parameters) -> Result<ClientAuth, OAuthError> {
    let auth = client_auth(request, parameters)?;
    parameters.required("token")?;
    Ok(auth)
}
