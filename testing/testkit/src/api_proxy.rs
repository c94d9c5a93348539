//! Several API servers, of which some have a wrong clock: a proxy that changes the `Date` of responses.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use chrono::{DateTime, TimeDelta};
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
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
    /// How far the clock of each API server is ahead.
    offsets: Arc<Mutex<Vec<TimeDelta>>>,
    task: JoinHandle<()>,
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
        let offsets = Arc::new(Mutex::new(vec![TimeDelta::zero(); servers]));
        let task = tokio::spawn(accept(listener, client, offsets.clone()));
        Ok(Self { port, offsets, task })
    }

    /// Sets how far the clock of an API server is ahead, from its next response on.
    pub fn set_clock_offset(&self, server: usize, offset: TimeDelta) {
        self.offsets.lock()[server] = offset;
    }

    /// Sets how far the clocks of all API servers are ahead, from the next response on.
    pub fn set_clock_offsets(&self, offset: TimeDelta) {
        self.offsets.lock().fill(offset);
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

async fn accept(listener: TcpListener, client: Client, offsets: Arc<Mutex<Vec<TimeDelta>>>) {
    let mut server = 0;
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, client.clone(), offsets.clone(), server));
        server = (server + 1) % offsets.lock().len();
    }
}

/// Serves one connection, as this server.
async fn serve(
    stream: TcpStream,
    client: Client,
    offsets: Arc<Mutex<Vec<TimeDelta>>>,
    server: usize,
) {
    let service = service_fn(move |request| {
        let (client, offsets) = (client.clone(), offsets.clone());
        async move {
            let mut response = forward(&client, request).await;
            let offset = offsets.lock()[server];
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
