//! Logs in to Auth0 with the client secrets of a mounted Secret: see README.md.

mod login;
mod secrets;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context as _, Result, bail};
use reqwest::Client;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::login::{Login, Settings};
use crate::secrets::Secrets;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // The kernel ignores SIGTERM for the first process of a container unless it has a handler.
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = run() => result,
        _ = terminate.recv() => Ok(()),
    }
}

async fn run() -> Result<()> {
    let domain = required_variable("AUTH0_DOMAIN")?;
    let directory =
        PathBuf::from(env::var_os("AUTH0_SECRET_DIR").unwrap_or("/var/run/auth0".into()));
    let settings = Settings {
        endpoint: env::var("AUTH0_ENDPOINT").unwrap_or_else(|_| format!("https://{domain}")),
        client_id: fs::read_to_string(directory.join("client_id")).context("client_id")?,
        audience: required_variable("AUTH0_AUDIENCE")?,
    };
    let secrets = Secrets::load(&directory, |length| println!("{}", json!({"list": length})))?;
    let secrets = Arc::new(secrets);
    let http = Client::builder().timeout(Duration::from_secs(10)).build()?;
    let login = Login::new(settings, Arc::clone(&secrets), http);
    let Ok(every) = env::var("LOGIN_EVERY") else {
        login.token().await.result?;
        return Ok(());
    };
    let period = parse_period(&every)?;
    let _watcher = secrets.watch()?;
    log_in_periodically(&login, period).await
}

fn required_variable(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("{name} is not set"))
}

fn parse_period(every: &str) -> Result<Duration> {
    match every.parse().map(Duration::try_from_secs_f64) {
        Ok(Ok(period)) if !period.is_zero() => Ok(period),
        _ => bail!("LOGIN_EVERY is {every:?}; set it to a positive number of seconds, such as 10"),
    }
}

/// Logs in periodically until the process exits, and prints the outcome of each login. A real service
/// would keep each token until shortly before it expires (`expires_in`) and log in only then.
async fn log_in_periodically(login: &Login, period: Duration) -> Result<()> {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_accepted = Instant::now();
    loop {
        ticks.tick().await;
        let outcome = login.token().await;
        let gap = last_accepted.elapsed().as_secs_f64();
        let result = match outcome.result {
            Ok(_) => {
                last_accepted = Instant::now();
                "accepted"
            }
            Err(error) => {
                eprintln!("consumer: {error}");
                "failed"
            }
        };
        println!("{}", json!({"login": result, "tries": outcome.tries, "gap": gap}));
    }
}
