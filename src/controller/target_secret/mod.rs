//! The target Secret: its present content, its desired content, and the writes to it.
//!
//! # Architecture invariants
//!
//! - Secrets are read as text and parsed here: no type of another crate that could print their data
//!   ever holds it, and no parse error contains any part of it.
//! - Writes use server-side apply with the version that was read, so that only our own keys are
//!   written and a change that was not seen is never overwritten. A Secret that does not exist is
//!   created, which fails if another client creates it first.
//! - A value is sent to Auth0, or published again, only if our field manager wrote it, with a record of
//!   this client and of the origin that is called. It is set at Auth0 only under its number.

mod snapshot;
mod adoption;
mod metadata;
mod provenance;
mod render;
mod changes;
mod template;
mod store;

pub(crate) use changes::clean_manager;
pub use metadata::AllowedMetadata;
pub(crate) use provenance::{ExpectedOrigin, Provenance, ValueOrigin};
pub(crate) use render::{Contents, NumberedSecret, Rendered, Rendering, check_templates};
pub(crate) use snapshot::{SecretNumbers, SecretValues, Snapshot};
pub(crate) use store::SecretStore;
