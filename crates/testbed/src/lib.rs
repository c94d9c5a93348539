//! What `make demo` and `make e2e` share: manifests and how they are applied, watches on what
//! becomes of them, a timeline that tells it, and how a good client logs in meanwhile.

#![allow(missing_docs, reason = "for this workspace only, and plain fields say what they are")]

pub mod account;
pub mod cluster;
pub mod leaks;
pub mod login;
pub mod manifests;
pub mod promise;
pub mod status;
pub mod table;
pub mod tally;
pub mod target;
pub mod terminal;
pub mod timeline;
pub mod wording;
pub mod world;
