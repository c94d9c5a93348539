//! Differences between a target Secret and the content that the operator wrote, and their authors.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

use super::{
    render::{ESSENTIAL_ANNOTATIONS, Rendered},
    snapshot::{OwnedFields, Snapshot},
};
use crate::api::PREPARE_FIELD_MANAGER;

/// How many names a description contains.
const MAX_NAMES: usize = 3;

/// Longest name of a field manager in a message, in characters.
const MAX_NAME_LENGTH: usize = 64;

/// The fields of another field manager.
pub(super) struct ForeignFields {
    manager: String,
    pub(super) fields: OwnedFields,
    /// When it last wrote.
    written_at: Option<String>,
}

impl ForeignFields {
    pub(super) fn new(entry: &ManagedFieldsEntry, fields: OwnedFields) -> Self {
        let written_at = entry.time.as_ref().map(|time| time.0.to_string());
        Self { manager: entry.manager.clone().unwrap_or_default(), fields, written_at }
    }
}

/// Fields of a target Secret that differ from the content that the operator wrote.
#[derive(Default)]
pub(crate) struct Changes {
    names: Vec<String>,
    /// Whether keys of the data differ, which applications read.
    pub(crate) affect_data: bool,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Returns the first names, such as `the label x`.
    pub(crate) fn describe(&self) -> String {
        match self.names.as_slice() {
            [] => "fields".to_owned(),
            names => {
                let mut text = names[..names.len().min(MAX_NAMES)].join(", ");
                if names.len() > MAX_NAMES {
                    text.push_str(" and more");
                }
                text
            }
        }
    }
}

impl Rendered {
    /// Returns which of the rendered keys, labels and annotations a Secret does not have as rendered.
    pub(crate) fn changes(&self, present: &Snapshot) -> Changes {
        let mut changes = Changes::default();
        for key in self.data.keys().filter(|key| !self.matches_key(present, key)) {
            changes.affect_data = true;
            changes.names.push(format!("the key {key}"));
        }
        let labels = present.metadata.labels.as_ref();
        for (name, text) in &self.labels {
            if labels.and_then(|labels| labels.get(name)) != Some(text) {
                changes.names.push(format!("the label {name}"));
            }
        }
        for (name, text) in &self.annotations {
            if present.annotation(name) != Some(text) {
                changes.names.push(format!("the annotation {name}"));
            }
        }
        changes
    }

    /// Returns what an admission policy changed in a write although the operator depends on it.
    pub(crate) fn essential_change(&self, written: &Snapshot) -> Option<String> {
        if written.immutable {
            return Some("makes it immutable".to_owned());
        }
        if let Some(key) = self.data.keys().find(|key| !self.matches_key(written, key)) {
            return Some(format!("changes its key {key}"));
        }
        let is_changed = |name: &&&str| {
            let wanted = self.annotations.get(**name).map(String::as_str);
            wanted.is_some() && wanted != written.annotation(name)
        };
        let changed = ESSENTIAL_ANNOTATIONS.iter().find(is_changed)?;
        Some(format!("changes its annotation {changed}"))
    }

    /// Returns the field managers that changed what the operator wrote, as the subject of a sentence. A
    /// manager that removed a field owns nothing of it, so without another hint it is the last one that
    /// wrote.
    pub(crate) fn other_managers(&self, present: &Snapshot) -> String {
        let is_other = |foreign: &&ForeignFields| foreign.manager != PREPARE_FIELD_MANAGER;
        let owns_ours = |foreign: &&ForeignFields| {
            foreign.fields.data.iter().any(|key| self.data.contains_key(key))
                || foreign.fields.labels.iter().any(|name| self.labels.contains_key(name))
                || foreign.fields.annotations.iter().any(|name| self.annotations.contains_key(name))
        };
        let mut names: BTreeSet<_> = present
            .foreign()
            .iter()
            .filter(is_other)
            .filter(owns_ours)
            .map(|foreign| clean_manager(&foreign.manager))
            .collect();
        if names.is_empty() {
            let others = present.foreign().iter().filter(is_other);
            let last = others.max_by_key(|foreign| foreign.written_at.as_deref());
            names.extend(last.map(|foreign| clean_manager(&foreign.manager)));
        }
        let names: Vec<_> =
            names.iter().take(MAX_NAMES).map(|name| format!("\"{name}\"")).collect();
        match names.as_slice() {
            [] => "another party".to_owned(),
            [name] => format!("the field manager {name}"),
            names => format!("one of the field managers {}", names.join(", ")),
        }
    }
}

/// Returns the name of a field manager, which other clients choose, without anything that could
/// disturb a message.
pub(crate) fn clean_manager(manager: &str) -> String {
    let is_allowed = |symbol: &char| symbol.is_ascii_alphanumeric() || "-_./:@ ".contains(*symbol);
    manager.chars().filter(is_allowed).take(MAX_NAME_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_a_manager_is_bounded_and_clean() {
        assert_eq!(clean_manager("kyverno"), "kyverno");
        assert_eq!(clean_manager("a\"b\n\u{1b}[31mc"), "ab31mc");
        assert_eq!(clean_manager(&"x".repeat(1000)).len(), MAX_NAME_LENGTH);
    }

    #[test]
    fn description_is_bounded() {
        let names = |count: usize| Changes {
            names: (0..count).map(|number| format!("the key {number}")).collect(),
            affect_data: true,
        };
        assert_eq!(names(0).describe(), "fields");
        assert_eq!(names(2).describe(), "the key 0, the key 1");
        assert_eq!(names(9).describe(), "the key 0, the key 1, the key 2 and more");
    }
}
