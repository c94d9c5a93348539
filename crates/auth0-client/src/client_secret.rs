//! Client secrets that are never printed and are wiped from memory on drop.

use std::fmt;

use rand::{TryRng as _, rngs::SysRng};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Maximum length in bytes. Secrets that Auth0 generates have 64 characters.
const MAX_LENGTH: usize = 4096;

/// A client secret.
///
/// `Debug` prints no part of the value, there is no `Display`, comparison takes constant time, and
/// the memory is wiped on drop.
#[derive(Clone)]
pub struct ClientSecret(SecretString);

/// Why a text cannot be a client secret.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidSecret {
    /// The text is empty.
    #[error("the client secret is empty")]
    Empty,
    /// The text contains control characters or is longer than 4096 bytes.
    #[error("the client secret contains control characters or more than {MAX_LENGTH} bytes")]
    Malformed,
}

impl ClientSecret {
    /// Validates a value from an external source.
    ///
    /// # Errors
    /// Fails if the value is empty, longer than 4096 bytes, or contains control characters (which
    /// a list with one secret per line cannot represent).
    pub fn new(value: SecretString) -> Result<Self, InvalidSecret> {
        let text = value.expose_secret();
        if text.is_empty() {
            return Err(InvalidSecret::Empty);
        }
        if text.len() > MAX_LENGTH || text.chars().any(char::is_control) {
            return Err(InvalidSecret::Malformed);
        }
        Ok(Self(value))
    }

    /// Generates a value of 64 characters from `[A-Za-z0-9_-]` (384 bits). Returns `None` if the
    /// operating system's random number generator fails.
    pub fn generate() -> Option<Self> {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
        let mut bytes = Zeroizing::new([0u8; 64]);
        SysRng.try_fill_bytes(bytes.as_mut()).ok()?;
        // 64 divides 256, so every character is equally likely.
        let characters = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 64)]));
        Self::new(SecretString::from(characters.collect::<String>())).ok()
    }

    /// Returns the value. Use it only in a request to Auth0 or in the target Secret.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for ClientSecret {
    fn eq(&self, other: &Self) -> bool {
        self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
    }
}

impl Eq for ClientSecret {}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Result<ClientSecret, InvalidSecret> {
        ClientSecret::new(text.into())
    }

    #[test]
    fn debug_prints_no_part_of_value() {
        let secret = secret("s3cr3t-value").unwrap();
        assert!(!format!("{secret:?} {secret:#?}").contains("s3cr"));
    }

    #[test]
    fn compares_by_value() {
        assert_eq!(secret("abc"), secret("abc"));
        assert_ne!(secret("abc"), secret("abd"));
        assert_ne!(secret("abc"), secret("abcd"));
    }

    #[test]
    fn generated_value_is_long_and_needs_no_escaping() {
        let (one, two) = (ClientSecret::generate().unwrap(), ClientSecret::generate().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.expose().len(), 64);
        let safe = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        assert!(one.expose().chars().all(safe));
    }

    #[test]
    fn rejects_value_that_a_list_cannot_represent() {
        assert_eq!(secret(""), Err(InvalidSecret::Empty));
        for text in ["a\nb", "a\0", "\u{7f}", &"x".repeat(MAX_LENGTH + 1)] {
            assert_eq!(secret(text), Err(InvalidSecret::Malformed));
        }
        assert!(secret(&"x".repeat(MAX_LENGTH)).is_ok());
    }
}
