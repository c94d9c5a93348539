//! `run`: starts the operator, takes part in leader election, and drains at the end.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    sync::Arc,
};

use kube::{Client, Config, client::ClientBuilder, config::InferConfigError};
use leader_election::{LeaderElector, LeaderState, LeaseLock};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    api::FIELD_MANAGER,
    config::RunConfig,
    controller::{self, ApiLatencyLayer, KUBE_DEADLINE, RunLimit, ServerTimeLayer},
    crd_check,
    metrics::Metrics,
    server::{MetricsAccess, Readiness, Server, Tls, TlsError},
};

/// Why the operator can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no kubeconfig, and no service account of a Pod.
    #[error("no cluster: {0}; set KUBECONFIG, or run in a Pod with a service account")]
    NoCluster(#[source] Box<InferConfigError>),
    /// The configuration of the cluster is not usable, for example because of its TLS settings.
    #[error("can't use the configuration of the cluster: {0}")]
    Client(#[source] Box<kube::Error>),
    /// A defect of this program.
    #[error("can't create the metrics: {0}")]
    Metrics(#[source] prometheus::Error),
    /// The certificate of the metrics server can't be used.
    #[error("--metrics-tls-cert, --metrics-tls-key: {0}; both are PEM files that belong together")]
    MetricsTls(#[source] TlsError),
    /// An address can't be bound, usually because it is in use.
    #[error("{flag} {address}: {source}; choose another address, or free this one")]
    Bind {
        /// Flag that sets the address.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// Error of the operating system.
        source: io::Error,
    },
}

/// Runs the operator until SIGTERM, SIGINT or the loss of leadership.
///
/// # Errors
///
/// When it can't start.
pub async fn run(config: RunConfig) -> Result<ExitCode, StartError> {
    let run_limit = RunLimit::new(config.settings.concurrency);
    let client = connect(&run_limit).await?;
    let metrics = Metrics::new().map_err(StartError::Metrics)?;
    let listeners = Listeners::bind(&config).await?;
    let protection = &config.metrics_protection;
    let tls = protection.uses_tls().then(|| Tls::new(protection.certificate.clone()));
    let tls = tls.transpose().map_err(StartError::MetricsTls)?;
    let access = protection.has_auth.then(|| MetricsAccess::new(client.clone()));
    let (readiness, readiness_receiver) = watch::channel(Readiness::default());
    serve("metrics", Server::metrics(listeners.metrics, metrics.clone(), access, tls));
    serve("health", Server::health(listeners.health, readiness_receiver));
    let mut shutdown = Box::pin(shutdown_signal());
    let report = |problem: &str| {
        readiness.send_replace(Readiness::Waiting(problem.to_owned()));
    };
    // Before the election: a replica that can't reconcile must not lead.
    tokio::select! {
        () = crd_check::wait(&client, config.settings.uses_cluster_tenants(), report) => {}
        () = &mut shutdown => {
            tracing::info!("stopped");
            return Ok(ExitCode::SUCCESS);
        }
    }
    let (synced, watches_synced) = watch::channel(false);
    // A process that can't watch anything must not keep another one from leading.
    let elector = start_elector(&config, &client, watches_synced.clone());
    tokio::spawn(export_leader_metric(elector.subscribe(), metrics.clone()));
    let (not_served, crd_problem) = monitor_crds(&client, &config);
    let leader_state = elector.subscribe();
    readiness.send_replace(Readiness::Started { watches_synced, crd_problem, leader_state });
    let (stop, stopped) = watch::channel(false);
    let leader_state = elector.subscribe();
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown => tracing::info!("stopping: finishing reconciliations in progress"),
            () = loss_of_leadership(leader_state) => {}
        }
        stop.send_replace(true);
    });
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(version, namespaces = ?config.settings.namespaces, "started");
    let was_requested = controller::run(controller::Runtime {
        client,
        settings: config.settings,
        run_limit,
        metrics,
        elector: &elector,
        shutdown: stopped,
        not_served,
        synced,
    })
    .await;
    let leader_state = elector.subscribe().borrow().clone();
    elector.release().await;
    Ok(exit_code(leader_state, was_requested))
}

/// Logs why the operator stops, and returns its exit code.
fn exit_code(leader_state: LeaderState, was_requested: bool) -> ExitCode {
    match leader_state {
        // A new process has no state, timer or task of the term that was lost.
        LeaderState::Lost(reason) => {
            tracing::error!(
                %reason,
                "lost leadership; exiting so that the Pod restarts as a standby"
            );
            ExitCode::FAILURE
        }
        LeaderState::Leader | LeaderState::Standby { .. } if was_requested => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        LeaderState::Leader | LeaderState::Standby { .. } => {
            tracing::error!("a watch, a reconciler or the election ended unexpectedly");
            ExitCode::FAILURE
        }
    }
}

/// Starts to check the CRDs whenever a kind is not served. Returns the sender that counts when that
/// happens, and the present problem.
fn monitor_crds(
    client: &Client,
    config: &RunConfig,
) -> (watch::Sender<u64>, watch::Receiver<Option<String>>) {
    let (not_served, changes) = watch::channel(0);
    let (problem, receiver) = watch::channel(None);
    let uses_cluster_tenants = config.settings.uses_cluster_tenants();
    tokio::spawn(crd_check::monitor(client.clone(), uses_cluster_tenants, changes, problem));
    (not_served, receiver)
}

fn start_elector(
    config: &RunConfig,
    client: &Client,
    eligible: watch::Receiver<bool>,
) -> LeaderElector {
    let Some(election) = &config.leader_election else { return LeaderElector::disabled() };
    let namespace = config.settings.operator_namespace.clone();
    let lock = LeaseLock {
        namespace: namespace.unwrap_or_else(|| client.default_namespace().to_owned()),
        name: election.lease_name.clone(),
        // A container that restarts in the same Pod is another process, with another identity.
        identity: format!("{}_{}", controller::instance(), uuid::Uuid::new_v4()),
        field_manager: FIELD_MANAGER.to_owned(),
    };
    LeaderElector::start(client.clone(), lock, election.durations, eligible)
}

/// Keeps the metric `auth0_rotator_leader` up to date.
async fn export_leader_metric(mut state: watch::Receiver<LeaderState>, metrics: Arc<Metrics>) {
    loop {
        metrics.set_leader(*state.borrow_and_update() == LeaderState::Leader);
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// Waits until leadership is lost, or the election has ended unexpectedly.
async fn loss_of_leadership(mut state: watch::Receiver<LeaderState>) {
    let is_lost = |state: &LeaderState| matches!(state, LeaderState::Lost(_));
    if state.wait_for(is_lost).await.is_ok() {
        tracing::error!("lost leadership; this replica makes no further changes");
    }
}

async fn connect(run_limit: &RunLimit) -> Result<Client, StartError> {
    let mut config =
        Config::infer().await.map_err(|error| StartError::NoCluster(Box::new(error)))?;
    // The callers retry, with their own deadlines, and only requests that are known to have failed.
    config.default_retry = false;
    config.connect_timeout = Some(KUBE_DEADLINE);
    config.write_timeout = Some(KUBE_DEADLINE);
    let builder =
        ClientBuilder::try_from(config).map_err(|error| StartError::Client(Box::new(error)))?;
    Ok(builder
        .with_layer(&ServerTimeLayer)
        .with_layer(&ApiLatencyLayer::new(run_limit.clone()))
        .build())
}

/// The bound addresses of the HTTP servers.
struct Listeners {
    metrics: TcpListener,
    health: TcpListener,
}

impl Listeners {
    /// Binds the addresses before the operator does anything else, so that an address that is in
    /// use is reported at once.
    async fn bind(config: &RunConfig) -> Result<Self, StartError> {
        Ok(Self {
            metrics: bind("--metrics-addr", config.metrics_addr).await?,
            health: bind("--health-addr", config.health_addr).await?,
        })
    }
}

async fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let mut bound = TcpListener::bind(address).await;
    if bound.is_err() && address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        // A machine without IPv6. If the address is in use, this fails as well.
        let all = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
        bound = TcpListener::bind(all).await;
    }
    bound.map_err(|source| StartError::Bind { flag, address, source })
}

fn serve(what: &'static str, server: Server) {
    let address = server.address().map(|address| address.to_string()).unwrap_or_default();
    let scheme = server.scheme();
    tracing::info!(what, scheme, address, "listening");
    tokio::spawn(server.run());
}

/// Waits for SIGTERM or SIGINT.
async fn shutdown_signal() {
    let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    match (terminate, interrupt) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        }
        // Without signal handlers, the signals kill the process, which is safe at any time.
        _ => std::future::pending().await,
    }
}
