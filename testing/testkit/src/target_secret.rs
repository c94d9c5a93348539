//! A target Secret as its consumers read it.

use std::collections::BTreeMap;

use auth0_rotator::api::{CURRENT_ANNOTATION, FALLBACK_ANNOTATION, WRITE_PROVEN_ANNOTATION};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use secrecy::{ExposeSecret as _, SecretString};

/// Content of a target Secret with the default keys.
#[derive(Clone, Debug, Default)]
pub struct TargetSecret {
    /// Numbers of the values, in the order in which consumers try them.
    pub numbers: Vec<u64>,
    /// The values of the list, in the order in which consumers try them.
    pub values: Vec<SecretString>,
    /// The value of the key for the current secret.
    pub current: Option<SecretString>,
    /// The value of the key for the fallback.
    pub fallback: Option<SecretString>,
    /// The number of the last rotation that wrote the Secret before `rotate-secret`.
    pub write_proven: Option<u64>,
}

impl TargetSecret {
    /// Parses a Secret. Missing and malformed parts are empty.
    pub fn parse(secret: &Secret) -> Self {
        let annotations = secret.metadata.annotations.clone().unwrap_or_default();
        let number = |name: &str| annotations.get(name)?.parse().ok();
        let data = secret.data.clone().unwrap_or_default();
        let list = text(&data, "client_secrets").unwrap_or_default();
        let values: Vec<String> = serde_json::from_str(&list).unwrap_or_default();
        let numbers = [number(CURRENT_ANNOTATION), number(FALLBACK_ANNOTATION)];
        Self {
            numbers: numbers.into_iter().flatten().collect(),
            values: values.into_iter().map(SecretString::from).collect(),
            current: text(&data, "client_secret").map(SecretString::from),
            fallback: text(&data, "client_secret_fallback").map(SecretString::from),
            write_proven: number(WRITE_PROVEN_ANNOTATION),
        }
    }

    /// Returns a Secret with these numbers, and values that are made of them. For tests.
    pub fn with_numbers(numbers: &[u64]) -> Self {
        let values: Vec<_> =
            numbers.iter().map(|number| SecretString::from(format!("value-{number}"))).collect();
        let (current, fallback) = (values.first().cloned(), values.get(1).cloned());
        Self { numbers: numbers.to_vec(), values, current, fallback, write_proven: None }
    }

    /// Returns whether all keys and annotations agree, as the operator writes them.
    pub fn is_consistent(&self) -> bool {
        !self.values.is_empty()
            && self.numbers.len() == self.values.len()
            && is_same(self.current.as_ref(), self.values.first())
            && is_same(self.fallback.as_ref(), self.values.get(1))
    }
}

fn is_same(a: Option<&SecretString>, b: Option<&SecretString>) -> bool {
    a.map(|value| value.expose_secret()) == b.map(|value| value.expose_secret())
}

fn text(data: &BTreeMap<String, ByteString>, key: &str) -> Option<String> {
    String::from_utf8(data.get(key)?.0.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_values_and_numbers() {
        let secret: Secret = serde_json::from_value(serde_json::json!({
            "metadata": {"annotations": {
                "auth0-rotator.dev/current": "2", "auth0-rotator.dev/fallback": "1",
            }},
            // ["b","a"], b, a
            "data": {
                "client_secrets": "WyJiIiwiYSJd", "client_secret": "Yg==",
                "client_secret_fallback": "YQ==",
            },
        }))
        .unwrap();
        let target = TargetSecret::parse(&secret);
        assert_eq!(target.numbers, [2, 1]);
        assert_eq!(target.values[1].expose_secret(), "a");
        assert!(target.is_consistent());
    }

    #[test]
    fn edited_secret_is_inconsistent() {
        let target = TargetSecret::with_numbers;
        assert!(target(&[1]).is_consistent() && target(&[2, 1]).is_consistent());
        assert!(!TargetSecret::default().is_consistent());
        let other = Some(SecretString::from("other"));
        assert!(!TargetSecret { current: other.clone(), ..target(&[1]) }.is_consistent());
        assert!(!TargetSecret { fallback: other, ..target(&[1]) }.is_consistent());
        assert!(!TargetSecret { numbers: vec![], ..target(&[1]) }.is_consistent());
    }
}
