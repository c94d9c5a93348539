//! Searches what the operator wrote for secrets.

use std::fs;
use std::path::Path;

use anyhow::Result;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use secrecy::ExposeSecret as _;
use testbed::needles::Needles;

use crate::arena::Arena;
use crate::fleet::NAMESPACE;
use crate::stage::resources;

/// What was searched, and where a secret was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Search {
    pub(crate) values: usize,
    pub(crate) bytes: u64,
    pub(crate) found_in: Vec<String>,
}

/// Searches the logs in `folder`, Events, resources and tenants for every secret and token that
/// there ever was.
pub(crate) async fn search(arena: &Arena, folder: &Path) -> Result<Search> {
    let ever = arena.simulator.value_history();
    let lists: Vec<_> =
        (0..arena.members().len()).filter_map(|it| arena.book.page(it).list()).collect();
    let secrets = ever.secrets.iter().chain(lists.iter().flat_map(|list| list.iter()));
    // Most tokens are of logins, which the operator never sees.
    let tokens: Vec<&str> = ever.tokens.iter().map(|token| token.expose_secret()).collect();
    let needles = Needles::of(secrets.map(|secret| secret.expose_secret()), &tokens)?;
    let mut search = Search { values: needles.values(), ..Search::default() };
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        search.bytes += path.metadata()?.len();
        if let Some(shape) = needles.find_in_file(&path)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            search.found_in.push(format!("{name} ({shape:?})"));
        }
    }
    let tenants = GroupVersionKind::gvk("auth0-rotator.dev", "v1alpha1", "Auth0Tenant");
    for (name, text) in [
        ("Events", events(arena).await?),
        ("ClientSecretRotations", objects(arena, &resources()).await?),
        ("Auth0Tenants", objects(arena, &ApiResource::from_gvk(&tenants)).await?),
    ] {
        search.bytes += text.len() as u64;
        if let Some(shape) = needles.find(&text) {
            search.found_in.push(format!("{name} ({shape:?})"));
        }
    }
    Ok(search)
}

async fn events(arena: &Arena) -> Result<String> {
    let events: Api<Event> = Api::namespaced(arena.client.clone(), NAMESPACE);
    Ok(serde_json::to_string(&events.list(&ListParams::default()).await?.items)?)
}

async fn objects(arena: &Arena, resource: &ApiResource) -> Result<String> {
    let objects: Api<DynamicObject> =
        Api::namespaced_with(arena.client.clone(), NAMESPACE, resource);
    Ok(serde_json::to_string(&objects.list(&ListParams::default()).await?.items)?)
}
