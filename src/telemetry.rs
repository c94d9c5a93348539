//! Logs: one line for what a person would want to know, on standard error. Traces: spans of passes and
//! of the calls that they make, to a collector if one is named.
//!
//! A span has names, words from closed sets and numbers: nothing that was sent or received.

use std::{future::Future, io::IsTerminal as _, time::Duration};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::{
    Instrument as _, Level, Metadata, Span, field::Empty, info_span, level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer as _, filter::filter_fn, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};
use url::Url;

/// How long the collector may take for what it is sent.
const COLLECTOR_DEADLINE: Duration = Duration::from_secs(5);

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

/// Traces that are under way to a collector, if there is one.
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Sends what was not sent yet.
    pub async fn finish(self) {
        let Some(provider) = self.0 else { return };
        let sent =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(COLLECTOR_DEADLINE));
        if !matches!(sent.await, Ok(Ok(()))) {
            tracing::warn!("the last spans could not be sent");
        }
    }
}

/// Starts logging, and traces where a `collector` takes them. Our own lines come at `level` and
/// above; those of libraries only as warnings, whatever the level is: at finer levels some print
/// what they send and receive.
///
/// # Errors
/// When no exporter can be made.
pub fn start(
    format: LogFormat,
    level: LevelFilter,
    collector: Option<&Url>,
) -> Result<Traces, ExporterBuildError> {
    let provider = collector.map(provider).transpose()?;
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("auth0-rotator"))
            .with_location(false)
            .with_target(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            // Not the lines of the log: they are written for people.
            .with_filter(filter_fn(|what| what.is_span() && is_ours(what)))
    });
    let filter = filter_fn(move |what| what.is_event() && is_wanted(what, level));
    let writer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(traces);
    let started = match format {
        LogFormat::Json => registry
            .with(writer.json().flatten_event(true).with_span_list(false).with_filter(filter))
            .try_init(),
        LogFormat::Text => registry.with(writer.with_target(false).with_filter(filter)).try_init(),
    };
    // Logging can be started once per process: in tests somebody else may have been faster.
    drop(started);
    Ok(Traces(provider))
}

/// Sends spans from a thread of its own: whoever makes them never waits. What the collector doesn't
/// take in time is dropped.
fn provider(collector: &Url) -> Result<SdkTracerProvider, ExporterBuildError> {
    let base = collector.as_str().trim_end_matches('/');
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{base}/v1/traces"))
        .with_timeout(COLLECTOR_DEADLINE)
        .build()?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource =
        Resource::builder().with_service_name("auth0-rotator").with_attribute(version).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

fn is_ours(what: &Metadata<'_>) -> bool {
    ["auth0_rotator", "auth0_client", "leader_election", "rotation"]
        .iter()
        .any(|name| what.target().starts_with(name))
}

fn is_wanted(line: &Metadata<'_>, level: LevelFilter) -> bool {
    if is_ours(line) {
        return *line.level() <= level;
    }
    // kube's client logs the whole body of an answer that it can't parse, as a warning.
    let bodies = line.target().starts_with("kube_client");
    *line.level() <= if bodies { Level::ERROR } else { Level::WARN }
}

/// The span of a pass over a resource.
pub(crate) fn pass(namespace: &str, name: &str) -> Span {
    info_span!("pass", namespace, name, result = Empty, otel.status_code = Empty)
}

/// The span of a call to the API server.
pub(crate) fn kubernetes(what: &str) -> Span {
    info_span!("kubernetes", otel.kind = "client", what, result = Empty, otel.status_code = Empty,)
}

/// Makes a call in its span, which tells in a word how it ended.
pub(crate) async fn traced<T, E>(
    span: Span,
    word: impl FnOnce(&E) -> &'static str,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let ended = call.instrument(span.clone()).await;
    put_down(&span, ended.as_ref().err().map(word));
    ended
}

/// Puts down how the work of a span ended: well, or for that reason not.
pub(crate) fn put_down(span: &Span, failed: Option<&'static str>) {
    span.record("result", failed.unwrap_or("ok"));
    if failed.is_some() {
        span.record("otel.status_code", "ERROR");
    }
}
