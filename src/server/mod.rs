//! HTTP servers of the operator: `/metrics`, `/livez` and `/readyz`.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use leader_election::LeaderState;
use tokio::{net::TcpListener, sync::watch};

use crate::metrics::Metrics;

/// Readiness of this process, as `/readyz` reports it.
///
/// A standby is as ready as the leader: its watch caches are synced, and it can lead at once.
pub enum Readiness {
    /// The operator waits, for this reason, before it can start.
    Waiting(String),
    /// The operator has started.
    Started {
        /// True once all watches have completed their initial list.
        watches_synced: watch::Receiver<bool>,
        /// State of this process in the election.
        leader_state: watch::Receiver<LeaderState>,
    },
}

impl Default for Readiness {
    fn default() -> Self {
        Self::Waiting("the CRDs have not been checked yet".to_owned())
    }
}

impl Readiness {
    /// Returns why the process is not ready, or `None` if it is.
    fn problem(&self) -> Option<String> {
        let (watches_synced, leader_state) = match self {
            Self::Waiting(reason) => return Some(reason.clone()),
            Self::Started { watches_synced, leader_state } => (watches_synced, leader_state),
        };
        if !*watches_synced.borrow() {
            return Some("the watches are not synced yet".to_owned());
        }
        match &*leader_state.borrow() {
            LeaderState::Leader => None,
            LeaderState::Standby { problem } => problem.clone(),
            LeaderState::Lost(reason) => Some(format!("lost leadership: {reason}")),
        }
    }
}

/// An HTTP server on a bound address.
pub struct Server {
    listener: TcpListener,
    router: Router,
}

impl Server {
    /// Creates the server of `/metrics`.
    pub fn metrics(listener: TcpListener, metrics: Arc<Metrics>) -> Self {
        let router = Router::new().route("/metrics", get(encode_metrics)).with_state(metrics);
        Self { listener, router }
    }

    /// Creates the server of `/livez`, which succeeds while the process runs, and `/readyz`.
    pub fn health(listener: TcpListener, readiness: watch::Receiver<Readiness>) -> Self {
        let router = Router::new()
            .route("/livez", get(async || "ok"))
            .route("/readyz", get(report_readiness))
            .with_state(readiness);
        Self { listener, router }
    }

    /// Returns the bound address.
    ///
    /// # Errors
    ///
    /// When the operating system doesn't report it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the process exits.
    pub async fn run(self) {
        if let Err(error) = axum::serve(self.listener, self.router).await {
            tracing::error!(%error, "an HTTP server ended");
        }
    }
}

async fn encode_metrics(State(metrics): State<Arc<Metrics>>) -> Response {
    // Takes several milliseconds with many resources, which must not delay other tasks.
    match tokio::task::spawn_blocking(move || metrics.encode()).await {
        Ok(Ok(text)) => {
            ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn report_readiness(
    State(readiness): State<watch::Receiver<Readiness>>,
) -> (StatusCode, String) {
    let problem = readiness.borrow().problem();
    match problem {
        None => (StatusCode::OK, "ok".to_owned()),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, problem),
    }
}
