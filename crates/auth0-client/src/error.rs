//! What can go wrong with Auth0, closed and classified.

use chrono::{DateTime, Utc};
use rotation::{ErrorClass, Failure, Reason};

use super::pacer::Outage;

/// A failed call to Auth0.
///
/// No variant carries text that came from Auth0, from a response or from a request: what is shown
/// to people is written here.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Auth0Error {
    /// The tenant's configuration can't be used; the text says what to change.
    #[error("{0}")]
    Configuration(String),
    /// The credentials can't be read; the text says what to change.
    #[error("{0}")]
    Credentials(String),
    /// No connection was made: nothing was sent.
    #[error("Auth0 can't be reached: check the tenant's endpoint, the network and the CA bundle")]
    Unreachable,
    /// The call was sent, and its answer did not come whole or in time.
    #[error("Auth0 did not answer in time, or its answer was cut off")]
    NoResponse,
    /// The tenant's rate limit is used up, by us or others, or our own pace is.
    #[error("the tenant's rate limit, or the pace of the Auth0Tenant's spec.rateLimit, is used up")]
    Throttled {
        /// When calls may be made again.
        until: DateTime<Utc>,
    },
    /// Calls failed one after the other, the last one like that: this one was not made. It is told
    /// as that failure is, so that a status doesn't change with every attempt.
    #[error("{}", Auth0Error::from(*outage))]
    Paused {
        /// How calls fail.
        outage: Outage,
        /// When calls may be made again.
        until: DateTime<Utc>,
    },
    /// Auth0, or what stands before it, failed.
    #[error("Auth0 answered with status {0}")]
    Unavailable(u16),
    /// The answer is none that Auth0 documents.
    #[error(
        "Auth0's answer can't be understood ({0}): check that the endpoint is Auth0's, or a proxy for it"
    )]
    InvalidResponse(InvalidResponse),
    /// Auth0 refused all secrets of the tenant's management client.
    #[error(
        "Auth0 refuses the credentials of the tenant's management client: put its client ID and its \
         present secret into the credentials Secret"
    )]
    CredentialsRejected,
    /// Auth0 refused the assertion that the tenant's key signed.
    #[error(
        "Auth0 refuses what the tenant's private key signed: check in Auth0's dashboard that the \
         client's credentials have its public key with the algorithm of spec.credentials, and check \
         clientId, keyId, spec.domain and the clock"
    )]
    KeyRejected,
    /// Auth0 knows the management client and gives it no token.
    #[error(
        "Auth0 gives the tenant's management client no token (status 403): authorize it for the \
         Management API, and check the tenant's audience"
    )]
    TokenForbidden,
    /// The token was refused although it is not expired.
    #[error("Auth0 refused the Management API token")]
    TokenRejected,
    /// No token could be got: nothing was asked of the Management API.
    #[error("Auth0 gave no Management API token: it can't be reached, or failed to answer")]
    TokenUnavailable,
    /// There was no time left to make the call in: it was not made.
    #[error("there was no time left for the call; it was not made")]
    DeadlinePassed,
    /// Auth0 doesn't take the value as a client secret.
    #[error("Auth0 refuses the new value of the client secret (status 400)")]
    ValueRejected,
    /// The token lacks a scope.
    #[error("the tenant's management client lacks the scope {0}: grant it in Auth0's dashboard")]
    MissingScope(&'static str),
    /// There is no such client.
    #[error("Auth0 has no client with this ID: check spec.clientId and the tenant")]
    ClientNotFound,
    /// Auth0 refused the request as such.
    #[error("Auth0 refused the request with status {0}")]
    Rejected(u16),
}

/// How an answer fails to be one.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidResponse {
    /// The body is longer than is read.
    #[error("it is too long")]
    TooLong,
    /// The body isn't the JSON that is documented.
    #[error("it is not the JSON that was expected")]
    NotJson,
    /// The answer is a page for people.
    #[error("it is HTML")]
    Html,
    /// The answer speaks of another client.
    #[error("it is about another client")]
    OtherClient,
    /// The secret in it can't be one.
    #[error("its client secret is malformed")]
    Secret,
    /// The status is neither success nor error.
    #[error("unexpected status {0}")]
    Status(u16),
}

impl Auth0Error {
    /// What the failure means for what happens next.
    pub fn class(&self) -> ErrorClass {
        match self {
            Auth0Error::Throttled { until } | Auth0Error::Paused { until, .. } => {
                ErrorClass::Throttled { until: *until }
            }
            Auth0Error::Unreachable
            | Auth0Error::NoResponse
            | Auth0Error::Unavailable(_)
            | Auth0Error::InvalidResponse(_)
            | Auth0Error::TokenUnavailable
            | Auth0Error::DeadlinePassed
            | Auth0Error::TokenRejected => ErrorClass::Retry,
            Auth0Error::Configuration(_)
            | Auth0Error::Credentials(_)
            | Auth0Error::CredentialsRejected
            | Auth0Error::KeyRejected
            | Auth0Error::TokenForbidden
            | Auth0Error::MissingScope(_)
            | Auth0Error::ClientNotFound
            | Auth0Error::ValueRejected
            | Auth0Error::Rejected(_) => ErrorClass::Invalid,
        }
    }

    /// A word for programs.
    pub fn reason(&self) -> Reason {
        match self {
            Auth0Error::Configuration(_) => Reason::InvalidTenant,
            Auth0Error::Credentials(_) => Reason::CredentialsUnreadable,
            Auth0Error::Unreachable => Reason::Unreachable,
            Auth0Error::NoResponse => Reason::NoResponse,
            Auth0Error::Throttled { .. } => Reason::Throttled,
            Auth0Error::Paused { outage, .. } => Auth0Error::from(*outage).reason(),
            Auth0Error::Unavailable(_) => Reason::Unavailable,
            Auth0Error::InvalidResponse(_) => Reason::InvalidResponse,
            Auth0Error::CredentialsRejected | Auth0Error::KeyRejected => {
                Reason::CredentialsRejected
            }
            Auth0Error::TokenForbidden => Reason::TokenForbidden,
            Auth0Error::TokenRejected => Reason::TokenRejected,
            Auth0Error::TokenUnavailable => Reason::TokenUnavailable,
            Auth0Error::DeadlinePassed => Reason::DeadlinePassed,
            Auth0Error::ValueRejected => Reason::ValueRejected,
            Auth0Error::MissingScope(_) => Reason::MissingScope,
            Auth0Error::ClientNotFound => Reason::ClientNotFound,
            Auth0Error::Rejected(_) => Reason::Rejected,
        }
    }

    /// Whether the call certainly changed nothing at Auth0. A server that failed, an answer that
    /// can't be understood, or a status that something on the way makes up (408, 499), says nothing
    /// about that.
    pub fn unchanged(&self) -> bool {
        match self {
            Auth0Error::NoResponse
            | Auth0Error::Unavailable(_)
            | Auth0Error::InvalidResponse(_) => false,
            Auth0Error::Rejected(status) => matches!(status, 400 | 401 | 403 | 404 | 409),
            _ => true,
        }
    }

    /// Whether the tenant fails, and not one client of it.
    pub fn is_of_tenant(&self) -> bool {
        !matches!(
            self,
            Auth0Error::ClientNotFound | Auth0Error::Rejected(_) | Auth0Error::ValueRejected
        )
    }
}

impl From<Outage> for Auth0Error {
    fn from(outage: Outage) -> Auth0Error {
        match outage {
            Outage::Unreachable => Auth0Error::Unreachable,
            Outage::NoResponse => Auth0Error::NoResponse,
            Outage::Unavailable(status) => Auth0Error::Unavailable(status),
        }
    }
}

impl Outage {
    /// The outage that an error of a call that was made tells of, if any. A credential that is
    /// refused, or a limit that is used up, is none.
    pub(super) fn of(error: &Auth0Error) -> Option<Outage> {
        match error {
            Auth0Error::Unreachable => Some(Outage::Unreachable),
            Auth0Error::NoResponse => Some(Outage::NoResponse),
            Auth0Error::Unavailable(status) => Some(Outage::Unavailable(*status)),
            _ => None,
        }
    }
}

impl From<&Auth0Error> for Failure {
    fn from(error: &Auth0Error) -> Failure {
        Failure {
            class: error.class(),
            reason: error.reason(),
            message: error.to_string(),
            not_applied: error.unchanged(),
            concerns_tenant: error.is_of_tenant(),
        }
    }
}
