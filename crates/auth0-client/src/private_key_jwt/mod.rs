//! Private Key JWT: the management client authenticates with a client assertion that it signs
//! (RFC 7523; Auth0 documentation, "Authenticate with Private Key JWT").

mod signing_key;

#[cfg(test)]
mod tests;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde_json::{Value, json};
pub use signing_key::{InvalidKey, SigningAlgorithm, SigningKey};

/// Lifetime of an assertion in seconds. It is used once and immediately; Auth0 allows 300.
const LIFETIME: i64 = 60;

/// Credentials of a client that authenticates with a private key.
#[derive(Debug)]
pub struct KeyCredentials {
    /// The client ID.
    pub client_id: String,
    /// The audience of the assertion: the tenant's domain, or its custom domain.
    pub domain: String,
    /// The algorithm with which the public key is registered.
    pub algorithm: SigningAlgorithm,
    /// The ID that Auth0 assigned to the public key. Auth0 also finds the key without it.
    pub key_id: Option<String>,
    /// The private key.
    pub key: SigningKey,
}

impl KeyCredentials {
    /// Creates a new assertion, because Auth0 accepts each only once. Returns `None` if signing
    /// fails.
    pub(crate) fn sign_assertion(&self, now: DateTime<Utc>) -> Option<SecretString> {
        let mut header = json!({ "alg": self.algorithm.as_str(), "typ": "JWT" });
        if let Some(id) = &self.key_id {
            header["kid"] = id.as_str().into();
        }
        let issued_at = now.timestamp();
        let claims = json!({
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": format!("https://{}/", self.domain),
            "iat": issued_at,
            "exp": issued_at + LIFETIME,
            "jti": uuid::Uuid::new_v4().to_string(),
        });
        let message = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign(self.algorithm, message.as_bytes())?;
        Some(SecretString::from(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }
}

fn encode(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}
