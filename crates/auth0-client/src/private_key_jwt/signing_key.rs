//! RSA private keys in PEM format, and signatures with them.

use std::fmt;

use aws_lc_rs::{
    error::KeyRejected,
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// An RSA private key.
///
/// `Debug` prints no part of the key, and AWS-LC wipes its memory on drop.
pub struct SigningKey(RsaKeyPair);

/// The signing algorithms that Auth0 accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PSS with SHA-256.
    Ps256,
}

/// Why a text is not a usable signing key, and what to do about it.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidKey {
    /// The text contains no PEM section.
    #[error("it is not PEM: include the BEGIN and END lines that openssl writes")]
    NotPem,
    /// The key is protected by a passphrase.
    #[error("it is encrypted: decrypt it with openssl pkey -in key.pem -out decrypted.pem")]
    Encrypted,
    /// The text contains only a public key.
    #[error("it is a public key: use the private key; the public key belongs in Auth0")]
    Public,
    /// The text contains only a certificate.
    #[error("it is a certificate: use its private key; the certificate belongs in Auth0")]
    Certificate,
    /// The key is an EC key or of another type.
    #[error(
        "it is not an RSA key: Auth0 accepts RSA keys only; create one with openssl genrsa 2048"
    )]
    NotRsa,
    /// The key is in OpenSSH's own format.
    #[error(
        "it is in OpenSSH format: convert it with ssh-keygen -p -m PEM -N '' -f key, or create a \
         new one with openssl genrsa 2048"
    )]
    OpenSsh,
    /// The key is too short to be secure.
    #[error("it has fewer than 2048 bits: create a longer one with openssl genrsa 2048")]
    TooShort,
    /// The key is longer than supported.
    #[error("it has more than 8192 bits: create a shorter one with openssl genrsa 4096")]
    TooLong,
    /// The content of the PEM section is not a key.
    #[error("it is damaged: copy the whole file without changes")]
    Damaged,
}

impl SigningKey {
    /// Parses a key in PEM format, PKCS#1 or PKCS#8. Ignores text before and after the key.
    ///
    /// # Errors
    /// Fails unless the text contains an unencrypted RSA key of 2048 to 8192 bits.
    pub fn from_pem(text: &str) -> Result<Self, InvalidKey> {
        let mut error = InvalidKey::NotPem;
        for section in pem_sections(text) {
            match section.label {
                "RSA PRIVATE KEY" => return Self::from_rsa(RsaKeyPair::from_der(&section.der()?)),
                "PRIVATE KEY" => return Self::from_rsa(RsaKeyPair::from_pkcs8(&section.der()?)),
                "ENCRYPTED PRIVATE KEY" => return Err(InvalidKey::Encrypted),
                "OPENSSH PRIVATE KEY" => return Err(InvalidKey::OpenSsh),
                "PUBLIC KEY" | "RSA PUBLIC KEY" => error = InvalidKey::Public,
                "CERTIFICATE" | "TRUSTED CERTIFICATE" => error = InvalidKey::Certificate,
                label if label.ends_with("PRIVATE KEY") => return Err(InvalidKey::NotRsa),
                _ => {}
            }
        }
        Err(error)
    }

    fn from_rsa(result: Result<RsaKeyPair, KeyRejected>) -> Result<Self, InvalidKey> {
        match result {
            Ok(key) => Ok(Self(key)),
            Err(rejected) => Err(match rejected.description_() {
                "TooSmall" => InvalidKey::TooShort,
                "TooLarge" => InvalidKey::TooLong,
                "WrongAlgorithm" => InvalidKey::NotRsa,
                _ => InvalidKey::Damaged,
            }),
        }
    }

    /// Signs the message. Returns `None` if AWS-LC fails, for which no cause is known.
    pub(super) fn sign(&self, algorithm: SigningAlgorithm, message: &[u8]) -> Option<Vec<u8>> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        let random = SystemRandom::new();
        self.0.sign(algorithm.encoding(), &random, message, &mut signature).ok()?;
        Some(signature)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey([REDACTED])")
    }
}

impl SigningAlgorithm {
    fn encoding(self) -> &'static dyn RsaEncoding {
        match self {
            Self::Rs256 => &RSA_PKCS1_SHA256,
            Self::Rs384 => &RSA_PKCS1_SHA384,
            Self::Ps256 => &RSA_PSS_SHA256,
        }
    }

    /// Returns the name of the algorithm in a JWT header.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Ps256 => "PS256",
        }
    }
}

/// A PEM section: a BEGIN line, its content, and an END line.
struct PemSection<'a> {
    label: &'a str,
    lines: Vec<&'a str>,
    has_end_line: bool,
}

/// Returns the PEM sections of a text (RFC 7468).
///
/// Libraries leave copies of the decoded content in memory. This implementation makes one copy and
/// wipes it.
fn pem_sections(text: &str) -> impl Iterator<Item = PemSection<'_>> {
    let mut lines = text.lines().map(str::trim);
    std::iter::from_fn(move || {
        let begin = lines.by_ref().find(|line| line.starts_with("-----BEGIN "))?;
        let label = begin.trim_start_matches("-----BEGIN ").trim_end_matches('-').trim();
        let mut section = PemSection { label, lines: Vec::new(), has_end_line: false };
        for line in lines.by_ref() {
            if line.starts_with("-----END ") {
                section.has_end_line = true;
                break;
            }
            section.lines.push(line);
        }
        Some(section)
    })
}

impl PemSection<'_> {
    /// Decodes the content.
    fn der(&self) -> Result<Zeroizing<Vec<u8>>, InvalidKey> {
        if self.lines.iter().any(|line| line.starts_with("Proc-Type:")) {
            return Err(InvalidKey::Encrypted);
        }
        if !self.has_end_line {
            return Err(InvalidKey::Damaged);
        }
        let length = self.lines.iter().map(|line| line.len()).sum();
        let mut body = Zeroizing::new(String::with_capacity(length));
        body.extend(self.lines.iter().copied());
        let mut der = Zeroizing::new(vec![0; base64::decoded_len_estimate(length)]);
        let count =
            STANDARD.decode_slice(body.as_bytes(), &mut der).map_err(|_| InvalidKey::Damaged)?;
        der.truncate(count);
        Ok(der)
    }
}
