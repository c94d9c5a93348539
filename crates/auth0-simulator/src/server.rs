//! Listener for Auth0's paths: accepts connections, terminates TLS if configured, and closes a
//! connection without a response if a fault says so.

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    http::{
        Request,
        response::{ConnectionCut, ResponseResult},
    },
    request_handler::handle,
    shared_state::SharedState,
};

/// Maximum number of concurrent connections. Further ones wait in the accept queue.
const MAX_CONNECTIONS: usize = 4_096;
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 64 * 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that responses in progress have to complete when the server stops.
const SHUTDOWN_GRACE_PERIOD: Duration = Duration::from_secs(2);
/// Wait after a failed accept, which usually means that no file descriptor is left.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Server for Auth0's paths. Each connection gets a clone.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) shared: Arc<SharedState>,
    pub(crate) tls: Option<TlsAcceptor>,
    /// Maximum size of a request body in bytes.
    pub(crate) body_limit: usize,
    /// Becomes true when the server must stop.
    pub(crate) stop: watch::Receiver<bool>,
}

impl Server {
    /// Accepts connections until the server must stop.
    pub(crate) async fn run(mut self, listener: TcpListener) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                () = shutdown_requested(&mut self.stop) => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let server = self.clone();
                    tokio::spawn(async move {
                        server.handle_connection(stream).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    async fn handle_connection(self, stream: TcpStream) {
        // Responses are small, and tests wait for each of them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "failed to set TCP_NODELAY");
        }
        let Some(acceptor) = self.tls.clone() else {
            return self.serve(stream).await;
        };
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake timed out"),
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { shared, body_limit, mut stop, .. } = self;
        let handler_stop = stop.clone();
        let service = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            respond(shared, request, body_limit, handler_stop.clone())
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = shutdown_requested(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(SHUTDOWN_GRACE_PERIOD, connection).await {
                    Ok(ended) => ended,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection closed with an error");
        }
    }
}

/// Handles a request in a separate task, so that it takes effect even if the client disconnects,
/// as with the real Auth0.
async fn respond(
    shared: Arc<SharedState>,
    request: hyper::Request<Incoming>,
    body_limit: usize,
    mut stop: watch::Receiver<bool>,
) -> ResponseResult {
    let (head, body) = request.into_parts();
    let read = Limited::new(body, body_limit).collect();
    let body = match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(body_limit),
        Ok(Err(_)) | Err(_) => return Err(ConnectionCut),
    };
    let request = Request { method: head.method, uri: head.uri, headers: head.headers, body };
    let handling = tokio::spawn(async move {
        tokio::select! {
            response = handle(&shared, request) => response,
            () = shutdown_requested(&mut stop) => Err(ConnectionCut),
        }
    });
    handling.await.unwrap_or(Err(ConnectionCut))
}

/// Resolves when the server must stop or when the sender was dropped.
pub(crate) async fn shutdown_requested(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender was dropped.
    let _ = stop.wait_for(|stop| *stop).await;
}
