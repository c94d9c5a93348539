//! The label selector of a shard: which resources and tenants this operator reconciles.
//!
//! The watches and stores still have all of them. Conflicts over a client or a target Secret, and the
//! protection of credentials, therefore do not depend on how objects are divided into shards.

use std::{collections::BTreeSet, fmt, str::FromStr};

use kube::{
    api::ObjectMeta,
    core::{Expression, Selector, SelectorExt as _},
};

use crate::api::Labels;

/// A label selector as `kubectl --selector` has it. Without requirements it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchSelector(Selector);

/// Why a text is not a label selector.
#[derive(Debug, thiserror::Error)]
#[error(
    "{reason}; a label selector is as in kubectl, for example auth0-rotator.dev/shard=a, \
     '!auth0-rotator.dev/shard' or 'auth0-rotator.dev/shard in (a,b)'"
)]
pub struct InvalidSelector {
    reason: String,
}

impl WatchSelector {
    /// Returns whether everything is selected: the operator is no shard.
    pub fn selects_all(&self) -> bool {
        self.0.selects_all()
    }

    /// Returns whether an object is selected.
    pub(crate) fn selects(&self, metadata: &ObjectMeta) -> bool {
        self.selects_all()
            || match &metadata.labels {
                Some(labels) => self.0.matches(labels),
                None => self.0.matches(&Labels::new()),
            }
    }

    /// Drops the labels that no requirement names.
    pub(super) fn prune(&self, labels: &mut Option<Labels>) {
        if self.selects_all() {
            *labels = None;
        }
        let Some(kept) = labels else { return };
        let keys: BTreeSet<String> = self.0.clone().into_iter().map(key_of).collect();
        kept.retain(|key, _| keys.contains(key));
        if kept.is_empty() {
            *labels = None;
        }
    }
}

fn key_of(requirement: Expression) -> String {
    match requirement {
        Expression::In(key, _)
        | Expression::NotIn(key, _)
        | Expression::Equal(key, _)
        | Expression::NotEqual(key, _)
        | Expression::Exists(key)
        | Expression::DoesNotExist(key) => key,
    }
}

impl fmt::Display for WatchSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for WatchSelector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        let requirements: Result<Vec<Expression>, String> =
            split_requirements(text).into_iter().map(parse_requirement).collect();
        let requirements = requirements.map_err(|reason| InvalidSelector { reason })?;
        Ok(Self(requirements.into_iter().collect()))
    }
}

/// Splits at the commas outside parentheses.
fn split_requirements(text: &str) -> Vec<&str> {
    let mut is_in_set = false;
    text.split(|c: char| {
        match c {
            '(' => is_in_set = true,
            ')' => is_in_set = false,
            _ => {}
        }
        c == ',' && !is_in_set
    })
    .collect()
}

fn parse_requirement(text: &str) -> Result<Expression, String> {
    let text = text.trim();
    if let Some(key) = text.strip_prefix('!') {
        return Ok(Expression::DoesNotExist(parse_key(key)?));
    }
    // `!=` contains `=`, and `==` twice.
    if let Some((key, value)) = text.split_once("!=") {
        return Ok(Expression::NotEqual(parse_key(key)?, parse_value(value)?));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Expression::Equal(parse_key(key)?, parse_value(value)?));
    }
    let Some((key, set)) = text.split_once(char::is_whitespace) else {
        return Ok(Expression::Exists(parse_key(text)?));
    };
    let (key, set) = (parse_key(key)?, set.trim());
    if let Some(values) = set.strip_prefix("notin") {
        return Ok(Expression::NotIn(key, parse_set(values)?));
    }
    match set.strip_prefix("in") {
        Some(values) => Ok(Expression::In(key, parse_set(values)?)),
        None => Err(format!("the requirement {text:?} has no operator")),
    }
}

fn parse_set(text: &str) -> Result<BTreeSet<String>, String> {
    let values = text.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let values = values.ok_or_else(|| format!("{text:?} is not a set of values, as in (a,b)"))?;
    values.split(',').map(parse_value).collect()
}

/// A key is a qualified name: up to 63 letters, digits, '-', '_' and '.', after an optional DNS
/// subdomain and '/'.
fn parse_key(text: &str) -> Result<String, String> {
    let text = text.trim();
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let is_subdomain = |prefix: &str| {
        let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_label = |label: &str| is_bounded(label) && label.chars().all(is_allowed);
        prefix.len() <= 253 && prefix.split('.').all(is_label)
    };
    if is_bounded(name) && is_label_text(name) && prefix.is_none_or(is_subdomain) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not the key of a label"))
    }
}

fn parse_value(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || is_bounded(text) && is_label_text(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not the value of a label"))
    }
}

/// Whether a text has 1 to 63 characters and begins and ends with a letter or a digit.
fn is_bounded(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

fn is_label_text(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(text: &str) -> WatchSelector {
        text.parse().unwrap()
    }

    fn metadata(labels: &[(&str, &str)]) -> ObjectMeta {
        let labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        ObjectMeta { labels: Some(labels.collect()), ..ObjectMeta::default() }
    }

    #[test]
    fn selects_as_kubectl_does() {
        let (a, b) = (metadata(&[("shard", "a")]), metadata(&[("shard", "b"), ("team", "x")]));
        let unlabeled = ObjectMeta::default();
        for (text, selected) in [
            ("shard=a", [true, false, false]),
            ("shard==a", [true, false, false]),
            ("shard != a", [false, true, true]),
            ("shard", [true, true, false]),
            ("!shard", [false, false, true]),
            ("! shard", [false, false, true]),
            ("shard in (a, c)", [true, false, false]),
            ("shard notin (a,c)", [false, true, true]),
            ("shard in (a,b),!team", [true, false, false]),
            ("shard=b,team=x", [false, true, false]),
            ("shard=", [false, false, false]),
        ] {
            let selector = selector(text);
            assert!(!selector.selects_all(), "{text}");
            assert_eq!(
                [&a, &b, &unlabeled].map(|object| selector.selects(object)),
                selected,
                "{text}"
            );
            // What is shown can be parsed again.
            assert_eq!(self::selector(&selector.to_string()), selector, "{text}");
        }
        assert!(WatchSelector::default().selects(&unlabeled));
    }

    #[test]
    fn rejects_what_is_not_a_label_selector() {
        let long = format!("shard={}", "x".repeat(64));
        for text in [
            "",
            " ",
            ",",
            "shard=a,",
            "=a",
            "shard=a b",
            "shard a",
            "shard in a",
            "shard in (a",
            "shard=-a",
            "shard>1",
            "a/b/c=d",
            "Prefix/shard=a",
            "shard in (a,b!)",
            "!",
            long.as_str(),
        ] {
            let error = text.parse::<WatchSelector>().unwrap_err().to_string();
            assert!(error.contains("for example auth0-rotator.dev/shard=a"), "{text:?}: {error}");
        }
    }

    #[test]
    fn keeps_only_the_labels_that_it_reads() {
        let mut kept = metadata(&[("shard", "a"), ("team", "x")]).labels;
        selector("shard in (a,b),!other").prune(&mut kept);
        assert_eq!(kept.unwrap().into_iter().collect::<Vec<_>>(), [("shard".into(), "a".into())]);
        for text in ["other", "!other"] {
            let mut labels = metadata(&[("team", "x")]).labels;
            selector(text).prune(&mut labels);
            assert_eq!(labels, None);
        }
        let mut labels = metadata(&[("team", "x")]).labels;
        WatchSelector::default().prune(&mut labels);
        assert_eq!(labels, None);
    }
}
