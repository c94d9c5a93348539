//! Private key JWT: keys that are registered for a client, and the assertions that they prove.
//!
//! Sources: RFC 7523 and "Authenticate with Private Key JWT" in Auth0's documentation, which has
//! the limits. Auth0 answers with `invalid_client` and writes what was wrong to the tenant's log;
//! here it is in the description.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::dangerous::insecure_decode;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;

use crate::error::SeedError;
use crate::secret;

/// The longest that an assertion may be good.
const LONGEST_LIFETIME: i64 = 300;

/// How far clocks may be apart.
const SKEW: i64 = 10;

/// The longest `iss`, `sub` and `jti`.
const LONGEST_CLAIM: usize = 64;

/// An algorithm that a public key may be registered with.
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
    fn of_jwt(self) -> Algorithm {
        match self {
            Self::RS256 => Algorithm::RS256,
            Self::RS384 => Algorithm::RS384,
            Self::PS256 => Algorithm::PS256,
        }
    }
}

/// A public key to register for a client, as the library, the admin interface and a file of
/// clients take it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySeed {
    /// The RSA public key in PEM.
    pub pem: String,
    /// The algorithm that assertions are signed with.
    #[serde(default)]
    pub algorithm: KeyAlgorithm,
    /// The key ID; generated, as Auth0 does, when absent.
    #[serde(default)]
    pub kid: Option<String>,
}

/// A registered key.
pub(crate) struct PublicKey {
    kid: String,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl PublicKey {
    pub(crate) fn from_seed(seed: KeySeed) -> Result<Self, SeedError> {
        let key = DecodingKey::from_rsa_pem(seed.pem.as_bytes()).map_err(|_| SeedError::BadKey)?;
        let kid = seed.kid.unwrap_or_else(secret::new_client_id);
        Ok(Self { kid, algorithm: seed.algorithm.of_jwt(), key })
    }

    /// As `client_authentication_methods` names it.
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

/// The client that an assertion says it is from, which proves nothing.
pub(crate) fn claimed_client(assertion: &str) -> Option<String> {
    let claims = insecure_decode::<Value>(assertion).ok()?.claims;
    claims["sub"].as_str().map(Into::into)
}

/// Assertions that were accepted, by client and `jti`, until they expire.
#[derive(Default)]
pub(crate) struct Used(BTreeMap<(String, String), i64>);

impl Used {
    /// Checks an assertion of a client, and uses it up.
    pub(crate) fn accept(
        &mut self,
        assertion: &str,
        keys: &[PublicKey],
        (client_id, audience): (&str, &str),
        now: SystemTime,
    ) -> Result<(), &'static str> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let claims = signed_claims(assertion, keys)?;
        check(&claims, (client_id, audience), now)?;
        self.0.retain(|_, expires| *expires >= now);
        match self.0.insert((client_id.into(), claims.jti), claims.exp) {
            None => Ok(()),
            Some(_) => Err("the assertion was used before"),
        }
    }
}

fn signed_claims(assertion: &str, keys: &[PublicKey]) -> Result<Claims, &'static str> {
    let header = decode_header(assertion).map_err(|_| "the assertion is not a JWT")?;
    let named = |key: &&PublicKey| header.kid.as_ref().is_none_or(|kid| *kid == key.kid);
    let mut named = keys.iter().filter(named).peekable();
    if named.peek().is_none() {
        return Err("no key of the client has the assertion's 'kid'");
    }
    let mut named = named.filter(|key| key.algorithm == header.alg).peekable();
    if named.peek().is_none() {
        return Err("the key is registered with another 'alg'");
    }
    // The claims are checked by the simulator's own clock.
    let mut signature_only = Validation::new(header.alg);
    signature_only.required_spec_claims.clear();
    signature_only.validate_exp = false;
    signature_only.validate_aud = false;
    let signed = named
        .find_map(|key| decode::<Value>(assertion, &key.key, &signature_only).ok())
        .ok_or("no key of the client made the assertion's signature")?;
    serde_json::from_value(signed.claims)
        .map_err(|_| "'iss', 'sub', 'aud', 'exp' and 'jti' must be there, 'aud' as one string")
}

fn check(
    claims: &Claims,
    (client_id, audience): (&str, &str),
    now: i64,
) -> Result<(), &'static str> {
    let wrong = |text| Err(text);
    if [&claims.iss, &claims.sub, &claims.jti].iter().any(|claim| claim.len() > LONGEST_CLAIM) {
        return wrong("'iss', 'sub' and 'jti' have 64 characters at most");
    }
    if claims.iss != client_id || claims.sub != client_id {
        return wrong("'iss' and 'sub' must be the client's ID");
    }
    if claims.aud != audience {
        return wrong("'aud' must be https://, the domain and a slash");
    }
    if claims.jti.is_empty() {
        return wrong("'jti' must not be empty");
    }
    if claims.exp <= now {
        return wrong("the assertion has expired");
    }
    if [claims.iat, claims.nbf].iter().flatten().any(|time| *time > now.saturating_add(SKEW)) {
        return wrong("'iat' and 'nbf' must not be in the future");
    }
    if claims.exp.saturating_sub(claims.iat.unwrap_or(now)) > LONGEST_LIFETIME {
        return wrong("'exp' must be no more than 5 minutes after 'iat'");
    }
    Ok(())
}
