//! The listener for Auth0's paths: accepts, speaks TLS if asked to, and closes connections on
//! which a fault orders silence.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::engine::Engine;
use crate::http::Request;
use crate::http::answer::{Answer, Cut};

/// The most connections at a time; further ones wait.
const CONNECTIONS: usize = 4_096;
const MOST_HEADERS: usize = 100;
const LARGEST_HEAD: usize = 64 * 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Left for answers that are under way when the server stops.
const FAREWELL: Duration = Duration::from_secs(2);
/// After a failed accept, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What every connection needs.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) engine: Arc<Engine>,
    pub(crate) tls: Option<TlsAcceptor>,
    /// Bytes of a request's body.
    pub(crate) body_limit: usize,
    /// Turns true when the server is to stop.
    pub(crate) stop: watch::Receiver<bool>,
}

impl Server {
    /// Accepts until told to stop.
    pub(crate) async fn run(mut self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                () = stopped(&mut self.stop) => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let server = self.clone();
                    tokio::spawn(async move {
                        server.connection(stream).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream) {
        // Answers are small and a test waits for each.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "nodelay");
        }
        let Some(acceptor) = self.tls.clone() else {
            return self.serve(stream).await;
        };
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake"),
            Err(_) => tracing::debug!("TLS handshake took too long"),
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { engine, body_limit, mut stop, .. } = self;
        let handler_stop = stop.clone();
        let service = service_fn(move |request| {
            let engine = Arc::clone(&engine);
            answer(engine, request, body_limit, handler_stop.clone())
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(MOST_HEADERS)
            .max_header_size(LARGEST_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopped(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(FAREWELL, connection).await {
                    Ok(ended) => ended,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        }
    }
}

/// Answers in a task of its own: a client that hangs up doesn't undo what it asked for, just as
/// with the real Auth0.
async fn answer(
    engine: Arc<Engine>,
    request: hyper::Request<Incoming>,
    body_limit: usize,
    mut stop: watch::Receiver<bool>,
) -> Answer {
    let (head, body) = request.into_parts();
    let read = Limited::new(body, body_limit).collect();
    let body = match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(body_limit),
        Ok(Err(_)) | Err(_) => return Err(Cut),
    };
    let request = Request { method: head.method, uri: head.uri, headers: head.headers, body };
    let handling = tokio::spawn(async move {
        tokio::select! {
            answer = engine.handle(request) => answer,
            () = stopped(&mut stop) => Err(Cut),
        }
    });
    handling.await.unwrap_or(Err(Cut))
}

/// Resolves when the server is to stop, or when nobody is left who could say so.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone.
    let _ = stop.wait_for(|stop| *stop).await;
}
