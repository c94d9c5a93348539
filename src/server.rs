//! The HTTP side of the operator: `/metrics`, `/livez` and `/readyz`.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, sync::watch};

use crate::metrics::Metrics;

/// A listener that is bound, so that a port that is taken is known at the start.
pub struct Server {
    listener: TcpListener,
    router: Router,
}

impl Server {
    /// Serves `/metrics`.
    ///
    /// # Errors
    /// When the address can't be bound.
    pub async fn metrics(address: SocketAddr, metrics: Arc<Metrics>) -> io::Result<Server> {
        let router = Router::new().route("/metrics", get(encode)).with_state(metrics);
        Ok(Server { listener: TcpListener::bind(address).await?, router })
    }

    /// Serves `/livez`, which is the process itself, and `/readyz`, which follows `ready`.
    ///
    /// # Errors
    /// When the address can't be bound.
    pub async fn health(address: SocketAddr, ready: watch::Receiver<bool>) -> io::Result<Server> {
        let router = Router::new()
            .route("/livez", get(async || "ok"))
            .route("/readyz", get(is_ready))
            .with_state(ready);
        Ok(Server { listener: TcpListener::bind(address).await?, router })
    }

    /// The address that is bound.
    ///
    /// # Errors
    /// When the operating system doesn't tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the process ends.
    pub async fn run(self) {
        if let Err(error) = axum::serve(self.listener, self.router).await {
            tracing::error!(%error, "an HTTP server ended");
        }
    }
}

async fn encode(State(metrics): State<Arc<Metrics>>) -> Response {
    // With many resources it takes some milliseconds, in which nothing else is to wait.
    match tokio::task::spawn_blocking(move || metrics.encode()).await {
        Ok(Ok(text)) => {
            ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn is_ready(State(ready): State<watch::Receiver<bool>>) -> (StatusCode, &'static str) {
    if *ready.borrow() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the watches are not synced yet")
    }
}
