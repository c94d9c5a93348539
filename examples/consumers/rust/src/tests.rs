//! A rotation as an application meets it.

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

use crate::login::{Failure, Login, Settings};
use crate::secrets::{Secrets, Unusable};

/// A folder as the kubelet makes it.
struct Mount {
    folder: TempDir,
    versions: usize,
}

impl Mount {
    fn new(content: &str) -> Self {
        let mut mount = Self { folder: tempfile::tempdir().unwrap(), versions: 0 };
        mount.publish(content);
        symlink("..data/client_secrets", mount.folder.path().join("client_secrets")).unwrap();
        mount
    }

    fn publish(&mut self, content: &str) {
        self.versions += 1;
        let folder = self.folder.path();
        let version = format!("..{}", self.versions);
        fs::create_dir(folder.join(&version)).unwrap();
        fs::write(folder.join(&version).join("client_secrets"), content).unwrap();
        symlink(version, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    }

    fn secrets(&self) -> Result<Secrets, Unusable> {
        Secrets::read(self.folder.path(), |_| ())
    }
}

/// Accepts some secrets and keeps what it was asked.
#[derive(Default)]
struct Auth0 {
    accepted: Vec<&'static str>,
    asked: Vec<String>,
    status: Option<StatusCode>,
}

async fn token(
    State(auth0): State<Arc<Mutex<Auth0>>>,
    Form(form): Form<HashMap<String, String>>,
) -> (StatusCode, &'static str) {
    let mut auth0 = auth0.lock().unwrap();
    let secret = form["client_secret"].clone();
    let is_accepted = form["client_id"] == "shop"
        && form["audience"] == "https://api.example"
        && auth0.accepted.contains(&secret.as_str());
    auth0.asked.push(secret);
    match auth0.status {
        Some(status) => (status, r#"{"error":"access_denied"}"#),
        None if is_accepted => (StatusCode::OK, r#"{"access_token":"token","expires_in":60}"#),
        None => (StatusCode::UNAUTHORIZED, r#"{"error":"access_denied"}"#),
    }
}

struct World {
    mount: Mount,
    auth0: Arc<Mutex<Auth0>>,
    secrets: Arc<Secrets>,
    login: Login,
}

impl World {
    async fn new(content: &str) -> Self {
        let mount = Mount::new(content);
        let auth0 = Arc::new(Mutex::new(Auth0::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = Settings {
            endpoint: format!("http://{}", listener.local_addr().unwrap()),
            client_id: "shop".into(),
            audience: "https://api.example".into(),
        };
        let router = Router::new().route("/oauth/token", post(token)).with_state(auth0.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        let secrets = Arc::new(mount.secrets().unwrap());
        let http = Client::builder().no_proxy().build().unwrap();
        let login = Login::new(settings, secrets.clone(), http);
        Self { mount, auth0, secrets, login }
    }

    fn accept(&self, secret: &'static str) {
        self.auth0.lock().unwrap().accepted = vec![secret];
    }

    /// Expects the secrets to be tried in this order, and the last to be accepted.
    async fn logs_in(&self, order: &[&str]) {
        self.auth0.lock().unwrap().asked.clear();
        let outcome = self.login.token().await;
        outcome.result.unwrap();
        assert_eq!(self.auth0.lock().unwrap().asked, order);
        assert_eq!(outcome.tries, order.len());
    }
}

#[tokio::test]
async fn the_list_is_tried_in_its_order_and_what_works_is_remembered() {
    let mut world = World::new(r#"["a","b","c"]"#).await;
    world.accept("b");
    world.logs_in(&["a", "b"]).await;
    world.logs_in(&["b"]).await;
    world.mount.publish(r#"["c","a","b"]"#);
    world.secrets.refresh().unwrap();
    world.logs_in(&["b"]).await;
}

#[tokio::test]
async fn a_staged_rotation_is_followed_by_watching() {
    let mut world = World::new(r#"["old"]"#).await;
    let _watcher = world.secrets.watch().unwrap();
    world.accept("old");
    world.logs_in(&["old"]).await;

    world.mount.publish(r#"["old","new"]"#);
    let deadline = Instant::now() + Duration::from_secs(10);
    while world.secrets.list().len() != 2 {
        assert!(Instant::now() < deadline, "the pair was not read");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.logs_in(&["old"]).await;

    world.accept("new");
    world.logs_in(&["old", "new"]).await;
    world.logs_in(&["new"]).await;
}

#[tokio::test]
async fn a_fresh_read_comes_before_giving_up() {
    let mut world = World::new(r#"["old"]"#).await;
    world.mount.publish(r#"["new","old"]"#);
    world.accept("new");
    world.logs_in(&["old", "new"]).await;

    world.accept("another");
    let outcome = world.login.token().await;
    assert!(matches!(outcome.result, Err(Failure::Refused)));
    assert_eq!(outcome.tries, 4);
}

#[tokio::test]
async fn junk_leaves_the_list_as_it_was_and_is_not_shown() {
    let mut world = World::new(r#"["good"]"#).await;
    world.accept("good");
    for junk in
        ["", "hunter2", r#"{"hunter2":1}"#, "[]", r#"[""]"#, r#"["hunter2",3]"#, r#"["hunter2""#]
    {
        world.mount.publish(junk);
        let error = world.secrets.refresh().unwrap_err();
        assert!(error.to_string().contains("not a JSON list"), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        world.logs_in(&["good"]).await;
    }
    fs::remove_file(world.mount.folder.path().join("client_secrets")).unwrap();
    assert!(matches!(world.secrets.refresh(), Err(Unusable::Unreadable(_))));
    world.logs_in(&["good"]).await;
    assert!(Mount::new("junk").secrets().is_err());
}

#[tokio::test]
async fn other_answers_are_no_reason_to_try_another_secret() {
    let world = World::new(r#"["a","b"]"#).await;
    for status in [403, 429, 500] {
        world.auth0.lock().unwrap().status = Some(StatusCode::from_u16(status).unwrap());
        let outcome = world.login.token().await;
        assert!(matches!(outcome.result, Err(Failure::Http(_))));
        assert_eq!(outcome.tries, 1);
    }
}
