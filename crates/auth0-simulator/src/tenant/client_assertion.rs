//! Private key JWT: registered public keys of a client and verification of client assertions.
//!
//! Sources: RFC 7523 and "Authenticate with Private Key JWT" in Auth0's documentation, which
//! states the limits. Auth0 responds with `invalid_client` and writes the cause to the tenant's
//! log; the simulator adds it to the description.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, dangerous::insecure_decode, decode, decode_header,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{error::SeedError, secret};

/// Maximum lifetime of an assertion in seconds.
const MAX_LIFETIME: i64 = 300;

/// Tolerated clock skew in seconds.
const CLOCK_SKEW: i64 = 10;

/// Maximum length of `iss`, `sub` and `jti`.
const MAX_CLAIM_LENGTH: usize = 64;

/// Signature algorithm of a registered public key.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[default]
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PSS with SHA-256.
    PS256,
}

impl KeyAlgorithm {
    fn jwt_algorithm(self) -> Algorithm {
        match self {
            Self::RS256 => Algorithm::RS256,
            Self::RS384 => Algorithm::RS384,
            Self::PS256 => Algorithm::PS256,
        }
    }
}

/// A public key to register for a client, in the library, the admin interface or a clients file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySeed {
    /// RSA public key in PEM.
    pub pem: String,
    /// Algorithm that assertions are signed with.
    #[serde(default)]
    pub algorithm: KeyAlgorithm,
    /// Key ID. Generated if absent, as in Auth0.
    #[serde(default)]
    pub kid: Option<String>,
}

/// A registered public key.
pub(crate) struct PublicKey {
    kid: String,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl PublicKey {
    pub(crate) fn from_seed(seed: KeySeed) -> Result<Self, SeedError> {
        let key = DecodingKey::from_rsa_pem(seed.pem.as_bytes()).map_err(|_| SeedError::BadKey)?;
        let kid = seed.kid.unwrap_or_else(secret::new_client_id);
        Ok(Self { kid, algorithm: seed.algorithm.jwt_algorithm(), key })
    }

    /// Returns the id of the key in `client_authentication_methods`.
    pub(crate) fn credential_id(&self) -> String {
        format!("cred_{}", self.kid)
    }
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: i64,
    iat: Option<i64>,
    nbf: Option<i64>,
    jti: String,
}

/// Returns the client that an assertion claims to be from, without verifying the assertion.
pub(crate) fn claimed_client(assertion: &str) -> Option<String> {
    let claims = insecure_decode::<Value>(assertion).ok()?.claims;
    claims["sub"].as_str().map(Into::into)
}

/// The claims that an assertion must contain.
#[derive(Clone, Copy)]
pub(crate) struct ExpectedClaims<'a> {
    /// Required `iss` and `sub`.
    pub(crate) client_id: &'a str,
    /// Required `aud`.
    pub(crate) audience: &'a str,
}

/// Identifies an accepted assertion.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct AssertionId {
    client_id: String,
    jti: String,
}

/// Accepted assertions and their expiry in UNIX seconds, for replay detection.
#[derive(Default)]
pub(crate) struct UsedAssertions(BTreeMap<AssertionId, i64>);

impl UsedAssertions {
    /// Verifies an assertion of a client and marks it as used.
    pub(crate) fn accept(
        &mut self,
        assertion: &str,
        keys: &[PublicKey],
        expected: ExpectedClaims<'_>,
        now: SystemTime,
    ) -> Result<(), &'static str> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let claims = verify_signature(assertion, keys)?;
        verify_claims(&claims, expected, now)?;
        self.0.retain(|_, expires| *expires >= now);
        let id = AssertionId { client_id: expected.client_id.into(), jti: claims.jti };
        match self.0.insert(id, claims.exp) {
            None => Ok(()),
            Some(_) => Err("the assertion was used before"),
        }
    }
}

/// Verifies the signature with a key that matches the header, and returns the claims.
fn verify_signature(assertion: &str, keys: &[PublicKey]) -> Result<Claims, &'static str> {
    let header = decode_header(assertion).map_err(|_| "the assertion is not a JWT")?;
    let mut candidates: Vec<&PublicKey> = keys.iter().collect();
    if let Some(kid) = &header.kid {
        candidates.retain(|key| key.kid == *kid);
    }
    if candidates.is_empty() {
        return Err("no key of the client has the assertion's 'kid'");
    }
    candidates.retain(|key| key.algorithm == header.alg);
    if candidates.is_empty() {
        return Err("the key is registered with another 'alg'");
    }
    // `verify_claims` checks the claims with the simulator's own clock.
    let mut signature_only = Validation::new(header.alg);
    signature_only.required_spec_claims.clear();
    signature_only.validate_exp = false;
    signature_only.validate_aud = false;
    let verified = candidates
        .into_iter()
        .find_map(|key| decode::<Value>(assertion, &key.key, &signature_only).ok())
        .ok_or("the assertion's signature doesn't match any key of the client")?;
    serde_json::from_value(verified.claims)
        .map_err(|_| "'iss', 'sub', 'aud', 'exp' and 'jti' are required, 'aud' as one string")
}

fn verify_claims(
    claims: &Claims,
    expected: ExpectedClaims<'_>,
    now: i64,
) -> Result<(), &'static str> {
    if [&claims.iss, &claims.sub, &claims.jti].iter().any(|claim| claim.len() > MAX_CLAIM_LENGTH) {
        return Err("'iss', 'sub' and 'jti' must not be longer than 64 characters");
    }
    if claims.iss != expected.client_id || claims.sub != expected.client_id {
        return Err("'iss' and 'sub' must be the client's ID");
    }
    if claims.aud != expected.audience {
        return Err("'aud' must be https://{domain}/ with a slash at the end");
    }
    if claims.jti.is_empty() {
        return Err("'jti' must not be empty");
    }
    if claims.exp <= now {
        return Err("the assertion has expired");
    }
    if [claims.iat, claims.nbf].iter().flatten().any(|time| *time > now.saturating_add(CLOCK_SKEW))
    {
        return Err("'iat' and 'nbf' must not be in the future");
    }
    if claims.exp.saturating_sub(claims.iat.unwrap_or(now)) > MAX_LIFETIME {
        return Err("'exp' must be no more than 5 minutes after 'iat'");
    }
    Ok(())
}
