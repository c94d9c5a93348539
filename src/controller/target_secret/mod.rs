//! The target Secret: its present content, its desired content, and the writes to it.
//!
//! # Architecture invariants
//!
//! - Secrets are read as text and parsed here: no type of another crate that could print their data
//!   ever holds it, and no parse error contains any part of it.
//! - Writes use server-side apply with the version that was read, so that only our own keys are
//!   written and a change that was not seen is never overwritten. A Secret that does not exist is
//!   created, which fails if another client creates it first.

mod snapshot;
mod adoption;
mod metadata;
mod render;
mod template;
mod store;

pub use metadata::AllowedMetadata;
pub(crate) use render::{Contents, NumberedSecret, Rendering, check_templates};
pub(crate) use snapshot::{SecretValues, Snapshot};
pub(crate) use store::SecretStore;
