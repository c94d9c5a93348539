//! Templates for additional keys of a target Secret.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| auth0_rotator::fuzzing::template(text));
