//! The simulated Auth0 tenant of tests.

use std::{ops::RangeInclusive, time::Duration};

use auth0_simulator::{ClientSeed, Simulator, SimulatorBuilder};

/// Client ID of the operator's management client.
pub const MANAGER: &str = "manager";
/// Scopes of the management client, which the documentation asks users to grant.
pub const SCOPES: [&str; 3] = ["read:clients", "read:client_keys", "update:client_keys"];
/// API for which applications request tokens.
pub const AUDIENCE: &str = "https://api.acme.example";
/// Client ID of the tenant's administrator.
pub const ADMINISTRATOR: &str = "administrator";

/// Propagation times of most tests: a changed secret counts within a second.
const PROPAGATION: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(1);

/// Returns the seed of an application's client.
pub fn application(client_id: impl Into<String>) -> ClientSeed {
    ClientSeed::new(client_id).grant(AUDIENCE, ["read:things"])
}

/// Returns a builder of a tenant that has only the management client.
pub fn tenant() -> SimulatorBuilder {
    Simulator::builder().propagation(PROPAGATION).client(ClientSeed::new(MANAGER).scopes(SCOPES))
}

/// Starts a tenant with an administrator and applications of these client IDs.
pub async fn tenant_with_clients(client_ids: &[&str]) -> Simulator {
    let administrator = ClientSeed::new(ADMINISTRATOR).scopes(["read:clients", "update:clients"]);
    let mut builder = tenant().client(administrator);
    for client_id in client_ids {
        builder = builder.client(application(*client_id));
    }
    builder.start().await.expect("the simulated Auth0 starts")
}
