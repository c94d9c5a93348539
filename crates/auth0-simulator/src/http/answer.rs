//! What is sent of an outcome once the faults have had their say.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::{Outcome, Payload};
use crate::error::ApiError;
use crate::faults::Action;
use crate::operation::Operation;
use crate::ratelimit::Budget;

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "<!DOCTYPE html>\n<html><head><title>Blocked</title></head>\
                    <body><h1>The request could not be satisfied</h1></body></html>\n";

/// The connection is to be closed without an answer. hyper closes it when it meets this error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fault closes the connection")
    }
}

impl std::error::Error for Cut {}

/// A body that may promise more than it sends.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    data: Option<Bytes>,
    promised: u64,
    /// What was sent is not all: the connection closes after it.
    cut: bool,
    waited: bool,
}

impl AnswerBody {
    fn whole(data: impl Into<Bytes>) -> Self {
        let data = data.into();
        Self { promised: data.len() as u64, data: Some(data), cut: false, waited: false }
    }

    /// Sends all but the last eighth, at least one byte less than promised.
    fn truncated(data: &Bytes) -> Self {
        let kept = data.len() - (data.len() / 8).max(1).min(data.len());
        let promised = data.len().max(1) as u64;
        Self { data: Some(data.slice(..kept)), promised, cut: true, waited: false }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(data) = self.data.take().filter(|data| !data.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if !self.cut {
            return Poll::Ready(None);
        }
        // hyper flushes what it has when a body is not ready, but not when it fails.
        if !self.waited {
            self.waited = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(Cut)))
    }

    fn is_end_stream(&self) -> bool {
        !self.cut && self.data.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(if self.data.is_some() { self.promised } else { 0 })
    }
}

/// The answer to send, or that there is none.
pub(crate) type Answer = Result<Response<AnswerBody>, Cut>;

/// Dresses an outcome for the wire. `None`: a fault struck before the tenant looked at the
/// request.
pub(crate) fn answer(
    operation: Operation,
    outcome: Option<&Outcome>,
    action: Option<&Action>,
    budget: Option<Budget>,
) -> Answer {
    let status = outcome.map_or(StatusCode::OK, |outcome| outcome.status);
    let empty = Payload::Json(Value::Object(Map::new()));
    let payload = outcome.map_or(&empty, |outcome| &outcome.payload);
    let mut response = match action {
        None | Some(Action::ExpiredToken | Action::Delay { .. }) => plain(status, payload),
        Some(Action::Cut { .. }) => return Err(Cut),
        Some(Action::RateLimited { .. }) => too_many_requests(operation),
        Some(Action::InvalidBody) => {
            let error = ApiError::invalid_body("the simulator was told not to take it");
            plain(error.status, &Payload::Json(error.body()))
        }
        Some(Action::Status { status, .. }) => {
            let error = ApiError::server_error(code(*status));
            plain(error.status, &Payload::Json(error.body()))
        }
        Some(Action::Html { status, .. }) => {
            make(code(*status), "text/html; charset=utf-8", AnswerBody::whole(HTML))
        }
        Some(Action::EmptyBody { .. }) => make(status, JSON, AnswerBody::whole("")),
        Some(Action::MalformedJson { .. }) => {
            let mut text = text_of(payload);
            text.pop();
            make(status, JSON, AnswerBody::whole(text + ",,}"))
        }
        Some(Action::TruncatedJson { .. }) => {
            make(status, JSON, AnswerBody::truncated(&Bytes::from(text_of(payload))))
        }
        Some(Action::Oversized { bytes }) => plain(status, &padded(payload, *bytes)),
        Some(Action::SecretMissing) => {
            plain(status, &each_client(payload, |fields| drop(fields.remove("client_secret"))))
        }
        Some(Action::SecretEmpty) => plain(
            status,
            &each_client(payload, |fields| {
                if let Some(value) = fields.get_mut("client_secret") {
                    *value = "".into();
                }
            }),
        ),
    };
    if let Some(budget) = budget {
        add_budget(&mut response, budget, action);
    }
    Ok(response)
}

/// Valid JSON that is larger by so many bytes.
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

/// Changes the client that the payload is, or each of the clients in a list.
fn each_client(payload: &Payload, change: impl Fn(&mut Map<String, Value>)) -> Payload {
    let Payload::Json(value) = payload else {
        return Payload::Empty;
    };
    let mut value = value.clone();
    let clients = match value.get("clients") {
        Some(_) => &mut value["clients"],
        None => &mut value,
    };
    match clients {
        Value::Object(fields) => change(fields),
        Value::Array(items) => {
            items.iter_mut().filter_map(Value::as_object_mut).for_each(change);
        }
        _ => {}
    }
    Payload::Json(value)
}

fn code(status: u16) -> StatusCode {
    // Checked when the fault was ordered.
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn text_of(payload: &Payload) -> String {
    match payload {
        Payload::Json(value) => value.to_string(),
        Payload::Empty => String::new(),
    }
}

fn plain(status: StatusCode, payload: &Payload) -> Response<AnswerBody> {
    match payload {
        Payload::Json(_) => make(status, JSON, AnswerBody::whole(text_of(payload))),
        Payload::Empty => {
            let mut response = Response::new(AnswerBody::whole(""));
            *response.status_mut() = status;
            response
        }
    }
}

/// Each of Auth0's two APIs says it in its own shape.
fn too_many_requests(operation: Operation) -> Response<AnswerBody> {
    let error = ApiError::too_many_requests();
    let body = match operation {
        Operation::Token | Operation::Revoke => json!({
            "error": "too_many_requests",
            "error_description": "Rate limit exceeded. Please retry after some time.",
        }),
        _ => error.body(),
    };
    plain(error.status, &Payload::Json(body))
}

fn make(status: StatusCode, media_type: &'static str, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn add_budget(response: &mut Response<AnswerBody>, budget: Budget, action: Option<&Action>) {
    let refused = response.status() == StatusCode::TOO_MANY_REQUESTS;
    let headers = response.headers_mut();
    headers.insert("x-ratelimit-limit", budget.limit.into());
    headers.insert("x-ratelimit-remaining", budget.remaining.into());
    headers.insert("x-ratelimit-reset", budget.reset.into());
    let silent = matches!(action, Some(Action::RateLimited { retry_after: false, .. }));
    if refused && !silent {
        headers.insert(RETRY_AFTER, budget.retry_after.into());
    }
}
