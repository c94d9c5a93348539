//! On the way to Auth0: proxies, versions of TLS, and tenants that hang.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use auth0_rotator::api::Auth0Tenant;
use auth0_simulator::{Action, ClientSeed, Fault, Simulator, When};
use kube::api::{Patch, PatchParams};
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

use crate::tenants::reason_of_tenant;

/// A proxy that makes tunnels, all of them to one address, and keeps what it was told.
struct Proxy {
    port: u16,
    told: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn to(target: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let told = Arc::new(Mutex::new(Vec::new()));
        let heads = told.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (heads, target) = (heads.clone(), target.clone());
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        if stream.read_line(&mut head).await.unwrap_or_default() == 0 {
                            return;
                        }
                    }
                    heads.lock().unwrap().push(head);
                    let mut to = TcpStream::connect(target).await.unwrap();
                    let _ = stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await;
                    let _ = copy_bidirectional(&mut stream, &mut to).await;
                });
            }
        });
        Proxy { port, told }
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}

fn address(simulator: &Simulator) -> String {
    let url = simulator.url().to_string();
    url.trim_end_matches('/').rsplit('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_proxy_gets_a_tunnel_and_hosts_of_no_proxy_are_called_directly() {
    let names = ["acme.eu.auth0.com".to_owned(), "127.0.0.1".to_owned()];
    let certificate = rcgen::generate_simple_self_signed(names).unwrap();
    let simulator = Simulator::builder()
        .tls(certificate.cert.pem(), certificate.signing_key.serialize_pem())
        .client(ClientSeed::new(MANAGER).scopes(SCOPES))
        .propagation(Duration::ZERO..=Duration::ZERO)
        .start()
        .await
        .unwrap();
    let proxy = Proxy::to(address(&simulator)).await;
    let mut bench = Fixture::with_simulator(simulator).await;
    let bundle = certificate.cert.pem();
    // Without an endpoint: https://acme.eu.auth0.com, which only the proxy knows a way to.
    bench.apply_tenant(json!({ "endpoint": null, "caBundle": bundle })).await;
    let proxy_url = format!("http://127.0.0.1:{}", proxy.port);
    let command = bench.operator_command().env("HTTPS_PROXY", proxy_url);
    bench.operator = Some(command.env("NO_PROXY", "127.0.0.1").spawn().unwrap());
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    bench.wait_until_rotated("shop", 2).await;
    let told = proxy.told();
    assert!(!told.is_empty());
    for head in &told {
        assert!(head.starts_with("CONNECT acme.eu.auth0.com:443 HTTP/1.1\r\n"), "{head}");
        assert!(!head.to_ascii_lowercase().contains("authorization"), "{head}");
    }
    fs::write(bench.log_dir.path().join("proxy"), told.concat()).unwrap();

    bench.apply_tenant(json!({ "caBundle": bundle })).await;
    let before = bench.simulator.audit_log(0).len();
    bench.request("shop", "rotate/again").await;
    bench.wait_until_rotated("shop", 3).await;
    assert!(bench.simulator.audit_log(0).len() > before);
    let direct = proxy.told().len();
    bench.request("shop", "rotate/once more").await;
    bench.wait_until_rotated("shop", 4).await;
    assert_eq!(proxy.told().len(), direct, "a host of NO_PROXY was called through the proxy");
    bench.finish().await;
}

/// Ends TLS, of the version 1.2 only, in front of a simulator.
async fn tls_1_2(target: String, certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> String {
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
            let (acceptor, target) = (acceptor.clone(), target.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut to = TcpStream::connect(target).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut to).await;
            });
        }
    });
    url
}

#[tokio::test]
async fn tls_1_2_is_spoken() {
    let mut bench = Fixture::without_operator().await;
    let certificate = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let url = tls_1_2(address(&bench.simulator), &certificate).await;
    bench.apply_tenant(json!({ "endpoint": url, "caBundle": certificate.cert.pem() })).await;
    bench.start_operator_with(&[]);
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.request("shop", "rotate/now").await;
    bench.wait_until_rotated("shop", 2).await;
    bench.finish().await;
}

/// A ServerHello that chooses TLS 1.1 and a cipher suite of its time (RFC 4346, section 7.4.1.3).
fn hello_of_tls_1_1() -> Vec<u8> {
    let mut hello = vec![22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 0x2f, 0]);
    hello
}

#[tokio::test]
async fn tls_older_than_1_2_is_not_spoken() {
    let mut bench = Fixture::without_operator().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (heard, mut answers) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 5];
            stream.read_exact(&mut head).await.unwrap();
            let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
            stream.read_exact(&mut hello).await.unwrap();
            stream.write_all(&hello_of_tls_1_1()).await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            let _ = heard.send(answer);
        }
    });
    bench.apply_tenant(json!({ "endpoint": url })).await;
    bench.start_operator_with(&[]);
    reason_of_tenant(&bench, "Unreachable").await;
    // A fatal alert (RFC 5246, section 7.2), and nothing besides.
    let answer = answers.recv().await.unwrap();
    assert_eq!((answer.len(), answer[0], answer[5]), (7, 21, 2), "{answer:?}");
    bench.finish().await;
}

/// Adds the tenant `beta`, which is another Auth0.
async fn beta(bench: &Fixture) -> Simulator {
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
    bench.write_secret("beta-management", &data).await;
    let tenant = json!({
        "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "Auth0Tenant",
        "metadata": { "name": "beta" },
        "spec": {
            "domain": "beta.eu.auth0.com", "endpoint": simulator.url(),
            "credentials": { "clientSecret": { "secretRef": { "name": "beta-management" } } },
            "rateLimit": { "requestsPerSecond": 1000, "burst": 1000 },
        },
    });
    let params = PatchParams::apply("tests").force();
    bench.api::<Auth0Tenant>().patch("beta", &params, &Patch::Apply(tenant)).await.unwrap();
    simulator
}

/// How long a rotation takes that is asked for.
async fn rotation_takes(bench: &Fixture, number: u64) -> Duration {
    let started = Instant::now();
    bench.request("beta-shop", &format!("rotate/{number}")).await;
    bench.wait_until_rotated("beta-shop", number).await;
    started.elapsed()
}

#[tokio::test]
async fn a_tenant_that_hangs_does_not_delay_another() {
    let mut bench = Fixture::start().await;
    let beta = beta(&bench).await;
    for value in beta.value_history().secrets {
        bench.confidential.push(value.expose_secret().to_owned());
    }
    let spec = json!({ "clientId": "beta-shop", "tenantRef": { "name": "beta" } });
    bench.simulator.add_client(ClientSeed::new("beta-shop")).unwrap();
    bench.apply_rotation("beta-shop", spec).await;
    bench.wait_until_rotated("beta-shop", 1).await;
    let alone = rotation_takes(&bench, 2).await;

    let hangs = Action::Delay { ms: 600_000, when: When::Before };
    bench.simulator.faults().inject(Fault::new(hangs).unlimited()).unwrap();
    for number in 0..50 {
        bench.apply_rotation(&format!("shop-{number}"), json!({})).await;
    }
    bench.wait_for_reason("shop-49", "Reconciling", "NoResponse").await;
    let beside = rotation_takes(&bench, 3).await;
    assert!(beside < alone + Duration::from_secs(3), "{beside:?}, and {alone:?} alone");
    bench.finish().await;
}
