//! Starts everything that the test needs.

use std::time::Duration;

use anyhow::{Context as _, Result};
use kube::Client;
use local_cluster::ControlPlane;
use scenarios::environment::start_control_plane;
use secrecy::ExposeSecret as _;
use serde_json::json;
use testkit::{
    api_proxy::ApiProxy,
    auth0::{self, MANAGER},
    cluster::{self, OPERATOR_USER, SERVICE_ACCOUNT_GROUPS},
    login_tally::LoginTallies,
    operator,
    terminal::Terminal,
};

use crate::{
    audit_log,
    checker::Checker,
    cli::Options,
    clients::{API_SERVERS, NAMESPACE, PROPAGATION, TestClient},
    clock::MonotonicWallClock,
    context::{Context, Counts},
    fault_schedule::FaultSchedule,
    history::History,
    operators::Operators,
};

/// Large enough for an hour's writes, so that the audit log stays one file.
const AUDIT_LOG_MEGABYTES: &str = "--audit-log-maxsize=200000";
/// Number of entries of Auth0's audit log that are kept until they are read.
const AUTH0_AUDIT_ENTRIES: usize = 200_000;

/// Starts the control plane, the simulated Auth0 and the operator, and applies all resources.
pub(crate) async fn start(
    options: &Options,
    terminal: &Terminal,
    schedule: &FaultSchedule,
    clients: &[TestClient],
) -> Result<Context> {
    let executable = match &options.operator {
        Some(path) => std::path::absolute(path)?,
        None => operator::executable()?,
    };
    let servers = ControlPlane::options()
        .audit_policy(audit_log::policy())
        .apiserver_arg(AUDIT_LOG_MEGABYTES);
    let control_plane = start_control_plane(terminal, servers).await?;
    let mut config = control_plane.client_config();
    config.default_retry = false;
    let client = Client::try_from(config)?;
    let mut simulator = auth0::tenant()
        .seed(schedule.seed())
        .clock(MonotonicWallClock::default())
        .audit_capacity(AUTH0_AUDIT_ENTRIES)
        .propagation(Duration::ZERO..=PROPAGATION);
    for client in clients {
        simulator = simulator.client(auth0::application(&client.name));
    }
    let simulator = simulator.start().await.context("can't start the simulated Auth0")?;

    cluster::install_operator_manifests(&client).await?;
    let manager = simulator.client_secret(MANAGER).context("there is no management client")?;
    apply_tenant(&client, simulator.url(), manager.expose_secret()).await?;
    let resources = clients.iter().zip(schedule.rotation_intervals());
    let resources: Vec<_> = resources.map(|(client, interval)| client.manifest(interval)).collect();
    cluster::apply(&client, &resources).await?;

    let config = control_plane.client_config_for(OPERATOR_USER, &SERVICE_ACCOUNT_GROUPS)?;
    let api_proxy = ApiProxy::start(config, API_SERVERS).await?;
    let log_dir = operator::log_dir("auth0-rotator-torture-")?;
    let kubeconfig = api_proxy.write_kubeconfig(log_dir.path())?;
    Ok(Context {
        operators: Operators::start(executable, kubeconfig, log_dir)?,
        api_proxy,
        simulator,
        client,
        history: History::new(clients),
        logins: LoginTallies::default(),
        checker: Checker::new(clients),
        counts: Counts::default(),
        control_plane,
    })
}

/// Applies the namespace and the tenant with its credentials.
async fn apply_tenant(client: &Client, endpoint: &str, secret: &str) -> Result<()> {
    let manifests = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "auth0-management", "namespace": NAMESPACE},
            "stringData": {"client_id": MANAGER, "client_secret": secret},
        }),
        json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "Auth0Tenant",
            "metadata": {"name": "acme", "namespace": NAMESPACE},
            "spec": {
                "domain": "acme.eu.auth0.com",
                "endpoint": endpoint,
                "credentials": {"clientSecret": {"secretRef": {"name": "auth0-management"}}},
                "rateLimit": {"requestsPerSecond": 200, "burst": 200},
                "driftCheck": {"minInterval": "1s"},
            },
        }),
    ];
    cluster::apply(client, &manifests).await
}
