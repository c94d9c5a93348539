//! Access to `/metrics`, and limits of its server.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    authentication::v1::TokenRequest, core::v1::ServiceAccount, rbac::v1::ClusterRoleBinding,
};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};
use testkit::{
    fixture::{Fixture, from_json},
    manifests,
    operator::http_client,
};

/// A fixture whose operator checks who reads the metrics.
async fn fixture_with_auth() -> Fixture {
    let mut fixture = Fixture::without_operator().await;
    fixture.start_operator_with(&["--allow-http-endpoints", "--metrics-auth"]);
    fixture.operator().wait_until_ready().await;
    fixture
}

/// Creates a service account and returns a token for it.
pub(crate) async fn token(fixture: &Fixture, name: &str) -> String {
    let accounts = fixture.api::<ServiceAccount>();
    let account: ServiceAccount = from_json(json!({ "metadata": { "name": name } }));
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let request: TokenRequest = from_json(json!({ "spec": { "audiences": [] } }));
    let request = accounts.create_token_request(name, &PostParams::default(), &request).await;
    request.unwrap().status.unwrap().token.unwrap()
}

/// Binds the shipped ClusterRole for readers of the metrics to a service account.
pub(crate) async fn grant(fixture: &Fixture, name: &str) {
    let namespace = &fixture.namespace;
    let binding: ClusterRoleBinding = from_json(json!({
        "metadata": { "name": format!("metrics-reader-{namespace}-{name}") },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": "auth0-rotator-metrics-reader",
        },
        "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": namespace }],
    }));
    let bindings: Api<ClusterRoleBinding> = Api::all(fixture.client.clone());
    bindings.create(&PostParams::default(), &binding).await.unwrap();
}

/// Returns the status of a request for the metrics.
pub(crate) async fn status(fixture: &Fixture, token: Option<&str>) -> u16 {
    let url = format!("{}/metrics", fixture.operator().url("metrics").await);
    let mut request = http_client().get(url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.unwrap().status().as_u16()
}

/// Ends a test whose operator checks who reads the metrics.
async fn finish(mut fixture: Fixture, reader: String) {
    fixture.operator.as_mut().unwrap().metrics_token = Some(reader);
    fixture.finish().await;
}

#[tokio::test]
async fn metrics_need_a_token_of_a_user_with_permission() {
    let mut fixture = fixture_with_auth().await;
    let reader = token(&fixture, "reader").await;
    grant(&fixture, "reader").await;
    let other = token(&fixture, "other").await;
    assert!(fixture.operator().url("metrics").await.starts_with("https://"));
    let is_allowed = async || status(&fixture, Some(&reader)).await == 200;
    fixture.wait_until_async("the reader is allowed", is_allowed).await;
    assert_eq!(status(&fixture, Some(&other)).await, 403, "without permission");
    assert_eq!(status(&fixture, None).await, 401, "without a token");
    for invalid in ["x", "a.b.c", &reader[..reader.len() - 4], &"x".repeat(4000)] {
        assert_eq!(status(&fixture, Some(invalid)).await, 401, "{:.20}", invalid);
    }
    // The denial is remembered only for a moment.
    grant(&fixture, "other").await;
    let is_allowed = async || status(&fixture, Some(&other)).await == 200;
    fixture.wait_until_async("the other is allowed", is_allowed).await;

    let health = fixture.operator().url("health").await;
    assert!(health.starts_with("http://"));
    for path in ["livez", "readyz"] {
        let response = http_client().get(format!("{health}/{path}")).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path} is open");
    }
    fixture.confidential.extend([reader.clone(), other]);
    finish(fixture, reader).await;
}

#[tokio::test]
async fn plain_http_gets_no_metrics_with_authentication() {
    let fixture = fixture_with_auth().await;
    let reader = token(&fixture, "reader").await;
    grant(&fixture, "reader").await;
    let address = fixture.operator().address("metrics").await;
    let response = http_client().get(format!("http://{address}/metrics")).send().await;
    assert!(response.is_err(), "{response:?}");
    finish(fixture, reader).await;
}

#[tokio::test]
async fn slow_clients_and_made_up_tokens_keep_no_scrape_out() {
    let fixture = fixture_with_auth().await;
    let reader = token(&fixture, "reader").await;
    grant(&fixture, "reader").await;
    let is_allowed = async || status(&fixture, Some(&reader)).await == 200;
    fixture.wait_until_async("the reader is allowed", is_allowed).await;
    let address = fixture.operator().address("metrics").await;

    // Connections of another address that send nothing, or a header byte by byte.
    let mut open = connections_from("127.0.0.2", &address, 100);
    assert_eq!(status(&fixture, Some(&reader)).await, 200, "beside idle connections");
    let start = Instant::now();
    assert!(open.iter_mut().all(is_closed), "idle connections are closed");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());

    let mut statuses = Vec::new();
    for number in 0..200 {
        statuses.push(status(&fixture, Some(&format!("made-up-{number}"))).await);
    }
    assert!(statuses.iter().all(|status| matches!(status, 401 | 429)), "{statuses:?}");
    assert!(statuses.contains(&429), "the number of token reviews is bounded");
    assert_eq!(status(&fixture, Some(&reader)).await, 200, "beside made-up tokens");
    finish(fixture, reader).await;
}

#[tokio::test]
async fn oversized_headers_are_rejected() {
    let mut fixture = Fixture::without_operator().await;
    fixture.start_operator();
    fixture.operator().wait_until_ready().await;
    for server in ["metrics", "health"] {
        let url = format!("{}/metrics", fixture.operator().url(server).await);
        let large = http_client().get(&url).header("x-large", "x".repeat(64 * 1024));
        let is_rejected = |result: Result<reqwest::Response, reqwest::Error>| match result {
            Ok(response) => response.status() == 431,
            // The server may close the connection before the client has sent everything.
            Err(_) => true,
        };
        assert!(is_rejected(large.send().await), "{server}");
        let mut many = http_client().get(&url);
        for number in 0..200 {
            many = many.header(format!("x-{number}"), "x");
        }
        assert!(is_rejected(many.send().await), "{server}");
    }
    fixture.operator().wait_until_ready().await;
    fixture.finish().await;
}

#[tokio::test]
async fn slow_clients_do_not_fail_the_probes_of_others() {
    let fixture = Fixture::start().await;
    fixture.operator().wait_until_ready().await;
    let address = fixture.operator().address("health").await;
    let open = connections_from("127.0.0.2", &address, 100);
    let (status, _) = fixture.operator().health("/readyz").await;
    assert_eq!(status, 200);
    drop(open);
    fixture.finish().await;
}

#[test]
fn shipped_manifests_protect_the_metrics() {
    for (manifest, is_protected) in [
        ("deploy/operator.yaml", true),
        ("deploy/selected.yaml", true),
        // Needs permissions outside of the namespace.
        ("deploy/namespaced.yaml", false),
    ] {
        let objects = manifests::read(manifest).unwrap();
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
        let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
        let arguments: Vec<Value> = from_json(arguments.clone());
        assert_eq!(arguments.contains(&json!("--metrics-auth")), is_protected, "{manifest}");
        let names = objects.iter().map(|object| &object["metadata"]["name"]);
        let has_role = names.into_iter().any(|name| name == "auth0-rotator-metrics-auth");
        assert_eq!(has_role, is_protected, "{manifest}");
    }
}

/// Opens connections from a loopback address, each of which sends the start of a request.
fn connections_from(source: &str, address: &str, count: usize) -> Vec<TcpStream> {
    let target: std::net::SocketAddr = address.parse().unwrap();
    let connect = |_| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        let source: std::net::SocketAddr = format!("{source}:0").parse().unwrap();
        socket.bind(&source.into())?;
        socket.connect(&target.into())?;
        let mut stream = TcpStream::from(socket);
        // The server may have closed it already.
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nx-slow: ");
        std::io::Result::Ok(stream)
    };
    (0..count).map(|number| connect(number).unwrap()).collect()
}

/// Waits until the server closes a connection.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}
