//! Keys that may be written to a Secret that exists: the keys that the operator wrote before, and those
//! that the resource adopts.
//!
//! A user who may write the Secret may also write the record of its keys. That gives no more than
//! the permission to write the Secret, which is why the record needs no proof. The creation of a
//! Secret does: `deletionPolicy: Delete` deletes it.

use std::borrow::Cow;

use super::snapshot::Snapshot;
use crate::api::{DATA_KEYS_ANNOTATION, Keys, TargetSpec};

impl Snapshot {
    /// Returns whether the operator created the Secret for a resource of this name. It applies the
    /// field `type` only to such Secrets, so `managedFields` shows it: only a client that may write
    /// the Secret could make its own fields ours. A resource of another name adopts the Secret, and
    /// its first write gives the field up.
    pub(crate) fn was_created_for(&self, resource: &str) -> bool {
        self.owned().secret_type && self.owner() == Some(resource)
    }

    /// Returns the keys that the operator wrote, or removed as a fallback: first those of
    /// [`Keys`] in their order, then those of templates.
    fn recorded_keys(&self) -> impl Iterator<Item = &str> {
        self.annotation(DATA_KEYS_ANNOTATION).into_iter().flat_map(|keys| keys.split(','))
    }

    /// Returns the keys of the values, the client and the tenant that the operator last wrote.
    pub(crate) fn recorded(&self) -> Option<Keys> {
        let mut recorded = self.recorded_keys().map(str::to_owned);
        Some(Keys {
            client_id: recorded.next()?,
            domain: recorded.next()?,
            current: recorded.next()?,
            fallback: recorded.next()?,
            list: recorded.next()?,
        })
    }

    /// Returns whether a key has content that is not the operator's.
    fn is_foreign(&self, key: &str) -> bool {
        let has_content = self.encoded(key).is_some_and(|content| !content.is_empty());
        has_content
            && !self.owned().data.contains(key)
            && !self.recorded_keys().any(|recorded| recorded == key)
    }

    /// Returns a key of `target.keys` whose foreign content the operator would overwrite or remove.
    /// Adoption allows it to overwrite them, but not to remove what is not the operator's fallback.
    pub(crate) fn taken_key<'s>(&self, spec: &'s TargetSpec) -> Option<&'s str> {
        let keys = &spec.keys;
        let overwritten = [&keys.client_id, &keys.domain, &keys.current, &keys.list];
        let checked = if spec.adopt { &[] } else { &overwritten[..] };
        let mut checked = checked.iter().copied().chain([&keys.fallback]);
        checked.find(|key| self.is_foreign(key)).map(String::as_str)
    }

    /// Returns a key of a template that has foreign content.
    pub(crate) fn taken_template_key<'s>(&self, spec: &'s TargetSpec) -> Option<&'s str> {
        spec.template.keys().map(String::as_str).find(|key| self.is_foreign(key))
    }
}

/// Returns the keys to write: those of the spec, or the last ones if one of the spec is taken.
pub(super) fn effective_keys<'s>(
    spec: &'s TargetSpec,
    present: Option<&Snapshot>,
) -> Cow<'s, Keys> {
    if let Some(present) = present
        && present.taken_key(spec).is_some()
        && let Some(recorded) = present.recorded()
    {
        return Cow::Owned(recorded);
    }
    Cow::Borrowed(&spec.keys)
}

/// Returns whether a template may be rendered into a key.
pub(super) fn allows_template(keys: &Keys, key: &str, present: Option<&Snapshot>) -> bool {
    let Keys { client_id, domain, current, fallback, list } = keys;
    ![client_id, domain, current, fallback, list].into_iter().any(|used| used == key)
        && !present.is_some_and(|present| present.is_foreign(key))
}
