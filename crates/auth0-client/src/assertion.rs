//! Private key JWT: the management client proves who it is with an assertion that it signs
//! (RFC 7523; Auth0 documentation, "Authenticate with Private Key JWT").

use std::fmt;

use aws_lc_rs::{
    error::KeyRejected,
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde_json::json;
use zeroize::Zeroizing;

/// How long an assertion is good, in seconds. It is used at once, and once; Auth0 allows 300.
const LIFETIME: i64 = 60;

/// An RSA private key.
///
/// `Debug` prints no part of it, and AWS-LC wipes what it held when it goes.
pub struct SigningKey(RsaKeyPair);

/// The algorithms that Auth0 takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PSS with SHA-256.
    Ps256,
}

/// A text that can't be a signing key, and what to do about it.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidKey {
    /// There is no PEM in it.
    #[error("it is not PEM: write it with its BEGIN and END lines, as openssl does")]
    NotPem,
    /// A passphrase protects it.
    #[error("it is encrypted: decrypt it, with openssl pkey -in key.pem -out decrypted.pem")]
    Encrypted,
    /// It is the half that Auth0 gets.
    #[error("it is a public key: put the private key there, the public one belongs to Auth0")]
    Public,
    /// It is what Auth0 gets, in another form.
    #[error("it is a certificate: put its private key there, the certificate belongs to Auth0")]
    Certificate,
    /// It is an EC key, or of another kind.
    #[error("it is no RSA key: Auth0 takes RSA only; make one with openssl genrsa 2048")]
    NotRsa,
    /// It is in a format of its own.
    #[error(
        "it is in a format of OpenSSH: convert it, with ssh-keygen -p -m PEM -N '' -f key, or make \
         one with openssl genrsa 2048"
    )]
    OpenSsh,
    /// It is too short to be safe.
    #[error("it has fewer than 2048 bits: make a longer one, with openssl genrsa 2048")]
    TooShort,
    /// It is too long to be used.
    #[error("it has more than 8192 bits: make a shorter one, with openssl genrsa 4096")]
    TooLong,
    /// What is between the lines is no key.
    #[error("it is damaged: write the whole file there, as it was made")]
    Damaged,
}

impl SigningKey {
    /// Reads a key in PEM, PKCS#1 or PKCS#8. What stands before and after it is passed over.
    ///
    /// # Errors
    /// When there is no RSA key of 2048 to 8192 bits in it that can be read without a passphrase.
    pub fn from_pem(text: &str) -> Result<SigningKey, InvalidKey> {
        let mut other = InvalidKey::NotPem;
        for section in sections(text) {
            match section.label {
                "RSA PRIVATE KEY" => return accept(RsaKeyPair::from_der(&section.der()?)),
                "PRIVATE KEY" => return accept(RsaKeyPair::from_pkcs8(&section.der()?)),
                "ENCRYPTED PRIVATE KEY" => return Err(InvalidKey::Encrypted),
                "OPENSSH PRIVATE KEY" => return Err(InvalidKey::OpenSsh),
                "PUBLIC KEY" | "RSA PUBLIC KEY" => other = InvalidKey::Public,
                "CERTIFICATE" | "TRUSTED CERTIFICATE" => other = InvalidKey::Certificate,
                label if label.ends_with("PRIVATE KEY") => return Err(InvalidKey::NotRsa),
                _ => {}
            }
        }
        Err(other)
    }

    /// `None` when AWS-LC can't sign, of which there is no known case.
    fn sign(&self, algorithm: SigningAlgorithm, message: &[u8]) -> Option<Vec<u8>> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        let random = SystemRandom::new();
        self.0.sign(algorithm.encoding(), &random, message, &mut signature).ok()?;
        Some(signature)
    }
}

fn accept(read: Result<RsaKeyPair, KeyRejected>) -> Result<SigningKey, InvalidKey> {
    read.map(SigningKey).map_err(|rejected| match rejected.description_() {
        "TooSmall" => InvalidKey::TooShort,
        "TooLarge" => InvalidKey::TooLong,
        "WrongAlgorithm" => InvalidKey::NotRsa,
        _ => InvalidKey::Damaged,
    })
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey([REDACTED])")
    }
}

impl SigningAlgorithm {
    fn encoding(self) -> &'static dyn RsaEncoding {
        match self {
            SigningAlgorithm::Rs256 => &RSA_PKCS1_SHA256,
            SigningAlgorithm::Rs384 => &RSA_PKCS1_SHA384,
            SigningAlgorithm::Ps256 => &RSA_PSS_SHA256,
        }
    }

    fn name(self) -> &'static str {
        match self {
            SigningAlgorithm::Rs256 => "RS256",
            SigningAlgorithm::Rs384 => "RS384",
            SigningAlgorithm::Ps256 => "PS256",
        }
    }
}

/// A client that signs assertions.
#[derive(Debug)]
pub struct KeyCredentials {
    /// The client ID.
    pub client_id: String,
    /// The tenant's domain, or the custom one, that the assertion is for.
    pub domain: String,
    /// The algorithm that the public key is registered with.
    pub algorithm: SigningAlgorithm,
    /// The ID that Auth0 gave the public key. Auth0 finds the key without it, too.
    pub key_id: Option<String>,
    /// The private key.
    pub key: SigningKey,
}

impl KeyCredentials {
    /// A new assertion: Auth0 takes each only once. `None` when it can't be signed.
    pub(super) fn assertion(&self, now: DateTime<Utc>) -> Option<SecretString> {
        let mut header = json!({ "alg": self.algorithm.name(), "typ": "JWT" });
        if let Some(id) = &self.key_id {
            header["kid"] = id.as_str().into();
        }
        let issued = now.timestamp();
        let claims = json!({
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": format!("https://{}/", self.domain),
            "iat": issued,
            "exp": issued + LIFETIME,
            "jti": uuid::Uuid::new_v4().to_string(),
        });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(&claims));
        let signature = self.key.sign(self.algorithm, message.as_bytes())?;
        Some(SecretString::from(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }
}

/// What stands between a BEGIN line and the next END line.
struct Section<'a> {
    label: &'a str,
    lines: Vec<&'a str>,
    ended: bool,
}

/// The sections of PEM, by RFC 7468. Libraries leave copies of what they decode behind; here the
/// only one is wiped.
fn sections(text: &str) -> impl Iterator<Item = Section<'_>> {
    let mut lines = text.lines().map(str::trim);
    std::iter::from_fn(move || {
        let begin = |line: &'_ str| line.starts_with("-----BEGIN ");
        let first = lines.by_ref().find(|line| begin(line))?;
        let label = first.trim_start_matches("-----BEGIN ").trim_end_matches('-').trim();
        let mut section = Section { label, lines: Vec::new(), ended: false };
        for line in lines.by_ref() {
            if line.starts_with("-----END ") {
                section.ended = true;
                break;
            }
            section.lines.push(line);
        }
        Some(section)
    })
}

impl Section<'_> {
    fn der(&self) -> Result<Zeroizing<Vec<u8>>, InvalidKey> {
        if self.lines.iter().any(|line| line.starts_with("Proc-Type:")) {
            return Err(InvalidKey::Encrypted);
        }
        let length = self.lines.iter().map(|line| line.len()).sum();
        let mut body = Zeroizing::new(String::with_capacity(length));
        body.extend(self.lines.iter().copied());
        let mut der = Zeroizing::new(vec![0; base64::decoded_len_estimate(length)]);
        match STANDARD.decode_slice(body.as_bytes(), &mut der) {
            Ok(count) if self.ended => {
                der.truncate(count);
                Ok(der)
            }
            _ => Err(InvalidKey::Damaged),
        }
    }
}

#[cfg(test)]
#[path = "assertion_tests.rs"]
mod tests;
