//! Tests of the control plane with real servers. The first run builds them, which takes minutes.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod api_server;
mod build;
mod cleanup;
mod command_line;
mod rbac;
mod restart;
mod start_failures;
mod support;
