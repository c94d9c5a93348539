//! Generation and comparison of secrets, tokens and ids.
//!
//! Generated values come from the operating system's random source and never from the simulator's
//! seed, so that a logged seed reveals nothing about them.

use rand::RngExt;
use secrecy::{ExposeSecret, SecretString};
use subtle::{Choice, ConstantTimeEq};

const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const URL_SAFE: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

fn random_string(alphabet: &[u8], count: usize) -> String {
    let mut random = rand::rng();
    (0..count).map(|_| char::from(alphabet[random.random_range(0..alphabet.len())])).collect()
}

/// Generates a client id in Auth0's format: 32 alphanumeric characters.
pub(crate) fn new_client_id() -> String {
    random_string(ALPHANUMERIC, 32)
}

/// Generates a client secret in Auth0's format: 64 characters of `[A-Za-z0-9_-]`.
pub(crate) fn new_client_secret() -> SecretString {
    SecretString::from(random_string(URL_SAFE, 64))
}

/// The two parts of an opaque access token.
pub(crate) struct TokenParts {
    /// Key under which the token is stored. Not secret.
    pub(crate) handle: String,
    /// Secret part.
    pub(crate) proof: SecretString,
}

/// Generates the parts of an opaque access token.
pub(crate) fn new_token_parts() -> TokenParts {
    TokenParts {
        handle: random_string(ALPHANUMERIC, 20),
        proof: SecretString::from(random_string(URL_SAFE, 64)),
    }
}

/// Compares in constant time for values of equal length.
pub(crate) fn constant_time_eq(stored: &SecretString, given: &str) -> Choice {
    stored.expose_secret().as_bytes().ct_eq(given.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_values_have_the_format_of_auth0() {
        let id = new_client_id();
        assert_eq!(id.len(), 32);
        assert!(id.bytes().all(|b| ALPHANUMERIC.contains(&b)));
        let secret = new_client_secret();
        assert_eq!(secret.expose_secret().len(), 64);
        assert!(secret.expose_secret().bytes().all(|b| URL_SAFE.contains(&b)));
        assert_ne!(new_client_id(), id);
    }

    #[test]
    fn compares_exactly() {
        let stored = SecretString::from("abc");
        assert!(bool::from(constant_time_eq(&stored, "abc")));
        for other in ["", "ab", "abd", "abcd"] {
            assert!(!bool::from(constant_time_eq(&stored, other)), "{other}");
        }
    }
}
