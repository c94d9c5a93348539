//! `wait-ready`: waits until an operator is ready, for a Pod whose image contains no other program.

use std::{error::Error as _, time::Duration};

use reqwest::{Client, redirect};
use url::Url;

use crate::cli::WaitReadyArgs;

/// Timeout of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between a response and the next request.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// How much of a response body to quote, in characters.
const MAX_QUOTED: usize = 500;

/// The operator did not become ready in time.
#[derive(Debug, thiserror::Error)]
#[error("{url} is not ready after {timeout:?}: {problem}")]
pub struct NotReady {
    url: Url,
    timeout: Duration,
    /// Why the last request failed.
    problem: String,
}

/// Polls the URL until the response is a success.
///
/// # Errors
///
/// When no response was a success before the timeout.
pub async fn wait_ready(args: &WaitReadyArgs) -> Result<(), NotReady> {
    let timeout = args.timeout.to_std();
    let mut problem = "no response".to_owned();
    let polling = async {
        while let Err(reason) = poll(&args.url).await {
            problem = reason;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    let polled = tokio::time::timeout(timeout, polling).await;
    polled.map_err(|_| NotReady { url: args.url.clone(), timeout, problem })
}

async fn poll(url: &Url) -> Result<(), String> {
    // A proxy doesn't reach Services of the cluster.
    let client =
        Client::builder().no_proxy().timeout(REQUEST_TIMEOUT).redirect(redirect::Policy::none());
    let client = client.build().map_err(|error| error.to_string())?;
    let response = client.get(url.clone()).send().await.map_err(|error| match error.source() {
        Some(cause) => cause.to_string(),
        None => error.to_string(),
    })?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let body = response.text().await.unwrap_or_default();
    Err(format!("{status}: {}", body.chars().take(MAX_QUOTED).collect::<String>()))
}
