//! Waiting until a server is ready, has exited, or has used up its deadline.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};

use crate::{error::Error, etcd, log_tail::log_tail};

const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Timeout of one readiness check. A starting API server may accept a connection long before it
/// responds.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// One server's start.
pub(crate) struct ServerStart<'a> {
    pub(crate) server: &'static str,
    pub(crate) log: &'a Path,
    pub(crate) since: Instant,
    pub(crate) deadline: Duration,
}

impl ServerStart<'_> {
    /// Waits until etcd has created its socket. The API server's readiness then shows that etcd
    /// responds.
    ///
    /// `check_running` returns an error when a server has exited.
    pub(crate) async fn wait_for_etcd(
        &self,
        dir: &Path,
        check_running: impl Fn() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let socket = etcd::socket(dir);
        let check = async || match socket.exists() {
            true => Ok(()),
            false => Err(format!("there is no socket {}", socket.display())),
        };
        self.wait(check_running, check).await
    }

    /// Waits until `/readyz` returns 200 and the namespace `default`, which the API server creates
    /// after that, exists.
    pub(crate) async fn wait_for_apiserver(
        &self,
        mut config: kube::Config,
        check_running: impl Fn() -> Result<(), Error>,
    ) -> Result<(), Error> {
        // The loop in `wait` retries, at a steady interval.
        config.default_retry = false;
        let client = Client::try_from(config).map_err(|error| Error::Client(Box::new(error)))?;
        let check = async || match tokio::time::timeout(CHECK_TIMEOUT, check_api(&client)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(with_causes(&error)),
            Err(_) => Err(format!("no response within {CHECK_TIMEOUT:?}")),
        };
        self.wait(check_running, check).await
    }

    /// Calls `check` until it succeeds. Its error says why the server isn't ready.
    async fn wait(
        &self,
        check_running: impl Fn() -> Result<(), Error>,
        check: impl AsyncFn() -> Result<(), String>,
    ) -> Result<(), Error> {
        loop {
            check_running()?;
            let Err(reason) = check().await else { return Ok(()) };
            if self.since.elapsed() >= self.deadline {
                return Err(Error::NotReady {
                    server: self.server,
                    after: self.deadline,
                    reason,
                    log: self.log.to_path_buf(),
                    tail: log_tail(self.log),
                });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

async fn check_api(client: &Client) -> kube::Result<()> {
    let readyz = http::Request::get("/readyz").body(Vec::new());
    client.request_text(readyz.map_err(kube::Error::HttpError)?).await?;
    Api::<Namespace>::all(client.clone()).get("default").await?;
    Ok(())
}

/// Returns the message of `error` followed by those of its causes that it doesn't repeat.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}
