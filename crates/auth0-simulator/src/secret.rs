//! Generated values and their comparison.
//!
//! Values come from the operating system's randomness and never from the seed, so that a seed,
//! which may be printed, tells nothing about them.

use rand::RngExt;
use secrecy::{ExposeSecret, SecretString};
use subtle::{Choice, ConstantTimeEq};

const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const URL_SAFE: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

fn characters(alphabet: &[u8], count: usize) -> String {
    let mut random = rand::rng();
    (0..count).map(|_| char::from(alphabet[random.random_range(0..alphabet.len())])).collect()
}

/// A client id as Auth0 makes them: 32 alphanumerics.
pub(crate) fn new_client_id() -> String {
    characters(ALPHANUMERIC, 32)
}

/// A client secret as Auth0 makes them: 64 characters of `[A-Za-z0-9_-]`.
pub(crate) fn new_client_secret() -> SecretString {
    SecretString::from(characters(URL_SAFE, 64))
}

/// The two halves of an opaque token: what it is found by, and what proves it.
pub(crate) fn new_token_halves() -> (String, SecretString) {
    (characters(ALPHANUMERIC, 20), SecretString::from(characters(URL_SAFE, 64)))
}

/// Compares in a time that depends on the lengths alone.
pub(crate) fn same(stored: &SecretString, given: &str) -> Choice {
    stored.expose_secret().as_bytes().ct_eq(given.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_values_have_the_shape_of_auth0s() {
        let id = new_client_id();
        assert_eq!(id.len(), 32);
        assert!(id.bytes().all(|b| ALPHANUMERIC.contains(&b)));
        let secret = new_client_secret();
        assert_eq!(secret.expose_secret().len(), 64);
        assert!(secret.expose_secret().bytes().all(|b| URL_SAFE.contains(&b)));
        assert_ne!(new_client_id(), id);
    }

    #[test]
    fn comparison_is_exact() {
        let stored = SecretString::from("abc");
        assert!(bool::from(same(&stored, "abc")));
        for other in ["", "ab", "abd", "abcd"] {
            assert!(!bool::from(same(&stored, other)), "{other}");
        }
    }
}
