//! Store of opaque access tokens, each with an expiry.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, SystemTime},
};

use secrecy::{ExposeSecret, SecretString};

use super::client::Scopes;
use crate::secret::{self, TokenParts};

/// Maximum number of tokens kept. The oldest are evicted first.
const CAPACITY: usize = 100_000;

/// Client, audience and scopes of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) client_id: String,
    pub(crate) audience: String,
    pub(crate) scopes: Scopes,
    expires: SystemTime,
}

/// Reason for rejecting a bearer token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenError {
    Unknown,
    Expired,
}

struct StoredToken {
    /// Secret part of the token. Compared in constant time.
    proof: SecretString,
    token: Token,
}

/// Tokens by their handle, which is the part before the dot.
#[derive(Default)]
pub(crate) struct TokenStore {
    tokens: HashMap<String, StoredToken>,
    /// Handles, oldest first.
    order: VecDeque<String>,
}

impl TokenStore {
    /// Issues a token that is valid for `ttl`.
    pub(crate) fn issue(
        &mut self,
        client_id: &str,
        audience: &str,
        scopes: Scopes,
        now: SystemTime,
        ttl: Duration,
    ) -> SecretString {
        while self.order.len() >= CAPACITY {
            if let Some(oldest) = self.order.pop_front() {
                self.tokens.remove(&oldest);
            }
        }
        let TokenParts { handle, proof } = secret::new_token_parts();
        let access_token = SecretString::from(format!("{handle}.{}", proof.expose_secret()));
        let token = Token {
            client_id: client_id.into(),
            audience: audience.into(),
            scopes,
            expires: now + ttl,
        };
        self.tokens.insert(handle.clone(), StoredToken { proof, token });
        self.order.push_back(handle);
        access_token
    }

    /// Looks up a token that has not expired.
    pub(crate) fn find(&self, given: &str, now: SystemTime) -> Result<&Token, TokenError> {
        let (handle, proof) = given.split_once('.').ok_or(TokenError::Unknown)?;
        let stored = self.tokens.get(handle).ok_or(TokenError::Unknown)?;
        if !bool::from(secret::constant_time_eq(&stored.proof, proof)) {
            return Err(TokenError::Unknown);
        }
        if stored.token.expires <= now {
            return Err(TokenError::Expired);
        }
        Ok(&stored.token)
    }

    /// Expires a token now.
    pub(crate) fn expire(&mut self, given: &str, now: SystemTime) {
        let handle = given.split('.').next().unwrap_or_default();
        if let Some(StoredToken { token, .. }) = self.tokens.get_mut(handle) {
            token.expires = token.expires.min(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn issue(store: &mut TokenStore, now: SystemTime) -> SecretString {
        store.issue("client", "audience", Scopes::from(["a".to_string()]), now, HOUR)
    }

    #[test]
    fn token_is_valid_until_it_expires() {
        let mut store = TokenStore::default();
        let now = SystemTime::UNIX_EPOCH;
        let token = issue(&mut store, now);
        let token = token.expose_secret();
        assert_eq!(store.find(token, now).unwrap().client_id, "client");
        assert!(store.find(token, now + HOUR - Duration::from_nanos(1)).is_ok());
        assert_eq!(store.find(token, now + HOUR), Err(TokenError::Expired));
    }

    #[test]
    fn rejects_token_with_wrong_handle_or_proof() {
        let mut store = TokenStore::default();
        let now = SystemTime::UNIX_EPOCH;
        let (one, other) = (issue(&mut store, now), issue(&mut store, now));
        let handle = one.expose_secret().split('.').next().unwrap();
        let proof = other.expose_secret().split('.').nth(1).unwrap();
        for bad in ["", "x", "x.y", &format!("{handle}.{proof}"), handle] {
            assert_eq!(store.find(bad, now), Err(TokenError::Unknown), "{bad}");
        }
    }

    #[test]
    fn expires_token_on_request() {
        let mut store = TokenStore::default();
        let now = SystemTime::UNIX_EPOCH;
        let token = issue(&mut store, now);
        store.expire(token.expose_secret(), now);
        assert_eq!(store.find(token.expose_secret(), now), Err(TokenError::Expired));
    }
}
