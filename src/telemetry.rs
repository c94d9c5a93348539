//! Logs on standard error, and traces of reconciliations and their requests, exported to a
//! collector if one is configured.
//!
//! Spans contain names, values from closed sets and numbers, and nothing that was sent or received.

use std::{future::Future, io::IsTerminal as _, time::Duration};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::{
    Instrument as _, Level, Metadata, Span, field::Empty, info_span, level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer as _,
    filter::{FilterFn, filter_fn},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};
use url::Url;

/// Timeout of an export to the collector.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Human-readable text.
    Text,
}

/// Export of traces. `None` if no collector is configured.
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Exports the remaining spans.
    pub async fn flush(self) {
        let Some(provider) = self.0 else { return };
        let shutdown =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(EXPORT_TIMEOUT));
        if !matches!(shutdown.await, Ok(Ok(()))) {
            tracing::warn!("could not export the last spans");
        }
    }
}

/// Initializes logging, and tracing if there is a `collector`.
///
/// Logs lines of this project up to `level`. Lines of libraries are logged as warnings and errors
/// only, because some libraries log what they send and receive at more verbose levels.
///
/// # Errors
///
/// When the exporter can't be created.
pub fn init(
    format: LogFormat,
    level: LevelFilter,
    collector: Option<&Url>,
) -> Result<Traces, ExporterBuildError> {
    let provider = collector.map(tracer_provider).transpose()?;
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("auth0-rotator"))
            .with_location(false)
            .with_target(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            // Spans only: log lines are not exported.
            .with_filter(span_filter())
    });
    let filter = line_filter(level);
    let writer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(traces);
    let initialized = match format {
        LogFormat::Json => registry
            .with(writer.json().flatten_event(true).with_span_list(false).with_filter(filter))
            .try_init(),
        LogFormat::Text => registry.with(writer.with_target(false).with_filter(filter)).try_init(),
    };
    // Fails if logging is already initialized, as by another test of the same process.
    drop(initialized);
    Ok(Traces(provider))
}

/// Returns a provider that exports spans from a separate thread, so that creating a span never
/// blocks. Spans that the collector doesn't accept in time are dropped.
fn tracer_provider(collector: &Url) -> Result<SdkTracerProvider, ExporterBuildError> {
    let base = collector.as_str().trim_end_matches('/');
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{base}/v1/traces"))
        .with_timeout(EXPORT_TIMEOUT)
        .build()?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource =
        Resource::builder().with_service_name("auth0-rotator").with_attribute(version).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// Returns the filter of spans. All are of the level info.
fn span_filter() -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    filter_fn(|metadata| metadata.is_span() && is_own(metadata))
        .with_max_level_hint(LevelFilter::INFO)
}

/// Returns the filter of log lines.
///
/// The hint spares the work of many more verbose lines and spans of HTTP and TLS for each request:
/// without it, this filter is asked about each of them.
fn line_filter(level: LevelFilter) -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    filter_fn(move |metadata| metadata.is_event() && is_line_enabled(metadata, level))
        .with_max_level_hint(level.max(LevelFilter::WARN))
}

/// Whether a span or a log line comes from this project.
fn is_own(metadata: &Metadata<'_>) -> bool {
    ["auth0_rotator", "auth0_client", "leader_election", "rotation"]
        .iter()
        .any(|name| metadata.target().starts_with(name))
}

fn is_line_enabled(line: &Metadata<'_>, level: LevelFilter) -> bool {
    if is_own(line) {
        return *line.level() <= level;
    }
    // kube-client logs the whole body of a response that it can't parse, as a warning.
    let logs_bodies = line.target().starts_with("kube_client");
    *line.level() <= if logs_bodies { Level::ERROR } else { Level::WARN }
}

/// Returns the span of a reconciliation.
pub(crate) fn reconcile_span(namespace: &str, name: &str) -> Span {
    info_span!("reconcile", namespace, name, result = Empty, otel.status_code = Empty)
}

/// Returns the span of a request to the API server.
pub(crate) fn kubernetes_span(operation: &str) -> Span {
    info_span!(
        "kubernetes",
        otel.kind = "client",
        operation,
        result = Empty,
        otel.status_code = Empty,
    )
}

/// Sends a request in its span and records the result, for an error the reason that `reason`
/// returns.
pub(crate) async fn trace_request<T, E>(
    span: Span,
    reason: impl FnOnce(&E) -> &'static str,
    request: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let result = request.instrument(span.clone()).await;
    record_result(&span, result.as_ref().err().map(reason));
    result
}

/// Records the result of a span: `ok`, or the reason of an error.
pub(crate) fn record_result(span: &Span, error: Option<&'static str>) {
    span.record("result", error.unwrap_or("ok"));
    if error.is_some() {
        span.record("otel.status_code", "ERROR");
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::{Registry, layer::Filter};

    use super::*;

    #[test]
    fn more_verbose_lines_than_configured_cost_nothing() {
        let hint = |level| Filter::<Registry>::max_level_hint(&line_filter(level));
        assert_eq!(hint(LevelFilter::INFO), Some(LevelFilter::INFO));
        assert_eq!(hint(LevelFilter::DEBUG), Some(LevelFilter::DEBUG));
        // Warnings of libraries are always logged.
        assert_eq!(hint(LevelFilter::ERROR), Some(LevelFilter::WARN));
        let spans = Filter::<Registry>::max_level_hint(&span_filter());
        assert_eq!(spans, Some(LevelFilter::INFO));
    }
}
