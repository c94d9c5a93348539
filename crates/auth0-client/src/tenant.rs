//! The operations of one tenant.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Instant,
};

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Method, RequestBuilder, StatusCode};
use rotation::ErrorClass;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{
    answers,
    error::Auth0Error,
    pacer::{Caller, Lane, Pacer, Priority, RateLimitStatus},
    secret::ClientSecret,
    token::{self, Credentials, CredentialsSource, Token},
    transport::{Answer, Endpoint, RequestObserver, Transport},
};

/// The scope that rotating needs.
pub const UPDATE_KEYS: &str = "update:client_keys";
/// The scope that reading a client needs.
pub const READ_CLIENTS: &str = "read:clients";
/// The scope that reading a client's secret needs.
pub const READ_KEYS: &str = "read:client_keys";
/// Another scope that allows to read a client's secret.
const READ_CREDENTIALS: &str = "read:client_credentials";

/// One Auth0 tenant: its Management API and its authentication.
pub struct TenantClient {
    transport: Transport,
    pacer: Pacer,
    audience: String,
    credentials: Box<dyn CredentialsSource>,
    token: Mutex<Option<Token>>,
    /// The management client's ID, as the credentials last had it.
    manager: std::sync::Mutex<Option<String>>,
    /// Why no token could be got, and until when that is believed.
    failed: Mutex<Option<(DateTime<Utc>, Auth0Error)>>,
}

/// What the Management API says of a client.
#[derive(Clone, Debug)]
pub struct ClientInfo {
    /// The client's ID.
    pub client_id: String,
    /// How the client authenticates.
    pub kind: ClientKind,
    /// The client signs ID tokens with its secret (`jwt_configuration.alg` is `HS256`).
    pub signs_with_secret: bool,
    /// Its `client_metadata`; empty in a list.
    pub metadata: Metadata,
    /// Its secret, when the token's scopes show it and the answer had one.
    pub secret: Option<ClientSecret>,
}

/// A client's `client_metadata`: what is not text is left out.
pub type Metadata = BTreeMap<String, String>;

impl ClientInfo {
    /// A client of which nothing can be read.
    pub fn unreadable(client_id: &str) -> ClientInfo {
        ClientInfo {
            client_id: client_id.to_owned(),
            kind: ClientKind::Confidential,
            signs_with_secret: false,
            metadata: Metadata::new(),
            secret: None,
        }
    }
}

/// How a client authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// With its secret, as far as is known.
    Confidential,
    /// Not at all (`token_endpoint_auth_method` is `none`).
    Public,
    /// With keys (`client_authentication_methods`).
    KeyBased,
}

/// A page of clients.
#[derive(Debug)]
pub struct ClientPage {
    /// The clients on it.
    pub clients: Vec<ClientInfo>,
    /// How many clients there are in all.
    pub total: usize,
}

impl TenantClient {
    /// A tenant to be called at `endpoint` with tokens for `audience`, at most `per_second` times
    /// a second in the long run and `burst` times at once. The `observer` is told of each request.
    ///
    /// # Errors
    /// When the endpoint or its CA bundle can't be used.
    pub fn new(
        endpoint: &Endpoint,
        audience: String,
        credentials: Box<dyn CredentialsSource>,
        (per_second, burst): (u32, u32),
        observer: Arc<dyn RequestObserver>,
    ) -> Result<TenantClient, Auth0Error> {
        Ok(TenantClient {
            transport: Transport::new(endpoint, observer)?,
            pacer: Pacer::new(per_second, burst),
            audience,
            credentials,
            token: Mutex::new(None),
            manager: std::sync::Mutex::default(),
            failed: Mutex::new(None),
        })
    }

    /// What Auth0 said last of the Management API's rate limit; `None` when it hasn't yet.
    pub fn budget(&self) -> Option<RateLimitStatus> {
        self.pacer.budget()
    }

    /// Why no call of the Management API would be made at this moment.
    ///
    /// # Errors
    /// When a limit is used up, or Auth0 is taken to be down.
    pub fn check_open(&self) -> Result<(), Auth0Error> {
        self.pacer.check(Lane::Management)
    }

    /// The scopes of the present token; one is got if there is none, or if one of `wanted` is
    /// missing and may have been granted since.
    ///
    /// # Errors
    /// When no token can be got.
    pub async fn scopes(&self, wanted: &[&str]) -> Result<Vec<String>, Auth0Error> {
        let has =
            |token: &Token| wanted.iter().all(|scope| token.scopes().iter().any(|s| s == scope));
        Ok(self.token_that(has, Utc::now()).await?.scopes().to_vec())
    }

    /// The client ID that the operator itself signs in with. Auth0 isn't asked.
    ///
    /// # Errors
    /// When the credentials can't be read.
    pub async fn management_client(&self) -> Result<String, Auth0Error> {
        let known = self.manager.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known {
            Some(known) => Ok(known),
            None => Ok(self.load_credentials().await?.client_id().to_owned()),
        }
    }

    /// When the present token was got, if there is one.
    pub async fn token_time(&self) -> Option<DateTime<Utc>> {
        self.token.lock().await.as_ref().map(Token::got_at)
    }

    /// Whether the Management API shows secrets; a new token is got if that may have been granted.
    ///
    /// # Errors
    /// When no token can be got.
    pub async fn shows_secrets(&self) -> Result<bool, Auth0Error> {
        Ok(shows_secrets(&self.token_that(shows_secrets, Utc::now()).await?))
    }

    /// Asks for a token again at the next call, however soon after a failure: the credentials may
    /// have been corrected.
    pub async fn forget_failure(&self) {
        *self.failed.lock().await = None;
    }

    /// Gets everything ready for a change: after this, the call itself is all that takes time.
    ///
    /// # Errors
    /// When there is no token that allows changes, or no call would be made now. Nothing has been
    /// changed.
    pub async fn prepare_change(&self) -> Result<(), Auth0Error> {
        self.check_open()?;
        self.token_with(UPDATE_KEYS, Utc::now()).await.map(drop)
    }

    /// `POST /api/v2/clients/{id}/rotate-secret`. Makes one call and never repeats it; none when
    /// it could not be sent before `not_after`.
    ///
    /// `None`: Auth0 has changed the secret and did not tell the new one.
    ///
    /// # Errors
    /// [`Auth0Error::unchanged`] tells whether the secret may have been changed.
    pub async fn rotate_secret(
        &self,
        client_id: &str,
        not_after: Instant,
    ) -> Result<Option<ClientSecret>, Auth0Error> {
        let now = Utc::now();
        let token = self.token_with(UPDATE_KEYS, now).await?;
        let url = self.transport.url(&["api", "v2", "clients", client_id, "rotate-secret"]);
        let request = self.transport.client().post(url).bearer_auth(token.expose());
        let caller = self.caller(Lane::Management, Priority::InProgress);
        let answer =
            self.transport.send_before("rotate-secret", request, caller, not_after).await?;
        self.expect(&answer, StatusCode::OK, &token, UPDATE_KEYS).await?;
        Ok(answers::client(&answer, Some(client_id))?.secret)
    }

    /// `PATCH /api/v2/clients/{id}` with a secret. The same call can be repeated; none is made
    /// when it could not be sent before `not_after`.
    ///
    /// # Errors
    /// [`Auth0Error::ValueRejected`] when Auth0 doesn't take the value.
    pub async fn set_secret(
        &self,
        client_id: &str,
        secret: &ClientSecret,
        not_after: Instant,
    ) -> Result<(), Auth0Error> {
        let now = Utc::now();
        let token = self.token_with(UPDATE_KEYS, now).await?;
        let url = self.transport.url(&["api", "v2", "clients", client_id]);
        // Borrowed: a copy of it would not be wiped.
        let body = BTreeMap::from([("client_secret", secret.expose())]);
        let request = self.transport.client().patch(url).bearer_auth(token.expose()).json(&body);
        let caller = self.caller(Lane::Management, Priority::InProgress);
        let answer = self.transport.send_before("set-secret", request, caller, not_after).await?;
        if answer.status == StatusCode::BAD_REQUEST {
            return Err(Auth0Error::ValueRejected);
        }
        self.expect(&answer, StatusCode::OK, &token, UPDATE_KEYS).await
    }

    /// `GET /api/v2/clients/{id}`, with the secret if `with_secret` and the token's scopes allow.
    /// Auth0 logs each reading of a secret.
    ///
    /// # Errors
    /// [`Auth0Error::ClientNotFound`], and what a call can fail with.
    pub async fn client(
        &self,
        client_id: &str,
        with_secret: bool,
        urgency: Priority,
    ) -> Result<ClientInfo, Auth0Error> {
        let path = ["api", "v2", "clients", client_id];
        let answer = self.get(("read-client", &path), &[], with_secret, urgency).await?;
        answers::client(&answer, Some(client_id))
    }

    /// `GET /api/v2/clients`: the page with that number, from 0, of at most 100 clients.
    ///
    /// # Errors
    /// What a call can fail with.
    pub async fn clients(
        &self,
        page: u32,
        with_secrets: bool,
        urgency: Priority,
    ) -> Result<ClientPage, Auth0Error> {
        let (path, page) = (["api", "v2", "clients"], page.to_string());
        // The global client, which each tenant has, is none that can be rotated.
        let query = [
            ("page", page.as_str()),
            ("per_page", "100"),
            ("include_totals", "true"),
            ("is_global", "false"),
        ];
        let answer = self.get(("list-clients", &path), &query, with_secrets, urgency).await?;
        answers::page(&answer)
    }

    /// Whether Auth0 accepts a secret at this moment: `POST /oauth/revoke` of a token that doesn't
    /// exist, which authenticates the client and has no effect. A refusal leaves an entry in the
    /// tenant's log.
    ///
    /// # Errors
    /// When Auth0 says neither yes nor no.
    pub async fn accepts(
        &self,
        client_id: &str,
        secret: &ClientSecret,
    ) -> Result<bool, Auth0Error> {
        let nothing = uuid::Uuid::new_v4().to_string();
        let form = [
            ("client_id", client_id),
            ("client_secret", secret.expose()),
            ("token", nothing.as_str()),
        ];
        let url = self.transport.url(&["oauth", "revoke"]);
        let request = self.transport.client().post(url).form(&form);
        let caller = self.caller(Lane::Authentication, Priority::InProgress);
        let answer = self.transport.send("revoke", request, caller).await?;
        match answer.status {
            StatusCode::OK if answer.is_plain_success() => Ok(true),
            StatusCode::UNAUTHORIZED => Ok(false),
            _ => Err(answer.unexpected()),
        }
    }

    fn caller(&self, lane: Lane, urgency: Priority) -> Caller<'_> {
        Caller { pacer: &self.pacer, lane, urgency }
    }

    /// A reading of the Management API. A token that is refused is replaced once: nothing happened.
    async fn get(
        &self,
        (operation, path): (&'static str, &[&str]),
        query: &[(&str, &str)],
        with_secrets: bool,
        urgency: Priority,
    ) -> Result<Answer, Auth0Error> {
        let now = Utc::now();
        let mut token = self.token_with(READ_CLIENTS, now).await?;
        if with_secrets {
            token = self.token_that(shows_secrets, now).await?;
        }
        for attempt in 0..2 {
            let secrets = with_secrets && shows_secrets(&token);
            let fields = if secrets { FIELDS_WITH_SECRET } else { FIELDS };
            let mut url = self.transport.url(path);
            url.query_pairs_mut()
                .extend_pairs(query)
                .append_pair("fields", fields)
                .append_pair("include_fields", "true");
            let request: RequestBuilder =
                self.transport.client().request(Method::GET, url).bearer_auth(token.expose());
            let caller = self.caller(Lane::Management, urgency);
            let answer = self.transport.send(operation, request, caller).await?;
            match self.expect(&answer, StatusCode::OK, &token, READ_CLIENTS).await {
                Ok(()) => return Ok(answer),
                Err(Auth0Error::TokenRejected) if attempt == 0 => token = self.token(now).await?,
                Err(error) => return Err(error),
            }
        }
        Err(Auth0Error::TokenRejected)
    }

    /// What every call to the Management API can be answered with. A refused token is dropped.
    async fn expect(
        &self,
        answer: &Answer,
        wanted: StatusCode,
        token: &Token,
        scope: &'static str,
    ) -> Result<(), Auth0Error> {
        match answer.status {
            status if status == wanted => Ok(()),
            StatusCode::UNAUTHORIZED => {
                self.drop_token(token).await;
                Err(Auth0Error::TokenRejected)
            }
            StatusCode::FORBIDDEN => {
                #[derive(Deserialize, Default)]
                struct Body {
                    #[serde(rename = "errorCode", default)]
                    code: String,
                }
                // Something before Auth0, such as an access control list, may answer 403 as well.
                match answer.json::<Body>().unwrap_or_default().code.as_str() {
                    "insufficient_scope" => Err(Auth0Error::MissingScope(scope)),
                    _ => Err(Auth0Error::Rejected(403)),
                }
            }
            StatusCode::NOT_FOUND => Err(Auth0Error::ClientNotFound),
            _ => Err(answer.unexpected()),
        }
    }

    /// A token with that scope. Auth0 is not called only to be told that it is missing.
    async fn token_with(
        &self,
        scope: &'static str,
        now: DateTime<Utc>,
    ) -> Result<Token, Auth0Error> {
        let has = |token: &Token| {
            token.scopes().iter().any(|granted| granted == scope)
                || (scope == READ_CLIENTS && shows_secrets(token))
        };
        let token = self.token_that(has, now).await?;
        if has(&token) { Ok(token) } else { Err(Auth0Error::MissingScope(scope)) }
    }

    /// A token that is as wanted, if a new one could be.
    async fn token_that(
        &self,
        is_as_wanted: impl Fn(&Token) -> bool,
        now: DateTime<Utc>,
    ) -> Result<Token, Auth0Error> {
        let token = self.token(now).await?;
        if is_as_wanted(&token) || !token.may_lack_what_was_granted_since(now) {
            return Ok(token);
        }
        self.drop_token(&token).await;
        self.token(now).await
    }

    async fn drop_token(&self, token: &Token) {
        let mut kept = self.token.lock().await;
        if kept.as_ref().is_some_and(|kept| kept.is_same(token)) {
            *kept = None;
        }
    }

    /// One caller gets a token, the others wait for it.
    async fn token(&self, now: DateTime<Utc>) -> Result<Token, Auth0Error> {
        let mut kept = self.token.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| token.is_fresh(now)) {
            return Ok(token.clone());
        }
        if let Some((until, error)) =
            self.failed.lock().await.clone().filter(|(until, _)| *until > now)
        {
            tracing::trace!(%until, "no token is asked for so soon after a failure");
            return Err(error);
        }
        let got = self.fetch_token(now).await;
        match got {
            Ok(token) => {
                *kept = Some(token.clone());
                Ok(token)
            }
            Err(error) => {
                // A call that was not made fails at once the next time as well, or is made.
                if !matches!(error.class(), ErrorClass::Throttled { .. }) {
                    *self.failed.lock().await = Some((now + FAILED_FOR, error.clone()));
                }
                Err(error)
            }
        }
    }

    async fn load_credentials(&self) -> Result<Credentials, Auth0Error> {
        let credentials = self.credentials.load().await?;
        let mut manager = self.manager.lock().unwrap_or_else(PoisonError::into_inner);
        *manager = Some(credentials.client_id().to_owned());
        Ok(credentials)
    }

    /// What fails here was not asked of the Management API, whatever it was.
    async fn fetch_token(&self, now: DateTime<Utc>) -> Result<Token, Auth0Error> {
        let credentials = self.load_credentials().await?;
        // Whoever needs it, the most urgent call may be the next one that does.
        let caller = self.caller(Lane::Authentication, Priority::InProgress);
        token::fetch(&self.transport, caller, &self.audience, &credentials, now).await.map_err(
            |error| match error {
                Auth0Error::NoResponse
                | Auth0Error::Unavailable(_)
                | Auth0Error::InvalidResponse(_) => Auth0Error::TokenUnavailable,
                error => error,
            },
        )
    }
}

/// How long a failure to get a token is the answer to all who ask: they would only fail one after
/// the other.
const FAILED_FOR: TimeDelta = TimeDelta::seconds(2);

const FIELDS: &str = "client_id,token_endpoint_auth_method,jwt_configuration,client_metadata";
const FIELDS_WITH_SECRET: &str = "client_id,token_endpoint_auth_method,jwt_configuration,\
                                  client_metadata,client_secret,client_authentication_methods";

fn shows_secrets(token: &Token) -> bool {
    token.scopes().iter().any(|scope| scope == READ_KEYS || scope == READ_CREDENTIALS)
}
