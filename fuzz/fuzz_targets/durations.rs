//! Durations as people write them in a manifest.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| rotation::fuzzing::check_duration(text));
