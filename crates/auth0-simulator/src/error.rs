//! Error responses of Auth0's two APIs, and the simulator's own errors.

use hyper::StatusCode;
use serde_json::{Value, json};

/// Error response of the Management API: `{"statusCode","error","message","errorCode"?}`
/// (Management API reference, "Errors").
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: Option<&'static str>,
    pub(crate) message: String,
}

impl ApiError {
    fn new(status: StatusCode, code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(crate) fn invalid_body(message: impl std::fmt::Display) -> Self {
        let message = format!("Payload validation error: {message}.");
        Self::new(StatusCode::BAD_REQUEST, Some("invalid_body"), message)
    }

    pub(crate) fn invalid_query(message: impl std::fmt::Display) -> Self {
        let message = format!("Query validation error: {message}.");
        Self::new(StatusCode::BAD_REQUEST, Some("invalid_query_string"), message)
    }

    pub(crate) fn invalid_uri(message: impl std::fmt::Display) -> Self {
        let message = format!("Path validation error: {message}.");
        Self::new(StatusCode::BAD_REQUEST, Some("invalid_uri"), message)
    }

    /// Creates the error for a request that the client's current settings don't allow.
    pub(crate) fn not_allowed_for_client(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Some("invalid_body"), message)
    }

    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, None, message)
    }

    pub(crate) fn insufficient_scope(any_of: &[&str]) -> Self {
        let message = format!("Insufficient scope, expected any of: {}", any_of.join(","));
        Self::new(StatusCode::FORBIDDEN, Some("insufficient_scope"), message)
    }

    pub(crate) fn inexistent_client() -> Self {
        let message = "The client does not exist";
        Self::new(StatusCode::NOT_FOUND, Some("inexistent_client"), message)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, None, "Not Found")
    }

    pub(crate) fn payload_too_large(limit: usize) -> Self {
        let message = format!("Payload content length greater than maximum allowed: {limit}");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, None, message)
    }

    pub(crate) fn unsupported_media_type() -> Self {
        let message = "Unsupported Media Type: send application/json";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, None, message)
    }

    pub(crate) fn too_many_requests() -> Self {
        let message = "Global limit has been reached";
        Self::new(StatusCode::TOO_MANY_REQUESTS, Some("too_many_requests"), message)
    }

    pub(crate) fn server_error(status: StatusCode) -> Self {
        let code = (status == StatusCode::INTERNAL_SERVER_ERROR).then_some("internal_error");
        Self::new(status, code, status.canonical_reason().unwrap_or("Server error"))
    }

    pub(crate) fn body(&self) -> Value {
        let mut body = json!({
            "statusCode": self.status.as_u16(),
            "error": self.status.canonical_reason().unwrap_or("Error"),
            "message": self.message,
        });
        if let Some(code) = self.code {
            body["errorCode"] = code.into();
        }
        body
    }
}

/// Error response of the Authentication API: `{"error","error_description"}` (RFC 6749, section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OAuthError {
    pub(crate) status: StatusCode,
    pub(crate) error: &'static str,
    pub(crate) description: String,
}

impl OAuthError {
    pub(crate) fn new(
        status: StatusCode,
        error: &'static str,
        description: impl Into<String>,
    ) -> Self {
        Self { status, error, description: description.into() }
    }

    pub(crate) fn invalid_request(description: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    pub(crate) fn missing(parameter: &str) -> Self {
        Self::invalid_request(format!("Missing required parameter: {parameter}"))
    }

    pub(crate) fn access_denied(description: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "access_denied", description)
    }

    pub(crate) fn body(&self) -> Value {
        json!({ "error": self.error, "error_description": self.description })
    }
}

/// Error of seeding or changing a client through the library or the admin interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeedError {
    /// No client has this id.
    #[error("unknown client id {0:?}: create the client first")]
    UnknownClient(String),
    /// The client id is empty or too long.
    #[error("invalid client id: expected 1 to 256 characters, got {0}")]
    BadId(usize),
    /// The secret is empty.
    #[error("empty client secret: omit it to generate one")]
    EmptySecret,
    /// A field is unknown or has the wrong type. The text names it.
    #[error("the Management API rejects these client fields: {0}")]
    BadField(String),
    /// A public key can't be parsed.
    #[error(
        "invalid public key: expected an RSA key in PEM, with BEGIN PUBLIC KEY or \
         BEGIN RSA PUBLIC KEY"
    )]
    BadKey,
}

/// Error of starting the simulator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is out of range. The text says which values are accepted.
    #[error("{0}")]
    Setting(String),
    /// A seeded client is invalid.
    #[error("invalid seed for client {client_id:?}: {source}")]
    Seed {
        /// Id of the client.
        client_id: String,
        /// Cause.
        source: SeedError,
    },
    /// The simulator can't listen on an address.
    #[error(
        "failed to listen on {addr}: {source} (if the port is in use, port 0 selects a free one)"
    )]
    Listen {
        /// Requested address.
        addr: std::net::SocketAddr,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The TLS certificate or key is invalid.
    #[error("invalid TLS certificate or key: {0}")]
    Tls(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_have_the_members_of_auth0() {
        assert_eq!(
            ApiError::insufficient_scope(&["read:clients", "read:client_keys"]).body(),
            json!({
                "statusCode": 403,
                "error": "Forbidden",
                "message": "Insufficient scope, expected any of: read:clients,read:client_keys",
                "errorCode": "insufficient_scope",
            })
        );
        assert!(ApiError::unauthorized("Invalid token").body().get("errorCode").is_none());
        assert_eq!(
            OAuthError::missing("token").body(),
            json!({
                "error": "invalid_request",
                "error_description": "Missing required parameter: token",
            })
        );
    }
}
