//! Tokens for the Management API: got with the first of the secrets that Auth0 accepts or with the
//! key, kept until shortly before they expire.

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;
use reqwest::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::{
    assertion::KeyCredentials,
    error::{Auth0Error, InvalidResponse},
    pacer::Caller,
    secret::ClientSecret,
    transport::{Answer, Transport},
};

/// The longest that a token is kept, whatever Auth0 says: Auth0's own default is a day.
const LONGEST: i64 = 30 * 86_400;

/// What an assertion is, in a form (RFC 7523, section 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How long a token's scopes are believed to be all that is granted. Whoever lacks one asks for
/// another token after that, so that a grant in the dashboard is seen.
const SCOPES_KEPT: TimeDelta = TimeDelta::minutes(2);

/// What the management client proves itself with.
#[derive(Debug)]
pub enum Credentials {
    /// Client secrets.
    Secrets {
        /// The client ID.
        client_id: String,
        /// One secret at least, the first to be tried first.
        secrets: Vec<ClientSecret>,
    },
    /// A private key.
    Key(KeyCredentials),
}

impl Credentials {
    /// The client ID that they are for.
    pub fn client_id(&self) -> &str {
        match self {
            Credentials::Secrets { client_id, .. } => client_id,
            Credentials::Key(key) => &key.client_id,
        }
    }
}

/// Where credentials come from. They are asked for each time a token is got, so that a change is
/// seen.
pub trait CredentialsSource: Send + Sync {
    /// Reads the credentials.
    fn load(&self) -> BoxFuture<'_, Result<Credentials, Auth0Error>>;
}

/// A token for the Management API.
#[derive(Clone, Debug)]
pub(super) struct Token {
    value: SecretString,
    scopes: Vec<String>,
    got_at: DateTime<Utc>,
    /// When to get the next one, ahead of its end.
    renew_at: DateTime<Utc>,
}

impl Token {
    pub(super) fn expose(&self) -> &str {
        self.value.expose_secret()
    }

    pub(super) fn scopes(&self) -> &[String] {
        &self.scopes
    }

    pub(super) fn got_at(&self) -> DateTime<Utc> {
        self.got_at
    }

    pub(super) fn is_fresh(&self, now: DateTime<Utc>) -> bool {
        now < self.renew_at
    }

    /// Scopes may have been granted since it was got.
    pub(super) fn may_lack_what_was_granted_since(&self, now: DateTime<Utc>) -> bool {
        now >= self.got_at + SCOPES_KEPT
    }

    pub(super) fn is_same(&self, other: &Token) -> bool {
        let (one, two) = (self.expose().as_bytes(), other.expose().as_bytes());
        one.ct_eq(two).into()
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: SecretString,
    #[serde(default)]
    expires_in: Option<i64>,
    #[serde(default)]
    scope: Option<String>,
}

/// What Auth0 says when it refuses: both vocabularies, OAuth's and the Management API's.
#[derive(Deserialize, Default)]
struct Rejection {
    #[serde(default)]
    error: String,
}

/// Gets a token, trying one secret after the other. A secret is passed over only when Auth0 says
/// that it is wrong.
pub(super) async fn fetch(
    transport: &Transport,
    caller: Caller<'_>,
    audience: &str,
    credentials: &Credentials,
    now: DateTime<Utc>,
) -> Result<Token, Auth0Error> {
    let ask = async |client_id: &str, proof: &[(&str, &str)]| {
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", client_id),
            ("audience", audience),
        ];
        form.extend(proof);
        let request = transport.client().post(transport.url(&["oauth", "token"])).form(&form);
        let answer = transport.send("token", request, caller).await?;
        match answer.status {
            StatusCode::OK => read(&answer, now).map(Some),
            _ if refuses_proof(&answer) => Ok(None),
            StatusCode::FORBIDDEN => Err(Auth0Error::TokenForbidden),
            _ => Err(answer.unexpected()),
        }
    };
    match credentials {
        Credentials::Secrets { client_id, secrets } => {
            for secret in secrets {
                if let Some(token) = ask(client_id, &[("client_secret", secret.expose())]).await? {
                    return Ok(token);
                }
            }
            Err(Auth0Error::CredentialsRejected)
        }
        Credentials::Key(key) => {
            let assertion = key.assertion(now).ok_or_else(|| {
                Auth0Error::Credentials("the tenant's private key can't be used to sign".into())
            })?;
            let proof = [
                ("client_assertion_type", ASSERTION_TYPE),
                ("client_assertion", assertion.expose_secret()),
            ];
            ask(&key.client_id, &proof).await?.ok_or(Auth0Error::KeyRejected)
        }
    }
}

/// A wrong secret is documented as `invalid_client` and seen as `access_denied`, both with 401. For
/// an assertion RFC 7521 has `invalid_client`, with 400 unless there is a reason for 401.
pub(super) fn refuses_proof(answer: &Answer) -> bool {
    let refusal = || answer.json::<Rejection>().unwrap_or_default().error;
    match answer.status {
        StatusCode::UNAUTHORIZED => {
            matches!(refusal().as_str(), "invalid_client" | "access_denied")
        }
        StatusCode::BAD_REQUEST => refusal() == "invalid_client",
        _ => false,
    }
}

pub(super) fn read(answer: &Answer, now: DateTime<Utc>) -> Result<Token, Auth0Error> {
    let answer: TokenAnswer = answer.json()?;
    let value = answer.access_token;
    let usable = value.expose_secret().bytes().all(|byte| byte.is_ascii_graphic());
    if value.expose_secret().is_empty() || !usable {
        return Err(Auth0Error::InvalidResponse(InvalidResponse::NotJson));
    }
    let lifetime = answer.expires_in.unwrap_or(86_400).clamp(0, LONGEST);
    let scopes = answer.scope.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    Ok(Token { value, scopes, got_at: now, renew_at: now + renewal_after(lifetime) })
}

/// After nine tenths of the lifetime, and at least a minute before the end of a long one.
fn renewal_after(lifetime: i64) -> TimeDelta {
    TimeDelta::milliseconds(lifetime * 900)
        .min(TimeDelta::seconds((lifetime - 60).max(lifetime / 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_ahead_of_its_end() {
        for (lifetime, expected) in [(86_400, 77_760), (600, 540), (120, 60), (10, 5), (0, 0)] {
            assert_eq!(renewal_after(lifetime).num_seconds(), expected, "{lifetime}");
        }
    }
}
