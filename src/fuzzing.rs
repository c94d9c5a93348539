//! What has to hold of everything that is read from outside, whatever it is. The property tests and
//! the fuzz targets in `fuzz/` try it, each with inputs of their own.

pub use crate::controller::fuzzing::{list, secret, template};
pub use auth0_client::fuzzing::{MARKER, headers, response};
