//! Searches what the operator wrote for secrets.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use aho_corasick::AhoCorasick;
use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use secrecy::{ExposeSecret as _, SecretString};

use crate::arena::Arena;
use crate::fleet::NAMESPACE;
use crate::stage::resources;

/// How much of a value is searched for: more than can be there by chance, and a leak of a part is
/// one too.
const PART: usize = 16;

/// What was searched, and where a secret was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Search {
    pub(crate) values: usize,
    pub(crate) bytes: u64,
    pub(crate) found_in: Vec<String>,
}

/// Values in each shape that they could be written in. Percent-encoding and JSON leave the
/// characters of a secret as they are.
struct Needles {
    automaton: AhoCorasick,
    values: usize,
}

impl Needles {
    fn new<'a>(values: impl Iterator<Item = &'a SecretString>) -> Result<Self> {
        let values: BTreeSet<&str> = values.map(|value| value.expose_secret()).collect();
        let shapes = values.iter().flat_map(|value| shapes(value));
        Ok(Self { automaton: AhoCorasick::new(shapes)?, values: values.len() })
    }

    fn are_in(&self, text: &str) -> bool {
        self.automaton.is_match(text)
    }

    fn are_in_file(&self, path: &Path) -> Result<bool> {
        let file = BufReader::new(File::open(path)?);
        Ok(self.automaton.stream_find_iter(file).next().transpose()?.is_some())
    }
}

/// The beginning of a value as it is, and in base64 wherever in a text it begins.
fn shapes(value: &str) -> Vec<String> {
    let value = value.as_bytes();
    let beginning =
        |bytes: &[u8]| String::from_utf8_lossy(&bytes[..PART.min(bytes.len())]).into_owned();
    let encoded = (0..3usize).map(|before| {
        let text = STANDARD_NO_PAD.encode([&[0; 2][..before], value].concat());
        // The first characters have bits of what comes before.
        beginning(&text.as_bytes()[(before * 8).div_ceil(6)..])
    });
    std::iter::once(beginning(value)).chain(encoded).collect()
}

/// Searches the logs in `folder`, Events, resources and tenants for every secret and token that
/// there ever was.
pub(crate) async fn search(arena: &Arena, folder: &Path) -> Result<Search> {
    let ever = arena.simulator.values_ever();
    let lists: Vec<_> =
        (0..arena.members().len()).filter_map(|it| arena.book.page(it).list()).collect();
    let values =
        ever.secrets.iter().chain(&ever.tokens).chain(lists.iter().flat_map(|list| list.iter()));
    let needles = Needles::new(values)?;
    let mut search = Search { values: needles.values, ..Search::default() };
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        search.bytes += path.metadata()?.len();
        if needles.are_in_file(&path)? {
            search.found_in.push(path.file_name().unwrap_or_default().to_string_lossy().into());
        }
    }
    let tenants = GroupVersionKind::gvk("auth0-rotator.dev", "v1alpha1", "Auth0Tenant");
    for (name, text) in [
        ("Events", events(arena).await?),
        ("ClientSecretRotations", objects(arena, &resources()).await?),
        ("Auth0Tenants", objects(arena, &ApiResource::from_gvk(&tenants)).await?),
    ] {
        search.bytes += text.len() as u64;
        if needles.are_in(&text) {
            search.found_in.push(name.into());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_in_every_shape() {
        let value = "kT9-x_Qw83hFzLpA0vbnmRteYuI2oPsD";
        let needles = Needles::new([SecretString::from(value)].iter()).unwrap();
        assert!(needles.are_in(&format!("it is {value}.")));
        assert!(needles.are_in(&value[..20]), "a part of it");
        for before in ["", "x", "xy", "xyz", "client:"] {
            let encoded = STANDARD_NO_PAD.encode(format!("{before}{value}, and more"));
            assert!(needles.are_in(&encoded), "{before}");
        }
        assert!(!needles.are_in("rotation 2 started") && !needles.are_in(&value[1..]));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, format!("{}{value}", "line\n".repeat(100_000))).unwrap();
        assert!(needles.are_in_file(&path).unwrap());
    }
}
