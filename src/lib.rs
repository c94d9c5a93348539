//! Rotates Auth0 client secrets and keeps Kubernetes Secrets in step.
//!
//! - [`api`]: the custom resources.
//! - [`controller`]: observe, decide, act. What to do is decided in the crate `rotation`.
//! - [`failpoint`]: where tests kill the process.
//! - [`definitions`]: whether those that are installed are this version's.
//! - `fuzzing`: what has to hold of every input, for the fuzz targets; a feature.
//! - [`check`], [`cli`], [`run`], [`server`], [`metrics`], [`telemetry`], [`dumps`]: the process around it.

pub mod api;
pub mod check;
pub mod cli;
pub mod controller;
pub mod definitions;
pub mod dumps;
pub mod failpoint;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod metrics;
pub mod run;
pub mod server;
pub mod telemetry;
