//! The binary: ready file, exit, clients file, environment variables and redacted logs.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use jsonwebtoken::{Algorithm, Header};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::assertions::{RsaKey, assertion};

const DEADLINE: Duration = Duration::from_secs(30);

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auth0-simulator"));
    command.args(["--addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

struct Running {
    child: Child,
    ready: Value,
    http: reqwest::Client,
    // Keeps the files until the process exits.
    _directory: TempDir,
}

impl Running {
    async fn start(arguments: &[&str], clients: Option<Value>, stdin: Stdio) -> Self {
        let directory = TempDir::new().unwrap();
        let ready_file = directory.path().join("ready.json");
        let mut command = command();
        command.args(arguments).arg("--ready-file").arg(&ready_file).stdin(stdin);
        if let Some(clients) = clients {
            let path = directory.path().join("clients.json");
            std::fs::write(&path, clients.to_string()).unwrap();
            command.arg("--clients").arg(path);
        }
        let mut child = command.spawn().unwrap();
        let ready = wait_ready(&ready_file, &mut child).await;
        Self { child, ready, http: reqwest::Client::new(), _directory: directory }
    }

    /// Returns the URL of a path below the base URL `url` or `admin_url`.
    fn url(&self, base: &str, path: &str) -> String {
        format!("{}{path}", self.ready[base].as_str().unwrap())
    }

    async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().await.unwrap();
        assert!(sent.success());
    }

    async fn output(self) -> Output {
        tokio::time::timeout(DEADLINE, self.child.wait_with_output()).await.unwrap().unwrap()
    }
}

async fn wait_ready(path: &Path, child: &mut Child) -> Value {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Ok(text) = std::fs::read(path) {
            return serde_json::from_slice(&text).unwrap();
        }
        assert!(child.try_wait().unwrap().is_none(), "exited before it was ready");
        assert!(Instant::now() < deadline, "timed out waiting for the ready file");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn clients_file_registers_keys() {
    let key = RsaKey::generate();
    let clients = json!([{
        "client_id": "signer", "grants": { "https://api.example.com": [] },
        "public_keys": [{ "pem": key.public(), "algorithm": "PS256" }],
    }]);
    let running = Running::start(&[], Some(clients), Stdio::null()).await;
    let header = Header::new(Algorithm::PS256);
    let form = [
        ("grant_type", "client_credentials"),
        ("audience", "https://api.example.com"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", &assertion(&key, header, "j", json!({}))),
    ];
    let request = running.http.post(running.url("url", "/oauth/token")).form(&form);
    assert_eq!(request.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn writes_ready_file_and_exits_on_a_signal() {
    for signal in ["TERM", "INT"] {
        let running = Running::start(&["--domain", "shop.example"], None, Stdio::null()).await;
        assert_eq!(running.ready["domain"], "shop.example");
        assert_eq!(running.ready["audience"], "https://shop.example/api/v2/");
        assert_eq!(running.ready["pid"], running.child.id().unwrap());
        let health = running.http.get(running.url("admin_url", "/healthz")).send().await.unwrap();
        assert_eq!(health.status(), 200);
        running.signal(signal).await;
        let output = running.output().await;
        assert!(output.status.success(), "{output:?}");
        assert!(output.stdout.is_empty());
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(log.contains(&format!("SIG{signal}")), "{log}");
    }
}

#[tokio::test]
async fn exits_on_stdin_eof_if_requested() {
    let mut running = Running::start(&["--exit-on-stdin-eof"], None, Stdio::piped()).await;
    assert!(running.child.try_wait().unwrap().is_none());
    drop(running.child.stdin.take());
    assert!(running.output().await.status.success());
}

#[tokio::test]
async fn logs_no_value_in_text_or_json() {
    for format in ["text", "json"] {
        let clients = json!([{
            "client_id": "shop", "client_secret": "seeded-value-of-shop",
            "scopes": ["update:client_keys", "read:client_keys"],
        }]);
        let arguments = ["--log", "trace", "--log-format", format, "--propagation", "0s..0s"];
        let running = Running::start(&arguments, Some(clients), Stdio::null()).await;
        send_requests(&running).await;
        let values: Value = get_admin(&running, "/values").await;
        let values: Vec<String> = ["secrets", "tokens"]
            .iter()
            .flat_map(|kind| values[kind].as_array().unwrap())
            .map(|value| value.as_str().unwrap().to_string())
            .collect();
        assert_eq!(values.len(), 4, "three secrets and a token");
        running.signal("TERM").await;
        let output = running.output().await;
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(log.contains("clients.rotate_secret"), "{log}");
        assert_eq!(log.lines().all(|line| line.starts_with('{')), format == "json");
        assert!(output.stdout.is_empty());
        for value in values.iter().map(String::as_str).chain(["guessed-value"]) {
            assert!(!log.contains(value), "the {format} log contains a value");
        }
    }
}

async fn get_admin(running: &Running, path: &str) -> Value {
    let response = running.http.get(running.url("admin_url", path)).send().await.unwrap();
    response.json().await.unwrap()
}

/// Sends successful and rejected requests, one of them with a malformed response.
async fn send_requests(running: &Running) {
    let login = |secret: &'static str| {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "shop"),
            ("client_secret", secret),
            ("audience", "https://acme.eu.auth0.com/api/v2/"),
        ];
        running.http.post(running.url("url", "/oauth/token")).form(&form).send()
    };
    assert_eq!(login("guessed-value").await.unwrap().status(), 401);
    let token: Value = login("seeded-value-of-shop").await.unwrap().json().await.unwrap();
    let token = token["access_token"].as_str().unwrap();
    let fault = json!({"action": {"kind": "malformed_json"}, "skip": 1});
    let injected = running.http.post(running.url("admin_url", "/faults")).json(&fault);
    assert_eq!(injected.send().await.unwrap().status(), 201);
    for _ in 0..2 {
        let rotate = running.http.post(running.url("url", "/api/v2/clients/shop/rotate-secret"));
        assert_eq!(rotate.bearer_auth(token).send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn exits_with_an_error_that_names_the_cause() {
    let directory = TempDir::new().unwrap();
    let write = |name: &str, text: &str| -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let bad_yaml = write("bad.yaml", "- {client_id: a, client_secret: [hush-hush]}");
    let bad_field = write("field.yaml", "- {client_id: a, fields: {color: red}}");
    let missing = directory.path().join("missing.yaml");
    for (flag, value, hint) in [
        ("--clients", bad_yaml.to_str().unwrap(), "wrong type at line 1"),
        ("--clients", bad_field.to_str().unwrap(), "color"),
        ("--clients", missing.to_str().unwrap(), "failed to read"),
        ("--rate-limit", "fast", "16/50"),
        ("--domain", "https://x/", "without scheme"),
        ("--log", "=,=", "filter"),
    ] {
        let output = command().args([flag, value]).output().await.unwrap();
        assert!(!output.status.success(), "{flag} {value}");
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(log.contains(hint), "{flag} {value}: {log}");
        assert!(!log.contains("hush"));
    }
}

#[tokio::test]
async fn reads_flags_from_the_environment() {
    let directory = TempDir::new().unwrap();
    let ready_file = directory.path().join("ready.json");
    let mut command = command();
    command.env("AUTH0_SIMULATOR_READY_FILE", &ready_file).env("AUTH0_SIMULATOR_DOMAIN", "e.test");
    let mut child = command.spawn().unwrap();
    assert_eq!(wait_ready(&ready_file, &mut child).await["domain"], "e.test");
    child.kill().await.unwrap();
}
