//! The part of a watched object that stores keep: only fields that are used, each of bounded length.
//!
//! Users decide how large the rest is: annotations and labels of other tools, managed fields, and
//! parts of the spec that are read live when they are needed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DeserializeGuard;
use rotation::{Request, bounded};

use super::{
    super::fingerprint::check_settled,
    selector::WatchSelector,
    stores::{NamespaceMetadata, SecretMetadata},
};
use crate::api::{
    Auth0Tenant, ClientSecretRotation, ClusterAuth0Tenant, INITIALIZED_ANNOTATION,
    OWNER_ANNOTATION, REQUEST_ANNOTATION, ROTATION_FINALIZER,
};

/// Longest value of an annotation in characters, except a request. An owner is the name of an object.
const VALUE_LIMIT: usize = 253;

/// Longest error about an object that can't be parsed, in characters. It can quote the object.
const ERROR_LIMIT: usize = 300;

/// Annotation of a stored resource whose spec is not complete. The API server never has it.
const INCOMPLETE: &str = "auth0-rotator.dev/incomplete";

/// Returns whether the spec of a stored resource is not complete.
pub(super) fn is_incomplete(metadata: &ObjectMeta) -> bool {
    metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(INCOMPLETE))
}

/// An object of which a store keeps only a part.
pub(super) trait Prune {
    /// Drops what the operator doesn't use. Labels of resources and tenants are kept for `selector`.
    fn prune(&mut self, selector: &WatchSelector);
}

impl Prune for SecretMetadata {
    fn prune(&mut self, _: &WatchSelector) {
        prune_metadata(&mut self.metadata);
        self.metadata.labels = None;
    }
}

impl Prune for NamespaceMetadata {
    /// Keeps the labels, which ClusterAuth0Tenants select.
    fn prune(&mut self, _: &WatchSelector) {
        prune_metadata(&mut self.metadata);
    }
}

impl<K: PruneResource> Prune for DeserializeGuard<K> {
    fn prune(&mut self, selector: &WatchSelector) {
        let (metadata, is_complete) = match &mut self.0 {
            Ok(resource) => {
                let is_complete = resource.prune_spec();
                (resource.meta_mut(), is_complete)
            }
            Err(invalid) => {
                invalid.error = bounded(&invalid.error, ERROR_LIMIT);
                (&mut invalid.metadata, false)
            }
        };
        let is_verbatim = prune_metadata(metadata);
        selector.prune(&mut metadata.labels);
        if !is_complete || !is_verbatim {
            let annotations = metadata.annotations.get_or_insert_default();
            annotations.insert(INCOMPLETE.into(), String::new());
        }
    }
}

/// A custom resource of which a store keeps only a part.
pub(super) trait PruneResource: kube::Resource {
    /// Drops what the operator doesn't use. Returns whether nothing is missing in the spec.
    fn prune_spec(&mut self) -> bool;
}

impl PruneResource for ClientSecretRotation {
    fn prune_spec(&mut self) -> bool {
        let target = &mut self.spec.target;
        let is_complete =
            target.template.is_empty() && target.labels.is_empty() && target.annotations.is_empty();
        target.template.clear();
        target.labels.clear();
        target.annotations.clear();
        if let Some(status) = &mut self.status {
            // The complete status is needed for that.
            check_settled(status);
        }
        is_complete
    }
}

impl PruneResource for Auth0Tenant {
    fn prune_spec(&mut self) -> bool {
        true
    }
}

impl PruneResource for ClusterAuth0Tenant {
    fn prune_spec(&mut self) -> bool {
        true
    }
}

/// Drops what the operator doesn't use. Returns whether the annotations that it uses are as they were.
fn prune_metadata(metadata: &mut ObjectMeta) -> bool {
    metadata.managed_fields = None;
    metadata.owner_references = None;
    metadata.generate_name = None;
    metadata.self_link = None;
    if let Some(finalizers) = &mut metadata.finalizers {
        finalizers.retain(|finalizer| finalizer == ROTATION_FINALIZER);
    }
    let mut is_verbatim = true;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|name, value| {
            let kept = match name.as_str() {
                REQUEST_ANNOTATION => Request::parse(value).text,
                OWNER_ANNOTATION | INITIALIZED_ANNOTATION => bounded(value, VALUE_LIMIT),
                _ => return false,
            };
            is_verbatim &= kept == *value;
            *value = kept;
            true
        });
    }
    is_verbatim
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{ParsedRotation, ParsedTenant};

    /// Metadata of half a megabyte, of which the owner and the labels are used.
    fn large_metadata(request: &str) -> Value {
        let many = |size: usize| {
            let entry = |number| (format!("example.com/{number}"), json!("x".repeat(size)));
            (0..1000).map(entry).collect::<serde_json::Map<_, _>>()
        };
        let mut annotations = many(400);
        annotations.insert(OWNER_ANNOTATION.into(), json!("o".repeat(100_000)));
        annotations.insert(REQUEST_ANNOTATION.into(), json!(request));
        json!({
            "name": "large", "namespace": "shop", "resourceVersion": "7", "uid": "u",
            "annotations": annotations, "labels": many(63),
            "finalizers": ["example.com/other", ROTATION_FINALIZER],
            "managedFields": [{ "manager": "x".repeat(100_000) }],
        })
    }

    fn rotation(request: &str, client_id: Value) -> ParsedRotation {
        serde_json::from_value(json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "ClientSecretRotation",
            "metadata": large_metadata(request),
            "spec": {
                "clientId": client_id, "tenantRef": { "name": "acme" },
                "target": {
                    "name": "t", "template": { "a": "x".repeat(16_384) },
                    "annotations": { "a": "x".repeat(4096) }, "labels": { "a": "b" },
                },
            },
        }))
        .unwrap()
    }

    fn size(metadata: &ObjectMeta) -> usize {
        serde_json::to_string(metadata).unwrap().len()
    }

    #[test]
    fn keeps_less_than_a_kibibyte_of_metadata() {
        let metadata = json!({ "metadata": large_metadata(&"r".repeat(200_000)) });
        let mut secret: SecretMetadata = serde_json::from_value(metadata).unwrap();
        assert!(size(&secret.metadata) > 500_000);
        secret.prune(&WatchSelector::default());
        assert!(size(&secret.metadata) < 1024, "{}", size(&secret.metadata));
        assert_eq!(secret.metadata.resource_version.as_deref(), Some("7"));
    }

    #[test]
    fn keeps_what_scheduling_reads_of_a_resource() {
        let mut parsed = rotation("rotate/now", json!("client"));
        parsed.prune(&WatchSelector::default());
        let resource = parsed.0.unwrap();
        assert!(is_incomplete(&resource.metadata));
        assert!(serde_json::to_string(&resource).unwrap().len() < 3000);
        assert_eq!(resource.metadata.annotations.unwrap()[REQUEST_ANNOTATION], "rotate/now");
        assert_eq!(resource.metadata.finalizers.unwrap(), [ROTATION_FINALIZER]);
        assert_eq!(resource.spec.client_id, "client");
        assert_eq!(resource.spec.target.name, "t");
    }

    #[test]
    fn resource_is_complete_if_no_text_of_users_is_shortened() {
        let is_incomplete = |request: &str| {
            let mut parsed = rotation(request, json!("client"));
            let target = &mut parsed.0.as_mut().unwrap().spec.target;
            target.template.clear();
            target.labels.clear();
            target.annotations.clear();
            let annotations = parsed.0.as_mut().unwrap().annotations_mut();
            annotations.remove(OWNER_ANNOTATION);
            parsed.prune(&WatchSelector::default());
            is_incomplete(&parsed.0.unwrap().metadata)
        };
        assert!(!is_incomplete("rotate/now"));
        // Its error is in the complete text only.
        assert!(is_incomplete(&format!("rotate/{}", "x".repeat(1000))));
    }

    #[test]
    fn bounds_the_error_about_a_resource_that_cannot_be_parsed() {
        let mut parsed = rotation("rotate/now", json!({ "\u{1b}[31m\n": "x".repeat(10_000) }));
        parsed.prune(&WatchSelector::default());
        let invalid = parsed.0.unwrap_err();
        assert!(invalid.error.chars().count() <= ERROR_LIMIT);
        assert!(!invalid.error.contains(['\n', '\u{1b}']), "{}", invalid.error);
        assert!(size(&invalid.metadata) < 1024);
    }

    #[test]
    fn keeps_the_spec_of_a_tenant() {
        let mut parsed: ParsedTenant = serde_json::from_value(json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "Auth0Tenant",
            "metadata": large_metadata("x"),
            "spec": {
                "domain": "acme.eu.auth0.com", "caBundle": "pem",
                "credentials": { "clientSecret": { "secretRef": { "name": "m" } } },
            },
        }))
        .unwrap();
        parsed.prune(&WatchSelector::default());
        let tenant = parsed.0.unwrap();
        assert_eq!(tenant.spec.access.ca_bundle.as_deref(), Some("pem"));
        assert!(size(&tenant.metadata) < 1024);
    }
}
