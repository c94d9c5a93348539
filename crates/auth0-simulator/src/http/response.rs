//! HTTP response to an outcome, with the action of a fault applied.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::{
    Response, StatusCode,
    body::{Body, Bytes, Frame, SizeHint},
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use serde_json::{Map, Value, json};

use super::{Outcome, Payload, query::encode_cursor};
use crate::{error::ApiError, faults::Action, operation::Operation, rate_limit::RateLimitHeaders};

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "<!DOCTYPE html>\n<html><head><title>Blocked</title></head>\
                    <body><h1>The request could not be satisfied</h1></body></html>\n";

/// Error that makes hyper close the connection without sending a response, or without sending the
/// rest of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionCut;

impl fmt::Display for ConnectionCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fault closes the connection")
    }
}

impl std::error::Error for ConnectionCut {}

/// A body that can announce more bytes than it sends.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    data: Option<Bytes>,
    content_length: u64,
    /// The data is incomplete: the connection closes after it.
    is_truncated: bool,
    was_pending: bool,
}

impl ResponseBody {
    fn complete(data: impl Into<Bytes>) -> Self {
        let data = data.into();
        let content_length = data.len() as u64;
        Self { data: Some(data), content_length, is_truncated: false, was_pending: false }
    }

    /// Omits the last eighth of the data, at least one of the announced bytes.
    fn truncated(data: &Bytes) -> Self {
        let kept = data.len() - (data.len() / 8).max(1).min(data.len());
        let content_length = data.len().max(1) as u64;
        Self {
            data: Some(data.slice(..kept)),
            content_length,
            is_truncated: true,
            was_pending: false,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ConnectionCut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionCut>>> {
        if let Some(data) = self.data.take().filter(|data| !data.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if !self.is_truncated {
            return Poll::Ready(None);
        }
        // hyper flushes its buffer when a body is pending, but not when it fails.
        if !self.was_pending {
            self.was_pending = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(ConnectionCut)))
    }

    fn is_end_stream(&self) -> bool {
        !self.is_truncated && self.data.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(if self.data.is_some() { self.content_length } else { 0 })
    }
}

/// The response to send, or the instruction to close the connection.
pub(crate) type ResponseResult = Result<Response<ResponseBody>, ConnectionCut>;

/// Renders the response. `outcome` is `None` if a fault ended the request before it reached the
/// tenant.
pub(crate) fn render(
    operation: Operation,
    outcome: Option<&Outcome>,
    action: Option<&Action>,
    headers: Option<RateLimitHeaders>,
) -> ResponseResult {
    let status = outcome.map_or(StatusCode::OK, |outcome| outcome.status);
    let empty_object = Payload::Json(Value::Object(Map::new()));
    let payload = outcome.map_or(&empty_object, |outcome| &outcome.payload);
    let mut response = match action {
        None | Some(Action::ExpiredToken | Action::Delay { .. }) => {
            payload_response(status, payload)
        }
        Some(Action::Cut { .. }) => return Err(ConnectionCut),
        Some(Action::RateLimited { .. }) => too_many_requests(operation),
        Some(Action::InvalidBody) => {
            error_response(&ApiError::invalid_body("rejected by an injected fault"))
        }
        Some(Action::Status { status, .. }) => {
            error_response(&ApiError::server_error(status_code(*status)))
        }
        Some(Action::Html { status, .. }) => {
            let body = ResponseBody::complete(HTML);
            response(status_code(*status), "text/html; charset=utf-8", body)
        }
        Some(Action::EmptyBody { .. }) => response(status, JSON, ResponseBody::complete("")),
        Some(Action::MalformedJson { .. }) => {
            let mut text = payload_text(payload);
            text.pop();
            response(status, JSON, ResponseBody::complete(text + ",,}"))
        }
        Some(Action::TruncatedJson { .. }) => {
            let text = Bytes::from(payload_text(payload));
            response(status, JSON, ResponseBody::truncated(&text))
        }
        Some(Action::Oversized { bytes }) => payload_response(status, &padded(payload, *bytes)),
        Some(Action::SecretMissing) => {
            payload_response(status, &edit_clients(payload, remove_secret))
        }
        Some(Action::SecretEmpty) => payload_response(status, &edit_clients(payload, empty_secret)),
        Some(Action::RepeatedNext) => payload_response(status, &with_next(payload)),
    };
    if let Some(headers) = headers {
        let sends_retry_after =
            !matches!(action, Some(Action::RateLimited { retry_after: false, .. }));
        add_rate_limit_headers(&mut response, headers, sends_retry_after);
    }
    Ok(response)
}

/// Adds this many bytes of padding to the JSON, which stays valid.
fn padded(payload: &Payload, bytes: usize) -> Payload {
    let padding = Value::from(" ".repeat(bytes));
    Payload::Json(match payload {
        Payload::Json(Value::Object(fields)) => {
            let mut fields = fields.clone();
            fields.insert("padding".into(), padding);
            Value::Object(fields)
        }
        Payload::Json(Value::Array(items)) => {
            items.iter().cloned().chain([json!({ "padding": padding })]).collect()
        }
        Payload::Json(_) | Payload::Empty => json!({ "padding": padding }),
    })
}

/// Edits the client in the payload, or every client of a list.
fn edit_clients(payload: &Payload, edit: fn(&mut Map<String, Value>)) -> Payload {
    let Payload::Json(value) = payload else {
        return Payload::Empty;
    };
    let mut value = value.clone();
    let clients = match value.get("clients") {
        Some(_) => &mut value["clients"],
        None => &mut value,
    };
    match clients {
        Value::Object(fields) => edit(fields),
        Value::Array(items) => {
            items.iter_mut().filter_map(Value::as_object_mut).for_each(edit);
        }
        _ => {}
    }
    Payload::Json(value)
}

/// Adds a `next` that is always the same to a page.
fn with_next(payload: &Payload) -> Payload {
    match payload {
        Payload::Json(Value::Object(fields)) => {
            let mut fields = fields.clone();
            fields.insert("next".into(), encode_cursor("!").into());
            Payload::Json(Value::Object(fields))
        }
        Payload::Json(other) => Payload::Json(other.clone()),
        Payload::Empty => Payload::Empty,
    }
}

fn remove_secret(client: &mut Map<String, Value>) {
    client.remove("client_secret");
}

fn empty_secret(client: &mut Map<String, Value>) {
    if let Some(value) = client.get_mut("client_secret") {
        *value = "".into();
    }
}

fn status_code(status: u16) -> StatusCode {
    // Validated when the fault was injected.
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn payload_text(payload: &Payload) -> String {
    match payload {
        Payload::Json(value) => value.to_string(),
        Payload::Empty => String::new(),
    }
}

fn payload_response(status: StatusCode, payload: &Payload) -> Response<ResponseBody> {
    match payload {
        Payload::Json(_) => response(status, JSON, ResponseBody::complete(payload_text(payload))),
        Payload::Empty => {
            let mut response = Response::new(ResponseBody::complete(""));
            *response.status_mut() = status;
            response
        }
    }
}

fn error_response(error: &ApiError) -> Response<ResponseBody> {
    payload_response(error.status, &Payload::Json(error.body()))
}

/// Renders a 429 in the format of the API that the operation belongs to.
fn too_many_requests(operation: Operation) -> Response<ResponseBody> {
    let error = ApiError::too_many_requests();
    let body = match operation {
        Operation::Token | Operation::Revoke => json!({
            "error": "too_many_requests",
            "error_description": "Rate limit exceeded. Please retry after some time.",
        }),
        _ => error.body(),
    };
    payload_response(error.status, &Payload::Json(body))
}

fn response(
    status: StatusCode,
    media_type: &'static str,
    body: ResponseBody,
) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn add_rate_limit_headers(
    response: &mut Response<ResponseBody>,
    values: RateLimitHeaders,
    sends_retry_after: bool,
) {
    let is_limited = response.status() == StatusCode::TOO_MANY_REQUESTS;
    let headers = response.headers_mut();
    headers.insert("x-ratelimit-limit", values.limit.into());
    headers.insert("x-ratelimit-remaining", values.remaining.into());
    headers.insert("x-ratelimit-reset", values.reset.into());
    if is_limited && sends_retry_after {
        headers.insert(RETRY_AFTER, values.retry_after.into());
    }
}
