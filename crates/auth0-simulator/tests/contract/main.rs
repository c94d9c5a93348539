//! Contract tests of the simulator: over HTTP, through the library and as a binary.

// All code here is test code.
#![allow(clippy::unwrap_used)]

mod support;

mod assertions;
mod clients;
mod oauth;
mod propagation;
mod rate_limit;
mod tls;

mod admin;
mod faults;
mod library;

mod binary;
mod python;
