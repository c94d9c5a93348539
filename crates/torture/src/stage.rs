//! Sets everything up.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use auth0_simulator::{ClientSeed, Simulator};
use kube::Client;
use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use local_cluster::ControlPlane;
use rig::terminal::Terminal;
use rig::{cluster, manifests, operator};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use crate::arena::{Arena, Counts};
use crate::audit;
use crate::book::Book;
use crate::cli::Options;
use crate::clock::WallClock;
use crate::fleet::{self, MANAGER, Member, PROPAGATION, SCOPES};
use crate::operators::Operators;
use crate::plan::Plan;
use crate::tally::Tallies;
use crate::watch::Watch;

/// More than an hour's writes, so that the audit log stays one file.
const AUDIT_LOG_MEGABYTES: &str = "--audit-log-maxsize=200000";
/// How many entries of the simulated Auth0's own log are kept until they are looked at.
const ENTRIES: usize = 200_000;

/// Starts the control plane, the simulated Auth0 and the operator, and applies all resources.
pub(crate) async fn set(
    options: &Options,
    terminal: &Terminal,
    plan: &Plan,
    members: &[Member],
    seed: u64,
    folder: &Path,
) -> Result<Arena> {
    let executable = operator::executable(options.operator.as_deref(), "torture")?;
    cluster::provide(terminal, false).await?;
    let servers =
        ControlPlane::options().audit_policy(audit::policy()).apiserver_arg(AUDIT_LOG_MEGABYTES);
    let control_plane = cluster::start(terminal, servers).await?;
    let mut config = control_plane.client_config();
    config.default_retry = false;
    let client = Client::try_from(config)?;
    let simulator = auth0(members, seed).await?;

    cluster::install(&client, &manifests::read(&manifests::place("crds"))?).await?;
    cluster::apply(&client, &manifests::read(&manifests::place("deploy/operator.yaml"))?).await?;
    let manager = simulator.client_secret(MANAGER).context("there is no management client")?;
    cluster::apply(&client, &fleet::surroundings(simulator.url(), manager.expose_secret())).await?;
    let resources: Vec<Value> = members
        .iter()
        .zip(plan.schedules())
        .map(|(member, every): (&Member, Duration)| member.manifest(every))
        .collect();
    cluster::apply(&client, &resources).await?;

    let groups = &["system:serviceaccounts"];
    let kubeconfig = control_plane.kubeconfig_for(audit::OPERATOR, groups)?;
    Ok(Arena {
        operators: Operators::start(executable, kubeconfig, folder)?,
        simulator,
        client,
        book: Book::new(members),
        tallies: Tallies::default(),
        watch: Watch::new(members),
        counts: Counts::default(),
        control_plane,
    })
}

async fn auth0(members: &[Member], seed: u64) -> Result<Simulator> {
    let mut builder = Simulator::builder()
        .domain("acme.eu.auth0.com")
        .seed(seed)
        .clock(WallClock::default())
        .audit_capacity(ENTRIES)
        .propagation(Duration::ZERO..=PROPAGATION)
        .client(ClientSeed::new(MANAGER).scopes(SCOPES));
    for member in members {
        let client =
            ClientSeed::new(&member.name).grant("https://api.acme.example", ["read:things"]);
        builder = builder.client(client);
    }
    builder.start().await.context("can't start the simulated Auth0")
}

/// The resource as the API server knows it.
pub(crate) fn resources() -> ApiResource {
    let kind = GroupVersionKind::gvk("auth0-rotator.dev", "v1alpha1", "ClientSecretRotation");
    ApiResource::from_gvk_with_plural(&kind, "clientsecretrotations")
}
