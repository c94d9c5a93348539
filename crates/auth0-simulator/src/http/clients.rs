//! Endpoints below `/api/v2/clients`.

use std::time::SystemTime;

use hyper::StatusCode;
use serde_json::Value;

use super::{
    Outcome, Payload, Request,
    query::{FieldSelection, ListQuery},
};
use crate::{
    audit::AuditKind,
    error::ApiError,
    operation::Operation,
    tenant::{
        Tenant,
        client_fields::Fields,
        management::{Caller, WriteResult},
    },
};

/// Executes one call of the Management API. `client_id` is the decoded one from the path.
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
    let result = id.and_then(|id| execute(tenant, operation, id, &caller, request, now));
    let outcome = result.unwrap_or_else(|error| Outcome::api_error(&error));
    Outcome { token_client_id: Some(caller.client_id), ..outcome }
}

fn execute(
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
            let query = ListQuery::parse(query)?;
            Ok(read_outcome(query.response_body(tenant.list(caller)?)))
        }
        Operation::GetClient => {
            let selection = FieldSelection::parse(query)?;
            Ok(read_outcome(Value::Object(selection.apply(tenant.get(caller, id)?))))
        }
        Operation::CreateClient => {
            let result = tenant.create(caller, json_body(request)?, now)?;
            let created_id = result.body.get("client_id").and_then(Value::as_str).map(Into::into);
            Ok(Outcome { client_id: created_id, ..write_outcome(StatusCode::CREATED, result) })
        }
        Operation::UpdateClient => {
            let result = tenant.update(caller, id, json_body(request)?, now)?;
            Ok(write_outcome(StatusCode::OK, result))
        }
        Operation::RotateSecret => {
            Ok(write_outcome(StatusCode::OK, tenant.rotate(caller, id, now)?))
        }
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

/// Returns the outcome of a GET. Auth0's log has a separate entry kind for reads that return a
/// secret.
fn read_outcome(body: Value) -> Outcome {
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

fn write_outcome(status: StatusCode, result: WriteResult) -> Outcome {
    Outcome {
        effect: result.effect,
        secret_changed: result.secret_changed,
        shows_secret: result.shows_secret,
        ..Outcome::new(status, Payload::Json(result.body), AuditKind::ApiOperation)
    }
}

fn json_body(request: &Request) -> Result<Fields, ApiError> {
    let bytes = request.body.as_ref().map_err(|limit| ApiError::payload_too_large(*limit))?;
    if !request.has_media_type("application/json") {
        return Err(ApiError::unsupported_media_type());
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(ApiError::invalid_body("'Expected type object'")),
        // serde_json's message could quote the body, which can contain a secret.
        Err(_) => Err(ApiError::invalid_body("'The body is not JSON'")),
    }
}
