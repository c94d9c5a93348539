//! Properties that must hold for every external input. The property tests and the fuzz targets in
//! `fuzz/` check them, each with its own inputs.

pub use auth0_client::fuzzing::{MARKER, headers, response};

pub use crate::controller::fuzzing::{SampleSecret, list, secret, template};
