//! Kubernetes operator that rotates Auth0 client secrets and keeps the Kubernetes Secrets that
//! applications mount in sync.
//!
//! | module | contents |
//! | --- | --- |
//! | [`api`] | custom resources; names of labels, annotations and the finalizer |
//! | [`controller`] | reconcilers: observe, decide, execute |
//! | [`metrics`] | counters and histograms |
//! | [`cli`], [`config`] | arguments of the command line; validated configuration |
//! | [`run`] | `run`: start, leader election, drain |
//! | [`server`], [`telemetry`] | `/metrics`, `/livez` and `/readyz`; logs and traces |
//! | [`crd_check`] | compatibility of the installed CRDs with this version |
//! | [`wait_ready`] | `wait-ready`: waits until an operator is ready |
//! | [`core_dumps`] | disables core dumps |
//! | [`failpoint`] | places where tests kill the process |
//! | `fuzzing` | properties of every external input, for the fuzz targets; feature `fuzzing` |
//!
//! The state machine of a rotation is the crate `rotation`, the client of Auth0's APIs is
//! `auth0-client`, and leader election is `leader-election`.

pub mod cli;
pub mod config;
pub mod run;
pub mod controller;
pub mod api;
pub mod metrics;
pub mod server;
pub mod telemetry;
pub mod crd_check;
pub mod wait_ready;
pub mod core_dumps;
pub mod failpoint;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
