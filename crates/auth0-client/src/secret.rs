//! The value of a client secret: it can't be printed, and it is wiped when it goes.

use std::fmt;

use rand::{TryRng as _, rngs::SysRng};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// The longest value that is taken, in bytes. Auth0's own are 64 characters.
const LIMIT: usize = 4096;

/// The value of a client secret.
///
/// `Debug` prints no part of it, there is no `Display`, comparison takes the same time wherever
/// two values differ, and the memory is wiped on drop.
#[derive(Clone)]
pub struct ClientSecret(SecretString);

/// A text that can't be a client secret.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidSecret {
    /// There is nothing in it.
    #[error("the client secret is empty")]
    Empty,
    /// It has control characters, or is longer than 4096 bytes.
    #[error("the client secret has control characters or more than {LIMIT} bytes")]
    Unprintable,
}

impl ClientSecret {
    /// Takes a value that came from outside.
    ///
    /// # Errors
    /// When it is empty, longer than 4096 bytes, or has control characters (which a list of lines
    /// couldn't hold).
    pub fn new(value: SecretString) -> Result<ClientSecret, InvalidSecret> {
        let text = value.expose_secret();
        if text.is_empty() {
            return Err(InvalidSecret::Empty);
        }
        if text.len() > LIMIT || text.chars().any(char::is_control) {
            return Err(InvalidSecret::Unprintable);
        }
        Ok(ClientSecret(value))
    }

    /// A new value of 64 characters of `[A-Za-z0-9_-]`, 384 bits, from the operating system's
    /// generator. `None` when it gives none.
    pub fn generate() -> Option<ClientSecret> {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
        let mut bytes = Zeroizing::new([0u8; 64]);
        SysRng.try_fill_bytes(bytes.as_mut()).ok()?;
        // 64 divides 256: no character is likelier than another.
        let characters = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 64)]));
        ClientSecret::new(SecretString::from(characters.collect::<String>())).ok()
    }

    /// The value itself: for a request to Auth0 or the target Secret, and nowhere else.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for ClientSecret {
    fn eq(&self, other: &ClientSecret) -> bool {
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
    fn it_does_not_print_its_value() {
        let secret = secret("s3cr3t-value").unwrap();
        assert!(!format!("{secret:?} {secret:#?}").contains("s3cr"));
    }

    #[test]
    fn it_compares_by_value() {
        assert_eq!(secret("abc"), secret("abc"));
        assert_ne!(secret("abc"), secret("abd"));
        assert_ne!(secret("abc"), secret("abcd"));
    }

    #[test]
    fn a_generated_value_is_long_and_safe_in_every_place() {
        let (one, two) = (ClientSecret::generate().unwrap(), ClientSecret::generate().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.expose().len(), 64);
        let safe = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        assert!(one.expose().chars().all(safe));
    }

    #[test]
    fn what_a_list_could_not_hold_is_refused() {
        assert_eq!(secret(""), Err(InvalidSecret::Empty));
        for text in ["a\nb", "a\0", "\u{7f}", &"x".repeat(LIMIT + 1)] {
            assert_eq!(secret(text), Err(InvalidSecret::Unprintable));
        }
        assert!(secret(&"x".repeat(LIMIT)).is_ok());
    }
}
