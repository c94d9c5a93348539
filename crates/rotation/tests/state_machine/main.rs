//! The state machine in a simulation: regular operation, requests, faults, and interference by
//! other parties.

#![allow(clippy::unwrap_used, reason = "tests")]

mod simulation;

mod assertions;
mod operator;
mod workload;

mod lifecycle;

mod confirm;
mod probe;
mod requests;
mod ready;
mod rollouts;
mod schedule;
mod windows;

mod clients;
mod contest;
mod drift;
mod faults;
mod forbidden;
mod kept_values;
mod tampering;
mod unpublishable;

mod instructions;
