//! Labels and annotations that resources may set on their target Secrets.

use std::collections::BTreeMap;

use rotation::{Reason, Rejection};

use crate::api::{GROUP, TargetSpec};

/// Labels and annotations that resources may set on their target Secrets: an administrator's list.
///
/// Many controllers act on a Secret because of its labels or annotations, with permissions that the
/// author of a resource may not have.
#[derive(Clone, Debug, Default)]
pub struct AllowedMetadata(pub Vec<String>);

impl AllowedMetadata {
    /// Returns whether a key is on the list: by itself, or by its prefix and a slash.
    fn contains(&self, key: &str) -> bool {
        let prefix = key.split_once('/').map(|(prefix, _)| prefix);
        prefix != Some(GROUP)
            && self.0.iter().any(|allowed| match allowed.strip_suffix('/') {
                Some(allowed) => prefix == Some(allowed),
                None => key == allowed,
            })
    }

    /// Returns the labels or annotations that are allowed.
    pub(super) fn select(&self, wanted: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut selected = wanted.clone();
        selected.retain(|key, _| self.contains(key));
        selected
    }

    /// Returns the rejection of a resource that sets a label or an annotation that is not allowed.
    pub(crate) fn check(&self, spec: &TargetSpec) -> Option<Rejection> {
        let fields = [("labels", &spec.labels), ("annotations", &spec.annotations)];
        for (field, wanted) in fields {
            let Some(key) = wanted.keys().find(|key| !self.contains(key)) else { continue };
            let message = if key.starts_with(&format!("{GROUP}/")) {
                format!(
                    "spec.target.{field} has the key {key}, whose prefix is reserved for the \
                     operator. Remove the key"
                )
            } else {
                format!(
                    "spec.target.{field} has the key {key}, which the operator's flag \
                     --allowed-metadata does not list. Remove the key, or ask an administrator of \
                     the operator to allow it"
                )
            };
            return Some(Rejection::new(Reason::MetadataNotAllowed, message));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allows_listed_keys_and_prefixes_and_nothing_else() {
        let allowed = |list: &[&str], key: &str| {
            AllowedMetadata(list.iter().map(|text| (*text).to_owned()).collect()).contains(key)
        };
        for key in ["team", "example.com/team", "auth0-rotator.dev/managed"] {
            assert!(!allowed(&[], key), "{key}");
        }
        let list = ["team", "example.com/", "app.kubernetes.io/part-of", "auth0-rotator.dev/"];
        for key in ["team", "example.com/a", "app.kubernetes.io/part-of"] {
            assert!(allowed(&list, key), "{key}");
        }
        for key in [
            "teams",
            "team/a",
            "x.example.com/a",
            "example.com.evil/a",
            "example.com",
            "app.kubernetes.io/name",
            "auth0-rotator.dev/managed",
            "",
        ] {
            assert!(!allowed(&list, key), "{key}");
        }
    }
}
