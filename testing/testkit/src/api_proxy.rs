//! Several API servers, of which some have a wrong clock or are overloaded: a proxy that changes the
//! `Date` of responses and rejects requests.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, Result};
use chrono::{DateTime, TimeDelta};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONNECTION, DATE, HOST},
};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kube::{Client, client::Body};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Format of a `Date` (RFC 9110, section 5.6.7).
const DATE_FORMAT: &str = "%a, %d %b %Y %H:%M:%S GMT";

/// Proxy in front of an API server that looks like several API servers, each with a clock of its own.
/// Each connection belongs to one of them, in turn.
///
/// It accepts plain HTTP, and sends the requests as one user. It ends when it is dropped.
#[derive(Debug)]
pub struct ApiProxy {
    port: u16,
    behavior: Arc<Behavior>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Behavior {
    /// How far the clock of each API server is ahead.
    offsets: Mutex<Vec<TimeDelta>>,
    /// One write of so many is rejected; 0 for none.
    rejected: AtomicU32,
    writes: AtomicU32,
}

impl Behavior {
    fn is_rejected(&self, method: &Method) -> bool {
        let one_of = self.rejected.load(Ordering::Relaxed);
        if one_of == 0 || method == Method::GET {
            return false;
        }
        self.writes.fetch_add(1, Ordering::Relaxed).is_multiple_of(one_of)
    }
}

impl ApiProxy {
    /// Starts a proxy that looks like `servers` API servers. Its requests are those of the user of
    /// `config`.
    pub async fn start(mut config: kube::Config, servers: usize) -> Result<Self> {
        config.default_retry = false;
        // A watch may be silent for a long time.
        config.read_timeout = None;
        let client = Client::try_from(config)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let behavior = Arc::new(Behavior {
            offsets: Mutex::new(vec![TimeDelta::zero(); servers]),
            rejected: AtomicU32::new(0),
            writes: AtomicU32::new(0),
        });
        let task = tokio::spawn(accept(listener, client, behavior.clone()));
        Ok(Self { port, behavior, task })
    }

    /// Sets how far the clock of an API server is ahead, from its next response on.
    pub fn set_clock_offset(&self, server: usize, offset: TimeDelta) {
        self.behavior.offsets.lock()[server] = offset;
    }

    /// Sets how far the clocks of all API servers are ahead, from the next response on.
    pub fn set_clock_offsets(&self, offset: TimeDelta) {
        self.behavior.offsets.lock().fill(offset);
    }

    /// Rejects one write of so many with 429, as an API server with too many requests; 0 rejects none.
    pub fn reject_one_write_of(&self, writes: u32) {
        self.behavior.rejected.store(writes, Ordering::Relaxed);
    }

    /// Writes a kubeconfig for the proxy into a directory, and returns its path.
    pub fn write_kubeconfig(&self, dir: &Path) -> Result<PathBuf> {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config",
            "clusters": [{
                "name": "proxy",
                "cluster": { "server": format!("http://127.0.0.1:{}", self.port) },
            }],
            "users": [{ "name": "proxy", "user": {} }],
            "contexts": [{ "name": "proxy", "context": { "cluster": "proxy", "user": "proxy" } }],
            "current-context": "proxy",
        });
        let path = dir.join(format!("proxy-{}.kubeconfig", self.port));
        std::fs::write(&path, kubeconfig.to_string())
            .with_context(|| format!("can't write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, client: Client, behavior: Arc<Behavior>) {
    let mut server = 0;
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, client.clone(), behavior.clone(), server));
        server = (server + 1) % behavior.offsets.lock().len();
    }
}

/// Serves one connection, as this server.
async fn serve(stream: TcpStream, client: Client, behavior: Arc<Behavior>, server: usize) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (client, behavior) = (client.clone(), behavior.clone());
        async move {
            if behavior.is_rejected(request.method()) {
                return Ok(too_many_requests());
            }
            let mut response = forward(&client, request).await;
            let offset = behavior.offsets.lock()[server];
            shift_date(response.headers_mut(), offset);
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    // The operator closes its connections as it likes.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn forward(client: &Client, request: Request<Incoming>) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(HOST);
    parts.headers.remove(CONNECTION);
    let response = match body.collect().await {
        Ok(body) => {
            let request = Request::from_parts(parts, Body::from(body.to_bytes()));
            client.send(request).await.ok()
        }
        Err(_) => None,
    };
    response.unwrap_or_else(|| {
        // As a load balancer does whose servers are down.
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    })
}

/// Returns the response of an API server whose priority level has no room in its queues.
fn too_many_requests() -> Response<Body> {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "TooManyRequests",
        "message": "Too many requests, please try again later.", "code": 429,
    });
    let mut response = Response::new(Body::from(status.to_string().into_bytes()));
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    response
}

fn shift_date(headers: &mut HeaderMap, offset: TimeDelta) {
    if offset.is_zero() {
        return;
    }
    let Some(date) = headers.get(DATE).and_then(|date| date.to_str().ok()) else { return };
    let Ok(date) = DateTime::parse_from_rfc2822(date) else { return };
    let shifted = (date.to_utc() + offset).format(DATE_FORMAT).to_string();
    if let Ok(shifted) = HeaderValue::from_str(&shifted) {
        headers.insert(DATE, shifted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_the_date_of_a_response() {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_static("Mon, 30 Nov 2026 23:59:30 GMT"));
        shift_date(&mut headers, TimeDelta::seconds(60));
        assert_eq!(headers[DATE], "Tue, 01 Dec 2026 00:00:30 GMT");
    }
}
