//! The search for secrets where none may be.

use anyhow::Result;
use auth0_simulator::ValueHistory;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use secrecy::ExposeSecret as _;

use crate::needles::Needles;
use crate::world::client_secret_rotations;

/// A text in which no secret may occur.
pub struct Place {
    pub name: String,
    pub text: String,
}

impl Place {
    pub fn new(name: &str, text: String) -> Self {
        Self { name: name.into(), text }
    }
}

/// The Events of a namespace, and the operator's resources in it.
pub async fn in_resources(client: &Client, namespace: &str) -> Result<Vec<Place>> {
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let events = events.list(&ListParams::default()).await?;
    let mut places = vec![Place::new("events.json", serde_json::to_string_pretty(&events.items)?)];
    let tenant = GroupVersionKind::gvk("auth0-rotator.dev", "v1alpha1", "Auth0Tenant");
    let tenants = ApiResource::from_gvk_with_plural(&tenant, "auth0tenants");
    for resource in [client_secret_rotations(), tenants] {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let listed = api.list(&ListParams::default()).await?;
        let text = serde_json::to_string_pretty(&listed.items)?;
        places.push(Place::new(&format!("{}.json", resource.plural), text));
    }
    Ok(places)
}

/// What was searched, and where something was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    pub values: usize,
    pub bytes: usize,
    /// The names of the places.
    pub places: Vec<String>,
    /// The names of the places that hold a secret or a token.
    pub found_in: Vec<String>,
}

impl Search {
    /// In words: where it was searched, or where something was found.
    pub fn evidence(&self) -> String {
        let Self { values, bytes, places, found_in } = self;
        if found_in.is_empty() {
            let places = places.join(", ");
            format!("{} KiB searched for {values} secrets and tokens: {places}", bytes / 1024)
        } else {
            format!("found in: {}", found_in.join(", "))
        }
    }
}

/// Searches for every client secret and token that ever existed, in every shape.
///
/// # Errors
/// When there are too many of them.
pub fn search(places: &[Place], ever: &ValueHistory) -> Result<Search> {
    let values = ever.secrets.iter().chain(&ever.tokens).map(|value| value.expose_secret());
    Ok(search_texts(places, &Needles::new(values)?))
}

fn search_texts(places: &[Place], needles: &Needles) -> Search {
    let found_in = places.iter().filter_map(|place| {
        let shape = needles.find(&place.text)?;
        Some(format!("{} ({shape:?})", place.name))
    });
    Search {
        values: needles.values(),
        places: places.iter().map(|place| place.name.clone()).collect(),
        bytes: places.iter().map(|place| place.text.len()).sum(),
        found_in: found_in.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_leak_is_named() {
        let place = |name: &str, text: &str| Place { name: name.into(), text: text.into() };
        let places =
            [place("log", "rotation 2 started"), place("Events", "it is c2VjcmV0LXNlY3JldA")];
        let found = search_texts(&places, &Needles::new(["secret-secret"]).unwrap());
        assert_eq!(found.found_in, ["Events (Base64)"]);
        assert_eq!((found.values, found.bytes), (1, 42));
    }
}
