//! HTTP servers of the operator: `/metrics`, `/livez` and `/readyz`.

mod access;
mod connections;
mod tls;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

pub use access::MetricsAccess;
use axum::{
    Extension, Router,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_TYPE, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use connections::HeldPermit;
use leader_election::LeaderState;
pub use tls::{CertificateFiles, Tls, TlsError};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    time::timeout,
};

use crate::metrics::Metrics;

/// Most responses of `/metrics` in memory, which slow clients can keep there for a while.
const MAX_RESPONSES: usize = 4;
/// How long a request waits for the responses before it.
const QUEUE_DEADLINE: Duration = Duration::from_secs(5);

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
        /// Why the installed CRDs can't be used anymore, if they can't.
        crd_problem: watch::Receiver<Option<String>>,
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
        let (watches_synced, crd_problem, leader_state) = match self {
            Self::Waiting(reason) => return Some(reason.clone()),
            Self::Started { watches_synced, crd_problem, leader_state } => {
                (watches_synced, crd_problem, leader_state)
            }
        };
        if !*watches_synced.borrow() {
            return Some("the watches are not synced yet".to_owned());
        }
        if let Some(problem) = &*crd_problem.borrow() {
            return Some(problem.clone());
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
    tls: Option<Tls>,
}

/// State of `/metrics`.
struct MetricsEndpoint {
    metrics: Arc<Metrics>,
    /// The check of readers; everyone may read when absent.
    access: Option<MetricsAccess>,
    responses: Arc<Semaphore>,
    /// One encoding at a time.
    encoding: Semaphore,
}

impl Server {
    /// Creates the server of `/metrics`.
    pub fn metrics(
        listener: TcpListener,
        metrics: Arc<Metrics>,
        access: Option<MetricsAccess>,
        tls: Option<Tls>,
    ) -> Self {
        let endpoint = MetricsEndpoint {
            metrics,
            access,
            responses: Arc::new(Semaphore::new(MAX_RESPONSES)),
            encoding: Semaphore::new(1),
        };
        let router =
            Router::new().route("/metrics", get(respond_metrics)).with_state(Arc::new(endpoint));
        Self { listener, router, tls }
    }

    /// Creates the server of `/livez`, which succeeds while the process runs, and `/readyz`.
    pub fn health(listener: TcpListener, readiness: watch::Receiver<Readiness>) -> Self {
        let router = Router::new()
            .route("/livez", get(async || "ok"))
            .route("/readyz", get(report_readiness))
            .with_state(readiness);
        Self { listener, router, tls: None }
    }

    /// Returns the bound address.
    ///
    /// # Errors
    ///
    /// When the operating system doesn't report it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Serves until the process exits.
    pub async fn run(self) {
        connections::serve(self.listener, self.router, self.tls).await;
    }
}

async fn respond_metrics(
    State(endpoint): State<Arc<MetricsEndpoint>>,
    Extension(held): Extension<HeldPermit>,
    headers: HeaderMap,
) -> Response {
    if let Some(access) = &endpoint.access
        && let Err(status) = access.check(&headers).await
    {
        return if status == StatusCode::UNAUTHORIZED {
            (status, [(WWW_AUTHENTICATE, "Bearer")]).into_response()
        } else {
            status.into_response()
        };
    }
    let responses = Arc::clone(&endpoint.responses);
    let queue = async {
        let response = responses.acquire_owned().await.ok()?;
        let encoding = endpoint.encoding.acquire().await.ok()?;
        Some((response, encoding))
    };
    let Ok(Some((response, encoding))) = timeout(QUEUE_DEADLINE, queue).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    held.hold(response);
    let metrics = Arc::clone(&endpoint.metrics);
    // Takes several milliseconds with many resources, which must not delay other tasks.
    let encoded = tokio::task::spawn_blocking(move || metrics.encode()).await;
    drop(encoding);
    match encoded {
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
