//! Rotates Auth0 client secrets and keeps Kubernetes Secrets in step.
//!
//! - [`api`]: the custom resources.
//! - [`auth0`]: Auth0's Management API and authentication.
//! - [`controller`]: observe, decide, act. What to do is decided in the crate `rotation`.
//! - [`failpoint`]: where tests kill the process.
//! - `fuzzing`: what has to hold of every input, for the fuzz targets; a feature.
//! - [`cli`], [`run`], [`server`], [`metrics`], [`telemetry`], [`dumps`]: the process around it.

pub mod api;
pub mod auth0;
pub mod cli;
pub mod controller;
pub mod dumps;
pub mod failpoint;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod metrics;
pub mod run;
pub mod server;
pub mod telemetry;
