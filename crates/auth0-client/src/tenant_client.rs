//! The operations of one tenant.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use reqwest::StatusCode;
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    access_token::{AccessToken, READ_CLIENTS, UPDATE_CLIENT_KEYS},
    client_info::{ClientInfo, ClientPage},
    client_secret::ClientSecret,
    credentials::CredentialsSource,
    error::{Error, InvalidResponse},
    rate_limiter::{Api, Permit, Priority, RateLimitStatus, RateLimiter},
    responses,
    token_cache::{Authentication, TokenCache},
    transport::{Call, Endpoint, HttpResponse, RequestObserver, Transport},
};

const FIELDS: &str = "client_id,app_type,global,external_metadata_type,third_party_security_mode,\
                      token_endpoint_auth_method,jwt_configuration,client_metadata";
const FIELDS_WITH_METHODS: &str = "client_id,app_type,global,external_metadata_type,\
                                   third_party_security_mode,token_endpoint_auth_method,\
                                   jwt_configuration,client_metadata,client_authentication_methods";
const FIELDS_WITH_SECRET: &str = "client_id,app_type,global,external_metadata_type,\
                                  third_party_security_mode,token_endpoint_auth_method,\
                                  jwt_configuration,client_metadata,client_secret,\
                                  client_authentication_methods";

/// Longest wait for the permit of a change. Nothing was changed or recorded before, so the wait may be
/// long. Reads from before the wait may have to be repeated after it.
const MAX_CHANGE_WAIT: Duration = Duration::from_secs(20);

/// Everything that one change needs: a token and a permit of the rate limiter. The permit is available
/// to others again if it is dropped unused.
pub struct ChangePermit {
    token: AccessToken,
    permit: Permit,
}

/// Client for the Management API and the Authentication API of one tenant. Clones share the tokens.
#[derive(Clone)]
pub struct TenantClient {
    transport: Transport,
    tokens: Arc<TokenCache>,
}

/// How to ask Auth0 whether it accepts a client secret.
#[derive(Clone, Copy, Debug)]
pub enum Probe<'a> {
    /// Revoke a random token (`POST /oauth/revoke`), which authenticates the client and has no other
    /// effect. Auth0 documents that it requires the secret only for Regular Web Applications.
    Revocation,
    /// Request a token with the grant `client_credentials` (`POST /oauth/token`). The token is
    /// discarded.
    ClientCredentials {
        /// API for which the token is issued. Without it, the tenant needs a default audience.
        audience: Option<&'a str>,
    },
}

/// Answer of the Authentication API to a client secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeAnswer {
    /// The secret is accepted.
    Accepted,
    /// The secret is rejected (status 401).
    Rejected,
    /// The request is rejected regardless of the secret (status 403), for example by a tenant access
    /// control list.
    Forbidden,
}

/// A `GET` request to the Management API.
struct ReadRequest<'a> {
    operation: &'static str,
    path: &'a [&'a str],
    query: &'a [(&'a str, &'a str)],
    with_secrets: bool,
    priority: Priority,
}

impl TenantClient {
    /// Creates a client that calls `endpoint` with tokens for `audience` and reports each request
    /// to the `observer`.
    ///
    /// # Errors
    /// Fails if the endpoint or its CA bundle is invalid.
    pub fn new(
        endpoint: &Endpoint,
        audience: String,
        credentials: Box<dyn CredentialsSource>,
        rate_limiter: RateLimiter,
        observer: Arc<dyn RequestObserver>,
    ) -> Result<Self, Error> {
        Ok(Self {
            transport: Transport::new(endpoint, rate_limiter, observer)?,
            tokens: Arc::new(TokenCache::new(audience, credentials)),
        })
    }

    /// Returns the client for the calls of another caller. Callers take turns at the rate limit.
    #[must_use]
    pub fn for_caller(&self, caller: &str) -> Self {
        Self { transport: self.transport.for_caller(caller), tokens: self.tokens.clone() }
    }

    /// Returns the client for calls that the tenant's resources have in common.
    #[must_use]
    pub fn for_tenant(&self) -> Self {
        Self { transport: self.transport.for_tenant(), tokens: self.tokens.clone() }
    }

    /// Returns the rate limit of the Management API as Auth0 last reported it, or `None` before the
    /// first report.
    pub fn rate_limit_status(&self) -> Option<RateLimitStatus> {
        self.transport.rate_limiter().rate_limit_status()
    }

    /// Returns the error that blocks calls to the Management API at this moment, if any: an
    /// exhausted rate limit or an open circuit.
    pub fn blocked_by(&self) -> Option<Error> {
        self.transport.rate_limiter().blocked_by(Api::Management)
    }

    /// Returns how many calls to the Management API could be made at this moment without a wait for the
    /// rate limit, at most `most`.
    pub fn available_calls(&self, most: u32) -> u32 {
        let limiter = self.transport.rate_limiter();
        let of = |api| limiter.available(api, most);
        of(Api::ClientReads).min(of(Api::Management))
    }

    /// Returns those scopes of the cached token that this crate uses. Fetches a token if there is
    /// none, or if a required scope is missing and may have been granted since.
    ///
    /// # Errors
    /// Fails if no token can be fetched.
    pub async fn granted_scopes(&self, required: &[&str]) -> Result<Vec<String>, Error> {
        let token = self
            .tokens
            .get_preferring(&self.transport, Utc::now(), |token| {
                required.iter().all(|scope| token.has_scope(scope))
            })
            .await?;
        Ok(token.scopes().iter().copied().map(str::to_owned).collect())
    }

    /// Returns why the credentials can't be used, if they could not when the cached token was to be
    /// replaced. The cached token is used until it expires.
    pub fn unusable_credentials(&self) -> Option<Error> {
        self.tokens.rejection()
    }

    /// Returns when [`Self::granted_scopes`] requests another token because the cached one lacks a
    /// required scope. The time between two such requests grows up to an hour.
    pub fn next_scope_check(&self, required: &[&str]) -> Option<DateTime<Utc>> {
        self.tokens.next_scope_check(required)
    }

    /// Returns whether the endpoint has issued a token to this client. Does not call Auth0.
    pub fn authentication(&self) -> Authentication {
        self.tokens.authentication()
    }

    /// Returns when the cached token was fetched, or `None` if there is none.
    pub fn token_fetched_at(&self) -> Option<DateTime<Utc>> {
        self.tokens.fetched_at()
    }

    /// Returns true if the Management API includes secrets in its responses. Fetches a new token if
    /// the scope may have been granted since.
    ///
    /// # Errors
    /// Fails if no token can be fetched.
    pub async fn can_read_secrets(&self) -> Result<bool, Error> {
        let token = self.token_preferring_secrets(Utc::now()).await?;
        Ok(token.can_read_secrets())
    }

    /// Discards the cached failure of the last token request, because the credentials may have been
    /// corrected. The next call then requests a token, however recent the failure is.
    pub fn clear_token_failure(&self) {
        self.tokens.clear_failure();
    }

    /// Checks all preconditions of a change, fetches the token for it and waits for its turn, so that
    /// the change itself is a single request that waits for nothing.
    ///
    /// # Errors
    /// Fails if calls are blocked or if no token allows changes. Nothing was changed.
    pub async fn prepare_change(&self) -> Result<ChangePermit, Error> {
        if let Some(error) = self.blocked_by() {
            return Err(error);
        }
        let token = self.token_for_change().await?;
        let limiter = self.transport.rate_limiter();
        let permit =
            limiter.acquire(Api::Management, Priority::InProgress, MAX_CHANGE_WAIT).await?;
        Ok(ChangePermit { token, permit: permit.reserve() })
    }

    /// Calls `POST /api/v2/clients/{id}/rotate-secret`. Sends one request and never retries it;
    /// sends none after `not_after`.
    ///
    /// Returns `None` if Auth0 rotated the secret but did not return the new one.
    ///
    /// # Errors
    /// After a failure, the secret may have changed unless [`Error::had_no_effect`] is true. Fails
    /// with [`Error::ChangeRejected`] if Auth0 itself rejects the rotation (400 `invalid_body`).
    pub async fn rotate_secret(
        &self,
        client_id: &str,
        permit: ChangePermit,
        not_after: Instant,
    ) -> Result<Option<ClientSecret>, Error> {
        let ChangePermit { token, permit } = permit;
        let url = self.transport.url(&["api", "v2", "clients", client_id, "rotate-secret"])?;
        let request = self.transport.client().post(url).bearer_auth(token.expose());
        let call = change_call("rotate-secret");
        let response = self.transport.send_with_permit(request, call, permit, not_after).await?;
        // The request has no body that could be wrong: Auth0 does not rotate this client.
        if response.status == StatusCode::BAD_REQUEST
            && response.management_error_code().as_deref() == Some("invalid_body")
        {
            return Err(Error::ChangeRejected);
        }
        self.check_status(&response, &token, UPDATE_CLIENT_KEYS)?;
        Ok(responses::parse_client(&response, client_id)?.secret)
    }

    /// Calls `PATCH /api/v2/clients/{id}` with a secret. It is safe to repeat the call. Sends no
    /// request after `not_after`.
    ///
    /// # Errors
    /// Fails with [`Error::ValueRejected`] if Auth0 itself rejects the value (400 `invalid_body`).
    pub async fn set_secret(
        &self,
        client_id: &str,
        secret: &ClientSecret,
        permit: ChangePermit,
        not_after: Instant,
    ) -> Result<(), Error> {
        let ChangePermit { token, permit } = permit;
        let url = self.transport.url(&["api", "v2", "clients", client_id])?;
        // Borrowed, because a copy would not be wiped.
        let body = BTreeMap::from([("client_secret", secret.expose())]);
        let request = self.transport.client().patch(url).bearer_auth(token.expose()).json(&body);
        let call = change_call("set-secret");
        let response = self.transport.send_with_permit(request, call, permit, not_after).await?;
        if response.status == StatusCode::BAD_REQUEST
            && response.management_error_code().as_deref() == Some("invalid_body")
        {
            return Err(Error::ValueRejected);
        }
        self.check_status(&response, &token, UPDATE_CLIENT_KEYS)
    }

    /// Calls `GET /api/v2/clients/{id}`. Includes the secret if `with_secret` is true and the
    /// token's scopes allow it. Auth0 logs each read of a secret.
    ///
    /// # Errors
    /// Fails with [`Error::ClientNotFound`] if the client does not exist.
    pub async fn read_client(
        &self,
        client_id: &str,
        with_secret: bool,
        priority: Priority,
    ) -> Result<ClientInfo, Error> {
        let request = ReadRequest {
            operation: "read-client",
            path: &["api", "v2", "clients", client_id],
            query: &[],
            with_secrets: with_secret,
            priority,
        };
        responses::parse_client(&self.read(request).await?, client_id)
    }

    /// Calls `GET /api/v2/clients` for one page of at most 100 clients: the first one, or the one from a
    /// position that the page before it named. Offsets may end at 1,000 clients, positions don't.
    ///
    /// # Errors
    /// Fails with [`Error::MissingScope`] if the token may not read clients.
    pub async fn list_clients(
        &self,
        from: Option<&str>,
        with_secrets: bool,
        priority: Priority,
    ) -> Result<ClientPage, Error> {
        // Every tenant has a global client, which must not be rotated.
        let mut query = vec![("take", "100"), ("is_global", "false")];
        query.extend(from.map(|from| ("from", from)));
        let request = ReadRequest {
            operation: "list-clients",
            path: &["api", "v2", "clients"],
            query: &query,
            with_secrets,
            priority,
        };
        responses::parse_page(&self.read(request).await?)
    }

    /// Asks Auth0 whether it accepts the secret at this moment.
    ///
    /// A rejected secret leaves an entry in the tenant's log. An accepted secret proves something only
    /// if a random one is rejected.
    ///
    /// # Errors
    /// Fails if Auth0 gives no documented answer.
    pub async fn probe_secret(
        &self,
        client_id: &str,
        secret: &ClientSecret,
        probe: Probe<'_>,
    ) -> Result<ProbeAnswer, Error> {
        let random_token = uuid::Uuid::new_v4().to_string();
        let mut form = vec![("client_id", client_id), ("client_secret", secret.expose())];
        let (operation, endpoint) = match probe {
            Probe::Revocation => {
                form.push(("token", &random_token));
                ("revoke", "revoke")
            }
            Probe::ClientCredentials { audience } => {
                form.push(("grant_type", "client_credentials"));
                form.extend(audience.map(|audience| ("audience", audience)));
                ("login", "token")
            }
        };
        let url = self.transport.url(&["oauth", endpoint])?;
        let request = self.transport.client().post(url).form(&form);
        let call = Call {
            operation,
            api: Api::Authentication,
            priority: Priority::InProgress,
            client_id: Some(client_id),
            is_token_request: false,
        };
        let response = self.transport.send(request, call).await?;
        match response.status {
            StatusCode::OK if is_accepted(&response, probe) => Ok(ProbeAnswer::Accepted),
            StatusCode::UNAUTHORIZED => Ok(ProbeAnswer::Rejected),
            StatusCode::FORBIDDEN => Ok(ProbeAnswer::Forbidden),
            _ => Err(response.unexpected()),
        }
    }

    async fn token_for_change(&self) -> Result<AccessToken, Error> {
        self.tokens.get_with_scope(&self.transport, Utc::now(), UPDATE_CLIENT_KEYS).await
    }

    /// Returns a token that can read secrets, if Auth0 grants one.
    async fn token_preferring_secrets(&self, now: DateTime<Utc>) -> Result<AccessToken, Error> {
        self.tokens.get_preferring(&self.transport, now, AccessToken::can_read_secrets).await
    }

    /// Sends a read request. If Auth0 rejects the token, retries once with a new one, which is safe
    /// because a read has no effect.
    async fn read(&self, request: ReadRequest<'_>) -> Result<HttpResponse, Error> {
        let now = Utc::now();
        let mut token = self.tokens.get_with_scope(&self.transport, now, READ_CLIENTS).await?;
        if request.with_secrets {
            token = self.token_preferring_secrets(now).await?;
        }
        match self.read_with_token(&request, &token).await {
            Err(Error::TokenRejected) => {
                token = self.tokens.get(&self.transport, now).await?;
                self.read_with_token(&request, &token).await
            }
            result => result,
        }
    }

    async fn read_with_token(
        &self,
        request: &ReadRequest<'_>,
        token: &AccessToken,
    ) -> Result<HttpResponse, Error> {
        // Auth0 rejects the names of fields that the scopes do not allow.
        let fields = match (token.can_read_secrets(), request.with_secrets) {
            (true, true) => FIELDS_WITH_SECRET,
            (true, false) => FIELDS_WITH_METHODS,
            (false, _) => FIELDS,
        };
        let mut url = self.transport.url(request.path)?;
        url.query_pairs_mut()
            .extend_pairs(request.query)
            .append_pair("fields", fields)
            .append_pair("include_fields", "true");
        let http_request = self.transport.client().get(url).bearer_auth(token.expose());
        let call = Call {
            operation: request.operation,
            api: Api::ClientReads,
            priority: request.priority,
            client_id: None,
            is_token_request: false,
        };
        let response = self.transport.send(http_request, call).await?;
        self.check_status(&response, token, READ_CLIENTS)?;
        Ok(response)
    }

    /// Maps the error statuses that every Management API call can return. Drops a rejected token
    /// from the cache.
    fn check_status(
        &self,
        response: &HttpResponse,
        token: &AccessToken,
        scope: &'static str,
    ) -> Result<(), Error> {
        match response.status {
            StatusCode::OK => Ok(()),
            StatusCode::UNAUTHORIZED => {
                self.tokens.invalidate(token);
                Err(Error::TokenRejected)
            }
            // A 403 may also come from an access control list in front of the API.
            StatusCode::FORBIDDEN
                if response.management_error_code().as_deref() == Some("insufficient_scope") =>
            {
                Err(Error::MissingScope(scope))
            }
            StatusCode::FORBIDDEN => Err(Error::Rejected(403)),
            StatusCode::NOT_FOUND => Err(Error::ClientNotFound),
            // Not from Auth0, so the request may have had an effect.
            StatusCode::BAD_REQUEST if response.management_error_code().is_none() => {
                Err(Error::InvalidResponse(InvalidResponse::UnexpectedStatus(400)))
            }
            _ => Err(response.unexpected()),
        }
    }
}

/// Returns whether a response with status 200 comes from Auth0 itself.
fn is_accepted(response: &HttpResponse, probe: Probe<'_>) -> bool {
    #[derive(Deserialize)]
    struct TokenBody {
        #[serde(rename = "access_token")]
        _access_token: IgnoredAny,
    }
    match probe {
        Probe::Revocation => response.is_success_from_auth0(),
        Probe::ClientCredentials { .. } => response.json::<TokenBody>().is_ok(),
    }
}

/// Describes a request that changes a client's secret.
fn change_call(operation: &'static str) -> Call<'static> {
    Call {
        operation,
        api: Api::Management,
        priority: Priority::InProgress,
        client_id: None,
        is_token_request: false,
    }
}
