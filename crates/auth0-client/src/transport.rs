//! One HTTP call: bounded in time and size, never redirected, never repeated.

use std::{
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
use serde::de::DeserializeOwned;
use tracing::Span;
use zeroize::Zeroizing;

use super::{
    error::{Auth0Error, InvalidResponse},
    pacer::{Admitted, Caller, Outage},
    trace,
};

/// The longest body that is read, in bytes. A page of 100 clients with long callback lists stays
/// well below.
const BODY_LIMIT: usize = 2 * 1024 * 1024;

/// How to call a tenant.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The base URL, such as `https://acme.eu.auth0.com`.
    pub url: Url,
    /// Certificate authorities in PEM; those of the system when absent.
    pub ca_bundle: Option<String>,
    /// Plain HTTP is allowed, for a simulator.
    pub allow_http: bool,
    /// How long a call may take. It must be shorter than Auth0's propagation window: whoever
    /// waits out the window must not meet a call that is still on its way.
    pub deadline: Duration,
}

/// Is told of each HTTP request that was made.
pub trait RequestObserver: Send + Sync {
    /// It was answered, or failed, after that time; `api` says which of Auth0's limits it counts
    /// for: `management` or `authentication`.
    fn answered(&self, api: &'static str, took: Duration);
}

pub(super) struct Transport {
    client: Client,
    observer: Arc<dyn RequestObserver>,
    base: Url,
    deadline: Duration,
}

/// An answer that arrived whole.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) is_html: bool,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Transport {
    pub(super) fn new(
        endpoint: &Endpoint,
        observer: Arc<dyn RequestObserver>,
    ) -> Result<Transport, Auth0Error> {
        check_url(endpoint)?;
        let mut builder = Client::builder()
            .user_agent(concat!("auth0-rotator/", env!("CARGO_PKG_VERSION")))
            .default_headers(telemetry_header())
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .connect_timeout(endpoint.deadline.min(Duration::from_secs(5)))
            .timeout(endpoint.deadline)
            .pool_idle_timeout(Duration::from_secs(30))
            .tls_version_min(tls::Version::TLS_1_2)
            .https_only(!endpoint.allow_http)
            .referer(false);
        if let Some(bundle) = &endpoint.ca_bundle {
            builder = builder.tls_certs_only(read_bundle(bundle)?);
        }
        let client = builder.build().map_err(|_| {
            Auth0Error::Configuration("the tenant's TLS settings can't be used".into())
        })?;
        Ok(Transport { client, observer, base: endpoint.url.clone(), deadline: endpoint.deadline })
    }

    /// The URL of a path given in segments, each percent-encoded as needed.
    pub(super) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Makes a call. The `operation` is its name in traces.
    pub(super) async fn send(
        &self,
        operation: &'static str,
        request: RequestBuilder,
        caller: Caller<'_>,
    ) -> Result<Answer, Auth0Error> {
        self.send_before(operation, request, caller, Instant::now() + self.deadline).await
    }

    /// The same for a call that must have begun before `not_after`.
    pub(super) async fn send_before(
        &self,
        operation: &'static str,
        request: RequestBuilder,
        caller: Caller<'_>,
        not_after: Instant,
    ) -> Result<Answer, Auth0Error> {
        let span = trace::span(operation, caller.lane.name());
        let call = self.admitted(request, caller, not_after);
        trace::record(span, call).await
    }

    async fn admitted(
        &self,
        request: RequestBuilder,
        caller: Caller<'_>,
        not_after: Instant,
    ) -> Result<Answer, Auth0Error> {
        let admitted = caller.admit(self.deadline / 4).await?;
        if Instant::now() > not_after {
            return Err(Auth0Error::DeadlinePassed);
        }
        let begun = Instant::now();
        let called = call(request, &admitted).await;
        self.observer.answered(caller.lane.name(), begun.elapsed());
        match called.as_ref().map_err(Outage::of) {
            Err(Some(outage)) => admitted.failed(outage),
            Ok(_) | Err(None) => admitted.succeeded(),
        }
        called
    }
}

/// Makes the call. Errors are those of the transport, and the two that any call can meet.
async fn call(request: RequestBuilder, admitted: &Admitted<'_>) -> Result<Answer, Auth0Error> {
    let mut response = request.send().await.map_err(|error| {
        // Only a connection that was never made is sure not to have carried the request.
        if error.is_connect() { Auth0Error::Unreachable } else { Auth0Error::NoResponse }
    })?;
    let status = response.status();
    Span::current().record("http.response.status_code", i64::from(status.as_u16()));
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let is_html = kind.is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
    let refused = status == StatusCode::TOO_MANY_REQUESTS;
    if let Some(until) = admitted.answered(response.headers(), refused, Utc::now()) {
        return Err(Auth0Error::Throttled { until });
    }
    let mut body = Zeroizing::new(Vec::with_capacity(16 * 1024));
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > BODY_LIMIT => {
                return Err(Auth0Error::InvalidResponse(InvalidResponse::TooLong));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(_) => return Err(Auth0Error::NoResponse),
        }
    }
    if status.is_server_error() {
        return Err(Auth0Error::Unavailable(status.as_u16()));
    }
    Ok(Answer { status, is_html, body })
}

impl Answer {
    /// The body as JSON. What is wrong with it is not told: it may have a secret in it.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Auth0Error> {
        serde_json::from_slice(&self.body)
            .map_err(|_| Auth0Error::InvalidResponse(InvalidResponse::NotJson))
    }

    /// The status is that of success, and Auth0's: what stands before it answers in HTML.
    pub(super) fn is_plain_success(&self) -> bool {
        self.status == StatusCode::OK && !self.is_html
    }

    /// An error for a status that the operation doesn't expect.
    pub(super) fn unexpected(&self) -> Auth0Error {
        let status = self.status.as_u16();
        if self.is_html && self.status.is_success() {
            Auth0Error::InvalidResponse(InvalidResponse::Html)
        } else if self.status.is_client_error() {
            Auth0Error::Rejected(status)
        } else {
            Auth0Error::InvalidResponse(InvalidResponse::Status(status))
        }
    }
}

fn check_url(endpoint: &Endpoint) -> Result<(), Auth0Error> {
    let url = &endpoint.url;
    let wrong = |what: &str| Err(Auth0Error::Configuration(what.to_owned()));
    match url.scheme() {
        "https" => {}
        "http" if endpoint.allow_http => {}
        "http" => {
            return wrong(
                "spec.endpoint is not HTTPS: use https://, or start the operator with \
                 --allow-http-endpoints if the endpoint is a simulator",
            );
        }
        _ => return wrong("spec.endpoint must start with https://"),
    }
    if url.host().is_none() || !url.username().is_empty() || url.password().is_some() {
        return wrong("spec.endpoint must have a host and no user or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("spec.endpoint must have no query and no fragment");
    }
    Ok(())
}

fn read_bundle(bundle: &str) -> Result<Vec<reqwest::Certificate>, Auth0Error> {
    let wrong = || {
        Auth0Error::Configuration(
            "spec.caBundle holds no usable certificate: it must be PEM, with BEGIN CERTIFICATE lines"
                .into(),
        )
    };
    let certificates =
        reqwest::Certificate::from_pem_bundle(bundle.as_bytes()).map_err(|_| wrong())?;
    if certificates.is_empty() { Err(wrong()) } else { Ok(certificates) }
}

/// `Auth0-Client`: what calls, for the tenant's log (Auth0 documentation, "Auth0 SDK telemetry").
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
