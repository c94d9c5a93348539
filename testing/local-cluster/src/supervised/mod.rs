//! Child processes that end with this one.

mod process;

pub(crate) use process::{Guarded, spawn_folder_guardian};
