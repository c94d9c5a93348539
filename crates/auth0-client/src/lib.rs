//! Client for one Auth0 tenant: its Management API and its Authentication API.
//!
//! # Architecture invariants
//!
//! - [`TenantClient::rotate_secret`] sends at most one request per call and never retries it.
//! - No error contains text from a request or a response, so no error can contain a secret.
//! - Every request waits for a permit of the rate limiter of the tenant's host.
//! - Every connection goes to an address that the [`EgressPolicy`] permits, or to a proxy of the
//!   process's environment.
//! - This crate knows nothing about Kubernetes.

mod tenant_client;

mod client_info;
mod client_secret;
mod lenient;
mod responses;

mod access_token;
mod credentials;
mod private_key_jwt;
mod token_cache;

mod egress;
mod rate_limiter;
mod trace;
mod transport;

mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;

pub use access_token::{READ_CLIENT_KEYS, READ_CLIENTS, UPDATE_CLIENT_KEYS};
pub use client_info::{ClientInfo, ClientKind, ClientMetadata, ClientPage, NextPage};
pub use client_secret::{ClientSecret, InvalidSecret};
pub use credentials::{Credentials, CredentialsSource};
pub use egress::{EgressPolicy, EndpointPattern, InvalidPattern};
pub use error::{Error, InvalidResponse};
pub use private_key_jwt::{InvalidKey, KeyCredentials, SigningAlgorithm, SigningKey};
pub use rate_limiter::{
    Outage, Priority, RateLimit, RateLimitStatus, RateLimiter, RateLimiters, TenantLimits,
};
pub use tenant_client::{ChangePermit, Probe, ProbeAnswer, TenantClient};
pub use token_cache::Authentication;
pub use transport::{Endpoint, RequestObserver};
