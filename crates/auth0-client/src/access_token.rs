//! Access tokens for the Management API and the client credentials grant that issues them.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use crate::{
    credentials::Credentials,
    error::{Error, InvalidResponse},
    rate_limiter::{Api, Priority},
    transport::{Call, HttpResponse, Transport},
};

/// Scope for rotating and setting client secrets.
pub const UPDATE_CLIENT_KEYS: &str = "update:client_keys";
/// Scope for reading clients.
pub const READ_CLIENTS: &str = "read:clients";
/// Scope for reading client secrets.
pub const READ_CLIENT_KEYS: &str = "read:client_keys";
/// Another scope that allows to read client secrets.
const READ_CLIENT_CREDENTIALS: &str = "read:client_credentials";

/// Scopes that are used. A token can have hundreds of others, which are not kept.
const USED_SCOPES: [&str; 4] =
    [UPDATE_CLIENT_KEYS, READ_CLIENTS, READ_CLIENT_KEYS, READ_CLIENT_CREDENTIALS];

/// Upper bound for the length of a token in bytes. Servers reject longer headers.
const MAX_LENGTH: usize = 32 * 1024;

/// Upper bound for a token's lifetime in seconds. Auth0's default is one day.
const MAX_LIFETIME: i64 = 30 * 86_400;

/// Value of `client_assertion_type` (RFC 7523, section 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An access token for the Management API.
#[derive(Clone, Debug)]
pub(crate) struct AccessToken {
    value: SecretString,
    /// Those of [`USED_SCOPES`] that it has.
    scopes: Vec<&'static str>,
    fetched_at: DateTime<Utc>,
    /// When to fetch the next token. This is earlier than the expiry.
    renew_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct TokenBody {
    access_token: SecretString,
    #[serde(default)]
    expires_in: Option<i64>,
    #[serde(default)]
    scope: Option<String>,
}

impl AccessToken {
    /// Parses the response of a successful token request.
    pub(crate) fn from_response(
        response: &HttpResponse,
        now: DateTime<Utc>,
    ) -> Result<Self, Error> {
        let TokenBody { access_token: value, expires_in, scope } = response.json()?;
        let text = value.expose_secret();
        let is_too_long = text.len() > MAX_LENGTH;
        if text.is_empty() || is_too_long || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::InvalidResponse(InvalidResponse::UnexpectedBody));
        }
        let lifetime = expires_in.unwrap_or(86_400).clamp(0, MAX_LIFETIME);
        let scopes = used_scopes(&scope.unwrap_or_default());
        Ok(Self {
            value,
            scopes,
            fetched_at: now,
            renew_at: now + renewal_delay(lifetime),
            expires_at: now + TimeDelta::seconds(lifetime),
        })
    }

    pub(crate) fn expose(&self) -> &str {
        self.value.expose_secret()
    }

    pub(crate) fn scopes(&self) -> &[&'static str] {
        &self.scopes
    }

    pub(crate) fn has_scope(&self, scope: &str) -> bool {
        self.scopes.contains(&scope)
    }

    /// Returns true if the token has the scope or one that includes it. Scopes for reading secrets
    /// include [`READ_CLIENTS`].
    pub(crate) fn allows(&self, scope: &str) -> bool {
        self.has_scope(scope) || (scope == READ_CLIENTS && self.can_read_secrets())
    }

    /// Returns true if the Management API includes secrets in its responses.
    pub(crate) fn can_read_secrets(&self) -> bool {
        self.has_scope(READ_CLIENT_KEYS) || self.has_scope(READ_CLIENT_CREDENTIALS)
    }

    pub(crate) fn fetched_at(&self) -> DateTime<Utc> {
        self.fetched_at
    }

    pub(crate) fn expires_at(&self) -> DateTime<Utc> {
        self.expires_at
    }

    /// Returns true if it is too early to renew the token.
    pub(crate) fn is_fresh(&self, now: DateTime<Utc>) -> bool {
        now < self.renew_at
    }

    /// Returns true if Auth0 accepts the token, as far as can be known.
    pub(crate) fn is_valid(&self, now: DateTime<Utc>) -> bool {
        now < self.expires_at
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let (one, two) = (self.expose().as_bytes(), other.expose().as_bytes());
        one.ct_eq(two).into()
    }
}

/// Returns those of the granted scopes that are used.
fn used_scopes(granted: &str) -> Vec<&'static str> {
    let is_granted = |used: &&str| granted.split_whitespace().any(|scope| scope == *used);
    USED_SCOPES.into_iter().filter(is_granted).collect()
}

/// Returns nine tenths of the lifetime, but leaves at least one minute before the expiry, or half of
/// a lifetime shorter than two minutes.
fn renewal_delay(lifetime: i64) -> TimeDelta {
    let one_minute_early = TimeDelta::seconds((lifetime - 60).max(lifetime / 2));
    TimeDelta::milliseconds(lifetime * 900).min(one_minute_early)
}

/// A client credentials grant, except for the proof of identity.
#[derive(Clone, Copy)]
pub(crate) struct TokenRequest<'a> {
    pub(crate) transport: &'a Transport,
    pub(crate) audience: &'a str,
    pub(crate) now: DateTime<Utc>,
}

impl TokenRequest<'_> {
    /// Fetches a token. Tries the client secrets in order, and tries the next one only if Auth0
    /// says that the previous one is wrong.
    pub(crate) async fn fetch(self, credentials: &Credentials) -> Result<AccessToken, Error> {
        match credentials {
            Credentials::Secrets { client_id, secrets } => {
                for secret in secrets {
                    let proof = [("client_secret", secret.expose())];
                    if let Some(token) = self.send(client_id, &proof).await? {
                        return Ok(token);
                    }
                }
                Err(Error::CredentialsRejected)
            }
            Credentials::Key(key) => {
                let assertion = key.sign_assertion(self.now).ok_or_else(|| {
                    Error::CredentialsUnreadable(
                        "the tenant's private key failed to sign a client assertion: check the \
                         private key in the credentials Secret"
                            .into(),
                    )
                })?;
                let proof = [
                    ("client_assertion_type", ASSERTION_TYPE),
                    ("client_assertion", assertion.expose_secret()),
                ];
                self.send(&key.client_id, &proof).await?.ok_or(Error::KeyRejected)
            }
        }
    }

    /// Sends one token request. Returns `None` if Auth0 rejects the proof of identity.
    async fn send(
        self,
        client_id: &str,
        proof: &[(&str, &str)],
    ) -> Result<Option<AccessToken>, Error> {
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", client_id),
            ("audience", self.audience),
        ];
        form.extend(proof);
        let url = self.transport.url(&["oauth", "token"])?;
        let request = self.transport.client().post(url).form(&form);
        let call = Call {
            operation: "token",
            api: Api::Authentication,
            // Independent of the caller's priority, because a rotation may need the token next.
            priority: Priority::InProgress,
            client_id: Some(client_id),
            is_token_request: true,
        };
        let response = self.transport.send(request, call).await?;
        match response.status {
            StatusCode::OK => AccessToken::from_response(&response, self.now).map(Some),
            _ if is_credential_rejection(&response) => Ok(None),
            StatusCode::FORBIDDEN => Err(Error::TokenForbidden),
            _ => Err(response.unexpected()),
        }
    }
}

/// Returns true if Auth0 rejected the secret or the assertion.
///
/// Auth0 documents `invalid_client` for a wrong secret and has been observed to send
/// `access_denied`, both with status 401. For an assertion, RFC 7521 specifies `invalid_client`
/// with status 400, or 401 in some cases.
pub(crate) fn is_credential_rejection(response: &HttpResponse) -> bool {
    #[derive(Deserialize, Default)]
    struct ErrorBody {
        #[serde(default)]
        error: String,
    }
    let codes: &[&str] = match response.status {
        StatusCode::UNAUTHORIZED => &["invalid_client", "access_denied"],
        StatusCode::BAD_REQUEST => &["invalid_client"],
        _ => return false,
    };
    let body: ErrorBody = response.json().unwrap_or_default();
    codes.contains(&body.error.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_only_scopes_that_are_used() {
        let others = "a ".repeat(100_000);
        let granted = format!("{others}{READ_CLIENTS} {UPDATE_CLIENT_KEYS} {others}");
        assert_eq!(used_scopes(&granted), [UPDATE_CLIENT_KEYS, READ_CLIENTS]);
        assert_eq!(used_scopes(""), <[&str; 0]>::default());
    }

    #[test]
    fn renews_token_before_expiry() {
        for (lifetime, expected) in [(86_400, 77_760), (600, 540), (120, 60), (10, 5), (0, 0)] {
            assert_eq!(renewal_delay(lifetime).num_seconds(), expected, "{lifetime}");
        }
    }
}
