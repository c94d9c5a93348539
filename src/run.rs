//! The operator as a process: its client, its servers, its end.

use std::{fmt, path::Path, process::ExitCode, sync::Arc};

use kube::{Client, Config, client::ClientBuilder};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    api::MANAGER,
    cli::RunArgs,
    controller::{self, KUBE_DEADLINE, ServerTimeLayer},
    definitions,
    metrics::Metrics,
    server::{Readiness, Server},
};
use leader_election::{LeaderElectionConfig, LeaderElector, LeaderState, LeaseName};

/// Why the operator can't start.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// Runs the operator until SIGTERM or SIGINT, or until it leads no more.
///
/// # Errors
/// When it can't start: no cluster, or an address that is taken.
pub async fn run(arguments: &RunArgs, terms: LeaderElectionConfig) -> Result<ExitCode, StartError> {
    let client = client().await?;
    let metrics = Metrics::new()
        .map_err(|error| StartError(format!("the metrics can't be made: {error}")))?;
    let (synced, is_synced) = watch::channel(false);
    let (stop, stopped) = watch::channel(false);
    let addresses = bind(arguments).await?;
    let (readiness, is_ready) = watch::channel(Readiness::default());
    serve(addresses, &metrics, is_ready);
    let settings = arguments.settings();
    let mut asked_to_stop = Box::pin(asked_to_stop());
    let waiting = |what: &str| drop(readiness.send_replace(Readiness::Waiting(what.to_owned())));
    // Before the election: who can't work must not lead.
    tokio::select! {
        () = definitions::wait(&client, settings.uses_cluster_tenants(), waiting) => {}
        () = &mut asked_to_stop => {
            tracing::info!("stopped");
            return Ok(ExitCode::SUCCESS);
        }
    }
    let candidacy = candidacy(arguments, terms, &client);
    tokio::spawn(tell_of(candidacy.standing(), metrics.clone()));
    let standing = candidacy.standing();
    readiness.send_replace(Readiness::Begun { synced: is_synced, standing: standing.clone() });
    tokio::spawn(async move {
        tokio::select! {
            () = asked_to_stop => tracing::info!("stopping: what is under way is finished first"),
            () = lost(standing) => {}
        }
        stop.send_replace(true);
    });
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(version, namespaces = ?arguments.namespaces, "started");
    let asked = controller::run(controller::Runtime {
        client,
        settings,
        metrics,
        elector: &candidacy,
        shutdown: stopped,
        synced,
    })
    .await;
    let standing = candidacy.standing().borrow().clone();
    candidacy.resign().await;
    match standing {
        // Nothing of the term that is over may last: not what it remembered, nor what it waited for.
        // A process that begins anew has nothing of it.
        LeaderState::Lost(loss) => {
            tracing::error!("the Lease was lost: {loss}; begin anew, to stand by");
            Ok(ExitCode::FAILURE)
        }
        _ if asked => {
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            tracing::error!("a watch, a reconciler or the election ended by itself");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// This process as a candidate, if there is an election.
fn candidacy(arguments: &RunArgs, terms: LeaderElectionConfig, client: &Client) -> LeaderElector {
    if !arguments.leader.leader_elect.unwrap_or_else(is_in_pod) {
        return LeaderElector::unopposed();
    }
    let here = || client.default_namespace().to_owned();
    let place = LeaseName {
        namespace: arguments.operator_namespace.clone().unwrap_or_else(here),
        name: arguments.leader.leader_elect_resource_name.clone(),
        field_manager: MANAGER.to_owned(),
    };
    // A container that is started again in the same pod is another process.
    let identity = format!("{}_{}", controller::instance(), uuid::Uuid::new_v4());
    LeaderElector::stand(client.clone(), place, identity, terms)
}

fn is_in_pod() -> bool {
    let account = Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token");
    std::env::var_os("KUBECONFIG").is_none() && account.exists()
}

/// Keeps the metric that tells who leads.
async fn tell_of(mut standing: watch::Receiver<LeaderState>, metrics: Arc<Metrics>) {
    loop {
        metrics.leads(*standing.borrow_and_update() == LeaderState::Leading);
        if standing.changed().await.is_err() {
            return;
        }
    }
}

/// Waits until the Lease is lost. An election that ended by itself is as bad.
async fn lost(mut standing: watch::Receiver<LeaderState>) {
    let is_lost = |standing: &LeaderState| matches!(standing, LeaderState::Lost(_));
    if standing.wait_for(is_lost).await.is_ok() {
        tracing::error!("leads no more: nothing is changed from here on");
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
    let client =
        ClientBuilder::try_from(config).map(|client| client.with_layer(&ServerTimeLayer).build());
    client
        .map_err(|error| StartError(format!("the cluster's configuration can't be used: {error}")))
}

/// Binds the addresses, first of all: one that is taken is told before anything is done.
async fn bind(arguments: &RunArgs) -> Result<[TcpListener; 2], StartError> {
    let taken = |flag: &str, address, error| {
        StartError(format!("{flag} {address}: {error}; choose another address, or free this one"))
    };
    let address = arguments.metrics_addr;
    let metrics = TcpListener::bind(address)
        .await
        .map_err(|error| taken("--metrics-addr", address, error))?;
    let address = arguments.health_addr;
    let health =
        TcpListener::bind(address).await.map_err(|error| taken("--health-addr", address, error))?;
    Ok([metrics, health])
}

fn serve(
    [metrics, health]: [TcpListener; 2],
    all: &Arc<Metrics>,
    readiness: watch::Receiver<Readiness>,
) {
    let servers = [
        (Server::metrics(metrics, all.clone()), "metrics"),
        (Server::health(health, readiness), "health"),
    ];
    for (server, what) in servers {
        let address = server.address().map(|address| address.to_string()).unwrap_or_default();
        tracing::info!(what, address, "listening");
        tokio::spawn(server.run());
    }
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
