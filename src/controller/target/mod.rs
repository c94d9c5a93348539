//! The target Secret: what it holds, what it should hold, and how it is written.
//!
//! # Architecture invariants
//!
//! - Secrets are read as text and parsed here: no type of another crate that could print their
//!   data ever holds it, and no error tells what could not be parsed.
//! - Writing is by server-side apply with the version that was read, so that only our own keys
//!   are written and a change that was not seen is never overwritten. A Secret that doesn't exist
//!   is created, which fails when someone else was faster.

mod read;
mod render;
mod store;
mod template;

pub(super) use read::{Snapshot, Values};
pub(super) use render::{Contents, Rendering, check_template};
pub(super) use store::SecretStore;
