//! The simulator over HTTP, as clients of Auth0 meet it.

// Every function here belongs to a test.
#![allow(clippy::unwrap_used)]

mod support;

mod clients;
