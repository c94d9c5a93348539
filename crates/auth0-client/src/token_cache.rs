//! Cache for the access token of one tenant's management client.

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use rotation::ErrorClass;
use tokio::sync::Mutex as AsyncMutex;

use crate::{
    access_token::{AccessToken, TokenRequest},
    credentials::CredentialsSource,
    error::Error,
    transport::Transport,
};

/// How long a failed token request is reported to all callers. Without this, queued callers would
/// fail one after another.
const FAILURE_CACHED_FOR: TimeDelta = TimeDelta::seconds(2);

/// First delay after a failed renewal of a token that is still valid.
const FIRST_RENEWAL_DELAY: TimeDelta = TimeDelta::seconds(30);

/// Longest delay after a failed renewal.
const MAX_RENEWAL_DELAY: TimeDelta = TimeDelta::minutes(10);

/// How long the scopes of a token are considered current. After that, a caller that lacks a scope
/// requests a new token, so that a grant made in the dashboard takes effect.
const FIRST_SCOPE_CHECK: TimeDelta = TimeDelta::minutes(2);

/// Longest time until a new token is requested for a missing scope. The time doubles with every token
/// that has the same scopes.
const MAX_SCOPE_CHECK: TimeDelta = TimeDelta::hours(1);

/// Fetches access tokens on demand and caches the latest one. A cached token is used until it expires,
/// and replaced only by another one.
pub(crate) struct TokenCache {
    audience: String,
    credentials: Box<dyn CredentialsSource>,
    token: Mutex<Option<AccessToken>>,
    /// Locked during a token request, so that concurrent callers without a token share its result.
    request: AsyncMutex<()>,
    replacement: Mutex<Replacement>,
    last_failure: Mutex<Option<CachedFailure>>,
    authentication: Mutex<Authentication>,
}

/// When a valid token may be replaced.
#[derive(Clone, Debug)]
struct Replacement {
    /// Failed requests in a row.
    failures: u32,
    /// No request is made before this time, after a failed one.
    not_before: DateTime<Utc>,
    /// How old a token is before another one is requested for a missing scope.
    scope_check: TimeDelta,
    /// Why the credentials were of no use when a valid token was to be replaced.
    rejection: Option<Error>,
}

impl Default for Replacement {
    fn default() -> Self {
        let not_before = DateTime::UNIX_EPOCH;
        Self { failures: 0, not_before, scope_check: FIRST_SCOPE_CHECK, rejection: None }
    }
}

impl Replacement {
    /// Returns true if a token should be renewed.
    fn is_renewal_due(&self, token: &AccessToken, now: DateTime<Utc>) -> bool {
        !token.is_fresh(now) && now >= self.not_before
    }

    /// Returns true if another token should be requested for a scope that this one lacks.
    fn is_scope_check_due(&self, token: &AccessToken, now: DateTime<Utc>) -> bool {
        now >= token.fetched_at() + self.scope_check && now >= self.not_before
    }

    /// Records that another token arrived.
    fn succeed(&mut self, old: Option<&AccessToken>, new: &AccessToken) {
        let is_same = old.is_some_and(|old| old.scopes() == new.scopes());
        let doubled = (self.scope_check * 2).min(MAX_SCOPE_CHECK);
        let scope_check = if is_same { doubled } else { FIRST_SCOPE_CHECK };
        *self = Self { scope_check, ..Self::default() };
    }

    /// Records that none arrived.
    fn fail(&mut self, token: &AccessToken, error: Error, now: DateTime<Utc>) {
        let doubled = FIRST_RENEWAL_DELAY * 2i32.pow(self.failures.min(10));
        // A token with a short lifetime leaves time for a few attempts.
        let delay = doubled.min(MAX_RENEWAL_DELAY).min((token.expires_at() - now) / 3);
        self.not_before = now + delay.max(TimeDelta::seconds(1));
        self.failures = self.failures.saturating_add(1);
        if is_rejection(&error) || matches!(error, Error::CredentialsUnreadable(_)) {
            self.rejection = Some(error);
        }
    }
}

/// Returns true if the credentials are wrong, and false if Auth0 or the connection failed.
fn is_rejection(error: &Error) -> bool {
    matches!(error, Error::CredentialsRejected | Error::KeyRejected | Error::TokenForbidden)
}

/// Whether the tenant's endpoint has issued a token to this client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authentication {
    /// No token request has been answered.
    #[default]
    Unknown,
    /// The endpoint issued a token. Later rejections don't change this.
    Accepted,
    /// The endpoint rejected the credentials, and has never issued a token.
    Rejected,
}

#[derive(Clone)]
struct CachedFailure {
    error: Error,
    expires_at: DateTime<Utc>,
}

impl TokenCache {
    pub(crate) fn new(audience: String, credentials: Box<dyn CredentialsSource>) -> Self {
        Self {
            audience,
            credentials,
            token: Mutex::default(),
            request: AsyncMutex::default(),
            replacement: Mutex::default(),
            last_failure: Mutex::default(),
            authentication: Mutex::default(),
        }
    }

    /// Returns the cached token if it is valid, or else a new one. Renews the token before it expires.
    pub(crate) async fn get(
        &self,
        transport: &Transport,
        now: DateTime<Utc>,
    ) -> Result<AccessToken, Error> {
        if let Some(token) = self.valid_token(now) {
            let is_due = self.replacement.lock().is_renewal_due(&token, now);
            return Ok(if is_due { self.replace(transport, now, token).await } else { token });
        }
        let _request = self.request.lock().await;
        if let Some(token) = self.valid_token(now) {
            return Ok(token);
        }
        let last_failure = self.last_failure.lock().clone();
        if let Some(CachedFailure { error, expires_at }) = last_failure
            && expires_at > now
        {
            tracing::trace!(%expires_at, "skipped token request after recent failure");
            return Err(error);
        }
        let fetched = self.fetch_and_store(transport, now).await;
        if let Err(error) = &fetched {
            // While calls are throttled, the rate limiter already fails them at once.
            if !matches!(error.class(), ErrorClass::Throttled { .. }) {
                let expires_at = now + FAILURE_CACHED_FOR;
                *self.last_failure.lock() =
                    Some(CachedFailure { error: error.clone(), expires_at });
            }
        }
        fetched
    }

    /// Returns a token, and fetches a new one if the cached one does not satisfy the condition but
    /// a new one might. The condition may still be false for the returned token.
    pub(crate) async fn get_preferring(
        &self,
        transport: &Transport,
        now: DateTime<Utc>,
        condition: impl Fn(&AccessToken) -> bool,
    ) -> Result<AccessToken, Error> {
        let token = self.get(transport, now).await?;
        let is_due = !condition(&token) && self.replacement.lock().is_scope_check_due(&token, now);
        Ok(if is_due { self.replace(transport, now, token).await } else { token })
    }

    /// Returns a new token, or the given one, which is valid, if none arrives or another caller is
    /// waiting for one.
    async fn replace(
        &self,
        transport: &Transport,
        now: DateTime<Utc>,
        token: AccessToken,
    ) -> AccessToken {
        let Ok(_request) = self.request.try_lock() else { return token };
        if let Some(other) = self.valid_token(now)
            && !other.is_same(&token)
        {
            return other;
        }
        match self.fetch_and_store(transport, now).await {
            Ok(token) => token,
            Err(error) => {
                let reason = error.reason();
                let expires_at = token.expires_at();
                tracing::warn!(%reason, %expires_at, "no new Management API token: using the cached one");
                self.replacement.lock().fail(&token, error, now);
                token
            }
        }
    }

    /// Fetches a token and caches it in place of the old one.
    async fn fetch_and_store(
        &self,
        transport: &Transport,
        now: DateTime<Utc>,
    ) -> Result<AccessToken, Error> {
        match self.fetch(transport, now).await {
            Ok(token) => {
                *self.authentication.lock() = Authentication::Accepted;
                let old = self.token.lock().replace(token.clone());
                self.replacement.lock().succeed(old.as_ref(), &token);
                Ok(token)
            }
            Err(error) => {
                self.note_rejection(&error);
                Err(error)
            }
        }
    }

    fn valid_token(&self, now: DateTime<Utc>) -> Option<AccessToken> {
        self.token.lock().clone().filter(|token| token.is_valid(now))
    }

    /// Returns a token that has the scope or one that includes it. Fails with
    /// [`Error::MissingScope`] otherwise, which saves a call that Auth0 would reject.
    pub(crate) async fn get_with_scope(
        &self,
        transport: &Transport,
        now: DateTime<Utc>,
        scope: &'static str,
    ) -> Result<AccessToken, Error> {
        let token = self.get_preferring(transport, now, |token| token.allows(scope)).await?;
        if token.allows(scope) { Ok(token) } else { Err(Error::MissingScope(scope)) }
    }

    /// Returns when another token is due to be requested because the cached one lacks one of the scopes.
    pub(crate) fn next_scope_check(&self, required: &[&str]) -> Option<DateTime<Utc>> {
        let token = self.token.lock().clone()?;
        let has_all = required.iter().all(|scope| token.has_scope(scope));
        let replacement = self.replacement.lock();
        let due = replacement.not_before.max(token.fetched_at() + replacement.scope_check);
        if has_all { None } else { Some(due) }
    }

    /// Removes a token that Auth0 rejected from the cache, unless another one has replaced it.
    pub(crate) fn invalidate(&self, token: &AccessToken) {
        let mut cached = self.token.lock();
        if cached.as_ref().is_some_and(|cached| cached.is_same(token)) {
            *cached = None;
        }
    }

    /// Discards the failure of the last request, so that the next call sends one.
    pub(crate) fn clear_failure(&self) {
        *self.last_failure.lock() = None;
        self.replacement.lock().not_before = DateTime::UNIX_EPOCH;
    }

    /// Returns why the credentials can't be used, if they could not when the cached token was to be
    /// replaced.
    pub(crate) fn rejection(&self) -> Option<Error> {
        self.replacement.lock().rejection.clone()
    }

    /// Returns when the cached token was fetched.
    pub(crate) fn fetched_at(&self) -> Option<DateTime<Utc>> {
        self.token.lock().as_ref().map(AccessToken::fetched_at)
    }

    /// Returns whether the endpoint has issued a token to this client.
    pub(crate) fn authentication(&self) -> Authentication {
        *self.authentication.lock()
    }

    fn note_rejection(&self, error: &Error) {
        let mut authentication = self.authentication.lock();
        if is_rejection(error) && *authentication == Authentication::Unknown {
            *authentication = Authentication::Rejected;
        }
    }

    /// Fetches a token. Errors that would leave the outcome of a Management API call unknown become
    /// [`Error::TokenUnavailable`], because no such call was made.
    async fn fetch(&self, transport: &Transport, now: DateTime<Utc>) -> Result<AccessToken, Error> {
        let credentials = self.credentials.load().await?;
        // All callers wait for the token.
        let transport = &transport.for_tenant();
        let request = TokenRequest { transport, audience: &self.audience, now };
        match request.fetch(&credentials).await {
            Err(Error::NoResponse | Error::Unavailable(_) | Error::InvalidResponse(_)) => {
                Err(Error::TokenUnavailable)
            }
            Err(Error::ClientThrottled { until }) => Err(Error::TokenThrottled { until }),
            result => result,
        }
    }
}

#[cfg(test)]
#[path = "token_cache_tests.rs"]
mod tests;
