//! Rotates Auth0 client secrets and keeps Kubernetes Secrets in step.
//!
//! - [`api`]: the custom resources.
//! - [`auth0`]: Auth0's Management API and authentication.
//! - [`controller`]: observe, decide, act. What to do is decided in the crate `rotation`.
//! - [`leader`]: which of several replicas acts.
//! - [`failpoint`]: where tests kill the process.
//! - [`cli`], [`run`], [`server`], [`metrics`], [`telemetry`]: the process around it.

pub mod api;
pub mod auth0;
pub mod cli;
pub mod controller;
pub mod failpoint;
pub mod leader;
pub mod metrics;
pub mod run;
pub mod server;
pub mod telemetry;
