//! Durations in manifests.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| rotation::fuzzing::check_duration(text));
