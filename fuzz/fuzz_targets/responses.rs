//! Responses of Auth0: a client, a list, a token, an error. `~` in the input is replaced by a secret.

#![no_main]

use auth0_rotator::fuzzing::{MARKER, response};
use libfuzzer_sys::fuzz_target;

const STATUSES: [u16; 8] = [200, 201, 302, 400, 401, 403, 404, 500];

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    let mut body = Vec::with_capacity(rest.len());
    for byte in rest {
        match byte {
            b'~' => body.extend_from_slice(MARKER.as_bytes()),
            byte => body.push(*byte),
        }
    }
    response(STATUSES[usize::from(first % 8)], first & 8 != 0, &body, "shop");
});
