//! Waits until a server is ready, has ended, or the deadline is over.

use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};

use crate::error::Error;
use crate::etcd;
use crate::log_tail;

const POLL: Duration = Duration::from_millis(50);
/// For one question to the API server, which may accept a connection before it answers.
const ANSWER: Duration = Duration::from_secs(2);

/// A server that is starting.
pub(crate) struct Starting<'a> {
    pub(crate) server: &'static str,
    pub(crate) log: &'a Path,
    pub(crate) since: Instant,
    pub(crate) deadline: Duration,
}

impl Starting<'_> {
    /// Asks `ready` until it says yes. It says what is missing otherwise.
    async fn wait(
        &self,
        ended: impl Fn() -> Result<(), Error>,
        ready: impl AsyncFn() -> Result<(), String>,
    ) -> Result<(), Error> {
        loop {
            ended()?;
            let Err(answer) = ready().await else { return Ok(()) };
            if self.since.elapsed() >= self.deadline {
                return Err(Error::NotReady {
                    server: self.server,
                    after: self.deadline,
                    answer,
                    log: self.log.to_path_buf(),
                    tail: log_tail::tail(self.log),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until etcd has its socket. That it answers is seen by the API server's readiness.
    pub(crate) async fn etcd(
        &self,
        folder: &Path,
        ended: impl Fn() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let socket = etcd::socket(folder);
        let missing = || format!("no socket {}", socket.display());
        self.wait(ended, async || socket.exists().then_some(()).ok_or_else(missing)).await
    }

    /// Waits until `/readyz` is ok and the namespace `default`, which the API server creates after
    /// that, is there.
    pub(crate) async fn apiserver(
        &self,
        mut config: kube::Config,
        ended: impl Fn() -> Result<(), Error>,
    ) -> Result<(), Error> {
        // Retrying is what happens here, and at a steady pace.
        config.default_retry = false;
        let client = Client::try_from(config).map_err(|error| Error::Client(Box::new(error)))?;
        let ask = async || {
            let answer = async {
                let readyz = http::Request::get("/readyz").body(Vec::new());
                client.request_text(readyz.map_err(kube::Error::HttpError)?).await?;
                Api::<Namespace>::all(client.clone()).get("default").await
            };
            match tokio::time::timeout(ANSWER, answer).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(with_causes(&error)),
                Err(_) => Err("none".to_owned()),
            }
        };
        self.wait(ended, ask).await
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
