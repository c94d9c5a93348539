//! Rate limit headers of Auth0's responses.

#![no_main]

use arbitrary::Arbitrary;
use auth0_rotator::fuzzing::headers;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    is_throttled: bool,
    now: i64,
    values: [&'a [u8]; 4],
}

fuzz_target!(|input: Input<'_>| headers(input.values, input.is_throttled, input.now));
