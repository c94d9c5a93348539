//! Test harness of this workspace: the operator as a process, a namespace fixture with a simulated
//! Auth0, a scan for leaked secrets, login counts, and terminal output.
//!
//! The tests in `tests/cluster`, the benchmarks and the programs in `testing/scenarios` use it.

#![allow(missing_docs, reason = "names describe most fields and getters")]

pub mod fixture;

pub mod api_proxy;
pub mod auth0;
pub mod cluster;
pub mod manifests;
pub mod operator;
pub mod poll;

pub mod kstatus;
pub mod leak_scan;
pub mod login_tally;
pub mod measure;
pub mod status;
pub mod target_secret;

pub mod assertion;
pub mod table;
pub mod terminal;

pub use rustix::process::Signal;
