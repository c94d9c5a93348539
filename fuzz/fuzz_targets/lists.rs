//! Lists of secrets that are written and read back, and Secrets with arbitrary content.

#![no_main]

use arbitrary::Arbitrary;
use auth0_rotator::fuzzing::{list, secret};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Published { lines: bool, fallback: Option<&'a str>, current: &'a str },
    Found { list: &'a str, json: &'a str },
}

fuzz_target!(|input: Input<'_>| match input {
    Input::Published { lines, fallback, current } => list(current, fallback, lines),
    Input::Found { list, json } => secret(json, list),
});
