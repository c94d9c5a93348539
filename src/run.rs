//! The operator as a process: its client, its servers, its end.

use std::{fmt, process::ExitCode, sync::Arc};

use kube::{Client, Config};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    cli::RunArgs,
    controller::{self, KUBE_DEADLINE},
    metrics::Metrics,
    server::Server,
};

/// Why the operator can't start.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// When it can't start: no cluster, or an address that is taken.
pub async fn run(arguments: &RunArgs) -> Result<ExitCode, StartError> {
    let client = client().await?;
    let metrics = Metrics::new()
        .map_err(|error| StartError(format!("the metrics can't be made: {error}")))?;
    let (ready, is_ready) = watch::channel(false);
    let (stop, stopped) = watch::channel(false);
    serve(arguments, metrics.clone(), is_ready).await?;
    tokio::spawn(async move {
        asked_to_stop().await;
        tracing::info!("stopping: what is under way is finished first");
        stop.send_replace(true);
    });
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(version, namespaces = ?arguments.namespaces, "started");
    if controller::run(client, arguments.settings(), metrics, stopped, ready).await {
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    } else {
        tracing::error!("a watch or a reconciler ended by itself");
        Ok(ExitCode::FAILURE)
    }
}

async fn client() -> Result<Client, StartError> {
    let mut config = Config::infer().await.map_err(|error| {
        StartError(format!(
            "no cluster: {error}; set KUBECONFIG, or run in a pod with a service account"
        ))
    })?;
    // Retries are ours to make: with our deadlines, and never of what is not known to have failed.
    config.default_retry = false;
    config.connect_timeout = Some(KUBE_DEADLINE);
    config.write_timeout = Some(KUBE_DEADLINE);
    Client::try_from(config)
        .map_err(|error| StartError(format!("the cluster's configuration can't be used: {error}")))
}

async fn serve(
    arguments: &RunArgs,
    metrics: Arc<Metrics>,
    is_ready: watch::Receiver<bool>,
) -> Result<(), StartError> {
    let taken = |flag: &str, address, error| {
        StartError(format!("{flag} {address}: {error}; choose another address, or free this one"))
    };
    let address = arguments.metrics_addr;
    let metrics = Server::metrics(address, metrics)
        .await
        .map_err(|error| taken("--metrics-addr", address, error))?;
    let address = arguments.health_addr;
    let health = Server::health(address, is_ready)
        .await
        .map_err(|error| taken("--health-addr", address, error))?;
    for (server, what) in [(metrics, "metrics"), (health, "health")] {
        let address = server.address().map(|address| address.to_string()).unwrap_or_default();
        tracing::info!(what, address, "listening");
        tokio::spawn(server.run());
    }
    Ok(())
}

async fn asked_to_stop() {
    let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    match (terminate, interrupt) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        }
        // Without signals the process can only be killed, which it withstands.
        _ => std::future::pending().await,
    }
}
