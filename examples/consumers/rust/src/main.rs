//! Logs in to Auth0 with the secrets of a mounted file: see README.md.

mod login;
mod secrets;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context as _, Result};
use reqwest::Client;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::login::{Login, Settings};
use crate::secrets::Secrets;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // The first process of a container isn't ended by a signal that it doesn't handle.
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = run() => ended,
        _ = terminate.recv() => Ok(()),
    }
}

async fn run() -> Result<()> {
    let variable = |name| env::var(name).with_context(|| format!("{name} is not set"));
    let domain = variable("AUTH0_DOMAIN")?;
    let folder = PathBuf::from(env::var_os("AUTH0_SECRET_DIR").unwrap_or("/var/run/auth0".into()));
    let settings = Settings {
        endpoint: env::var("AUTH0_ENDPOINT").unwrap_or_else(|_| format!("https://{domain}")),
        client_id: fs::read_to_string(folder.join("client_id")).context("client_id")?,
        audience: variable("AUTH0_AUDIENCE")?,
    };
    let secrets = Arc::new(Secrets::read(&folder, |list| println!("{}", json!({"list": list})))?);
    let http = Client::builder().timeout(Duration::from_secs(10)).build()?;
    let login = Login::new(settings, Arc::clone(&secrets), http);
    let Ok(every) = env::var("LOGIN_EVERY") else {
        login.token().await.result?;
        return Ok(());
    };
    let every = every.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let every = every.filter(|every| !every.is_zero());
    let _watcher = secrets.watch()?;
    repeat(&login, every.context("LOGIN_EVERY is not a number of seconds")?).await
}

/// Logs in until it is ended, and writes how it went. A service would keep each token until shortly
/// before its end (`expires_in`) and log in that often only.
async fn repeat(login: &Login, every: Duration) -> Result<()> {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut accepted_at = Instant::now();
    loop {
        ticks.tick().await;
        let outcome = login.token().await;
        let gap = accepted_at.elapsed().as_secs_f64();
        let word = match outcome.result {
            Ok(_) => {
                accepted_at = Instant::now();
                "accepted"
            }
            Err(error) => {
                eprintln!("consumer: {error}");
                "failed"
            }
        };
        println!("{}", json!({"login": word, "tries": outcome.tries, "gap": gap}));
    }
}
