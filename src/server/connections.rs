//! Connections within limits, so that a client that is slow or opens many can't exhaust memory or
//! keep others out.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::OwnedSemaphorePermit,
    time::{sleep, timeout},
};

use super::tls::Tls;

/// Most open connections of a server.
const MAX_CONNECTIONS: usize = 64;
/// Most open connections of one address.
const MAX_CONNECTIONS_PER_ADDRESS: usize = 8;
/// Time for the TLS handshake, and again for the headers of the request.
const HEADER_DEADLINE: Duration = Duration::from_secs(5);
/// Time for a whole connection, which has one request and one response.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(30);
/// Most bytes of the headers of a request. The API server's tokens have less than 4 KiB.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Most headers of a request.
const MAX_HEADERS: usize = 64;
/// Wait after an error such as too many open files.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// Permit that a handler holds until its response is sent, even to a slow client.
#[derive(Clone, Default)]
pub(super) struct HeldPermit(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl HeldPermit {
    pub(super) fn hold(&self, permit: OwnedSemaphorePermit) {
        *self.0.lock() = Some(permit);
    }
}

/// Serves connections until the process exits.
pub(super) async fn serve(listener: TcpListener, router: Router, tls: Option<Tls>) {
    let open = Arc::new(OpenConnections::default());
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        // Without a slot, the connection is closed at once.
        let Some(slot) = open.admit(peer.ip().to_canonical()) else { continue };
        let acceptor = tls.as_ref().map(Tls::acceptor);
        let router = router.clone();
        tokio::spawn(async move {
            let connection = handle(stream, acceptor, router);
            // Errors are the client's.
            let _ = timeout(CONNECTION_DEADLINE, connection).await;
            drop(slot);
        });
    }
}

async fn handle(stream: TcpStream, acceptor: Option<tokio_rustls::TlsAcceptor>, router: Router) {
    let Some(acceptor) = acceptor else { return respond(stream, router).await };
    if let Ok(Ok(stream)) = timeout(HEADER_DEADLINE, acceptor.accept(stream)).await {
        respond(stream, router).await;
    }
}

/// Answers one request.
async fn respond(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, router: Router) {
    let held = HeldPermit::default();
    let router = router.layer(Extension(held.clone()));
    let connection = http1::Builder::new()
        // An idle connection would occupy a slot.
        .keep_alive(false)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let _ = connection.await;
    drop(held);
}

/// The number of open connections by address.
#[derive(Default)]
struct OpenConnections(Mutex<HashMap<IpAddr, usize>>);

/// One of the open connections.
struct Slot {
    open: Arc<OpenConnections>,
    address: IpAddr,
}

impl OpenConnections {
    fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        let mut counts = self.0.lock();
        let total: usize = counts.values().sum();
        let of_address = counts.get(&address).copied().unwrap_or_default();
        if total >= MAX_CONNECTIONS || of_address >= MAX_CONNECTIONS_PER_ADDRESS {
            return None;
        }
        counts.insert(address, of_address + 1);
        Some(Slot { open: Arc::clone(self), address })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.open.0.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_the_slots_of_others() {
        let open = Arc::new(OpenConnections::default());
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let mut slots: Vec<Slot> = (0..20).filter_map(|_| open.admit(address(1))).collect();
        assert_eq!(slots.len(), MAX_CONNECTIONS_PER_ADDRESS);
        slots.extend((2..100).filter_map(|last| open.admit(address(last))));
        assert_eq!(slots.len(), MAX_CONNECTIONS);
        slots.clear();
        assert!(open.0.lock().is_empty());
        assert!(open.admit(address(1)).is_some());
    }
}
