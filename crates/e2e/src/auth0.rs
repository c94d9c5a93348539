//! The simulated Auth0 tenant, over HTTPS at the node's address.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use auth0_simulator::{ClientSeed, Simulator};
use secrecy::SecretString;
use testbed::manifests::Quickstart;

/// The API that the applications ask tokens for.
pub(crate) const AUDIENCE: &str = "https://api.acme.example";

/// The scopes that the quickstart tells its reader to grant.
const SCOPES: [&str; 3] = ["read:clients", "read:client_keys", "update:client_keys"];

/// The tenant, and what there is to know of it.
pub(crate) struct Auth0 {
    pub(crate) simulator: Simulator,
    /// The certificate to trust, PEM.
    pub(crate) authority: String,
    /// The secret of the operator itself.
    pub(crate) managers_secret: SecretString,
}

/// Starts a tenant that has the clients which the manifests name. A changed secret counts within
/// 30 s, as at Auth0.
pub(crate) async fn start(quickstart: &Quickstart, seed: u64) -> Result<Auth0> {
    let certificate =
        rcgen::generate_simple_self_signed([local_cluster::node::ADDRESS.to_string()])?;
    let authority = certificate.cert.pem();
    let tenant = &quickstart.tenant;
    let mut builder = Simulator::builder()
        .addr(SocketAddr::from((local_cluster::node::ADDRESS, 0)))
        .tls(authority.clone(), certificate.signing_key.serialize_pem())
        .domain(&tenant.domain)
        .seed(seed)
        .client(ClientSeed::new(&tenant.manager).scopes(SCOPES));
    for application in &quickstart.applications {
        let client = ClientSeed::new(&application.client_id).grant(AUDIENCE, ["read:things"]);
        builder = builder.client(client);
    }
    let simulator = builder.start().await.context("can't start the simulated Auth0")?;
    let managers_secret = simulator
        .client_secret(&tenant.manager)
        .context("the simulated Auth0 has lost the operator's own client")?;
    Ok(Auth0 { simulator, authority, managers_secret })
}
