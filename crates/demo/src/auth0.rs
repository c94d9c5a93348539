//! The simulated Auth0 tenant.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context as _, Result};
use auth0_simulator::{ClientSeed, Simulator};
use secrecy::SecretString;
use testbed::manifests::Quickstart;

use crate::consumer::AUDIENCE;

/// When Auth0 accepts a new secret and refuses the old one, counted from the change: two moments
/// in this window. Auth0's own is 0 to 30 s.
pub(crate) const PROPAGATION: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(4);

/// The scopes that the quickstart tells its reader to grant.
const SCOPES: [&str; 3] = ["read:clients", "read:client_keys", "update:client_keys"];

/// Starts a tenant that has the clients which the manifests name, each with a secret of its own.
pub(crate) async fn start(quickstart: &Quickstart, seed: u64) -> Result<Simulator> {
    let tenant = &quickstart.tenant;
    let manager = ClientSeed::new(&tenant.manager).scopes(SCOPES);
    let mut builder = Simulator::builder()
        .domain(&tenant.domain)
        .seed(seed)
        .propagation(PROPAGATION)
        .client(manager);
    for application in &quickstart.applications {
        let client = ClientSeed::new(&application.client_id).grant(AUDIENCE, ["read:things"]);
        builder = builder.client(client);
    }
    builder.start().await.context("can't start the simulated Auth0")
}

/// The secret of the operator itself.
pub(crate) fn managers_secret(
    simulator: &Simulator,
    quickstart: &Quickstart,
) -> Result<SecretString> {
    let secret = simulator.client_secret(&quickstart.tenant.manager);
    secret.context("the simulated Auth0 has lost the operator's own client")
}
