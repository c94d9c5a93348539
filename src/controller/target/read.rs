//! What a Secret holds.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::api::{
    CURRENT_ANNOTATION, FALLBACK_ANNOTATION, FIELD_MANAGER, KEYS_ANNOTATION, Keys, OWNER_ANNOTATION,
};
use auth0_client::ClientSecret;

/// The highest number that is believed; one rotation a second would take thirty thousand years.
const HIGHEST: u64 = 1_000_000_000_000;

/// A Secret as it was read.
pub(crate) struct Snapshot {
    pub(crate) metadata: ObjectMeta,
    pub(crate) immutable: bool,
    data: BTreeMap<String, SecretString>,
    owned: Owned,
}

/// The values that the target Secret holds.
#[derive(Default)]
pub(crate) struct Values {
    pub(crate) current: Option<ClientSecret>,
    pub(crate) fallback: Option<ClientSecret>,
}

/// What our field manager owns, by server-side apply.
#[derive(Default)]
pub(crate) struct Owned {
    pub(crate) data: BTreeSet<String>,
    pub(crate) labels: BTreeSet<String>,
    pub(crate) annotations: BTreeSet<String>,
}

/// The parts of a Secret's JSON that matter. Its data stays in types that don't print.
#[derive(Deserialize)]
struct Raw {
    metadata: ObjectMeta,
    #[serde(default)]
    immutable: Option<bool>,
    #[serde(default)]
    data: Option<BTreeMap<String, SecretString>>,
}

impl Snapshot {
    /// Reads a Secret's JSON. `None` when it isn't one; why is not told.
    pub(crate) fn parse(json: &str) -> Option<Snapshot> {
        let raw: Raw = serde_json::from_str(json).ok()?;
        let owned = owned_by_us(raw.metadata.managed_fields.as_deref().unwrap_or_default());
        Some(Snapshot {
            metadata: raw.metadata,
            immutable: raw.immutable.unwrap_or_default(),
            data: raw.data.unwrap_or_default(),
            owned,
        })
    }

    pub(crate) fn version(&self) -> &str {
        self.metadata.resource_version.as_deref().unwrap_or_default()
    }

    pub(crate) fn owned(&self) -> &Owned {
        &self.owned
    }

    pub(crate) fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(name).map(String::as_str)
    }

    /// The resource that this Secret says it belongs to.
    pub(crate) fn owner(&self) -> Option<&str> {
        self.annotation(OWNER_ANNOTATION)
    }

    /// A key's content, base64-encoded as it is stored.
    pub(crate) fn encoded(&self, key: &str) -> Option<&str> {
        self.data.get(key).map(|value| value.expose_secret())
    }

    /// A key's content as text.
    pub(crate) fn text(&self, key: &str) -> Option<Zeroizing<String>> {
        let bytes = Zeroizing::new(STANDARD.decode(self.encoded(key)?).ok()?);
        std::str::from_utf8(&bytes).ok().map(|text| Zeroizing::new(text.to_owned()))
    }

    pub(crate) fn secret(&self, key: &str) -> Option<ClientSecret> {
        ClientSecret::new(SecretString::from(self.text(key)?.as_str())).ok()
    }

    /// The keys under which the values stand: those they were written under, which may not be the
    /// ones that are wanted now.
    fn keys(&self, wanted: &Keys) -> (String, String) {
        let written = self
            .annotation(KEYS_ANNOTATION)
            .filter(|_| self.owned.annotations.contains(KEYS_ANNOTATION))
            .and_then(|keys| keys.split_once(','));
        let (current, fallback) = written.unwrap_or((&wanted.current, &wanted.fallback));
        (current.to_owned(), fallback.to_owned())
    }

    /// The values to try first and second.
    pub(crate) fn values(&self, wanted: &Keys) -> Values {
        let (current, fallback) = self.keys(wanted);
        Values { current: self.secret(&current), fallback: self.secret(&fallback) }
    }

    /// The numbers of the values to try first and second.
    pub(crate) fn numbers(&self) -> (Option<u64>, Option<u64>) {
        let number = |name| {
            let number: u64 = self.annotation(name)?.parse().ok()?;
            (number <= HIGHEST).then_some(number)
        };
        (number(CURRENT_ANNOTATION), number(FALLBACK_ANNOTATION))
    }

    /// Whether anyone else wrote values or numbers since we did. Kubernetes tells: a field that
    /// someone else changes, or removes, is no longer ours.
    pub(crate) fn is_edited(&self, wanted: &Keys, values: &Values) -> bool {
        let (current_key, fallback_key) = self.keys(wanted);
        let (current, fallback) = self.numbers();
        let ours = |key: &String, annotation: &str| {
            self.owned.data.contains(key) && self.owned.annotations.contains(annotation)
        };
        let current_is_ours =
            current.is_some() && values.current.is_some() && ours(&current_key, CURRENT_ANNOTATION);
        let fallback_is_ours = match (fallback, &values.fallback) {
            (None, None) => {
                !self.data.contains_key(&fallback_key)
                    && self.annotation(FALLBACK_ANNOTATION).is_none()
            }
            (Some(_), Some(_)) => ours(&fallback_key, FALLBACK_ANNOTATION),
            _ => false,
        };
        !(current_is_ours && fallback_is_ours && current != fallback)
    }

    /// Fields that we created the Secret with and that are not yet owned by server-side apply.
    /// Until they are, a key that goes out of use would not be removed.
    pub(crate) fn created_by_us(&self) -> Option<usize> {
        let entries = self.metadata.managed_fields.as_deref().unwrap_or_default();
        entries.iter().position(|entry| is_ours(entry) && operation(entry) == "Update")
    }
}

fn is_ours(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(FIELD_MANAGER)
        && entry.subresource.as_deref().is_none_or(str::is_empty)
}

fn operation(entry: &ManagedFieldsEntry) -> &str {
    entry.operation.as_deref().unwrap_or_default()
}

/// See "Field management" in the Kubernetes documentation of server-side apply.
fn owned_by_us(entries: &[ManagedFieldsEntry]) -> Owned {
    let mut owned = Owned::default();
    for entry in entries.iter().filter(|entry| is_ours(entry)) {
        let Some(fields) = entry.fields_v1.as_ref().map(|fields| &fields.0) else { continue };
        let names = |path: &[&str]| -> Vec<String> {
            let found = path.iter().try_fold(fields, |fields, step| fields.get(*step));
            let names = found.and_then(|fields| fields.as_object()).into_iter().flatten();
            names.filter_map(|(name, _)| name.strip_prefix("f:").map(str::to_owned)).collect()
        };
        owned.data.extend(names(&["f:data"]));
        owned.labels.extend(names(&["f:metadata", "f:labels"]));
        owned.annotations.extend(names(&["f:metadata", "f:annotations"]));
    }
    owned
}
