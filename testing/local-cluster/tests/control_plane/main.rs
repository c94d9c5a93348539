//! The fixture on real servers. The first run builds them, which takes minutes.

#![allow(clippy::unwrap_used, reason = "in a test a panic is a message")]

mod api_server;
mod build;
mod cleanup;
mod command_line;
mod rbac;
mod restart;
mod start_failures;
mod support;
