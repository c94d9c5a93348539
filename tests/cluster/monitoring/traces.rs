//! Traces, as a collector gets them.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, http::header::CONTENT_TYPE, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind},
};
use prost::Message as _;
use serde_json::json;
use testkit::fixture::{DEADLINE, Fixture};
use tokio::net::TcpListener;

/// What a collector has got.
#[derive(Clone, Default)]
struct Got(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Got {
    fn spans(&self) -> Vec<Span> {
        let requests = self.0.lock().unwrap();
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

/// Puts what was got where it is searched.
type Keep = Arc<dyn Fn(&str) + Send + Sync>;

/// A collector that takes OTLP over HTTP, and its URL. What it gets is also put into `folder`, where
/// the end of the test searches for secrets.
async fn collector(folder: &std::path::Path) -> (Got, String) {
    let (got, folder, count) = (Got::default(), folder.to_owned(), AtomicUsize::new(0));
    let take = async |State((got, keep)): State<(Got, Keep)>, body: Bytes| {
        let request = ExportTraceServiceRequest::decode(body.clone()).unwrap();
        keep(&format!("{request:?}\n{}", String::from_utf8_lossy(&body)));
        got.0.lock().unwrap().push(request);
        let answer = ExportTraceServiceResponse::default().encode_to_vec();
        ([(CONTENT_TYPE, "application/x-protobuf")], answer)
    };
    let keep: Keep = Arc::new(move |text| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        fs::write(folder.join(format!("traces-{number}")), text).unwrap();
    });
    let router = Router::new().route("/v1/traces", post(take)).with_state((got.clone(), keep));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (got, url)
}

fn attribute<'s>(span: &'s Span, key: &str) -> &'s str {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|found| found.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{key}: {other:?} in {span:?}"),
    }
}

#[tokio::test]
async fn a_rotation_is_told_to_a_collector_without_its_secrets() {
    let mut bench = Fixture::without_operator().await;
    let (got, url) = collector(bench.log_dir.path()).await;
    bench.start_operator_with(&["--allow-http-endpoints", "--otlp-endpoint", &url]);
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    bench.wait_until_rotated("shop", 2).await;
    bench.try_apply_rotation("nobody", json!({})).await.unwrap();
    bench.wait_for_reason("nobody", "Stalled", "ClientNotFound").await;
    // What was not sent yet is sent at the end.
    bench.operator().wait_until_ready().await;
    bench.stop_operator().await;

    let spans = got.spans();
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let passes = named("pass");
    let [rotate] = named("rotate-secret")[..] else { panic!("{spans:#?}") };
    assert_eq!((rotate.kind(), attribute(rotate, "api")), (SpanKind::Client, "management"));
    assert_eq!(attribute(rotate, "result"), "ok");
    let pass = passes.iter().find(|pass| pass.span_id == rotate.parent_span_id);
    let pass = pass.unwrap_or_else(|| panic!("the call is in no pass: {spans:#?}"));
    assert_eq!(attribute(pass, "name"), "shop");
    assert_eq!(attribute(pass, "namespace"), bench.namespace);
    let in_pass = |what: &str| {
        let calls = named("kubernetes").into_iter();
        calls.filter(|call| call.parent_span_id == pass.span_id).any(|call| {
            attribute(call, "what").starts_with(what) && attribute(call, "result") == "ok"
        })
    };
    assert!(in_pass("storing the status") && in_pass("writing the Secret"), "{spans:#?}");
    for operation in ["token", "read-client", "revoke"] {
        assert!(!named(operation).is_empty(), "{operation}: {spans:#?}");
    }
    let status = |call: &Span| {
        let found = call.attributes.iter().find(|found| found.key == "http.response.status_code");
        found.and_then(|found| found.value.as_ref()?.value.clone())
    };
    let statuses: Vec<_> = named("read-client").into_iter().filter_map(status).collect();
    assert!(statuses.contains(&Value::IntValue(404)), "{statuses:?}");
    let service = got.0.lock().unwrap()[0].resource_spans[0].resource.clone().unwrap();
    assert!(format!("{service:?}").contains("auth0-rotator"), "{service:?}");
    bench.finish().await;
}

#[tokio::test]
async fn a_collector_that_is_not_there_holds_up_nothing() {
    let mut bench = Fixture::without_operator().await;
    bench.start_operator_with(&["--allow-http-endpoints", "--otlp-endpoint", "http://127.0.0.1:1"]);
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    bench.wait_until_rotated("shop", 2).await;
    let started = Instant::now();
    bench.operator().wait_until_ready().await;
    bench.stop_operator().await;
    assert!(started.elapsed() < Duration::from_secs(10).min(DEADLINE), "{:?}", started.elapsed());
    bench.finish().await;
}
