//! The admin interface: JSON over HTTP on an address of its own, apart from Auth0's paths.
//!
//! Its answers hold secrets; they go to whoever asks and are never logged.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Path, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::clock::rfc3339;
use crate::engine::Engine;
use crate::error::SeedError;
use crate::faults::Fault;
use crate::server::stopped;
use crate::tenant::Tenant;
use crate::tenant::client::{ClientSeed, Sight};

type Shared = State<Arc<Engine>>;

/// Serves until told to stop.
pub(crate) async fn run(
    listener: TcpListener,
    engine: Arc<Engine>,
    mut stop: watch::Receiver<bool>,
) {
    let stopping = async move { stopped(&mut stop).await };
    let served = axum::serve(listener, router(engine)).with_graceful_shutdown(stopping).await;
    if let Err(error) = served {
        tracing::warn!(%error, "the admin interface ended");
    }
}

fn router(engine: Arc<Engine>) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/clients", get(list_clients).post(create_client))
        .route("/clients/{id}", get(get_client).put(put_client).delete(delete_client))
        .route("/clients/{id}/rotate", post(rotate))
        .route("/clients/{id}/accepts", post(accepts))
        .route("/clients/{id}/scopes", put(set_scopes))
        .route("/faults", get(list_faults).post(order_fault).delete(clear_faults))
        .route("/faults/{id}", axum::routing::delete(remove_fault))
        .route("/counters", get(counters))
        .route("/audit", get(audit))
        .route("/values", get(values))
        .fallback(|| async {
            Problem::not_found("the admin interface has /healthz, /clients, /faults, /counters, /audit and /values")
        })
        .with_state(engine)
}

/// A refusal as `{"error": …}`.
struct Problem(StatusCode, String);

impl Problem {
    fn not_found(text: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, text.into())
    }

    fn bad_request(text: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, text.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<SeedError> for Problem {
    fn from(error: SeedError) -> Self {
        match error {
            SeedError::UnknownClient(_) => Self::not_found(error.to_string()),
            _ => Self::bad_request(error.to_string()),
        }
    }
}

/// A JSON body whose refusal is a [`Problem`].
struct Body<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Json::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(Problem(rejection.status(), rejection.body_text())),
        }
    }
}

/// A query whose refusal is a [`Problem`].
struct Query<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(Problem(rejection.status(), rejection.body_text())),
        }
    }
}

async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// A client with everything that is known about it, its secret included.
fn describe(tenant: &Tenant, id: &str, engine: &Engine) -> Option<Value> {
    let client = tenant.clients().get(id)?;
    let settles = client.credential.settles_at(engine.now()).map(rfc3339);
    Some(json!({
        "client_id": id,
        "client_secret": client.credential.current().expose_secret(),
        "secret_changes": client.credential.changes(),
        "propagated_at": settles,
        "grants": client.grants,
        "client": client.view(id, tenant.settings.tenant(), Sight::ALL),
    }))
}

async fn list_clients(State(engine): Shared) -> Json<Value> {
    let state = engine.state();
    let ids = state.tenant.clients().keys();
    let clients: Vec<Value> = ids.filter_map(|id| describe(&state.tenant, id, &engine)).collect();
    Json(json!({ "clients": clients }))
}

async fn get_client(State(engine): Shared, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let state = engine.state();
    let client = describe(&state.tenant, &id, &engine);
    client.map(Json).ok_or_else(|| SeedError::UnknownClient(id).into())
}

fn seed(engine: &Engine, seed: ClientSeed) -> Result<Json<Value>, Problem> {
    let now = engine.now();
    let mut state = engine.state();
    let id = state.tenant.seed(seed, now)?;
    Ok(Json(describe(&state.tenant, &id, engine).unwrap_or_default()))
}

async fn create_client(
    State(engine): Shared,
    Body(client): Body<ClientSeed>,
) -> Result<Json<Value>, Problem> {
    seed(&engine, client)
}

async fn put_client(
    State(engine): Shared,
    Path(id): Path<String>,
    Body(mut client): Body<ClientSeed>,
) -> Result<Json<Value>, Problem> {
    if !client.client_id.is_empty() && client.client_id != id {
        let text = "the client_id of the body is not the one of the path: leave it out";
        return Err(Problem::bad_request(text));
    }
    client.client_id = id;
    seed(&engine, client)
}

async fn delete_client(
    State(engine): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    if engine.state().tenant.remove(&id) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(SeedError::UnknownClient(id).into())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    #[serde(default)]
    client_secret: Option<SecretString>,
}

/// The body may be left out: then a value is generated.
async fn rotate(
    State(engine): Shared,
    Path(id): Path<String>,
    body: axum::body::Bytes,
) -> Result<Json<Value>, Problem> {
    let value = if body.is_empty() {
        None
    } else {
        // serde_json's message could quote the value.
        let wanted: Rotate = serde_json::from_slice(&body).map_err(|_| {
            Problem::bad_request("the body is empty or {\"client_secret\": \"the new value\"}")
        })?;
        wanted.client_secret
    };
    engine.dashboard_change(&id, value)?;
    let state = engine.state();
    Ok(Json(describe(&state.tenant, &id, &engine).unwrap_or_default()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepts {
    client_secret: SecretString,
}

async fn accepts(
    State(engine): Shared,
    Path(id): Path<String>,
    Body(asked): Body<Accepts>,
) -> Json<Value> {
    let now = engine.now();
    let accepted = engine.state().tenant.accepts(&id, asked.client_secret.expose_secret(), now);
    Json(json!({ "accepted": accepted }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewScopes {
    scopes: Vec<String>,
}

async fn set_scopes(
    State(engine): Shared,
    Path(id): Path<String>,
    Body(new): Body<NewScopes>,
) -> Result<StatusCode, Problem> {
    engine.state().tenant.set_scopes(&id, new.scopes)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list_faults(State(engine): Shared) -> Json<Value> {
    Json(json!({ "faults": engine.state().faults.list() }))
}

async fn order_fault(
    State(engine): Shared,
    Body(fault): Body<Fault>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let id = engine.state().faults.order(fault).map_err(Problem::bad_request)?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))))
}

async fn clear_faults(State(engine): Shared) -> StatusCode {
    engine.state().faults.clear();
    StatusCode::NO_CONTENT
}

async fn remove_fault(State(engine): Shared, Path(id): Path<u64>) -> Result<StatusCode, Problem> {
    if engine.state().faults.remove(id) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found(format!("no fault has the number {id}")))
    }
}

async fn counters(State(engine): Shared) -> Response {
    let counters = engine.state().counters.clone();
    Json(counters).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    #[serde(default)]
    since: u64,
}

async fn audit(State(engine): Shared, Query(from): Query<Since>) -> Json<Value> {
    let state = engine.state();
    let entries: Vec<_> = state.audit.since(from.since).collect();
    Json(json!({ "last": state.audit.last(), "entries": entries }))
}

async fn values(State(engine): Shared) -> Json<Value> {
    let all = engine.state().tenant.values().all();
    let exposed = |values: &[SecretString]| -> Vec<String> {
        values.iter().map(|value| value.expose_secret().to_string()).collect()
    };
    Json(json!({
        "secrets": exposed(&all.secrets),
        "tokens": exposed(&all.tokens),
        "forgotten": all.forgotten,
    }))
}
