//! Traces, as a collector receives them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router, body::Bytes, extract::State, http::header::CONTENT_TYPE, response::IntoResponse,
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind},
};
use parking_lot::Mutex;
use prost::Message as _;
use serde_json::json;
use testkit::fixture::{DEADLINE, Fixture};
use tokio::net::TcpListener;

/// Requests that a collector has received.
#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Received {
    fn spans(&self) -> Vec<Span> {
        let requests = self.0.lock();
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

/// A collector that accepts OTLP over HTTP.
#[derive(Clone)]
struct Collector {
    received: Received,
    /// Where to write what was received. The leak scan at the end of the test searches it for
    /// secrets.
    folder: PathBuf,
    written: Arc<AtomicUsize>,
}

impl Collector {
    /// Starts a collector. Returns its requests and its URL.
    async fn start(folder: &Path) -> (Received, String) {
        let received = Received::default();
        let collector =
            Self { received: received.clone(), folder: folder.to_owned(), written: Arc::default() };
        let router = Router::new().route("/v1/traces", post(receive)).with_state(collector);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (received, url)
    }

    fn write(&self, text: &str) {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        fs::write(self.folder.join(format!("traces-{number}")), text).unwrap();
    }
}

async fn receive(State(collector): State<Collector>, body: Bytes) -> impl IntoResponse {
    let request = ExportTraceServiceRequest::decode(body.clone()).unwrap();
    collector.write(&format!("{request:?}\n{}", String::from_utf8_lossy(&body)));
    collector.received.0.lock().push(request);
    let response = ExportTraceServiceResponse::default().encode_to_vec();
    ([(CONTENT_TYPE, "application/x-protobuf")], response)
}

fn attribute<'s>(span: &'s Span, key: &str) -> &'s str {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|found| found.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{key}: {other:?} in {span:?}"),
    }
}

fn status_code(span: &Span) -> Option<Value> {
    let found = span.attributes.iter().find(|found| found.key == "http.response.status_code");
    found.and_then(|found| found.value.as_ref()?.value.clone())
}

#[tokio::test]
async fn exports_the_spans_of_a_rotation_without_secrets() {
    let mut fixture = Fixture::without_operator().await;
    let (received, url) = Collector::start(fixture.log_dir.path()).await;
    fixture.start_operator_with(&["--allow-http-endpoints", "--otlp-endpoint", &url]);
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.try_apply_rotation("missing", json!({})).await.unwrap();
    fixture.wait_for_reason("missing", "Stalled", "ClientNotFound").await;
    // The operator exports the remaining spans before it exits.
    fixture.operator().wait_until_ready().await;
    fixture.stop_operator().await;

    let spans = received.spans();
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let [rotate] = named("rotate-secret")[..] else { panic!("{spans:#?}") };
    assert_eq!((rotate.kind(), attribute(rotate, "api")), (SpanKind::Client, "management"));
    assert_eq!(attribute(rotate, "result"), "ok");
    let reconciles = named("reconcile");
    let reconcile = reconciles.iter().find(|span| span.span_id == rotate.parent_span_id);
    let reconcile = reconcile.unwrap_or_else(|| panic!("rotate-secret has no parent: {spans:#?}"));
    assert_eq!(attribute(reconcile, "name"), "shop");
    assert_eq!(attribute(reconcile, "namespace"), fixture.namespace);
    let has_request = |operation: &str| {
        named("kubernetes").iter().any(|request| {
            request.parent_span_id == reconcile.span_id
                && attribute(request, "operation").starts_with(operation)
                && attribute(request, "result") == "ok"
        })
    };
    assert!(has_request("storing the status") && has_request("writing the Secret"), "{spans:#?}");
    for operation in ["token", "read-client", "revoke"] {
        assert!(!named(operation).is_empty(), "{operation}: {spans:#?}");
    }
    let statuses: Vec<_> = named("read-client").into_iter().filter_map(status_code).collect();
    assert!(statuses.contains(&Value::IntValue(404)), "{statuses:?}");
    let service = received.0.lock()[0].resource_spans[0].resource.clone().unwrap();
    assert!(format!("{service:?}").contains("auth0-rotator"), "{service:?}");
    fixture.finish().await;
}

#[tokio::test]
async fn an_unavailable_collector_delays_nothing() {
    let mut fixture = Fixture::without_operator().await;
    fixture.start_operator_with(&[
        "--allow-http-endpoints",
        "--otlp-endpoint",
        "http://127.0.0.1:1",
    ]);
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    let started = Instant::now();
    fixture.operator().wait_until_ready().await;
    fixture.stop_operator().await;
    assert!(started.elapsed() < Duration::from_secs(10).min(DEADLINE), "{:?}", started.elapsed());
    fixture.finish().await;
}
