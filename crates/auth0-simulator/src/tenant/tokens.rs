//! Access tokens: opaque, kept here, each with an end.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use secrecy::{ExposeSecret, SecretString};

use super::client::Scopes;
use crate::secret;

/// The most tokens kept; the oldest make room.
const CAPACITY: usize = 100_000;

/// What a token was minted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) client_id: String,
    pub(crate) audience: String,
    pub(crate) scopes: Scopes,
    expires: SystemTime,
}

/// Why a bearer token doesn't count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenProblem {
    Unknown,
    Expired,
}

/// Tokens by their first half; the second half is compared in constant time.
#[derive(Default)]
pub(crate) struct TokenStore {
    tokens: HashMap<String, (SecretString, Token)>,
    order: VecDeque<String>,
}

impl TokenStore {
    /// Mints a token that is good for `ttl`.
    pub(crate) fn mint(
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
        let (handle, proof) = secret::new_token_halves();
        let whole = SecretString::from(format!("{handle}.{}", proof.expose_secret()));
        let token = Token {
            client_id: client_id.into(),
            audience: audience.into(),
            scopes,
            expires: now + ttl,
        };
        self.tokens.insert(handle.clone(), (proof, token));
        self.order.push_back(handle);
        whole
    }

    /// What the token was minted for, while it is good.
    pub(crate) fn find(&self, given: &str, now: SystemTime) -> Result<&Token, TokenProblem> {
        let (handle, proof) = given.split_once('.').ok_or(TokenProblem::Unknown)?;
        let (stored, token) = self.tokens.get(handle).ok_or(TokenProblem::Unknown)?;
        if !bool::from(secret::same(stored, proof)) {
            return Err(TokenProblem::Unknown);
        }
        if token.expires <= now {
            return Err(TokenProblem::Expired);
        }
        Ok(token)
    }

    /// Lets a token expire now.
    pub(crate) fn expire(&mut self, given: &str, now: SystemTime) {
        let handle = given.split('.').next().unwrap_or_default();
        if let Some((_, token)) = self.tokens.get_mut(handle) {
            token.expires = token.expires.min(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn minted(store: &mut TokenStore, now: SystemTime) -> SecretString {
        store.mint("client", "audience", Scopes::from(["a".to_string()]), now, HOUR)
    }

    #[test]
    fn a_token_is_good_until_its_end() {
        let mut store = TokenStore::default();
        let now = SystemTime::UNIX_EPOCH;
        let token = minted(&mut store, now);
        let token = token.expose_secret();
        assert_eq!(store.find(token, now).unwrap().client_id, "client");
        assert!(store.find(token, now + HOUR - Duration::from_nanos(1)).is_ok());
        assert_eq!(store.find(token, now + HOUR), Err(TokenProblem::Expired));
    }

    #[test]
    fn both_halves_count() {
        let mut store = TokenStore::default();
        let now = SystemTime::UNIX_EPOCH;
        let (one, other) = (minted(&mut store, now), minted(&mut store, now));
        let handle = one.expose_secret().split('.').next().unwrap();
        let proof = other.expose_secret().split('.').nth(1).unwrap();
        for bad in ["", "x", "x.y", &format!("{handle}.{proof}"), handle] {
            assert_eq!(store.find(bad, now), Err(TokenProblem::Unknown), "{bad}");
        }
    }

    #[test]
    fn a_token_can_be_made_to_expire() {
        let mut store = TokenStore::default();
        let now = SystemTime::UNIX_EPOCH;
        let token = minted(&mut store, now);
        store.expire(token.expose_secret(), now);
        assert_eq!(store.find(token.expose_secret(), now), Err(TokenProblem::Expired));
    }
}
