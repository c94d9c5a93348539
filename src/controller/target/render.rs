//! What a target Secret should hold.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use minijinja::context;
use rotation::{Reason, Rejection};
use serde::Serialize;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{read::Snapshot, template};
use crate::api::{
    CURRENT_ANNOTATION, FALLBACK_ANNOTATION, GROUP, KEYS_ANNOTATION, ListFormat, MANAGED_LABEL,
    OWNER_ANNOTATION, TargetSpec,
};
use auth0_client::ClientSecret;

/// Values and their numbers, as they are to be published.
pub(crate) struct Contents {
    pub(crate) current: (u64, ClientSecret),
    pub(crate) fallback: Option<(u64, ClientSecret)>,
}

/// How contents become a Secret.
pub(crate) struct Rendering<'a> {
    pub(crate) spec: &'a TargetSpec,
    /// The resource that the Secret belongs to.
    pub(crate) resource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) domain: &'a str,
    /// The resource as the owner of its Secret.
    pub(crate) owner: Option<OwnerReference>,
    /// The Secret is to be deleted with the resource.
    pub(crate) goes_with_owner: bool,
}

/// A rendered Secret.
pub(crate) struct Rendered {
    data: BTreeMap<String, Zeroizing<String>>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    owner: Option<OwnerReference>,
    /// The UID of the resource when it must not be an owner.
    no_owner: Option<String>,
    name: String,
    namespace: String,
    /// A key of ours that must not be there: what isn't ours by now was put there by someone else.
    unwanted: Option<String>,
}

/// A Secret as it is sent, borrowed, so that its values are not copied on the way.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    api_version: &'a str,
    kind: &'a str,
    metadata: ManifestMetadata<'a>,
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
    /// Renders contents. A template that fails leaves its key as it stands in `present`: the rest
    /// is published all the same.
    pub(crate) fn render(&self, contents: &Contents, present: Option<&Snapshot>) -> Rendered {
        let keys = &self.spec.keys;
        let encode = |text: &str| Zeroizing::new(STANDARD.encode(text));
        let mut data = BTreeMap::from([
            (keys.client_id.clone(), encode(self.client_id)),
            (keys.domain.clone(), encode(self.domain)),
            (keys.current.clone(), encode(contents.current.1.expose())),
            (keys.list.clone(), encode(&self.list(contents))),
        ]);
        if let Some((_, fallback)) = &contents.fallback {
            data.insert(keys.fallback.clone(), encode(fallback.expose()));
        }
        for (key, template) in &self.spec.template {
            let kept = || {
                present
                    .and_then(|present| present.encoded(key))
                    .map(|text| Zeroizing::new(text.into()))
            };
            if let Some(text) =
                self.fill(template, contents).map(|text| encode(&text)).or_else(kept)
            {
                data.insert(key.clone(), text);
            }
        }
        Rendered {
            data,
            labels: self.labels(),
            annotations: self.annotations(contents),
            owner: self.owner.clone().filter(|_| self.goes_with_owner),
            no_owner: self
                .owner
                .as_ref()
                .filter(|_| !self.goes_with_owner)
                .map(|owner| owner.uid.clone()),
            name: self.spec.name.clone(),
            namespace: self.namespace.to_owned(),
            unwanted: contents.fallback.is_none().then(|| keys.fallback.clone()),
        }
    }

    fn list(&self, contents: &Contents) -> Zeroizing<String> {
        let all = contents.all();
        Zeroizing::new(match self.spec.list_format {
            ListFormat::Json => serde_json::to_string(&all).unwrap_or_default(),
            ListFormat::Lines => all.iter().flat_map(|value| [*value, "\n"]).collect(),
        })
    }

    fn fill(&self, template: &str, contents: &Contents) -> Option<Zeroizing<String>> {
        let fallback = contents.fallback.as_ref().map_or("", |(_, value)| value.expose());
        let values = context! {
            client_id => self.client_id.to_owned(),
            domain => self.domain.to_owned(),
            client_secret => contents.current.1.expose().to_owned(),
            client_secret_fallback => fallback.to_owned(),
            client_secrets => owned(&contents.all()),
        };
        template::render(template, values)
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.spec.labels.clone();
        labels.insert(MANAGED_LABEL.into(), "true".into());
        labels
    }

    fn annotations(&self, contents: &Contents) -> BTreeMap<String, String> {
        let mut annotations = self.spec.annotations.clone();
        // The prefix is the operator's.
        annotations.retain(|name, _| name.split('/').next() != Some(GROUP));
        annotations.insert(OWNER_ANNOTATION.into(), self.resource.into());
        let keys = &self.spec.keys;
        annotations.insert(KEYS_ANNOTATION.into(), format!("{},{}", keys.current, keys.fallback));
        annotations.insert(CURRENT_ANNOTATION.into(), contents.current.0.to_string());
        if let Some((number, _)) = &contents.fallback {
            annotations.insert(FALLBACK_ANNOTATION.into(), number.to_string());
        }
        annotations
    }
}

impl Contents {
    /// The values in the order to try.
    fn all(&self) -> Vec<&str> {
        let fallback = self.fallback.iter().map(|(_, value)| value.expose());
        std::iter::once(self.current.1.expose()).chain(fallback).collect()
    }
}

impl Rendered {
    /// The Secret as JSON, to create or, with the version that was read, to apply.
    pub(crate) fn json(&self, version: Option<&str>) -> Zeroizing<Vec<u8>> {
        let manifest = Manifest {
            api_version: "v1",
            kind: "Secret",
            metadata: ManifestMetadata {
                name: &self.name,
                namespace: &self.namespace,
                resource_version: version,
                labels: &self.labels,
                annotations: &self.annotations,
                owner_references: self.owner.as_ref().map(|owner| [owner]),
            },
            data: self.data.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect(),
        };
        // Maps of strings can't fail to serialize; an empty body would be refused.
        Zeroizing::new(serde_json::to_vec(&manifest).unwrap_or_default())
    }

    /// The paths in a Secret, as JSON pointers (RFC 6901), of what has to go and isn't ours:
    /// server-side apply removes only what we own.
    pub(crate) fn strays(&self, present: &Snapshot) -> Vec<String> {
        let Some(key) = &self.unwanted else { return Vec::new() };
        let owned = present.owned();
        let data = present.encoded(key).filter(|_| !owned.data.contains(key));
        let number = present
            .annotation(FALLBACK_ANNOTATION)
            .filter(|_| !owned.annotations.contains(FALLBACK_ANNOTATION));
        let annotation = FALLBACK_ANNOTATION.replace('/', "~1");
        let paths = [
            data.map(|_| format!("/data/{key}")),
            number.map(|_| format!("/metadata/annotations/{annotation}")),
        ];
        paths.into_iter().flatten().collect()
    }

    /// Whether a Secret is as rendered, has nothing of ours besides, and all of it is ours.
    pub(crate) fn is_as(&self, present: &Snapshot) -> bool {
        let owned = present.owned();
        let data = self.data.iter().all(|(key, text)| {
            let same = |present: &str| present.as_bytes().ct_eq(text.as_bytes()).into();
            present.encoded(key).is_some_and(same) && owned.data.contains(key)
        });
        let nothing_more = owned.data.iter().all(|key| self.data.contains_key(key))
            && owned.labels.iter().all(|name| self.labels.contains_key(name))
            && owned.annotations.iter().all(|name| self.annotations.contains_key(name));
        let holds = |wanted: &BTreeMap<String, String>, present: Option<&BTreeMap<_, _>>| {
            wanted.iter().all(|(name, text)| present.and_then(|map| map.get(name)) == Some(text))
        };
        let owners = present.metadata.owner_references.as_deref().unwrap_or_default();
        let has = |uid: &String| owners.iter().any(|owner| owner.uid == *uid);
        let owner = self.owner.as_ref().is_none_or(|wanted| has(&wanted.uid))
            && !self.no_owner.as_ref().is_some_and(has);
        data && nothing_more
            && owner
            && holds(&self.labels, present.metadata.labels.as_ref())
            && holds(&self.annotations, present.metadata.annotations.as_ref())
            && present.created_by_us().is_none()
            && self.strays(present).is_empty()
    }
}

/// Whether the templates can be rendered.
pub(crate) fn check_template(spec: &TargetSpec) -> Option<Rejection> {
    let sample = |text: &str| ClientSecret::new(text.into()).ok();
    let contents = Contents {
        current: (2, sample("current")?),
        fallback: sample("fallback").map(|value| (1, value)),
    };
    let rendering = Rendering {
        spec,
        resource: "",
        namespace: "",
        client_id: "client",
        domain: "example.com",
        owner: None,
        goes_with_owner: false,
    };
    let alone = Contents { current: (1, sample("current")?), fallback: None };
    let fails =
        |text: &str| [&contents, &alone].iter().any(|all| rendering.fill(text, all).is_none());
    let broken = spec.template.iter().find(|(_, text)| fails(text));
    broken.map(|(key, _)| {
        Rejection::new(
            Reason::InvalidTemplate,
            format!(
                "spec.target.template: the template of {key} can't be rendered: use only client_id, \
                 domain, client_secret, client_secret_fallback and client_secrets, as in \
                 {{{{ client_secret }}}}, with filters, if and for, and nothing that calculates; it \
                 has to work with one secret in the list and with two"
            ),
        )
    })
}

fn owned(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}
