//! Tests of the consumer during a rotation.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::routing::post;
use reqwest::Client;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::login::{Login, LoginError, Settings};
use crate::secrets::{ListError, Secrets};

/// A directory laid out and updated the way the kubelet does it.
struct MountedSecret {
    directory: TempDir,
    versions: usize,
}

impl MountedSecret {
    fn new(content: &str) -> Self {
        let mut mounted = Self { directory: tempfile::tempdir().unwrap(), versions: 0 };
        mounted.update(content);
        symlink("..data/client_secrets", mounted.directory.path().join("client_secrets")).unwrap();
        mounted
    }

    /// Replaces the symbolic link `..data` with one to a new version.
    fn update(&mut self, content: &str) {
        self.versions += 1;
        let directory = self.directory.path();
        let version = format!("..{}", self.versions);
        fs::create_dir(directory.join(&version)).unwrap();
        fs::write(directory.join(&version).join("client_secrets"), content).unwrap();
        symlink(version, directory.join("..data_tmp")).unwrap();
        fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
    }

    fn load(&self) -> Result<Secrets, ListError> {
        Secrets::load(self.directory.path(), |_| ())
    }
}

/// A token endpoint that accepts some secrets and records the secrets that it receives.
#[derive(Default)]
struct FakeAuth0 {
    accepted: Vec<&'static str>,
    received: Vec<String>,
    status: Option<StatusCode>,
}

async fn token(
    State(auth0): State<Arc<Mutex<FakeAuth0>>>,
    Form(form): Form<HashMap<String, String>>,
) -> (StatusCode, &'static str) {
    let mut auth0 = auth0.lock().unwrap();
    let secret = form["client_secret"].clone();
    let is_accepted = form["client_id"] == "shop"
        && form["audience"] == "https://api.example"
        && auth0.accepted.contains(&secret.as_str());
    auth0.received.push(secret);
    match auth0.status {
        Some(status) => (status, r#"{"error":"access_denied"}"#),
        None if is_accepted => (StatusCode::OK, r#"{"access_token":"token","expires_in":60}"#),
        None => (StatusCode::UNAUTHORIZED, r#"{"error":"access_denied"}"#),
    }
}

struct Fixture {
    mounted: MountedSecret,
    auth0: Arc<Mutex<FakeAuth0>>,
    secrets: Arc<Secrets>,
    login: Login,
}

impl Fixture {
    async fn new(content: &str) -> Self {
        let mounted = MountedSecret::new(content);
        let auth0 = Arc::new(Mutex::new(FakeAuth0::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = Settings {
            endpoint: format!("http://{}", listener.local_addr().unwrap()),
            client_id: "shop".into(),
            audience: "https://api.example".into(),
        };
        let router = Router::new().route("/oauth/token", post(token)).with_state(auth0.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        let secrets = Arc::new(mounted.load().unwrap());
        let http = Client::builder().no_proxy().build().unwrap();
        let login = Login::new(settings, secrets.clone(), http);
        Self { mounted, auth0, secrets, login }
    }

    fn accept(&self, secret: &'static str) {
        self.auth0.lock().unwrap().accepted = vec![secret];
    }

    /// Asserts that a login tries these secrets in this order and that the last is accepted.
    async fn assert_login(&self, order: &[&str]) {
        self.auth0.lock().unwrap().received.clear();
        let outcome = self.login.token().await;
        outcome.result.unwrap();
        assert_eq!(self.auth0.lock().unwrap().received, order);
        assert_eq!(outcome.tries, order.len());
    }
}

#[tokio::test]
async fn tries_list_in_order_and_remembers_accepted_secret() {
    let mut fixture = Fixture::new(r#"["a","b","c"]"#).await;
    fixture.accept("b");
    fixture.assert_login(&["a", "b"]).await;
    fixture.assert_login(&["b"]).await;
    fixture.mounted.update(r#"["c","a","b"]"#);
    fixture.secrets.refresh().unwrap();
    fixture.assert_login(&["b"]).await;
}

#[tokio::test]
async fn follows_staged_rotation_by_watching() {
    let mut fixture = Fixture::new(r#"["old"]"#).await;
    let _watcher = fixture.secrets.watch().unwrap();
    fixture.accept("old");
    fixture.assert_login(&["old"]).await;

    fixture.mounted.update(r#"["old","new"]"#);
    let deadline = Instant::now() + Duration::from_secs(10);
    while fixture.secrets.list().len() != 2 {
        assert!(Instant::now() < deadline, "the new list was not read within 10 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    fixture.assert_login(&["old"]).await;

    fixture.accept("new");
    fixture.assert_login(&["old", "new"]).await;
    fixture.assert_login(&["new"]).await;
}

#[tokio::test]
async fn reads_list_again_before_giving_up() {
    let mut fixture = Fixture::new(r#"["old"]"#).await;
    fixture.mounted.update(r#"["new","old"]"#);
    fixture.accept("new");
    fixture.assert_login(&["old", "new"]).await;

    fixture.accept("other");
    let outcome = fixture.login.token().await;
    assert!(matches!(outcome.result, Err(LoginError::AllSecretsRejected)));
    assert_eq!(outcome.tries, 4);
}

#[tokio::test]
async fn keeps_previous_list_when_content_is_invalid_and_never_shows_it() {
    let mut fixture = Fixture::new(r#"["good"]"#).await;
    fixture.accept("good");
    for invalid in
        ["", "hidden", r#"{"hidden":1}"#, "[]", r#"[""]"#, r#"["hidden",3]"#, r#"["hidden""#]
    {
        fixture.mounted.update(invalid);
        let error = fixture.secrets.refresh().unwrap_err();
        assert!(error.to_string().contains("not a JSON array"), "{error}");
        assert!(!format!("{error} {error:?}").contains("hidden"));
        fixture.assert_login(&["good"]).await;
    }
    fs::remove_file(fixture.mounted.directory.path().join("client_secrets")).unwrap();
    assert!(matches!(fixture.secrets.refresh(), Err(ListError::Io(_))));
    fixture.assert_login(&["good"]).await;
    assert!(MountedSecret::new("invalid").load().is_err());
}

#[tokio::test]
async fn tries_next_secret_only_after_401() {
    let fixture = Fixture::new(r#"["a","b"]"#).await;
    for status in [403, 429, 500] {
        fixture.auth0.lock().unwrap().status = Some(StatusCode::from_u16(status).unwrap());
        let outcome = fixture.login.token().await;
        assert!(matches!(outcome.result, Err(LoginError::Http(_))));
        assert_eq!(outcome.tries, 1);
    }
}
