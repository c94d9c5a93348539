//! Trace spans of calls to Auth0. A span carries names, words from closed sets and numbers, and
//! nothing that was sent or received.

use tracing::{Instrument as _, Span, field::Empty, info_span};

use crate::error::Error;

/// Returns the span of one call, including the wait for the rate limiter.
pub(crate) fn span(operation: &'static str, api: &'static str) -> Span {
    info_span!(
        "auth0",
        otel.name = operation,
        otel.kind = "client",
        api,
        http.response.status_code = Empty,
        result = Empty,
        otel.status_code = Empty,
    )
}

/// Makes a call in its span and records how it ended.
pub(crate) async fn record<T>(
    span: Span,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let result = call.instrument(span.clone()).await;
    match &result {
        Ok(_) => span.record("result", "ok"),
        Err(error) => {
            span.record("result", error.reason().as_str()).record("otel.status_code", "ERROR")
        }
    };
    result
}
