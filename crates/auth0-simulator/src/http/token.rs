//! `POST /oauth/token` and `POST /oauth/revoke`.

use std::time::SystemTime;

use hyper::StatusCode;
use secrecy::ExposeSecret;
use serde_json::json;

use super::credentials::{Parameters, client_auth};
use super::{Outcome, Payload, Request};
use crate::audit::AuditKind;
use crate::error::OAuthError;
use crate::tenant::Tenant;
use crate::tenant::login::TokenRequest;

/// `POST /oauth/token`.
pub(crate) fn token(
    tenant: &mut Tenant,
    request: &Request,
    parameters: Result<&Parameters, OAuthError>,
    now: SystemTime,
) -> Outcome {
    let wanted = match parameters.and_then(|it| wanted(request, it)) {
        Ok(wanted) => wanted,
        Err(error) => return Outcome::oauth_error(&error, AuditKind::FailedLogin),
    };
    match tenant.token(&wanted, now) {
        Ok(grant) => {
            let scopes: Vec<&str> = grant.scopes.iter().map(String::as_str).collect();
            let body = json!({
                "access_token": grant.access_token.expose_secret(),
                "token_type": "Bearer",
                "expires_in": grant.expires_in,
                "scope": scopes.join(" "),
            });
            Outcome::new(StatusCode::OK, Payload::Json(body), AuditKind::Login)
        }
        Err(refusal) => Outcome {
            secret_refused: !refusal.authenticated,
            ..Outcome::oauth_error(&refusal.error, AuditKind::FailedLogin)
        },
    }
}

fn wanted(request: &Request, parameters: &Parameters) -> Result<TokenRequest, OAuthError> {
    let grant_type = parameters.required("grant_type")?.to_string();
    Ok(TokenRequest {
        auth: client_auth(request, parameters)?,
        grant_type,
        audience: parameters.get("audience").map(Into::into),
        scope: parameters.get("scope").map(Into::into),
    })
}

/// `POST /oauth/revoke`: 200 with an empty body for a client that proved itself, whatever the
/// token is.
pub(crate) fn revoke(
    tenant: &mut Tenant,
    request: &Request,
    parameters: Result<&Parameters, OAuthError>,
    now: SystemTime,
) -> Outcome {
    let read = parameters.and_then(|parameters| {
        let auth = client_auth(request, parameters)?;
        parameters.required("token")?;
        Ok(auth)
    });
    let auth = match read {
        Ok(auth) => auth,
        Err(error) => return Outcome::oauth_error(&error, AuditKind::FailedRevocation),
    };
    match tenant.revoke(&auth, now) {
        Ok(()) => Outcome::new(StatusCode::OK, Payload::Empty, AuditKind::Revocation),
        Err(error) => Outcome {
            secret_refused: true,
            ..Outcome::oauth_error(&error, AuditKind::FailedRevocation)
        },
    }
}
