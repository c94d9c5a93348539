//! What is known of an application at the end: in the cluster and at Auth0.

use anyhow::Result;
use auth0_simulator::{Operation, Simulator};
use chrono::Utc;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use secrecy::ExposeSecret as _;

use crate::manifests::Application;
use crate::tally::{Tallies, Tally};
use crate::target::Target;
use crate::world::{View, World};

/// Everything that is known of an application at the end.
#[derive(Clone, Debug, Default)]
pub struct Account {
    pub name: String,
    pub strategy: String,
    pub view: View,
    pub tally: Tally,
    /// How often its secret was changed at Auth0.
    pub changes_at_auth0: u64,
    /// How often `rotate-secret` was called for it.
    pub calls_of_rotate: u64,
    /// Auth0 accepts what its Secret says to try first, and would show the same value.
    pub is_accepted: bool,
    /// A scheduled rotation should have started, and has not.
    pub is_overdue: bool,
}

impl Account {
    pub fn rotations(&self) -> u64 {
        self.view.completed.values().sum()
    }

    /// Rotate can't help it if Auth0 refuses the old secret before the new one is published.
    pub fn promised_logins_failed(&self) -> u64 {
        if self.strategy == "Staged" { self.tally.all_failed() } else { self.tally.failed }
    }
}

/// What is known of an application.
pub async fn account(
    client: &Client,
    namespace: &str,
    application: &Application,
    simulator: &Simulator,
    world: &World,
    tallies: &Tallies,
) -> Result<Account> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = secrets.get_opt(&application.secret).await?;
    let mut view = world.view(&application.name);
    view.target = secret.as_ref().map(Target::read);
    let client_id = &application.client_id;
    let published = view.target.as_ref().and_then(|target| target.first.as_ref());
    let is_accepted = published.is_some_and(|value| {
        let value = value.expose_secret();
        let shown = simulator.client_secret(client_id);
        simulator.accepts(client_id, value)
            && shown.is_some_and(|shown| shown.expose_secret() == value)
    });
    let counts = simulator.counters().client(client_id);
    let calls = counts.requests.get(Operation::RotateSecret.as_str());
    Ok(Account {
        name: application.name.clone(),
        strategy: application.strategy.clone(),
        tally: tallies.of(&application.name),
        changes_at_auth0: counts.effects.rotations + counts.effects.secret_patches,
        calls_of_rotate: calls.copied().unwrap_or_default(),
        is_accepted,
        is_overdue: view.status.next_rotation_time.is_some_and(|due| due < Utc::now()),
        view,
    })
}
