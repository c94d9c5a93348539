//! Auth0's paths: from a request that was read whole to an outcome, and what is sent of it.

pub(crate) mod answer;
pub(crate) mod clients;
pub(crate) mod credentials;
pub(crate) mod paging;
pub(crate) mod route;
pub(crate) mod token;

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderName};
use hyper::{Method, Uri};
use serde_json::Value;

use crate::audit::AuditKind;
use crate::error::{ApiError, OAuthError};

/// A request with its body.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    /// `Err`: larger than the limit, which is given.
    pub(crate) body: Result<Bytes, usize>,
}

impl Request {
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The bearer token, if there is one.
    pub(crate) fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header(hyper::header::AUTHORIZATION)?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// Whether the body says that it has this media type.
    pub(crate) fn has_type(&self, media_type: &str) -> bool {
        let given = self.header(hyper::header::CONTENT_TYPE).unwrap_or_default();
        given.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media_type)
    }
}

/// The body of an outcome.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Payload {
    Json(Value),
    Empty,
}

/// What the tenant made of a request.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: StatusCode,
    pub(crate) payload: Payload,
    pub(crate) kind: AuditKind,
    /// `error` or `errorCode` of a refusal.
    pub(crate) error: Option<String>,
    /// Overrides the client that the request was about, for those that only then got an id.
    pub(crate) client_id: Option<String>,
    pub(crate) token_client_id: Option<String>,
    pub(crate) effect: bool,
    pub(crate) secret_changed: bool,
    pub(crate) shows_secret: bool,
    pub(crate) secret_refused: bool,
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
            secret_refused: false,
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
