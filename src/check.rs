//! `check`: asks the operator whether it is ready, for a pod that has no other program.

use std::{fmt, time::Duration};

use reqwest::{Client, redirect};

use crate::cli::CheckArgs;

/// How long a call may take, and how long after it the next one is made.
const CALL: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);

/// Nobody said yes in time.
#[derive(Debug)]
pub struct NotReady {
    url: String,
    after: Duration,
    last: String,
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NotReady { url, after, last } = self;
        write!(f, "{url} doesn't answer that it is ready, {after:?} long; at last: {last}")
    }
}

impl std::error::Error for NotReady {}

/// Asks until the answer is yes.
///
/// # Errors
/// When it isn't before the timeout.
pub async fn check(arguments: &CheckArgs) -> Result<(), NotReady> {
    let after = arguments.timeout.to_std();
    let mut last = "nothing was heard of it".to_owned();
    let asked = tokio::time::timeout(after, async {
        loop {
            match ask(&arguments.url).await {
                Ok(()) => return,
                Err(why) => last = why,
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
    asked.await.map_err(|_| NotReady { url: arguments.url.to_string(), after, last })
}

async fn ask(url: &url::Url) -> Result<(), String> {
    // Within the cluster: no proxy leads there.
    let client = Client::builder().no_proxy().timeout(CALL).redirect(redirect::Policy::none());
    let client = client.build().map_err(|error| error.to_string())?;
    let answer = client.get(url.clone()).send().await.map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        cause.unwrap_or_else(|| error.to_string())
    })?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let text = answer.text().await.unwrap_or_default();
    Err(format!("{status}: {}", text.chars().take(500).collect::<String>()))
}
