//! The headers that tell of rate limits.

#![no_main]

use arbitrary::Arbitrary;
use auth0_rotator::fuzzing::headers;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    refused: bool,
    now: i64,
    values: [&'a [u8]; 4],
}

fuzz_target!(|input: Input<'_>| headers(input.values, input.refused, input.now));
