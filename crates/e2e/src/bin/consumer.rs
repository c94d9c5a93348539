//! An application in a pod: it reads the list of its client's secrets from a mounted Secret and logs
//! in all the time.
//!
//! Its environment:
//!
//! - `AUTH0_URL`: where Auth0 is; `AUTH0_CA_FILE`: the certificates to trust for that, in PEM
//! - `AUTH0_AUDIENCE`: the API to ask tokens for
//! - `AUTH0_SECRET`: the folder of the mounted Secret
//!
//! It writes a line of JSON for each login, `{"login":"accepted","tries":1,"gap":0.31}` or
//! `{"login":"refused",…}`, where `gap` are the seconds since the last accepted one, and one for each
//! list that it reads for the first time: `{"list":2}`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context as _, Result};
use reqwest::{Certificate, Client, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use testbed::login::{Knowledge, Surroundings, log_in};
use testbed::tally::Outcome;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

const LOGIN_EVERY: Duration = Duration::from_millis(500);
const READ_EVERY: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(5);

struct Application {
    http: Client,
    url: String,
    audience: String,
    client_id: String,
    secret: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // The first process of a container isn't ended by a signal that it doesn't handle.
    let mut terminate = signal(SignalKind::terminate())?;
    let application = Application::new()?;
    tokio::select! {
        ended = application.run() => ended,
        _ = terminate.recv() => Ok(()),
    }
}

impl Application {
    fn new() -> Result<Self> {
        let variable = |name| env::var(name).with_context(|| format!("{name} is not set"));
        let secret = PathBuf::from(variable("AUTH0_SECRET")?);
        let authorities = fs::read(variable("AUTH0_CA_FILE")?)?;
        let http = Client::builder()
            .no_proxy()
            .timeout(DEADLINE)
            .tls_certs_only(Certificate::from_pem_bundle(&authorities)?)
            .build()?;
        Ok(Self {
            http,
            url: variable("AUTH0_URL")?,
            audience: variable("AUTH0_AUDIENCE")?,
            client_id: fs::read_to_string(secret.join("client_id"))?,
            secret,
        })
    }

    async fn run(&self) -> Result<()> {
        let mut knowledge = Knowledge::new(read(&self.secret)?);
        say(&json!({"list": knowledge.list.len()}))?;
        let (mut read_at, mut accepted_at) = (Instant::now(), Instant::now());
        let mut ticks = interval(LOGIN_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if read_at.elapsed() >= READ_EVERY {
                // What can't be read is as it was.
                let list = read(&self.secret).unwrap_or_else(|_| knowledge.list.clone());
                if !is_same(&list, &knowledge.list) {
                    say(&json!({"list": list.len()}))?;
                }
                (knowledge.list, read_at) = (list, Instant::now());
            }
            let outcome = log_in(&mut knowledge, self).await;
            let login = if outcome.is_failure() { "refused" } else { "accepted" };
            let tries = if outcome == Outcome::First { 1 } else { 2 };
            say(
                &json!({"login": login, "tries": tries, "gap": accepted_at.elapsed().as_secs_f64()}),
            )?;
            if !outcome.is_failure() {
                accepted_at = Instant::now();
            }
        }
    }
}

impl Surroundings for Application {
    async fn ask(&self, secret: &SecretString) -> bool {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("client_secret", secret.expose_secret()),
            ("audience", &self.audience),
        ];
        let answer = self.http.post(format!("{}/oauth/token", self.url)).form(&form).send().await;
        answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
    }

    async fn read(&self) -> Option<Vec<SecretString>> {
        read(&self.secret).ok()
    }

    fn truth(&self) -> Option<SecretString> {
        None
    }
}

fn read(folder: &Path) -> Result<Vec<SecretString>> {
    let text = fs::read_to_string(folder.join("client_secrets"))?;
    let values: Vec<String> = serde_json::from_str(&text).context("it is not a list")?;
    Ok(values.into_iter().map(SecretString::from).collect())
}

fn is_same(a: &[SecretString], b: &[SecretString]) -> bool {
    a.iter().map(|value| value.expose_secret()).eq(b.iter().map(|value| value.expose_secret()))
}

fn say(line: &Value) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
