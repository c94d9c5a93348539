//! Desired content of a target Secret.

use std::collections::BTreeMap;

use auth0_client::ClientSecret;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use rotation::{Reason, Rejection};
use serde::Serialize;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{
    adoption::{allows_template, effective_keys},
    metadata::AllowedMetadata,
    snapshot::{OPAQUE, OwnedFields, Snapshot},
    template::{self, TemplateError, Variables},
};
use crate::api::{
    CLIENT_ID_ANNOTATION, CURRENT_ANNOTATION, DATA_KEYS_ANNOTATION, FALLBACK_ANNOTATION,
    KEYS_ANNOTATION, Keys, ListFormat, MANAGED_LABEL, ORIGIN_ANNOTATION, OWNER_ANNOTATION,
    TargetSpec, WRITE_PROVEN_ANNOTATION,
};

/// A value and its number.
#[derive(Clone)]
pub(crate) struct NumberedSecret {
    pub(crate) number: u64,
    pub(crate) secret: ClientSecret,
}

/// The values to publish.
pub(crate) struct Contents {
    pub(crate) current: NumberedSecret,
    pub(crate) fallback: Option<NumberedSecret>,
}

/// How contents become a Secret.
pub(crate) struct Rendering<'a> {
    pub(crate) spec: &'a TargetSpec,
    pub(crate) allowed_metadata: &'a AllowedMetadata,
    /// The name of the resource that the Secret belongs to.
    pub(crate) resource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) domain: &'a str,
    /// The origin of the Auth0 endpoint that the values come from.
    pub(crate) origin: &'a str,
    /// The owner reference to the resource.
    pub(crate) owner: Option<OwnerReference>,
    /// Whether the Secret is deleted with the resource, if the operator created it for the resource.
    pub(crate) deleted_with_owner: bool,
    /// The number of the rotation for which this is the proof that the Secret can be written.
    pub(crate) write_proven: Option<u64>,
    /// Whether an existing Secret keeps the owner that we gave it: the cluster denies the change.
    pub(crate) keeps_owner: bool,
}

/// The annotations that the operator depends on.
pub(super) const ESSENTIAL_ANNOTATIONS: [&str; 6] = [
    OWNER_ANNOTATION,
    CLIENT_ID_ANNOTATION,
    ORIGIN_ANNOTATION,
    KEYS_ANNOTATION,
    CURRENT_ANNOTATION,
    FALLBACK_ANNOTATION,
];

/// A rendered Secret.
pub(crate) struct Rendered {
    pub(super) data: BTreeMap<String, Zeroizing<String>>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    /// The type, only of a Secret that the operator creates or created. It cannot change, and an
    /// admission policy may have chosen another one.
    secret_type: Option<String>,
    owner: Option<OwnerReference>,
    /// The UID of the resource when we must not make it an owner.
    rejected_owner_uid: Option<String>,
    name: String,
    namespace: String,
    /// The key of the fallback when there must be none, even if another party wrote it.
    absent_key: Option<String>,
}

impl Rendered {
    /// Returns the labels.
    pub(crate) fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// Returns the length of each key's content.
    pub(crate) fn data_lengths(&self) -> BTreeMap<String, usize> {
        self.data.iter().map(|(key, value)| (key.clone(), value.len())).collect()
    }

    /// Returns whether the resource is an owner of the Secret.
    pub(crate) fn has_owner(&self) -> bool {
        self.owner.is_some()
    }
}

/// A Secret as it is sent. It borrows, so that values are not copied on the way.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    api_version: &'a str,
    kind: &'a str,
    metadata: ManifestMetadata<'a>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    secret_type: Option<&'a str>,
    data: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ManifestMetadata<'a> {
    name: &'a str,
    namespace: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_version: Option<&'a str>,
    labels: &'a BTreeMap<String, String>,
    annotations: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_references: Option<[&'a OwnerReference; 1]>,
}

impl Rendering<'_> {
    /// Renders contents. A template that fails keeps the content that we wrote under its key, so that
    /// the rest is published all the same. It does not make foreign content ours.
    pub(crate) fn render(&self, contents: &Contents, present: Option<&Snapshot>) -> Rendered {
        let keys = effective_keys(self.spec, present);
        let mut data = BTreeMap::from([
            (keys.client_id.clone(), encode(self.client_id)),
            (keys.domain.clone(), encode(self.domain)),
            (keys.current.clone(), encode(contents.current.secret.expose())),
            (keys.list.clone(), encode(&self.list(contents))),
        ]);
        if let Some(fallback) = &contents.fallback {
            data.insert(keys.fallback.clone(), encode(fallback.secret.expose()));
        }
        for (key, template) in &self.spec.template {
            if !allows_template(&keys, key, present) {
                continue;
            }
            if let Ok(text) = self.render_template(template, contents) {
                data.insert(key.clone(), encode(&text));
            } else if let Some(kept) = present.and_then(|present| present.own_encoded(key)) {
                data.insert(key.clone(), Zeroizing::new(kept.to_owned()));
            }
        }
        let is_created = present.is_none_or(|present| self.created(present));
        let secret_type = present.and_then(Snapshot::secret_type).unwrap_or(OPAQUE);
        let (owner, rejected_owner_uid) = match (&self.owner, present) {
            (_, Some(present)) if self.keeps_owner => (present.own_owner().cloned(), None),
            (Some(owner), _) if self.deleted_with_owner && is_created => {
                (Some(owner.clone()), None)
            }
            (Some(owner), _) => (None, Some(owner.uid.clone())),
            (None, _) => (None, None),
        };
        let mut annotations = self.annotations(contents, &keys);
        let earlier = || present.and_then(Snapshot::write_proven);
        if let Some(number) = self.write_proven.or_else(earlier) {
            annotations.insert(WRITE_PROVEN_ANNOTATION.into(), number.to_string());
        }
        annotations.insert(DATA_KEYS_ANNOTATION.into(), data_keys(&keys, data.keys()));
        Rendered {
            data,
            labels: self.labels(),
            annotations,
            secret_type: is_created.then(|| secret_type.to_owned()),
            owner,
            rejected_owner_uid,
            name: self.spec.name.clone(),
            namespace: self.namespace.to_owned(),
            absent_key: contents.fallback.is_none().then(|| keys.fallback.clone()),
        }
    }

    /// Returns whether the operator created the Secret for this resource, even if another party removed
    /// the annotation that says so.
    fn created(&self, present: &Snapshot) -> bool {
        let is_of_client = present.own_annotation(CLIENT_ID_ANNOTATION) == Some(self.client_id);
        present.was_created_for(self.resource)
            || present.owner().is_none() && is_of_client && present.owned().secret_type
    }

    fn list(&self, contents: &Contents) -> Zeroizing<String> {
        match self.spec.list_format {
            ListFormat::Json => template::json(&contents.list()),
            ListFormat::Lines => template::lines(&contents.list()),
        }
    }

    fn render_template(
        &self,
        template: &str,
        contents: &Contents,
    ) -> Result<Zeroizing<String>, TemplateError> {
        let fallback = contents.fallback.as_ref();
        let variables = Variables {
            client_id: self.client_id,
            domain: self.domain,
            client_secret: contents.current.secret.expose(),
            client_secret_fallback: fallback.map_or("", |fallback| fallback.secret.expose()),
            client_secrets: &contents.list(),
        };
        template::render(template, &variables)
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.allowed_metadata.select(&self.spec.labels);
        labels.insert(MANAGED_LABEL.into(), "true".into());
        labels
    }

    fn annotations(&self, contents: &Contents, keys: &Keys) -> BTreeMap<String, String> {
        let mut annotations = self.allowed_metadata.select(&self.spec.annotations);
        annotations.insert(OWNER_ANNOTATION.into(), self.resource.into());
        annotations.insert(CLIENT_ID_ANNOTATION.into(), self.client_id.into());
        annotations.insert(ORIGIN_ANNOTATION.into(), self.origin.into());
        annotations.insert(KEYS_ANNOTATION.into(), format!("{},{}", keys.current, keys.fallback));
        annotations.insert(CURRENT_ANNOTATION.into(), contents.current.number.to_string());
        if let Some(fallback) = &contents.fallback {
            annotations.insert(FALLBACK_ANNOTATION.into(), fallback.number.to_string());
        }
        annotations
    }
}

impl Contents {
    /// Returns the values in the order in which consumers try them.
    fn list(&self) -> Vec<&str> {
        let mut list = vec![self.current.secret.expose()];
        list.extend(self.fallback.iter().map(|fallback| fallback.secret.expose()));
        list
    }
}

impl Rendered {
    /// Returns the Secret as JSON: to create it or, with the version that was read, to apply it.
    pub(crate) fn json(&self, resource_version: Option<&str>) -> Zeroizing<Vec<u8>> {
        let manifest = Manifest {
            api_version: "v1",
            kind: "Secret",
            metadata: ManifestMetadata {
                name: &self.name,
                namespace: &self.namespace,
                resource_version,
                labels: &self.labels,
                annotations: &self.annotations,
                owner_references: self.owner.as_ref().map(|owner| [owner]),
            },
            secret_type: self.secret_type.as_deref(),
            data: self.data.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect(),
        };
        // Maps of strings always serialize; the API server would reject an empty body.
        Zeroizing::new(serde_json::to_vec(&manifest).unwrap_or_default())
    }

    /// Returns JSON pointers (RFC 6901) to fields that must be removed and are not ours: server-side
    /// apply removes only fields that we own.
    pub(crate) fn foreign_leftovers(&self, present: &Snapshot) -> Vec<String> {
        let Some(key) = &self.absent_key else { return Vec::new() };
        let owned = present.owned();
        let mut pointers = Vec::new();
        if present.encoded(key).is_some() && !owned.data.contains(key) {
            pointers.push(format!("/data/{key}"));
        }
        if present.annotation(FALLBACK_ANNOTATION).is_some()
            && !owned.annotations.contains(FALLBACK_ANNOTATION)
        {
            let annotation = FALLBACK_ANNOTATION.replace('/', "~1");
            pointers.push(format!("/metadata/annotations/{annotation}"));
        }
        pointers
    }

    /// Whether a Secret is as rendered, has nothing else of ours, and we own all of it.
    pub(crate) fn matches(&self, present: &Snapshot) -> bool {
        self.matches_data(present)
            && self.matches_owner(present)
            && contains(present.metadata.labels.as_ref(), &self.labels)
            && contains(present.metadata.annotations.as_ref(), &self.annotations)
            && self.has_keys(present.owned())
            && self.foreign_leftovers(present).is_empty()
    }

    fn matches_data(&self, present: &Snapshot) -> bool {
        self.data
            .keys()
            .all(|key| self.matches_key(present, key) && present.owned().data.contains(key))
    }

    /// Returns whether a Secret has the rendered content under a key.
    pub(super) fn matches_key(&self, present: &Snapshot, key: &str) -> bool {
        match (self.data.get(key), present.encoded(key)) {
            (Some(text), Some(present)) => bool::from(present.as_bytes().ct_eq(text.as_bytes())),
            _ => false,
        }
    }

    /// Returns whether all of these fields are rendered.
    pub(super) fn has_all(&self, owned: &OwnedFields) -> bool {
        let owner = self.owner.as_ref().map(|owner| &owner.uid);
        self.has_keys(owned)
            && (self.secret_type.is_some() || !owned.secret_type)
            && owned.owner_uids.iter().all(|uid| Some(uid) == owner)
    }

    fn has_keys(&self, owned: &OwnedFields) -> bool {
        owned.data.iter().all(|key| self.data.contains_key(key))
            && owned.labels.iter().all(|name| self.labels.contains_key(name))
            && owned.annotations.iter().all(|name| self.annotations.contains_key(name))
    }

    fn matches_owner(&self, present: &Snapshot) -> bool {
        let owners = present.metadata.owner_references.as_deref().unwrap_or_default();
        let has = |uid: &str| owners.iter().any(|owner| owner.uid == uid);
        let wanted = self.owner.as_ref().is_none_or(|owner| has(&owner.uid));
        // An owner that another client added is that client's decision.
        let is_ours = |uid: &str| present.owned().owner_uids.contains(uid);
        let unwanted =
            self.rejected_owner_uid.as_deref().is_some_and(|uid| has(uid) && is_ours(uid));
        wanted && !unwanted
    }
}

fn contains(present: Option<&BTreeMap<String, String>>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, text)| present.and_then(|map| map.get(name)) == Some(text))
}

/// Returns the record of the keys that are written: those of the spec, which include the fallback
/// even where there is none, then those of templates.
fn data_keys<'k>(keys: &'k Keys, written: impl Iterator<Item = &'k String>) -> String {
    let Keys { client_id, domain, current, fallback, list } = keys;
    let mut recorded = vec![client_id, domain, current, fallback, list];
    for key in written {
        if !recorded.contains(&key) {
            recorded.push(key);
        }
    }
    let recorded: Vec<_> = recorded.into_iter().map(String::as_str).collect();
    recorded.join(",")
}

fn encode(text: &str) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(text))
}

/// Returns why a template cannot be rendered, if one cannot.
pub(crate) fn check_templates(spec: &TargetSpec) -> Option<Rejection> {
    let variables = Variables {
        client_id: "client",
        domain: "example.com",
        client_secret: "current",
        client_secret_fallback: "fallback",
        client_secrets: &["current", "fallback"],
    };
    for (key, text) in &spec.template {
        if let Err(error) = template::render(text, &variables) {
            let message = format!(
                "spec.target.template.{key}: {error}. Use {{{{ client_id }}}}, {{{{ domain }}}}, \
                 {{{{ client_secret }}}}, {{{{ client_secret_fallback }}}} (each also with | json), \
                 {{{{ client_secrets | json }}}} and {{{{ client_secrets | lines }}}}"
            );
            return Some(Rejection::new(Reason::InvalidTemplate, message));
        }
    }
    None
}
