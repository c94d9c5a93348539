//! What `make demo` and `make e2e` share besides `rig`: the quickstart's manifests, watches on what
//! becomes of them, a timeline that tells it, and how a good client logs in meanwhile. The search for
//! secrets in what the operator wrote is shared with `make torture` and the tests.

#![allow(missing_docs, reason = "for this workspace only, and plain fields say what they are")]

pub mod account;
pub mod leaks;
pub mod login;
pub mod manifests;
pub mod needles;
pub mod promise;
pub mod status;
pub mod table;
pub mod tally;
pub mod target;
pub mod timeline;
pub mod wording;
pub mod world;
