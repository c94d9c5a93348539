//! The simulator as its users meet it: over HTTP, through the library, as a program.

// Every function here belongs to a test.
#![allow(clippy::unwrap_used)]

mod support;

mod admin;
mod assertions;
mod clients;
mod faults;
mod library;
mod oauth;
mod program;
mod propagation;
mod python;
mod rate_limit;
mod tls;
