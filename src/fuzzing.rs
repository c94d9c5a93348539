//! What has to hold of everything that is read from outside, whatever it is. The property tests and
//! the fuzz targets in `fuzz/` try it, each with inputs of their own.

pub use crate::auth0::fuzzing::{MARK, answer, headers};
pub use crate::controller::fuzzing::{list, secret, template};
