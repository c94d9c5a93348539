//! Auth0 as the operator meets it: the Management API and the authentication of one tenant.
//!
//! # Architecture invariants
//!
//! - `rotate-secret` is called once per call of [`TenantClient::rotate_secret`], whatever happens.
//! - No error carries text from a request or a response, so none can carry a secret.
//! - Every call is admitted by the tenant's pacer.
//! - Nothing here knows Kubernetes.

mod answers;
mod assertion;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod pacer;
mod secret;
mod tenant;
mod token;
mod trace;
mod transport;

pub use assertion::{InvalidKey, KeyCredentials, SigningAlgorithm, SigningKey};
pub use error::{Auth0Error, InvalidResponse};
pub use pacer::{Outage, Priority, RateLimitStatus};
pub use secret::{ClientSecret, InvalidSecret};
pub use tenant::{
    ClientInfo, ClientKind, ClientPage, Metadata, READ_CLIENTS, READ_KEYS, TenantClient,
    UPDATE_KEYS,
};
pub use token::{Credentials, CredentialsSource};
pub use transport::{Endpoint, RequestObserver};
