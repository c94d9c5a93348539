//! Auth0 as the operator meets it: the Management API and the authentication of one tenant.
//!
//! # Architecture invariants
//!
//! - `rotate-secret` is called once per call of [`Tenant::rotate_secret`], whatever happens.
//! - No error carries text from a request or a response, so none can carry a secret.
//! - Every call is admitted by the tenant's pacer.
//! - Nothing here knows Kubernetes.

mod answers;
mod assertion;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod pacer;
mod secret;
mod tenant;
mod token;
mod transport;

pub use assertion::{KeyCredentials, NotAKey, SigningAlgorithm, SigningKey};
pub use error::{Auth0Error, Garbled};
pub use pacer::{Budget, Outage, Urgency};
pub use secret::{ClientSecret, NotASecret};
pub use tenant::{
    ClientFacts, ClientKind, ClientPage, Metadata, READ_CLIENTS, READ_KEYS, Tenant, UPDATE_KEYS,
};
pub use token::{Credentials, CredentialsSource};
pub use transport::{Endpoint, Observer};
