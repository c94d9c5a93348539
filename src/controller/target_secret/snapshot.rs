//! Content of a Secret as it was read.

use std::collections::{BTreeMap, BTreeSet};

use auth0_client::ClientSecret;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    ManagedFieldsEntry, ObjectMeta, OwnerReference,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::changes::ForeignFields;
use crate::api::{
    CURRENT_ANNOTATION, FALLBACK_ANNOTATION, FIELD_MANAGER, KEYS_ANNOTATION, Keys,
    OWNER_ANNOTATION, WRITE_PROVEN_ANNOTATION,
};

/// Largest number that is accepted. At one rotation a second it lasts thirty thousand years.
const MAX_NUMBER: u64 = 1_000_000_000_000;

/// The type of Secrets with arbitrary data, and of those that the operator creates.
pub(super) const OPAQUE: &str = "Opaque";

/// A Secret as it was read.
pub(crate) struct Snapshot {
    pub(crate) metadata: ObjectMeta,
    pub(crate) immutable: bool,
    secret_type: Option<String>,
    data: BTreeMap<String, SecretString>,
    owned: OwnedFields,
    /// The fields of each other field manager.
    foreign: Vec<ForeignFields>,
}

/// The values of a target Secret.
#[derive(Default)]
pub(crate) struct SecretValues {
    pub(crate) current: Option<ClientSecret>,
    pub(crate) fallback: Option<ClientSecret>,
}

/// The numbers of a target Secret's values.
#[derive(Clone, Copy, Default)]
pub(crate) struct SecretNumbers {
    pub(crate) current: Option<u64>,
    pub(crate) fallback: Option<u64>,
}

/// The fields that our field manager owns.
#[derive(Default)]
pub(crate) struct OwnedFields {
    pub(crate) data: BTreeSet<String>,
    pub(crate) labels: BTreeSet<String>,
    pub(crate) annotations: BTreeSet<String>,
    /// The UIDs of owner references.
    pub(crate) owner_uids: BTreeSet<String>,
    pub(crate) secret_type: bool,
}

/// The keys under which the two values are stored.
struct ValueKeys {
    current: String,
    fallback: String,
}

/// The parts of a Secret's JSON that matter. Its data stays in types that do not print.
#[derive(Deserialize)]
struct RawSecret {
    metadata: ObjectMeta,
    #[serde(default)]
    immutable: Option<bool>,
    #[serde(default, rename = "type")]
    secret_type: Option<String>,
    #[serde(default)]
    data: Option<BTreeMap<String, SecretString>>,
}

impl Snapshot {
    /// Parses a Secret's JSON. Returns `None` if it is malformed: a parse error could quote data.
    pub(crate) fn parse(json: &str) -> Option<Self> {
        let raw: RawSecret = serde_json::from_str(json).ok()?;
        let entries = raw.metadata.managed_fields.as_deref().unwrap_or_default();
        let owned = owned_fields(entries.iter().filter(|entry| is_ours(entry)));
        let others = entries.iter().filter(|entry| !is_ours(entry));
        let foreign = others
            .map(|entry| ForeignFields::new(entry, owned_fields(std::iter::once(entry))))
            .collect();
        Some(Self {
            metadata: raw.metadata,
            immutable: raw.immutable.unwrap_or_default(),
            secret_type: raw.secret_type,
            data: raw.data.unwrap_or_default(),
            owned,
            foreign,
        })
    }

    pub(super) fn foreign(&self) -> &[ForeignFields] {
        &self.foreign
    }

    pub(crate) fn resource_version(&self) -> &str {
        self.metadata.resource_version.as_deref().unwrap_or_default()
    }

    pub(crate) fn owned(&self) -> &OwnedFields {
        &self.owned
    }

    pub(super) fn secret_type(&self) -> Option<&str> {
        self.secret_type.as_deref()
    }

    /// Returns whether the Secret has the type `Opaque`, which no other component interprets.
    pub(crate) fn is_opaque(&self) -> bool {
        self.secret_type.as_deref().is_none_or(|type_| type_ == OPAQUE)
    }

    pub(crate) fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(name).map(String::as_str)
    }

    /// Returns an annotation that our field manager wrote.
    pub(super) fn own_annotation(&self, name: &str) -> Option<&str> {
        self.annotation(name).filter(|_| self.owned.annotations.contains(name))
    }

    /// Returns whether our field manager wrote a key, and no other one wrote the same.
    pub(crate) fn is_ours_alone(&self, key: &str) -> bool {
        let is_foreign = self.foreign.iter().any(|foreign| foreign.fields.data.contains(key));
        self.owned.data.contains(key) && !is_foreign
    }

    /// Returns the owner reference that our field manager wrote.
    pub(super) fn own_owner(&self) -> Option<&OwnerReference> {
        let owners = self.metadata.owner_references.as_deref().unwrap_or_default();
        owners.iter().find(|owner| self.owned.owner_uids.contains(&owner.uid))
    }

    /// Returns the name of the ClientSecretRotation that this Secret says it belongs to.
    pub(crate) fn owner(&self) -> Option<&str> {
        self.annotation(OWNER_ANNOTATION)
    }

    /// Returns the length of each key's content, encoded.
    pub(crate) fn data_lengths(&self) -> BTreeMap<String, usize> {
        let lengths = self.data.iter().map(|(key, value)| (key, value.expose_secret().len()));
        lengths.map(|(key, length)| (key.clone(), length)).collect()
    }

    /// Returns a key's content, base64-encoded as it is stored.
    pub(crate) fn encoded(&self, key: &str) -> Option<&str> {
        self.data.get(key).map(|value| value.expose_secret())
    }

    /// Returns a key's content as it is stored, if our field manager wrote it.
    pub(super) fn own_encoded(&self, key: &str) -> Option<&str> {
        self.encoded(key).filter(|_| self.owned.data.contains(key))
    }

    /// Returns a key's content, if it is UTF-8.
    pub(crate) fn text(&self, key: &str) -> Option<Zeroizing<String>> {
        let bytes = Zeroizing::new(STANDARD.decode(self.encoded(key)?).ok()?);
        std::str::from_utf8(&bytes).ok().map(|text| Zeroizing::new(text.to_owned()))
    }

    /// Returns a key's content, if it can be a client secret.
    pub(crate) fn secret(&self, key: &str) -> Option<ClientSecret> {
        ClientSecret::new(SecretString::from(self.text(key)?.as_str())).ok()
    }

    /// Returns the keys that we wrote the values under, which may differ from those that the spec
    /// names now.
    fn written_keys(&self) -> Option<ValueKeys> {
        let (current, fallback) = self.own_annotation(KEYS_ANNOTATION)?.split_once(',')?;
        Some(ValueKeys { current: current.to_owned(), fallback: fallback.to_owned() })
    }

    fn value_keys(&self, spec: &Keys) -> ValueKeys {
        self.written_keys().unwrap_or_else(|| ValueKeys {
            current: spec.current.clone(),
            fallback: spec.fallback.clone(),
        })
    }

    /// Returns the stored current value and fallback, regardless of their writer.
    pub(crate) fn stored_values(&self, spec: &Keys) -> SecretValues {
        let keys = self.value_keys(spec);
        SecretValues { current: self.secret(&keys.current), fallback: self.secret(&keys.fallback) }
    }

    /// Returns the current value and the fallback, each only if we wrote it. Another party may have
    /// changed its number since.
    pub(crate) fn own_values(&self) -> SecretValues {
        let Some(keys) = self.written_keys() else { return SecretValues::default() };
        let value = |key: &str| {
            if self.owned.data.contains(key) { self.secret(key) } else { None }
        };
        SecretValues { current: value(&keys.current), fallback: value(&keys.fallback) }
    }

    /// Returns the numbers of the current value and the fallback, each only if we wrote it.
    pub(crate) fn numbers(&self) -> SecretNumbers {
        let number = |annotation| {
            let number: u64 = self.own_annotation(annotation)?.parse().ok()?;
            (number <= MAX_NUMBER).then_some(number)
        };
        SecretNumbers { current: number(CURRENT_ANNOTATION), fallback: number(FALLBACK_ANNOTATION) }
    }

    /// Returns the number of the last rotation for which our field manager wrote the Secret.
    pub(crate) fn write_proven(&self) -> Option<u64> {
        self.own_annotation(WRITE_PROVEN_ANNOTATION)?.parse().ok()
    }

    /// Returns whether another client wrote values or numbers since we did. Kubernetes shows it: a
    /// field that another manager changes or removes is no longer ours.
    pub(crate) fn is_tampered(&self, spec: &Keys, values: &SecretValues) -> bool {
        let keys = self.value_keys(spec);
        let numbers = self.numbers();
        let is_ours = |key: &String, annotation: &str| {
            self.owned.data.contains(key) && self.owned.annotations.contains(annotation)
        };
        let current_is_ours = numbers.current.is_some()
            && values.current.is_some()
            && is_ours(&keys.current, CURRENT_ANNOTATION);
        let fallback_is_ours = match (numbers.fallback, &values.fallback) {
            (None, None) => {
                !self.data.contains_key(&keys.fallback)
                    && self.annotation(FALLBACK_ANNOTATION).is_none()
            }
            (Some(_), Some(_)) => is_ours(&keys.fallback, FALLBACK_ANNOTATION),
            _ => false,
        };
        !(current_is_ours && fallback_is_ours && numbers.current != numbers.fallback)
    }

    /// Returns the fields in the `managedFields` entry that our create request left. Server-side apply
    /// does not remove them when they go out of use.
    pub(crate) fn created_fields(&self) -> Option<OwnedFields> {
        let (_, created) = self.own_entry("Update")?;
        Some(owned_fields(std::iter::once(created)))
    }

    /// Returns the JSON patch that moves these fields to the entry of server-side apply, as kubectl does
    /// with its own.
    pub(super) fn move_created_fields(&self) -> Vec<Value> {
        let Some((created, entry)) = self.own_entry("Update") else { return Vec::new() };
        let created = format!("/metadata/managedFields/{created}");
        let Some((applied, applied_entry)) = self.own_entry("Apply") else {
            let path = format!("{created}/operation");
            return vec![json!({ "op": "replace", "path": path, "value": "Apply" })];
        };
        let fields = |entry: &ManagedFieldsEntry| {
            entry.fields_v1.as_ref().map_or(Value::Null, |fields| fields.0.clone())
        };
        let mut union = fields(applied_entry);
        merge_fields(&mut union, fields(entry));
        let path = format!("/metadata/managedFields/{applied}/fieldsV1");
        vec![
            json!({ "op": "replace", "path": path, "value": union }),
            json!({ "op": "remove", "path": created }),
        ]
    }

    /// Returns our `managedFields` entry of an operation, and its index.
    fn own_entry(&self, operation: &str) -> Option<(usize, &ManagedFieldsEntry)> {
        let entries = self.metadata.managed_fields.as_deref().unwrap_or_default();
        let mut entries = entries.iter().enumerate();
        entries.find(|(_, entry)| is_ours(entry) && entry.operation.as_deref() == Some(operation))
    }
}

/// Adds the fields of one `fieldsV1` to another.
fn merge_fields(union: &mut Value, fields: Value) {
    match (union, fields) {
        (Value::Object(union), Value::Object(fields)) => {
            for (name, children) in fields {
                merge_fields(union.entry(name).or_insert_with(|| json!({})), children);
            }
        }
        (union, fields) if union.is_null() => *union = fields,
        _ => {}
    }
}

fn is_ours(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(FIELD_MANAGER)
        && entry.subresource.as_deref().is_none_or(str::is_empty)
}

/// Kubernetes documentation, "Server-Side Apply", section "Field management".
fn owned_fields<'e>(entries: impl Iterator<Item = &'e ManagedFieldsEntry>) -> OwnedFields {
    let mut owned = OwnedFields::default();
    for entry in entries {
        let Some(fields) = entry.fields_v1.as_ref().map(|fields| &fields.0) else { continue };
        let names = |path: &[&str]| -> Vec<String> {
            let found = path.iter().try_fold(fields, |fields, step| fields.get(*step));
            let names = found.and_then(|fields| fields.as_object()).into_iter().flatten();
            names.filter_map(|(name, _)| name.strip_prefix("f:").map(str::to_owned)).collect()
        };
        owned.data.extend(names(&["f:data"]));
        owned.labels.extend(names(&["f:metadata", "f:labels"]));
        owned.annotations.extend(names(&["f:metadata", "f:annotations"]));
        owned.owner_uids.extend(owner_uids(fields));
        owned.secret_type |= fields.get("f:type").is_some();
    }
    owned
}

/// Returns the UIDs of the owner references in the fields of a manager: `k:{"uid":"…"}`.
fn owner_uids(fields: &Value) -> impl Iterator<Item = String> {
    let references = fields.pointer("/f:metadata/f:ownerReferences");
    let names = references.and_then(|references| references.as_object()).into_iter().flatten();
    names.filter_map(|(name, _)| {
        let key: Value = serde_json::from_str(name.strip_prefix("k:")?).ok()?;
        Some(key.get("uid")?.as_str()?.to_owned())
    })
}
