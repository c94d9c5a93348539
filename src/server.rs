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
use leader_election::LeaderState;

/// What `/readyz` goes by. A replica that stands by is as ready as the one that leads: its caches
/// are filled, and it can lead at once.
pub enum Readiness {
    /// The operator can't begin because of this.
    Waiting(String),
    /// It has begun.
    Begun {
        /// All watches have told what there is.
        synced: watch::Receiver<bool>,
        /// How this process stands in the election.
        standing: watch::Receiver<LeaderState>,
    },
}

impl Default for Readiness {
    fn default() -> Readiness {
        Readiness::Waiting("the definitions have not been looked at yet".to_owned())
    }
}

impl Readiness {
    /// What is not so yet, or not any more.
    fn lacks(&self) -> Option<String> {
        let (synced, standing) = match self {
            Readiness::Waiting(what) => return Some(what.clone()),
            Readiness::Begun { synced, standing } => (synced, standing),
        };
        if !*synced.borrow() {
            return Some("the watches are not synced yet".to_owned());
        }
        match &*standing.borrow() {
            LeaderState::Leading => None,
            LeaderState::Standby { trouble } => trouble.clone(),
            LeaderState::Lost(loss) => Some(format!("the Lease was lost: {loss}")),
        }
    }
}

/// Something that is served where a listener is bound.
pub struct Server {
    listener: TcpListener,
    router: Router,
}

impl Server {
    /// Serves `/metrics`.
    pub fn metrics(listener: TcpListener, metrics: Arc<Metrics>) -> Server {
        let router = Router::new().route("/metrics", get(encode)).with_state(metrics);
        Server { listener, router }
    }

    /// Serves `/livez`, which is the process itself, and `/readyz`.
    pub fn health(listener: TcpListener, readiness: watch::Receiver<Readiness>) -> Server {
        let router = Router::new()
            .route("/livez", get(async || "ok"))
            .route("/readyz", get(is_ready))
            .with_state(readiness);
        Server { listener, router }
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

async fn is_ready(State(readiness): State<watch::Receiver<Readiness>>) -> (StatusCode, String) {
    let lacks = readiness.borrow().lacks();
    match lacks {
        None => (StatusCode::OK, "ok".to_owned()),
        Some(what) => (StatusCode::SERVICE_UNAVAILABLE, what),
    }
}
