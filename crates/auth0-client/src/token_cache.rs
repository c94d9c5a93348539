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

/// Fetches access tokens on demand and caches the latest one until shortly before its expiry.
pub(crate) struct TokenCache {
    audience: String,
    credentials: Box<dyn CredentialsSource>,
    /// Locked during a token request, so that concurrent callers share its result.
    token: AsyncMutex<Option<AccessToken>>,
    last_failure: Mutex<Option<CachedFailure>>,
    authentication: Mutex<Authentication>,
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
            token: AsyncMutex::new(None),
            last_failure: Mutex::new(None),
            authentication: Mutex::default(),
        }
    }

    /// Returns the cached token if it is fresh, or else a new one.
    pub(crate) async fn get(
        &self,
        transport: &Transport,
        now: DateTime<Utc>,
    ) -> Result<AccessToken, Error> {
        let mut cached = self.token.lock().await;
        if let Some(token) = cached.as_ref()
            && token.is_fresh(now)
        {
            return Ok(token.clone());
        }
        let last_failure = self.last_failure.lock().clone();
        if let Some(CachedFailure { error, expires_at }) = last_failure
            && expires_at > now
        {
            tracing::trace!(%expires_at, "skipped token request after recent failure");
            return Err(error);
        }
        match self.fetch(transport, now).await {
            Ok(token) => {
                *self.authentication.lock() = Authentication::Accepted;
                *cached = Some(token.clone());
                Ok(token)
            }
            Err(error) => {
                self.note_rejection(&error);
                // While calls are throttled, the rate limiter already fails them at once.
                if !matches!(error.class(), ErrorClass::Throttled { .. }) {
                    let expires_at = now + FAILURE_CACHED_FOR;
                    *self.last_failure.lock() =
                        Some(CachedFailure { error: error.clone(), expires_at });
                }
                Err(error)
            }
        }
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
        if condition(&token) || !token.has_outdated_scopes(now) {
            return Ok(token);
        }
        self.invalidate(&token).await;
        self.get(transport, now).await
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

    /// Removes the token from the cache, unless another one has replaced it.
    pub(crate) async fn invalidate(&self, token: &AccessToken) {
        let mut cached = self.token.lock().await;
        if cached.as_ref().is_some_and(|cached| cached.is_same(token)) {
            *cached = None;
        }
    }

    /// Discards the cached failure, so that the next call sends a token request.
    pub(crate) fn clear_failure(&self) {
        *self.last_failure.lock() = None;
    }

    /// Returns when the cached token was fetched.
    pub(crate) async fn fetched_at(&self) -> Option<DateTime<Utc>> {
        self.token.lock().await.as_ref().map(AccessToken::fetched_at)
    }

    /// Returns whether the endpoint has issued a token to this client.
    pub(crate) fn authentication(&self) -> Authentication {
        *self.authentication.lock()
    }

    fn note_rejection(&self, error: &Error) {
        let is_rejection = matches!(
            error,
            Error::CredentialsRejected | Error::KeyRejected | Error::TokenForbidden
        );
        let mut authentication = self.authentication.lock();
        if is_rejection && *authentication == Authentication::Unknown {
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
            result => result,
        }
    }
}
