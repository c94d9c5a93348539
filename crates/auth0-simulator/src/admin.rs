//! Admin interface: JSON over HTTP on its own address, separate from Auth0's paths.
//!
//! Its responses contain secrets. It has no authentication and never logs a response.

use std::{sync::Arc, time::SystemTime};

use axum::{
    Json, Router,
    extract::{FromRequest, FromRequestParts, Path, Request, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    client_rate_limit::ClientRateLimit,
    clock::rfc3339,
    error::SeedError,
    faults::Fault,
    server::shutdown_requested,
    shared_state::SharedState,
    tenant::{
        Tenant,
        client::{ClientSeed, Visibility},
    },
};

type Shared = State<Arc<SharedState>>;

/// Serves requests until the simulator must stop.
pub(crate) async fn run(
    listener: TcpListener,
    shared: Arc<SharedState>,
    mut stop: watch::Receiver<bool>,
) {
    let shutdown = async move { shutdown_requested(&mut stop).await };
    let served = axum::serve(listener, router(shared)).with_graceful_shutdown(shutdown).await;
    if let Err(error) = served {
        tracing::warn!(%error, "the admin interface failed");
    }
}

fn router(shared: Arc<SharedState>) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/clients", get(list_clients).post(create_client))
        .route("/clients/{id}", get(get_client).put(put_client).delete(delete_client))
        .route("/clients/{id}/rotate", post(rotate))
        .route("/clients/{id}/accepts", post(accepts))
        .route("/clients/{id}/scopes", put(set_scopes))
        .route("/clients/{id}/rate-limit", put(set_rate_limit).delete(remove_rate_limit))
        .route("/faults", get(list_faults).post(inject_fault).delete(clear_faults))
        .route("/faults/{id}", axum::routing::delete(remove_fault))
        .route("/counters", get(counters))
        .route("/audit", get(audit))
        .route("/values", get(values))
        .fallback(|| async {
            AdminError::not_found(
                "unknown path: the admin interface serves /healthz, /clients, /faults, /counters, \
                 /audit and /values",
            )
        })
        .with_state(shared)
}

/// Error response with the body `{"error": "…"}`.
struct AdminError {
    status: StatusCode,
    message: String,
}

impl AdminError {
    fn not_found(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, message: message.into() }
    }

    fn bad_request(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into() }
    }
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.message }))).into_response()
    }
}

impl From<SeedError> for AdminError {
    fn from(error: SeedError) -> Self {
        match error {
            SeedError::UnknownClient(_) => Self::not_found(error.to_string()),
            _ => Self::bad_request(error.to_string()),
        }
    }
}

/// A JSON body whose rejection is an [`AdminError`].
struct JsonBody<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = AdminError;

    async fn from_request(request: Request, state: &S) -> Result<Self, AdminError> {
        match Json::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(rejection) => {
                Err(AdminError { status: rejection.status(), message: rejection.body_text() })
            }
        }
    }
}

/// Query parameters whose rejection is an [`AdminError`].
struct Query<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = AdminError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AdminError> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                Err(AdminError { status: rejection.status(), message: rejection.body_text() })
            }
        }
    }
}

async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Describes a client completely, including its secret.
fn describe(tenant: &Tenant, id: &str, now: SystemTime) -> Option<Value> {
    let client = tenant.clients().get(id)?;
    let propagated_at = client.secret.propagated_at(now).map(rfc3339);
    Some(json!({
        "client_id": id,
        "client_secret": client.secret.current().expose_secret(),
        "secret_changes": client.secret.changes(),
        "propagated_at": propagated_at,
        "grants": client.grants,
        "client": client.view(id, tenant.settings.tenant_name(), Visibility::ALL),
    }))
}

async fn list_clients(State(shared): Shared) -> Json<Value> {
    let state = shared.lock();
    let ids = state.tenant.clients().keys();
    let clients: Vec<Value> =
        ids.filter_map(|id| describe(&state.tenant, id, shared.now())).collect();
    Json(json!({ "clients": clients }))
}

async fn get_client(
    State(shared): Shared,
    Path(id): Path<String>,
) -> Result<Json<Value>, AdminError> {
    let state = shared.lock();
    let client = describe(&state.tenant, &id, shared.now());
    client.map(Json).ok_or_else(|| SeedError::UnknownClient(id).into())
}

fn seed(shared: &SharedState, seed: ClientSeed) -> Result<Json<Value>, AdminError> {
    let now = shared.now();
    let mut state = shared.lock();
    let id = state.tenant.seed(seed, now)?;
    Ok(Json(describe(&state.tenant, &id, now).unwrap_or_default()))
}

async fn create_client(
    State(shared): Shared,
    JsonBody(client): JsonBody<ClientSeed>,
) -> Result<Json<Value>, AdminError> {
    seed(&shared, client)
}

async fn put_client(
    State(shared): Shared,
    Path(id): Path<String>,
    JsonBody(mut client): JsonBody<ClientSeed>,
) -> Result<Json<Value>, AdminError> {
    if !client.client_id.is_empty() && client.client_id != id {
        let message = "client_id in the body differs from the path: omit it in the body";
        return Err(AdminError::bad_request(message));
    }
    client.client_id = id;
    seed(&shared, client)
}

async fn delete_client(
    State(shared): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, AdminError> {
    if shared.lock().tenant.remove(&id) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(SeedError::UnknownClient(id).into())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateBody {
    #[serde(default)]
    client_secret: Option<SecretString>,
}

/// Rotates a secret as a user of the dashboard would. An empty body generates the value.
async fn rotate(
    State(shared): Shared,
    Path(id): Path<String>,
    body: axum::body::Bytes,
) -> Result<Json<Value>, AdminError> {
    let value = if body.is_empty() {
        None
    } else {
        // serde_json's message could quote the value.
        let body: RotateBody = serde_json::from_slice(&body).map_err(|_| {
            AdminError::bad_request(
                "invalid body: send an empty body, or {\"client_secret\": \"the new value\"}",
            )
        })?;
        body.client_secret
    };
    shared.dashboard_change(&id, value)?;
    let state = shared.lock();
    Ok(Json(describe(&state.tenant, &id, shared.now()).unwrap_or_default()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AcceptsBody {
    client_secret: SecretString,
}

async fn accepts(
    State(shared): Shared,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<AcceptsBody>,
) -> Json<Value> {
    let now = shared.now();
    let accepted = shared.lock().tenant.accepts(&id, body.client_secret.expose_secret(), now);
    Json(json!({ "accepted": accepted }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopesBody {
    scopes: Vec<String>,
}

async fn set_scopes(
    State(shared): Shared,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<ScopesBody>,
) -> Result<StatusCode, AdminError> {
    shared.lock().tenant.set_scopes(&id, body.scopes)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set_rate_limit(
    State(shared): Shared,
    Path(id): Path<String>,
    JsonBody(limit): JsonBody<ClientRateLimit>,
) -> Result<StatusCode, AdminError> {
    let set = shared.lock().client_rate_limiters.set(&id, Some(limit));
    set.map_err(AdminError::bad_request)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_rate_limit(
    State(shared): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, AdminError> {
    shared.lock().client_rate_limiters.set(&id, None).map_err(AdminError::bad_request)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list_faults(State(shared): Shared) -> Json<Value> {
    Json(json!({ "faults": shared.lock().faults.list() }))
}

async fn inject_fault(
    State(shared): Shared,
    JsonBody(fault): JsonBody<Fault>,
) -> Result<(StatusCode, Json<Value>), AdminError> {
    let id = shared.lock().faults.inject(fault).map_err(AdminError::bad_request)?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))))
}

async fn clear_faults(State(shared): Shared) -> StatusCode {
    shared.lock().faults.clear();
    StatusCode::NO_CONTENT
}

async fn remove_fault(
    State(shared): Shared,
    Path(id): Path<u64>,
) -> Result<StatusCode, AdminError> {
    if shared.lock().faults.remove(id) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(AdminError::not_found(format!(
            "unknown fault number {id}: GET /faults lists the faults"
        )))
    }
}

async fn counters(State(shared): Shared) -> Response {
    let counters = shared.lock().counters.clone();
    Json(counters).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditQuery {
    #[serde(default)]
    since: u64,
}

async fn audit(State(shared): Shared, Query(query): Query<AuditQuery>) -> Json<Value> {
    let state = shared.lock();
    let entries: Vec<_> = state.audit.since(query.since).collect();
    Json(json!({ "last": state.audit.last_seq(), "entries": entries }))
}

async fn values(State(shared): Shared) -> Json<Value> {
    let history = shared.lock().tenant.values().snapshot();
    Json(json!({
        "secrets": expose(&history.secrets),
        "tokens": expose(&history.tokens),
        "evicted": history.evicted,
    }))
}

fn expose(values: &[SecretString]) -> Vec<&str> {
    values.iter().map(ExposeSecret::expose_secret).collect()
}
