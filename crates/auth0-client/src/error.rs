//! The errors of this crate and their classification.

use chrono::{DateTime, Utc};
use rotation::{ErrorClass, Reason};

use crate::rate_limiter::Outage;

/// A failed call to Auth0.
///
/// The messages end up in conditions that users read. No variant contains text from a request or a
/// response, so every message is written here.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The configuration of the tenant is unusable. The text says what to change.
    #[error("{0}")]
    InvalidConfiguration(String),
    /// The endpoint may not be called. The text says what to change.
    #[error("{0}")]
    EndpointNotAllowed(String),
    /// The credentials cannot be read or used. The text says what to change.
    #[error("{0}")]
    CredentialsUnreadable(String),
    /// The connection failed, so nothing was sent.
    #[error(
        "Auth0 is unreachable: check the tenant's endpoint, the network and the CA bundle; the \
         operator retries automatically"
    )]
    Unreachable,
    /// The request was sent, but the response was incomplete or did not arrive in time.
    #[error(
        "Auth0 did not respond in time, or its response was cut off; the operator recovers \
         automatically"
    )]
    NoResponse,
    /// A rate limit is exhausted: Auth0's own, which the tenant shares with other callers, or the
    /// configured one.
    #[error(
        "the tenant's rate limit (Auth0's or spec.rateLimit) is exhausted; the operator retries \
         when it resets"
    )]
    Throttled {
        /// When calls are allowed again.
        until: DateTime<Utc>,
    },
    /// The Authentication API limits or blocks this client, and no other.
    #[error(
        "Auth0 limits this client's requests to the Authentication API (status 429: a custom rate limit \
         policy, or a block); the operator retries automatically. If it lasts, raise the client's \
         limit in the Auth0 dashboard"
    )]
    ClientThrottled {
        /// When calls of the client are allowed again.
        until: DateTime<Utc>,
    },
    /// The token endpoint limits the tenant's management client, and no token is left.
    #[error(
        "Auth0 issues no further token to the tenant's management client (status 429: its token quota, \
         a custom rate limit policy, or a block); the operator retries automatically. Raise the \
         client's quota or limit in the Auth0 dashboard"
    )]
    TokenThrottled {
        /// When a token can be requested again.
        until: DateTime<Utc>,
    },
    /// The circuit breaker is open after consecutive failures, so nothing was sent.
    ///
    /// Message and reason are those of the outage, so that a status does not change with every
    /// attempt.
    #[error("{}", Self::from(*outage))]
    CircuitOpen {
        /// How the last call failed.
        outage: Outage,
        /// When calls are allowed again.
        until: DateTime<Utc>,
    },
    /// Auth0, or a proxy in front of it, failed with this status.
    #[error("Auth0 responded with status {0}; the operator recovers automatically")]
    Unavailable(u16),
    /// The response does not match Auth0's documentation.
    #[error(
        "Auth0 sent an invalid response ({0}): check that the tenant's endpoint is Auth0 or a proxy \
         for it"
    )]
    InvalidResponse(InvalidResponse),
    /// Auth0 rejected every client secret of the management client.
    #[error(
        "Auth0 rejected the credentials of the tenant's management client: put its client ID and \
         its current secret into the credentials Secret"
    )]
    CredentialsRejected,
    /// Auth0 rejected the client assertion.
    #[error(
        "Auth0 rejected the assertion signed with the tenant's private key: in the Auth0 dashboard, \
         check that the management client's credentials contain the public key with the algorithm \
         of spec.credentials; also check clientId, keyId, spec.domain and the clock"
    )]
    KeyRejected,
    /// Auth0 authenticated the management client but issues no token to it.
    #[error(
        "Auth0 issues no token to the tenant's management client (status 403): authorize the client \
         for the Management API, and check the tenant's audience"
    )]
    TokenForbidden,
    /// The Management API rejected a token that has not expired.
    #[error("Auth0 rejected the Management API token; the operator requests a new one")]
    TokenRejected,
    /// The token request failed, so nothing was sent to the Management API.
    #[error(
        "Auth0 issued no Management API token: it is unreachable or failed to respond; the operator \
         retries automatically"
    )]
    TokenUnavailable,
    /// The deadline passed before the request could start, so nothing was sent.
    #[error(
        "the request to Auth0 was not sent because its deadline had passed; the operator retries \
         automatically"
    )]
    DeadlinePassed,
    /// Auth0 rejected the value as a client secret.
    #[error(
        "Auth0 rejected the new value of the client secret (status 400): the client may be one that \
         authenticates with keys, or a third-party client in strict mode. Set spec.strategy to \
         Rotate, or delete this resource if the client uses no secret"
    )]
    ValueRejected,
    /// Auth0 rejected the change of this client's secret, regardless of the value.
    #[error(
        "Auth0 does not let the operator change this client's secret: it may be one that \
         authenticates with keys, which only a token with the scope read:client_keys shows, or a \
         third-party client in strict mode, which needs spec.strategy: Rotate. Delete this resource \
         if the client uses no secret"
    )]
    ChangeRejected,
    /// The token lacks this scope.
    #[error(
        "the tenant's management client lacks the scope {0}: grant the scope in the Auth0 dashboard"
    )]
    MissingScope(&'static str),
    /// The client ID cannot be part of a URL, so nothing was sent.
    #[error(
        "spec.clientId is not a client ID, so nothing was sent to Auth0. Create another resource \
         with the client ID from the Auth0 dashboard"
    )]
    InvalidClientId,
    /// The client does not exist.
    #[error("Auth0 has no client with this ID: check spec.clientId and the tenant")]
    ClientNotFound,
    /// Auth0 rejected the request with this status.
    #[error("Auth0 rejected the request with status {0}")]
    Rejected(u16),
}

/// Why a response is invalid.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidResponse {
    /// The body exceeds the size limit.
    #[error("its body is too large")]
    BodyTooLarge,
    /// The body is not the documented JSON.
    #[error("its body is not the expected JSON")]
    UnexpectedBody,
    /// The body is a web page.
    #[error("its body is HTML")]
    Html,
    /// The body describes another client.
    #[error("it describes another client")]
    WrongClient,
    /// The status is neither success nor error.
    #[error("unexpected status {0}")]
    UnexpectedStatus(u16),
}

impl Error {
    /// Returns the class of the error, which decides what the caller does next.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Throttled { until }
            | Self::ClientThrottled { until }
            | Self::TokenThrottled { until }
            | Self::CircuitOpen { until, .. } => ErrorClass::Throttled { until: *until },
            Self::Unreachable
            | Self::NoResponse
            | Self::Unavailable(_)
            | Self::InvalidResponse(_)
            | Self::TokenUnavailable
            | Self::DeadlinePassed
            | Self::TokenRejected => ErrorClass::Retry,
            Self::InvalidConfiguration(_)
            | Self::EndpointNotAllowed(_)
            | Self::CredentialsUnreadable(_)
            | Self::CredentialsRejected
            | Self::KeyRejected
            | Self::TokenForbidden
            | Self::MissingScope(_)
            | Self::InvalidClientId
            | Self::ClientNotFound
            | Self::ValueRejected
            | Self::ChangeRejected
            | Self::Rejected(_) => ErrorClass::Invalid,
        }
    }

    /// Returns the machine-readable reason for conditions, logs and metrics.
    pub fn reason(&self) -> Reason {
        match self {
            Self::InvalidConfiguration(_) => Reason::InvalidTenant,
            Self::EndpointNotAllowed(_) => Reason::EndpointNotAllowed,
            Self::CredentialsUnreadable(_) => Reason::CredentialsUnreadable,
            Self::Unreachable => Reason::Unreachable,
            Self::NoResponse => Reason::NoResponse,
            Self::Throttled { .. } => Reason::Throttled,
            Self::ClientThrottled { .. } => Reason::ClientThrottled,
            Self::TokenThrottled { .. } => Reason::TokenThrottled,
            Self::CircuitOpen { outage, .. } => Self::from(*outage).reason(),
            Self::Unavailable(_) => Reason::Unavailable,
            Self::InvalidResponse(_) => Reason::InvalidResponse,
            Self::CredentialsRejected | Self::KeyRejected => Reason::CredentialsRejected,
            Self::TokenForbidden => Reason::TokenForbidden,
            Self::TokenRejected => Reason::TokenRejected,
            Self::TokenUnavailable => Reason::TokenUnavailable,
            Self::DeadlinePassed => Reason::DeadlinePassed,
            Self::ValueRejected => Reason::ValueRejected,
            Self::ChangeRejected => Reason::ChangeRejected,
            Self::MissingScope(_) => Reason::MissingScope,
            Self::InvalidClientId => Reason::InvalidName,
            Self::ClientNotFound => Reason::ClientNotFound,
            Self::Rejected(_) => Reason::Rejected,
        }
    }

    /// Returns true if the failed call certainly had no effect at Auth0.
    ///
    /// The effect is unknown after a server error, an invalid response, or a status that a proxy
    /// may have generated (such as 408 or 499).
    pub fn had_no_effect(&self) -> bool {
        match self {
            Self::NoResponse | Self::Unavailable(_) | Self::InvalidResponse(_) => false,
            Self::Rejected(status) => matches!(status, 400 | 401 | 403 | 404 | 409),
            _ => true,
        }
    }

    /// Returns true if the error concerns the whole tenant, and false if it concerns one client.
    pub fn concerns_tenant(&self) -> bool {
        !matches!(
            self,
            Self::InvalidClientId
                | Self::ClientNotFound
                | Self::ClientThrottled { .. }
                | Self::Rejected(_)
                | Self::ValueRejected
                | Self::ChangeRejected
        )
    }
}

impl From<Outage> for Error {
    fn from(outage: Outage) -> Self {
        match outage {
            Outage::Unreachable => Self::Unreachable,
            Outage::NoResponse => Self::NoResponse,
            Outage::Unavailable(status) => Self::Unavailable(status),
        }
    }
}

impl Outage {
    /// Returns the outage that the error of a sent request indicates, if any. Rejected credentials
    /// and exhausted rate limits are not outages.
    pub(crate) fn from_error(error: &Error) -> Option<Self> {
        match error {
            Error::Unreachable => Some(Self::Unreachable),
            Error::NoResponse => Some(Self::NoResponse),
            Error::Unavailable(status) => Some(Self::Unavailable(*status)),
            _ => None,
        }
    }
}
