//! What is found at the end: in the cluster, at Auth0 and in the operator's log.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use auth0_simulator::{Operation, Simulator};
use chrono::Utc;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use crate::leaks::Place;
use crate::manifests::Application;
use crate::tally::Tallies;
use crate::target::Target;
use crate::verdict::Account;
use crate::world::{World, client_secret_rotations};

/// What is known of an application.
pub(crate) async fn account(
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

/// The texts in which no secret may occur.
pub(crate) async fn places(client: &Client, namespace: &str, log: &Path) -> Result<Vec<Place>> {
    let log = fs::read_to_string(log).context("can't read the operator's log")?;
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let events = events.list(&ListParams::default()).await?;
    let mut places = vec![
        place("operator.log", log.clone()),
        place("events.json", serde_json::to_string_pretty(&events.items)?),
    ];
    let tenant = GroupVersionKind::gvk("auth0-rotator.dev", "v1alpha1", "Auth0Tenant");
    let tenants = ApiResource::from_gvk_with_plural(&tenant, "auth0tenants");
    for resource in [client_secret_rotations(), tenants] {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let listed = api.list(&ListParams::default()).await?;
        let text = serde_json::to_string_pretty(&listed.items)?;
        places.push(place(&format!("{}.json", resource.plural), text));
    }
    // An operator that has ended has no metrics.
    if let Some(metrics) = metrics(&log).await {
        places.push(place("metrics.txt", metrics));
    }
    Ok(places)
}

async fn metrics(log: &str) -> Option<String> {
    let url = format!("http://{}/metrics", metrics_address(log)?);
    let client = reqwest::Client::builder().no_proxy().build().ok()?;
    client.get(url).send().await.ok()?.text().await.ok()
}

fn place(name: &str, text: String) -> Place {
    Place { name: name.into(), text }
}

/// Where the operator serves its metrics, as its log tells.
fn metrics_address(log: &str) -> Option<String> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut listening = lines.filter(|line| line["message"] == "listening");
    // The last one: the processes before it are gone.
    let metrics = listening.rfind(|line| line["what"] == "metrics")?;
    metrics["address"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_are_where_the_log_says() {
        let log = "not json\n\
                   {\"message\":\"listening\",\"what\":\"metrics\",\"address\":\"127.0.0.1:1\"}\n\
                   {\"message\":\"listening\",\"what\":\"metrics\",\"address\":\"127.0.0.1:2\"}\n\
                   {\"message\":\"listening\",\"what\":\"health\",\"address\":\"127.0.0.1:3\"}\n";
        assert_eq!(metrics_address(log).as_deref(), Some("127.0.0.1:2"));
        assert_eq!(metrics_address(""), None);
    }
}
