//! Properties that hold for every external input. The property tests and the fuzz targets in `fuzz/`
//! check them with different inputs.

pub use crate::controller::fuzzing::{list, secret, template};
pub use auth0_client::fuzzing::{MARKER, headers, response};
