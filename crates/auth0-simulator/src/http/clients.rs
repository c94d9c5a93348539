//! `/api/v2/clients`.

use std::time::SystemTime;

use hyper::StatusCode;
use serde_json::Value;

use super::paging::{ListQuery, Selection};
use super::{Outcome, Payload, Request};
use crate::audit::AuditKind;
use crate::error::ApiError;
use crate::operation::Operation;
use crate::tenant::Tenant;
use crate::tenant::fields::Fields;
use crate::tenant::manage::{Caller, Done};

/// Answers one call of the Management API. `client_id` is the decoded one of the path.
pub(crate) fn call(
    tenant: &mut Tenant,
    operation: Operation,
    client_id: Option<&Result<String, ApiError>>,
    request: &Request,
    now: SystemTime,
) -> Outcome {
    let caller = match tenant.caller(request.bearer(), now) {
        Ok(caller) => caller,
        Err(error) => return Outcome::api_error(&error),
    };
    let id = match client_id {
        Some(Ok(id)) => Ok(id.as_str()),
        Some(Err(error)) => Err(error.clone()),
        None => Ok(""),
    };
    let done = id.and_then(|id| perform(tenant, operation, id, &caller, request, now));
    let outcome = done.unwrap_or_else(|error| Outcome::api_error(&error));
    Outcome { token_client_id: Some(caller.client_id), ..outcome }
}

fn perform(
    tenant: &mut Tenant,
    operation: Operation,
    id: &str,
    caller: &Caller,
    request: &Request,
    now: SystemTime,
) -> Result<Outcome, ApiError> {
    let query = request.uri.query();
    match operation {
        Operation::ListClients => {
            let query = ListQuery::read(query)?;
            Ok(read(query.answer(tenant.list(caller)?)))
        }
        Operation::GetClient => {
            let selection = Selection::read(query)?;
            Ok(read(Value::Object(selection.apply(tenant.get(caller, id)?))))
        }
        Operation::CreateClient => {
            let done = tenant.create(caller, body(request)?, now)?;
            let created = done.body.get("client_id").and_then(Value::as_str).map(Into::into);
            Ok(Outcome { client_id: created, ..written(StatusCode::CREATED, done) })
        }
        Operation::UpdateClient => {
            let done = tenant.update(caller, id, body(request)?, now)?;
            Ok(written(StatusCode::OK, done))
        }
        Operation::RotateSecret => Ok(written(StatusCode::OK, tenant.rotate(caller, id, now)?)),
        Operation::DeleteClient => {
            let effect = tenant.delete(caller, id)?;
            let kind = AuditKind::ApiOperation;
            Ok(Outcome { effect, ..Outcome::new(StatusCode::NO_CONTENT, Payload::Empty, kind) })
        }
        Operation::Token | Operation::Revoke | Operation::Unknown | Operation::Dashboard => {
            Err(ApiError::not_found())
        }
    }
}

/// The answer to a GET. One that shows a secret leaves an entry of its own kind in Auth0's log.
fn read(body: Value) -> Outcome {
    let clients = body.get("clients").unwrap_or(&body);
    let shows_secret = match clients {
        Value::Array(clients) => clients.iter().any(has_secret),
        client => has_secret(client),
    };
    let kind = if shows_secret { AuditKind::MgmtApiRead } else { AuditKind::ApiOperation };
    Outcome { shows_secret, ..Outcome::new(StatusCode::OK, Payload::Json(body), kind) }
}

fn has_secret(client: &Value) -> bool {
    client.get("client_secret").is_some()
}

fn written(status: StatusCode, done: Done) -> Outcome {
    Outcome {
        effect: done.effect,
        secret_changed: done.secret_changed,
        shows_secret: done.shows_secret,
        ..Outcome::new(status, Payload::Json(done.body), AuditKind::ApiOperation)
    }
}

fn body(request: &Request) -> Result<Fields, ApiError> {
    let bytes = request.body.as_ref().map_err(|limit| ApiError::payload_too_large(*limit))?;
    if !request.has_type("application/json") {
        return Err(ApiError::unsupported_media_type());
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(ApiError::invalid_body("'Expected type object'")),
        // serde_json's message could quote the body, which may hold a secret.
        Err(_) => Err(ApiError::invalid_body("'The body is not JSON'")),
    }
}
