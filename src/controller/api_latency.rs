//! Measures the latency of the API server, for the limit of concurrent reconciles.

use std::{
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{Method, Request, Response, StatusCode, Uri};
use tower::{Layer, Service};

use super::queue::{CallKind, CallResult, RunLimit};

/// A call without a response for this long was not canceled for another reason.
const NO_RESPONSE: Duration = Duration::from_secs(5);

/// Layer of the Kubernetes client that records how long the API server takes to respond.
#[derive(Clone)]
pub(crate) struct ApiLatencyLayer(RunLimit);

impl ApiLatencyLayer {
    pub(crate) fn new(limit: RunLimit) -> Self {
        Self(limit)
    }
}

impl<S> Layer<S> for ApiLatencyLayer {
    type Service = ApiLatencyService<S>;

    fn layer(&self, inner: S) -> ApiLatencyService<S> {
        ApiLatencyService { inner, limit: self.0.clone() }
    }
}

/// Service that records how long the API server takes to respond.
#[derive(Clone)]
pub(crate) struct ApiLatencyService<S> {
    inner: S,
    limit: RunLimit,
}

impl<S, B, R> Service<Request<B>> for ApiLatencyService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let measured = kind(request.method(), request.uri())
            .map(|kind| Measured::start(kind, self.limit.clone()));
        let response = self.inner.call(request);
        async move {
            let response = response.await;
            if let Some(measured) = measured {
                measured.end(response.as_ref().ok().map(Response::status));
            }
            response
        }
        .boxed()
    }
}

/// A call that is measured.
struct Measured {
    kind: CallKind,
    limit: RunLimit,
    sent: Instant,
    has_ended: bool,
}

impl Measured {
    fn start(kind: CallKind, limit: RunLimit) -> Self {
        Self { kind, limit, sent: Instant::now(), has_ended: false }
    }

    /// Records the end of the call: its status, or `None` if there was no connection.
    fn end(mut self, status: Option<StatusCode>) {
        self.has_ended = true;
        if let Some(result) = result(status, self.sent.elapsed()) {
            self.limit.record(self.kind, result, Instant::now());
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let elapsed = self.sent.elapsed();
        if !self.has_ended && elapsed >= NO_RESPONSE {
            // As any slow response: the API server may wait for an admission webhook of one namespace.
            self.limit.record(self.kind, CallResult::Responded(elapsed), Instant::now());
        }
    }
}

fn result(status: Option<StatusCode>, latency: Duration) -> Option<CallResult> {
    match status {
        Some(
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT,
        )
        | None => Some(CallResult::Overloaded),
        Some(status) if status.is_success() => Some(CallResult::Responded(latency)),
        // A rejection takes less time than what it rejects.
        Some(_) => None,
    }
}

/// Returns the kind of a call, if it is one for a single object that says something about the load.
fn kind(method: &Method, uri: &Uri) -> Option<CallKind> {
    let query = uri.query().unwrap_or_default();
    match *method {
        Method::GET => names_object(uri.path()).then_some(CallKind::Read),
        Method::PUT | Method::PATCH => is_stored(query).then_some(CallKind::Write),
        // Reviews of tokens and permissions are not stored.
        Method::POST => {
            let is_review = uri.path().ends_with("reviews");
            (is_stored(query) && !is_review).then_some(CallKind::Write)
        }
        _ => None,
    }
}

fn is_stored(query: &str) -> bool {
    !query.contains("dryRun=")
}

/// Returns whether a path is that of one object and not of a list or a watch.
fn names_object(path: &str) -> bool {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    // The version follows, after the group if there is one.
    let skipped = match segments.next() {
        Some("api") => 1,
        Some("apis") => 2,
        _ => return false,
    };
    let rest: Vec<_> = segments.skip(skipped).collect();
    match rest.as_slice() {
        ["namespaces", _, _, rest @ ..] => !rest.is_empty(),
        rest => rest.len() >= 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(method: Method, uri: &str) -> Option<CallKind> {
        kind(&method, &uri.parse().unwrap())
    }

    #[test]
    fn measures_calls_for_single_objects() {
        let read = |uri: &str| kind_of(Method::GET, uri);
        assert_eq!(read("/api/v1/namespaces/shop/secrets/app"), Some(CallKind::Read));
        assert_eq!(read("/api/v1/namespaces/shop"), Some(CallKind::Read));
        let group = "/apis/auth0-rotator.dev/v1alpha1";
        let of_group = |path: &str| read(&format!("{group}/{path}"));
        assert_eq!(of_group("namespaces/shop/clientsecretrotations/app"), Some(CallKind::Read));
        assert_eq!(of_group("clusterauth0tenants/shared?"), Some(CallKind::Read));
        assert_eq!(of_group("clusterauth0tenants?watch=true"), None);
        assert_eq!(of_group("namespaces/shop/clientsecretrotations?limit=50"), None);
        assert_eq!(read("/api/v1/namespaces?watch=true"), None);
        assert_eq!(read("/version"), None);
        let write = |method: Method, uri: &str| kind_of(method, uri);
        let status = format!("{group}/namespaces/shop/clientsecretrotations/app/status");
        assert_eq!(write(Method::PUT, &status), Some(CallKind::Write));
        let secret = "/api/v1/namespaces/shop/secrets/app?fieldManager=a&force=true";
        assert_eq!(write(Method::PATCH, secret), Some(CallKind::Write));
        assert_eq!(write(Method::PATCH, &format!("{secret}&dryRun=All")), None);
        assert_eq!(write(Method::POST, "/api/v1/namespaces/shop/secrets"), Some(CallKind::Write));
        assert_eq!(write(Method::POST, "/apis/authentication.k8s.io/v1/tokenreviews"), None);
        assert_eq!(write(Method::DELETE, "/api/v1/namespaces/shop/secrets/app"), None);
    }

    #[test]
    fn tells_overload_from_rejected_requests() {
        let latency = Duration::from_millis(3);
        let of = |code: u16| result(Some(StatusCode::from_u16(code).unwrap()), latency);
        assert_eq!(of(200), Some(CallResult::Responded(latency)));
        assert_eq!(of(201), Some(CallResult::Responded(latency)));
        for code in [429, 503, 504] {
            assert_eq!(of(code), Some(CallResult::Overloaded), "{code}");
        }
        for code in [403, 404, 409, 422, 500] {
            assert_eq!(of(code), None, "{code}");
        }
        assert_eq!(result(None, latency), Some(CallResult::Overloaded));
    }
}
