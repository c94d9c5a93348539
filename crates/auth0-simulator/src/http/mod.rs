//! HTTP layer of Auth0's paths: routing, parsing, endpoints and responses.

pub(crate) mod route;

pub(crate) mod client_auth;
pub(crate) mod oauth;

pub(crate) mod clients;
pub(crate) mod query;

pub(crate) mod response;

use hyper::{
    Method, StatusCode, Uri,
    body::Bytes,
    header::{HeaderMap, HeaderName},
};
use serde_json::Value;

use crate::{
    audit::AuditKind,
    error::{ApiError, OAuthError},
};

/// A request with its complete body.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    /// `Err` contains the limit that the body exceeds.
    pub(crate) body: Result<Bytes, usize>,
}

impl Request {
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns the bearer token, if the request has one.
    pub(crate) fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header(hyper::header::AUTHORIZATION)?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// Returns whether the `Content-Type` header has this media type.
    pub(crate) fn has_media_type(&self, media_type: &str) -> bool {
        let content_type = self.header(hyper::header::CONTENT_TYPE).unwrap_or_default();
        content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media_type)
    }
}

/// Body of an outcome.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Payload {
    Json(Value),
    Empty,
}

/// Result of a request, before faults are applied to its response.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: StatusCode,
    pub(crate) payload: Payload,
    pub(crate) kind: AuditKind,
    /// `error` or `errorCode` of an error response.
    pub(crate) error: Option<String>,
    /// Id of a client that the request created. Overrides the client that the request was about.
    pub(crate) client_id: Option<String>,
    pub(crate) token_client_id: Option<String>,
    pub(crate) effect: bool,
    pub(crate) secret_changed: bool,
    pub(crate) shows_secret: bool,
    pub(crate) secret_rejected: bool,
}

impl Outcome {
    pub(crate) fn new(status: StatusCode, payload: Payload, kind: AuditKind) -> Self {
        Self {
            status,
            payload,
            kind,
            error: None,
            client_id: None,
            token_client_id: None,
            effect: false,
            secret_changed: false,
            shows_secret: false,
            secret_rejected: false,
        }
    }

    pub(crate) fn oauth_error(error: &OAuthError, kind: AuditKind) -> Self {
        let payload = Payload::Json(error.body());
        Self { error: Some(error.error.into()), ..Self::new(error.status, payload, kind) }
    }

    pub(crate) fn api_error(error: &ApiError) -> Self {
        let payload = Payload::Json(error.body());
        Self {
            error: error.code.map(Into::into),
            ..Self::new(error.status, payload, AuditKind::FailedApiOperation)
        }
    }
}
