//! HTTP transport to one tenant. Requests are bounded in time and size, rate-limited, never
//! redirected and never retried.

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::Utc;
use reqwest::{
    Client, RequestBuilder, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
    redirect, retry, tls,
};
use serde::{Deserialize, de::DeserializeOwned};
use tracing::Span;
use zeroize::Zeroizing;

use crate::{
    egress::{AddressNotAllowed, CheckedResolver, EgressPolicy},
    error::{Error, InvalidResponse},
    rate_limiter::{Api, Outage, Permit, Priority, RateLimiter},
    trace,
};

/// Size limit for a response body in bytes. A page of 100 clients with long lists of callback URLs
/// is well below it.
const MAX_BODY_SIZE: usize = 2 * 1024 * 1024;

/// How to connect to a tenant.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The base URL, such as `https://acme.eu.auth0.com`.
    pub url: Url,
    /// Certificate authorities in PEM format. The system's are used if absent.
    pub ca_bundle: Option<String>,
    /// Which URLs and addresses may be called.
    pub egress: EgressPolicy,
    /// Time limit for one request. It must be shorter than Auth0's propagation window, so that no
    /// request is still in flight when a caller has waited for the window to pass.
    pub timeout: Duration,
}

/// Observer of the HTTP requests to a tenant.
pub trait RequestObserver: Send + Sync {
    /// Called when a request has received a response or failed after `elapsed`. `api` names the
    /// rate limit that the request counts against: `management` or `authentication`.
    fn request_finished(&self, api: &'static str, elapsed: Duration);
}

#[derive(Clone)]
pub(crate) struct Transport {
    client: Client,
    rate_limiter: RateLimiter,
    observer: Arc<dyn RequestObserver>,
    base: Url,
    timeout: Duration,
}

/// How to send a request.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// Name of the operation in traces.
    pub(crate) operation: &'static str,
    pub(crate) api: Api,
    pub(crate) priority: Priority,
    /// The client that a call to the Authentication API authenticates.
    pub(crate) client_id: Option<&'a str>,
    /// Whether the status 401 says that the tenant's credentials are wrong.
    pub(crate) is_token_request: bool,
}

/// A complete HTTP response.
pub(crate) struct HttpResponse {
    pub(crate) status: StatusCode,
    pub(crate) is_html: bool,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl Transport {
    pub(crate) fn new(
        endpoint: &Endpoint,
        rate_limiter: RateLimiter,
        observer: Arc<dyn RequestObserver>,
    ) -> Result<Self, Error> {
        check_url(endpoint)?;
        let permitted = endpoint.egress.permitted_addresses(&endpoint.url)?;
        let host = endpoint.url.host_str().unwrap_or_default();
        let mut builder = Client::builder()
            .user_agent(concat!("auth0-rotator/", env!("CARGO_PKG_VERSION")))
            .default_headers(telemetry_header())
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .connect_timeout(endpoint.timeout.min(Duration::from_secs(5)))
            .timeout(endpoint.timeout)
            .pool_idle_timeout(Duration::from_secs(30))
            .tls_version_min(tls::Version::TLS_1_2)
            .https_only(!endpoint.egress.allows_plain_http())
            .dns_resolver(CheckedResolver::new(host, permitted))
            .referer(false);
        if let Some(bundle) = &endpoint.ca_bundle {
            builder = builder.tls_certs_only(parse_ca_bundle(bundle)?);
        }
        let client = builder.build().map_err(|_| {
            Error::InvalidConfiguration(
                "the tenant's TLS settings are unusable: check spec.caBundle".into(),
            )
        })?;
        Ok(Self {
            client,
            rate_limiter,
            observer,
            base: endpoint.url.clone(),
            timeout: endpoint.timeout,
        })
    }

    /// Returns the URL of a path. Each segment is percent-encoded.
    ///
    /// # Errors
    /// Fails with [`Error::InvalidClientId`] if a segment would change the path even if it is
    /// encoded. Client IDs are the only segments that are not constant.
    pub(crate) fn url(&self, segments: &[&str]) -> Result<Url, Error> {
        let mut path = self.base.path().trim_end_matches('/').to_owned();
        for segment in segments {
            path.push('/');
            push_segment(&mut path, segment)?;
        }
        let mut url = self.base.clone();
        url.set_path(&path);
        Ok(url)
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the transport for the calls of another caller.
    pub(crate) fn for_caller(&self, caller: &str) -> Self {
        Self { rate_limiter: self.rate_limiter.for_caller(caller), ..self.clone() }
    }

    /// Returns the transport for the tenant's own calls.
    pub(crate) fn for_tenant(&self) -> Self {
        Self { rate_limiter: self.rate_limiter.for_tenant(), ..self.clone() }
    }

    pub(crate) fn rate_limiter(&self) -> &RateLimiter {
        &self.rate_limiter
    }

    /// Waits for a permit of the rate limiter and sends the request.
    pub(crate) async fn send(
        &self,
        request: RequestBuilder,
        call: Call<'_>,
    ) -> Result<HttpResponse, Error> {
        let span = trace::span(call.operation, call.api.as_str());
        let Call { client_id, api, priority, .. } = call;
        let max_wait = self.rate_limiter.max_wait(api, priority, self.timeout / 4);
        let send = async {
            let permit = self.rate_limiter.acquire_for(client_id, api, priority, max_wait).await?;
            self.execute(request, call, permit).await
        };
        trace::record(span, send).await
    }

    /// Sends the request with a permit that was obtained before. Fails with [`Error::DeadlinePassed`]
    /// instead if it is later than `not_after`.
    pub(crate) async fn send_with_permit(
        &self,
        request: RequestBuilder,
        call: Call<'_>,
        permit: Permit,
        not_after: Instant,
    ) -> Result<HttpResponse, Error> {
        let span = trace::span(call.operation, call.api.as_str());
        let send = async {
            if Instant::now() > not_after {
                return Err(Error::DeadlinePassed);
            }
            self.execute(request, call, permit).await
        };
        trace::record(span, send).await
    }

    async fn execute(
        &self,
        request: RequestBuilder,
        call: Call<'_>,
        mut permit: Permit,
    ) -> Result<HttpResponse, Error> {
        permit.mark_used();
        let started_at = Instant::now();
        let result = execute(request, &permit).await;
        self.observer.request_finished(call.api.as_str(), started_at.elapsed());
        if call.is_token_request
            && let Ok(HttpResponse { status: StatusCode::UNAUTHORIZED, .. }) = result
        {
            permit.record_rejected_credentials();
        }
        match result.as_ref().err().and_then(Outage::from_error) {
            Some(outage) => permit.record_outage(outage),
            None => permit.record_response(),
        }
        result
    }
}

/// Appends a segment of a path. Encodes everything but the unreserved characters of RFC 3986, so that
/// no server on the way to Auth0 parses a part of it as syntax.
fn push_segment(path: &mut String, segment: &str) -> Result<(), Error> {
    // Parsers of URLs remove these segments, encoded or not.
    if matches!(segment, "" | "." | "..") {
        return Err(Error::InvalidClientId);
    }
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                path.push(char::from(byte));
            }
            _ => {
                let _ = write!(path, "%{byte:02X}");
            }
        }
    }
    Ok(())
}

/// Returns the error of a request that got no response.
fn send_error(error: &reqwest::Error) -> Error {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(rejected) = cause.downcast_ref::<AddressNotAllowed>() {
            return Error::EndpointNotAllowed(rejected.to_string());
        }
        source = cause.source();
    }
    // Only a connection that was never established certainly carried no request.
    if error.is_connect() { Error::Unreachable } else { Error::NoResponse }
}

/// Executes the request and reads the whole response. Returns the errors of the transport and the
/// two that every call can meet: 429 and 5xx.
async fn execute(request: RequestBuilder, permit: &Permit) -> Result<HttpResponse, Error> {
    let mut response = request.send().await.map_err(|error| send_error(&error))?;
    let status = response.status();
    Span::current().record("http.response.status_code", i64::from(status.as_u16()));
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_html = content_type.is_some_and(|value| value.to_ascii_lowercase().contains("html"));
    let (headers, now) = (response.headers(), Utc::now());
    if let Some(error) = permit.record_headers(headers, status, is_html, now) {
        return Err(error);
    }
    let mut body = Zeroizing::new(Vec::with_capacity(16 * 1024));
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_BODY_SIZE => {
                return Err(Error::InvalidResponse(InvalidResponse::BodyTooLarge));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(_) => return Err(Error::NoResponse),
        }
    }
    if status.is_server_error() {
        return Err(Error::Unavailable(status.as_u16()));
    }
    Ok(HttpResponse { status, is_html, body })
}

impl HttpResponse {
    /// Parses the body as JSON. The error does not say what is wrong, because the body may contain
    /// a secret.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|_| Error::InvalidResponse(InvalidResponse::UnexpectedBody))
    }

    /// Returns the `errorCode` of an error that the Management API itself sent; empty if it has none.
    /// A proxy or firewall in front of it may respond with the same status, but not with its JSON
    /// (Auth0 documentation, "Management API error format").
    pub(crate) fn management_error_code(&self) -> Option<String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct ErrorBody {
            status_code: u16,
            #[serde(default)]
            error_code: String,
        }
        let body: ErrorBody = self.json().ok()?;
        (body.status_code == self.status.as_u16()).then_some(body.error_code)
    }

    /// Returns true if Auth0 itself sent the success status. Proxies in front of it respond with
    /// HTML.
    pub(crate) fn is_success_from_auth0(&self) -> bool {
        self.status == StatusCode::OK && !self.is_html
    }

    /// Returns the error for a status that the operation does not expect.
    pub(crate) fn unexpected(&self) -> Error {
        let status = self.status.as_u16();
        if self.is_html && self.status.is_success() {
            Error::InvalidResponse(InvalidResponse::Html)
        } else if self.status.is_client_error() {
            Error::Rejected(status)
        } else {
            Error::InvalidResponse(InvalidResponse::UnexpectedStatus(status))
        }
    }
}

fn check_url(endpoint: &Endpoint) -> Result<(), Error> {
    let url = &endpoint.url;
    let message = if url.scheme() == "http" && !endpoint.egress.allows_plain_http() {
        "spec.endpoint is not HTTPS: use https://, or start the operator with \
         --allow-http-endpoints if the endpoint is a simulator"
    } else if !matches!(url.scheme(), "https" | "http") {
        "spec.endpoint must start with https://"
    } else if url.host().is_none() || !url.username().is_empty() || url.password().is_some() {
        "spec.endpoint must have a host, and no user name or password"
    } else if url.query().is_some() || url.fragment().is_some() {
        "spec.endpoint must not have a query or a fragment"
    } else {
        return Ok(());
    };
    Err(Error::InvalidConfiguration(message.to_owned()))
}

fn parse_ca_bundle(bundle: &str) -> Result<Vec<reqwest::Certificate>, Error> {
    match reqwest::Certificate::from_pem_bundle(bundle.as_bytes()) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(Error::InvalidConfiguration(
            "spec.caBundle contains no usable certificate: use PEM with its BEGIN CERTIFICATE lines"
                .into(),
        )),
    }
}

/// Returns the `Auth0-Client` header, which identifies the caller in the tenant's log (Auth0
/// documentation, "Auth0 SDK telemetry").
fn telemetry_header() -> HeaderMap {
    let description = serde_json::json!({
        "name": "auth0-rotator",
        "version": env!("CARGO_PKG_VERSION"),
        "env": { "rust": env!("CARGO_PKG_RUST_VERSION") },
    });
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&STANDARD.encode(description.to_string())) {
        headers.insert("auth0-client", value);
    }
    headers
}

#[cfg(test)]
mod tests {
    use rotation::Reason;

    use super::*;
    use crate::rate_limiter::{RateLimit, RateLimiters, TenantLimits};

    struct NoObserver;

    impl RequestObserver for NoObserver {
        fn request_finished(&self, _: &'static str, _: Duration) {}
    }

    fn transport(url: &str) -> Result<Transport, Error> {
        let endpoint = Endpoint {
            url: Url::parse(url).unwrap(),
            ca_bundle: None,
            egress: EgressPolicy::default(),
            timeout: Duration::from_secs(5),
        };
        let rate_limit = RateLimit { requests_per_second: 10, burst: 10 };
        let limits =
            TenantLimits { tenant: "acme", caller: "shop", rate_limit, takes_precedence: false };
        let limiter = RateLimiters::default().limiter(&endpoint.url, limits);
        Transport::new(&endpoint, limiter, Arc::new(NoObserver))
    }

    fn client_path(client_id: &str) -> Result<String, Error> {
        let transport = transport("https://acme.eu.auth0.com/").unwrap();
        let url = transport.url(&["api", "v2", "clients", client_id, "rotate-secret"])?;
        assert_eq!(url.host_str(), Some("acme.eu.auth0.com"));
        assert_eq!((url.query(), url.fragment()), (None, None));
        Ok(url.path().to_owned())
    }

    #[test]
    fn client_id_is_one_segment_of_the_path_whatever_it_contains() {
        for (client_id, segment) in [
            ("kV7pQx2ZrT9m", "kV7pQx2ZrT9m"),
            ("a-b_c.d~e", "a-b_c.d~e"),
            ("...", "..."),
            ("../clients/victim", "..%2Fclients%2Fvictim"),
            ("..\\victim", "..%5Cvictim"),
            ("%2e", "%252e"),
            ("%2e%2E", "%252e%252E"),
            ("a?b=c#d", "a%3Fb%3Dc%23d"),
            ("a;b", "a%3Bb"),
            (".\t.", ".%09."),
            (".\n", ".%0A"),
            ("\r.", "%0D."),
            ("a b", "a%20b"),
            ("ä", "%C3%A4"),
        ] {
            let expected = format!("/api/v2/clients/{segment}/rotate-secret");
            assert_eq!(client_path(client_id), Ok(expected), "{client_id:?}");
        }
    }

    #[test]
    fn client_id_that_would_change_the_path_is_rejected() {
        for client_id in ["", ".", ".."] {
            let error = client_path(client_id).unwrap_err();
            assert_eq!(error, Error::InvalidClientId, "{client_id:?}");
            assert_eq!(error.reason(), Reason::InvalidName);
            assert!(error.had_no_effect() && !error.concerns_tenant());
        }
    }

    #[test]
    fn path_of_the_endpoint_is_kept() {
        for base in ["https://proxy.acme.com/auth0", "https://proxy.acme.com/auth0/"] {
            let url = transport(base).unwrap().url(&["oauth", "token"]).unwrap();
            assert_eq!(url.as_str(), "https://proxy.acme.com/auth0/oauth/token");
        }
    }

    #[test]
    fn literal_address_that_may_not_be_called_is_rejected() {
        for url in ["https://127.0.0.1", "https://10.0.0.7:8443", "https://[fd00::7]"] {
            let error = transport(url).err().unwrap();
            assert_eq!(error.reason(), Reason::EndpointNotAllowed, "{url}");
        }
    }

    #[tokio::test]
    async fn name_with_an_address_that_may_not_be_called_is_rejected() {
        let transport = transport("https://localhost").unwrap();
        let request = transport.client().get(transport.url(&["oauth", "token"]).unwrap());
        let call = Call {
            operation: "token",
            api: Api::Authentication,
            priority: Priority::InProgress,
            client_id: None,
            is_token_request: true,
        };
        let error = transport.send(request, call).await.err().unwrap();
        assert_eq!(error.reason(), Reason::EndpointNotAllowed);
        assert!(error.to_string().contains("localhost") && error.had_no_effect(), "{error}");
    }
}
