//! A stateful Auth0 simulator over HTTP for tests, demos and trials.
//!
//! The simulator serves the part of Auth0 that deals with client secrets: `POST /oauth/token`
//! (client credentials), `POST /oauth/revoke`, and the clients of the Management API including
//! `rotate-secret`. Tests observe and control it through [`Simulator`] or through an admin
//! interface that listens on its own address:
//!
//! - A changed secret **propagates** to authentication as Auth0 documents it ([`Propagation`]).
//! - **Faults** are injected into matching requests ([`Fault`]): delays, connections cut before or
//!   after the effect, 429, 5xx, malformed responses.
//! - **Limits of single clients** at the Authentication API ([`ClientRateLimit`]): custom rate limit
//!   policies and token quotas.
//! - **Counters** and an **audit log** record every request ([`Counters`], [`AuditEntry`]).
//! - The **value history** lists every secret and token that ever existed, so that a test can
//!   search its output for leaks ([`ValueHistory`]).
//!
//! Sources: Auth0's Management API and Authentication API references with their OpenAPI
//! documents, "Rotate Client Secrets", "Rate Limit Policy", "Client Credentials Flow" and
//! "Authenticate with Private Key JWT". Behavior that Auth0 leaves open is configurable
//! ([`WrongSecret`], [`SimulatorBuilder::rotate_shows_secret`]).

mod builder;
mod simulator;

mod admin;
mod server;
mod tls;

mod http;
mod request_handler;
mod shared_state;

mod client_rate_limit;
mod faults;
mod operation;
mod rate_limit;

mod propagation;
mod secret;
mod tenant;

mod audit;
mod counters;

mod clock;
mod duration;
mod error;

pub use audit::{AuditEntry, AuditKind};
pub use builder::SimulatorBuilder;
pub use client_rate_limit::{ClientLimitKind, ClientRateLimit, RetryAfterFormat};
pub use clock::{Clock, ManualClock, RealClock};
pub use counters::{CUT, ClientCounts, Counters, Effects, OperationCounts, UNKNOWN_CLIENT};
pub use duration::parse_duration;
pub use error::{SeedError, StartError};
pub use faults::{Action, Fault, InjectedFault, Match, When};
pub use operation::Operation;
pub use propagation::Propagation;
pub use rate_limit::RateLimit;
pub use simulator::{Faults, Simulator};
pub use tenant::{
    RevocationAuth, WrongSecret,
    client::ClientSeed,
    client_assertion::{KeyAlgorithm, KeySeed},
    value_history::ValueHistory,
};
