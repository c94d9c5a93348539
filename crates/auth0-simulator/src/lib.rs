//! A stateful Auth0 over HTTP for tests, demos and trials.
//!
//! It serves the part of Auth0 that has to do with client secrets: `POST /oauth/token` (client
//! credentials), `POST /oauth/revoke`, and the Management API's clients with `rotate-secret`.
//! What a test wants to know or to break is behind [`Simulator`], and behind an admin interface
//! on an address of its own:
//!
//! - a changed secret **propagates** to authentication as Auth0 documents it ([`Propagation`]);
//! - **faults** are ordered for chosen requests ([`Fault`]): delays, cut connections before or
//!   after the effect, 429, 5xx, broken answers;
//! - **counters** and an **audit log** say what happened ([`Counters`], [`AuditEntry`]);
//! - the list of all values that ever existed helps to search for leaks ([`ValuesEver`]).
//!
//! Sources: Auth0's Management API and Authentication API references with their OpenAPI
//! documents, "Rotate Client Secrets", "Rate Limit Policy", "Client Credentials Flow" and
//! "Authenticate with Private Key JWT". What Auth0 leaves open is a switch ([`WrongSecret`], [`SimulatorBuilder::rotate_shows_secret`]).

mod admin;
mod audit;
mod builder;
mod clock;
mod counters;
mod engine;
mod error;
mod faults;
mod http;
mod operation;
mod propagation;
mod ratelimit;
mod secret;
mod server;
mod simulator;
mod tenant;
mod tls;
mod units;

pub use audit::{AuditEntry, AuditKind};
pub use builder::SimulatorBuilder;
pub use clock::{Clock, ManualClock, RealClock};
pub use counters::{CUT, ClientCounts, Counters, Effects, OperationCounts, UNKNOWN_CLIENT};
pub use error::{SeedError, StartError};
pub use faults::queue::OrderedFault;
pub use faults::{Action, Fault, Match, When};
pub use operation::Operation;
pub use propagation::Propagation;
pub use ratelimit::RateLimit;
pub use simulator::{Faults, Simulator};
pub use tenant::WrongSecret;
pub use tenant::assertion::{KeyAlgorithm, KeySeed};
pub use tenant::client::ClientSeed;
pub use tenant::values::ValuesEver;
pub use units::parse_duration;
