//! Connections to Auth0: proxies, TLS versions, and tenants that hang.

use std::{
    fs,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use auth0_simulator::{Action, ClientSeed, Fault, Simulator, When};
use parking_lot::Mutex;
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
};
use secrecy::ExposeSecret as _;
use serde_json::json;
use testkit::{
    auth0::{MANAGER, SCOPES},
    fixture::Fixture,
};
use tokio::{
    io::{
        AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional,
    },
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::tenant_status::wait_for_tenant_reason;

/// HTTP proxy that opens all tunnels to one address and records the heads of the requests.
struct Proxy {
    port: u16,
    request_heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let request_heads = Arc::new(Mutex::new(Vec::new()));
        let heads = request_heads.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(open_tunnel(stream, target, heads.clone()));
            }
        });
        Self { port, request_heads }
    }

    fn request_heads(&self) -> Vec<String> {
        self.request_heads.lock().clone()
    }
}

/// Reads the head of a request, and connects the client to the target.
async fn open_tunnel(client: TcpStream, target: SocketAddr, heads: Arc<Mutex<Vec<String>>>) {
    let mut client = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if client.read_line(&mut head).await.unwrap_or_default() == 0 {
            return;
        }
    }
    heads.lock().push(head);
    let mut target = TcpStream::connect(target).await.unwrap();
    let _ = client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await;
    let _ = copy_bidirectional(&mut client, &mut target).await;
}

#[tokio::test]
async fn proxy_tunnels_requests_except_to_no_proxy_hosts() {
    let names = ["acme.eu.auth0.com".to_owned(), "127.0.0.1".to_owned()];
    let certificate = rcgen::generate_simple_self_signed(names).unwrap();
    let simulator = Simulator::builder()
        .tls(certificate.cert.pem(), certificate.signing_key.serialize_pem())
        .client(ClientSeed::new(MANAGER).scopes(SCOPES))
        .propagation(Duration::ZERO..=Duration::ZERO)
        .start()
        .await
        .unwrap();
    let proxy = Proxy::start(simulator.addr()).await;
    let mut fixture = Fixture::with_simulator(simulator).await;
    let ca_bundle = certificate.cert.pem();
    // Without an endpoint, requests go to https://acme.eu.auth0.com, which only the proxy can reach.
    fixture.apply_tenant(json!({ "endpoint": null, "caBundle": ca_bundle })).await;
    let proxy_url = format!("http://127.0.0.1:{}", proxy.port);
    let allowed = ["--allowed-endpoints", "acme.eu.auth0.com,127.0.0.1:*"];
    let command = fixture.operator_command().args(allowed).env("HTTPS_PROXY", proxy_url);
    fixture.operator = Some(command.env("NO_PROXY", "127.0.0.1").spawn().unwrap());
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    let heads = proxy.request_heads();
    assert!(!heads.is_empty());
    for head in &heads {
        assert!(head.starts_with("CONNECT acme.eu.auth0.com:443 HTTP/1.1\r\n"), "{head}");
        assert!(!head.to_ascii_lowercase().contains("authorization"), "{head}");
    }
    fs::write(fixture.log_dir.path().join("proxy"), heads.concat()).unwrap();

    fixture.apply_tenant(json!({ "caBundle": ca_bundle })).await;
    let requests_before = fixture.simulator.audit_log(0).len();
    fixture.request("shop", "rotate/again").await;
    fixture.wait_until_rotated("shop", 3).await;
    assert!(fixture.simulator.audit_log(0).len() > requests_before);
    let tunnels_before = proxy.request_heads().len();
    fixture.request("shop", "rotate/once more").await;
    fixture.wait_until_rotated("shop", 4).await;
    let tunnels = proxy.request_heads().len();
    assert_eq!(tunnels, tunnels_before, "a host of NO_PROXY was called through the proxy");
    fixture.finish().await;
}

/// Starts a server that terminates TLS 1.2, and no other version, in front of `target`. Returns its
/// URL.
async fn start_tls_1_2_terminator(
    target: SocketAddr,
    certificate: &rcgen::CertifiedKey<rcgen::KeyPair>,
) -> String {
    let key = PrivateKeyDer::from_pem_slice(certificate.signing_key.serialize_pem().as_bytes());
    let config = ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS12])
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key.unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut target = TcpStream::connect(target).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut target).await;
            });
        }
    });
    url
}

#[tokio::test]
async fn connects_with_tls_1_2() {
    let mut fixture = Fixture::without_operator().await;
    let certificate = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let url = start_tls_1_2_terminator(fixture.simulator.addr(), &certificate).await;
    fixture.apply_tenant(json!({ "endpoint": url, "caBundle": certificate.cert.pem() })).await;
    fixture.start_operator_with(&["--allowed-endpoints", "127.0.0.1:*"]);
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.finish().await;
}

/// Returns a ServerHello that selects TLS 1.1 and one of its cipher suites (RFC 4346, section
/// 7.4.1.3).
fn tls_1_1_server_hello() -> Vec<u8> {
    let mut hello = vec![22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 0x2f, 0]);
    hello
}

#[tokio::test]
async fn rejects_tls_1_1() {
    let mut fixture = Fixture::without_operator().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (sender, mut replies) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 5];
            stream.read_exact(&mut head).await.unwrap();
            let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
            stream.read_exact(&mut hello).await.unwrap();
            stream.write_all(&tls_1_1_server_hello()).await.unwrap();
            let mut reply = Vec::new();
            let _ = stream.read_to_end(&mut reply).await;
            let _ = sender.send(reply);
        }
    });
    fixture.apply_tenant(json!({ "endpoint": url })).await;
    fixture.start_operator_with(&["--allowed-endpoints", "127.0.0.1:*"]);
    wait_for_tenant_reason(&fixture, "acme", "Unreachable").await;
    // The operator sends a fatal alert (RFC 5246, section 7.2) and nothing else.
    let reply = replies.recv().await.unwrap();
    assert_eq!((reply.len(), reply[0], reply[5]), (7, 21, 2), "{reply:?}");
    fixture.finish().await;
}

/// Creates the Auth0Tenant `beta` with an Auth0 of its own.
async fn create_beta_tenant(fixture: &Fixture) -> Simulator {
    let simulator = Simulator::builder()
        .domain("beta.eu.auth0.com")
        .propagation(Duration::ZERO..=Duration::ZERO)
        .client(ClientSeed::new(MANAGER).scopes(SCOPES))
        .client(ClientSeed::new("beta-shop"))
        .start()
        .await
        .unwrap();
    let secret = simulator.client_secret(MANAGER).unwrap();
    let data = [("client_id", MANAGER), ("client_secret", secret.expose_secret())];
    fixture.write_secret("beta-management", &data).await;
    let spec = json!({
        "domain": "beta.eu.auth0.com", "endpoint": simulator.url(),
        "credentials": { "clientSecret": { "secretRef": { "name": "beta-management" } } },
        "rateLimit": { "requestsPerSecond": 1000, "burst": 1000 },
    });
    fixture.try_apply_tenant("beta", spec).await.unwrap();
    simulator
}

/// Requests a rotation of `beta-shop` and returns how long it takes.
async fn time_rotation(fixture: &Fixture, number: u64) -> Duration {
    let started = Instant::now();
    fixture.request("beta-shop", &format!("rotate/{number}")).await;
    fixture.wait_until_rotated("beta-shop", number).await;
    started.elapsed()
}

#[tokio::test]
async fn hanging_tenant_does_not_delay_another() {
    let mut fixture = Fixture::start().await;
    let beta = create_beta_tenant(&fixture).await;
    for value in beta.value_history().secrets {
        fixture.confidential.push(value.expose_secret().to_owned());
    }
    let spec = json!({ "clientId": "beta-shop", "tenantRef": { "name": "beta" } });
    fixture.simulator.add_client(ClientSeed::new("beta-shop")).unwrap();
    fixture.apply_rotation("beta-shop", spec).await;
    fixture.wait_until_rotated("beta-shop", 1).await;
    let alone = time_rotation(&fixture, 2).await;

    let hang = Action::Delay { ms: 600_000, when: When::Before };
    fixture.simulator.faults().inject(Fault::new(hang).unlimited()).unwrap();
    for number in 0..50 {
        fixture.apply_rotation(&format!("shop-{number}"), json!({})).await;
    }
    fixture.wait_for_reason("shop-49", "Reconciling", "NoResponse").await;
    let concurrent = time_rotation(&fixture, 3).await;
    assert!(
        concurrent < alone + Duration::from_secs(3),
        "{concurrent:?} while another tenant hangs, {alone:?} alone"
    );
    fixture.finish().await;
}
